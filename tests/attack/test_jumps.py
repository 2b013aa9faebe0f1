"""Attacks where slopes are 0: step functions, and ends that flatten the outputs."""

import numpy as np
import pytest

from tests.attack.nets import Case, certain, dense, unsafe_rows
from verifier.attack import Effort, falsify
from verifier.attack.tail import compares, without_tail
from verifier.families import Nonlinear
from verifier.graph import Builder, Graph, Value
from verifier.ops.curves import EXP, curve
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid
from verifier.ops.scale import Scale
from verifier.ops.steps import step
from verifier.ops.sum import Sum
from verifier.tensors import numpy_backend, torch_backend


def binarised(seed: int, size=40) -> Graph:
    """Dense layers with signs between them."""
    rng = np.random.default_rng(seed)
    builder = Builder(size)
    value = Value(0, (size,))
    for i in range(3):
        weight = rng.choice([-1.0, 1.0], size=(64, value.size))
        value = builder.add(
            f"dense{i}", Linear.of(weight, 0.1 * rng.normal(size=64)), [value], (64,)
        )
        value = step(f"sign{i}", builder, value, (-1, 0, 1), np.zeros(1))
    weight = rng.choice([-1.0, 1.0], size=(3, 64))
    return builder.finish(builder.add("last", Linear.of(weight, None), [value], (3,)))


@pytest.mark.parametrize("backend", [numpy_backend("float64"), torch_backend("float64")])
@pytest.mark.parametrize("seed", range(4))
def test_networks_of_signs_are_descended(seed, backend):
    """A level that 20,000 random points do not reach."""
    graph = binarised(seed)
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (20_000, 40))
    outputs = graph.on(numpy_backend()).evaluate(points)
    rows = unsafe_rows([[1.0, -1.0, 0.0]], [0])
    least = (outputs[:, 0] - outputs[:, 1]).min()
    case = Case.of(graph, rows, ([-1] * 40, [1] * 40), [least - 4.0])
    witness = certain(falsify(case.problem(backend), Effort(steps=400), np.random.default_rng(1)))
    assert witness.outputs[0] - witness.outputs[1] <= least - 4.0


def test_ramps_are_no_longer_than_the_values_are_far_from_the_jump():
    builder = Builder(4)
    graph = builder.finish(step("sign", builder, Value(0, (4,)), (-1, 0, 1), np.zeros(1)))
    operator = graph.on(numpy_backend()).nodes[0].operator
    assert isinstance(operator, Nonlinear)
    x = np.array([[0.1, -0.3, 5.0, -0.001]])
    (slope,) = operator.guide(np.ones((1, 4)), x)
    length = abs(x).mean()
    assert slope == pytest.approx(np.array([[1, 1, 0, 1]]) / length)
    (plain,) = operator.gradient(np.ones((1, 4)), x)
    assert not plain.any()


# ------------------------------------------------------------------------------------------ ends


def with_end(graph: Graph, name: str) -> Graph:
    builder = Builder(graph.input_size, list(graph.nodes))
    value = Value(graph.output, (graph.output_size,))
    size = value.size
    if name == "softmax":
        powers = curve("exp", builder, value, EXP)
        total = builder.add("sum", Linear.of(np.ones((size, size)), None), [powers])
        logs = builder.add("share", Linear.of(np.eye(size) * 0.5, None), [total])
        value = builder.add("difference", Sum.of(size, (1, -1)), [powers, logs])
    elif name == "sigmoid":
        value = builder.add("sigmoid", Sigmoid.of(size), [value])
    elif name == "falling":
        value = builder.add("falling", Scale.of(size, -np.ones(size), None), [value])
    elif name == "relu":
        value = builder.add("relu", Relu.of(size), [value])
    elif name == "shifted":
        value = builder.add("shifted", Scale.of(size, None, np.arange(size) * 1.0), [value])
    return builder.finish(value)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_an_end_that_keeps_the_order_is_left_out(name):
    graph = dense((3, 8, 4), 0)
    short = without_tail(with_end(graph, name).on(numpy_backend()))
    assert len(short.nodes) == len(graph.nodes)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert short.evaluate(x) == pytest.approx(graph.on(numpy_backend()).evaluate(x))


@pytest.mark.parametrize("name", ["falling", "relu", "shifted"])
def test_an_end_that_does_not_stays(name):
    graph = with_end(dense((3, 8, 4), 0), name).on(numpy_backend())
    assert without_tail(graph) is graph


def test_what_is_read_again_later_is_no_end():
    graph = dense((3, 8, 4), 0)
    builder = Builder(3, list(graph.nodes))
    value = Value(graph.output, (4,))
    sigmoid = builder.add("sigmoid", Sigmoid.of(4), [value])
    skipped = builder.add("skip", Linear.of(np.ones((4, 3)), None), [Value(0, (3,))], (4,))
    graph = builder.finish(builder.add("sum", Sum.of(4, (1, 1)), [sigmoid, skipped]))
    graph = graph.on(numpy_backend())
    assert without_tail(graph) is graph


def test_only_comparisons_of_outputs_do_not_need_the_end():
    zero = np.zeros((2, 1))
    assert compares(unsafe_rows([[1.0, -1.0]], [0]), zero)
    assert compares(unsafe_rows([[2.0, -2.0]], [0]), zero - np.inf)
    assert not compares(unsafe_rows([[1.0, -1.0]], [0]), zero + 1)
    assert not compares(unsafe_rows([[1.0, 0.0]], [0]), zero)
    assert not compares(unsafe_rows([[1.0, -0.5]], [0]), zero)
