"""What depends on fixed whole numbers only becomes a constant, where that is exact."""

import numpy as np
import pytest

from verifier.families import Rearrange
from verifier.graph import Builder, Value
from verifier.graph.passes import fold_integers, restrict_inputs
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.ops.staircase import Staircase
from verifier.ops.sum import Sum
from verifier.tensors import numpy_backend

XP = numpy_backend()


def counting(scale: float | None = None):
    """floor(relu(b)) - a, over inputs (a, b) of three elements each."""
    builder, x = Builder(6), Value(0, (6,))
    a = builder.rearrange("a", x, np.arange(3))
    b = builder.rearrange("b", x, np.arange(3, 6))
    b = builder.add("relu", Relu.of(3), [b])
    if scale is not None:
        b = builder.add("scale", Scale.of(3, np.full(3, scale), None), [b])
    b = builder.add("floor", Staircase.of(3, "floor"), [b])
    return builder.finish(builder.add("difference", Sum.of(3, (1, -1)), [b, a]))


def fixed(graph, numbers):
    free = np.array([True, True, True, False, False, False])
    return restrict_inputs(graph, free, np.array([0.0, 0.0, 0.0, *numbers]))


def kinds(graph):
    return [type(node.operator).__name__ for node in graph.nodes]


def test_whole_numbers_are_folded():
    graph = fold_integers(fixed(counting(), [1.0, -2.0, 3.0]))
    assert "Staircase" not in kinds(graph)
    x = np.array([[0.5, 0.25, -1.0]])
    np.testing.assert_array_equal(graph.on(XP).evaluate(x), [[0.5, -0.25, 4.0]])


@pytest.mark.parametrize("numbers", [[1.0, 0.5, 3.0], [2.0**41, 0.0, 0.0]])
def test_other_numbers_are_not(numbers: list[float]):
    graph = fixed(counting(), numbers)
    assert kinds(fold_integers(graph)) == kinds(graph)


def test_a_computed_factor_of_one_may_be_another_number():
    """A scale that was rounded to 1 is not trusted to keep whole numbers."""
    graph = fold_integers(fixed(counting(1.0), [1.0, 1.0, 1.0]))
    assert "Staircase" in kinds(graph)


def test_a_constant_that_others_read_stays_a_value():
    builder, x = Builder(4), Value(0, (4,))
    a = builder.rearrange("a", x, np.arange(2))
    b = builder.add("relu", Relu.of(2), [builder.rearrange("b", x, np.arange(2, 4))])
    total = builder.add("sum", Sum.of(2, (1, 1, -1)), [a, a, b])
    free = np.array([True, True, False, False])
    graph = restrict_inputs(builder.finish(total), free, np.array([0.0, 0.0, 2.0, 3.0]))
    folded = fold_integers(graph)
    assert "Relu" not in kinds(folded)
    assert any(
        isinstance(n.operator, Rearrange) and n.operator.bias is not None for n in folded.nodes
    )
    x = np.array([[0.5, 1.0]])
    np.testing.assert_array_equal(folded.on(XP).evaluate(x), graph.on(XP).evaluate(x))
