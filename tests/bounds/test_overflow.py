"""Sums that are too large for their type say nothing, least of all that they are -inf."""

import numpy as np
import pytest

from tests.bounds.checks import BACKENDS, METHODS, backend, contains
from tests.bounds.exact import exact_values
from tests.bounds.graphs import placed
from verifier.bounds import Enclosure, nearby, whole_interval
from verifier.bounds.forward import ForwardPush
from verifier.bounds.zonotope import ZonotopePush
from verifier.families import Maximum
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.sum import Sum
from verifier.tensors import Backend

NAMES = pytest.mark.parametrize("name", sorted(BACKENDS))


def cut(builder: Builder, value: Value, kind: str) -> Graph:
    """A node that makes 0 of -inf."""
    size = value.size
    if kind == "relu":
        return builder.finish(builder.add("relu", Relu.of(size), [value]))
    members = np.array([[0, size - 1]])
    return builder.finish(builder.add("max", Maximum.of(members, size), [value], (1,)))


def centers(xp: Backend, kind: str) -> tuple[Graph, np.ndarray]:
    """Twice an input is too large; the sum is nearly all the other one's."""
    double = xp.dtype == "float64"
    point, row = ((1e308, 1e300), (-1e-300, 1e-280)) if double else ((3e38, 1e30), (-1e-30, 1e-20))
    builder = Builder(2)
    value = builder.add("linear", Linear.of(np.array([row, row])), [Value(0, (2,))], (2,))
    return cut(builder, value, kind), np.array([point])


def parts(xp: Backend, kind: str) -> tuple[Graph, np.ndarray]:
    """The first terms are too large together, not all of them."""
    builder, signs = Builder(14), (-1, -1, -1, 1, 1, 1, 1)
    pairs = [
        builder.rearrange(f"{i}", Value(0, (14,)), np.array([2 * i, 2 * i + 1]), np.zeros(2))
        for i in range(7)
    ]
    value = builder.add("sum", Sum.of(2, signs), pairs, (2,))
    point = np.zeros((1, 14))
    point[0, ::2] = 8e307 if xp.dtype == "float64" else 1.5e38
    return cut(builder, value, kind), point


CASES = pytest.mark.parametrize("case", [centers, parts])
KINDS = pytest.mark.parametrize("kind", ["relu", "maximum"])


@NAMES
@CASES
@KINDS
def test_the_output_is_in_its_box(name: str, case, kind: str):
    xp = backend(name)
    graph, point = case(xp, kind)
    box, on = placed(xp, point, point), graph.on(xp)
    exact = exact_values(graph, xp.numpy(box.lower).astype(np.float64))[graph.output][None]
    methods = dict(METHODS)
    methods["forward"] = lambda g, b: ForwardPush(Enclosure.over(g, b)).run()
    methods["zonotope"] = lambda g, b: ZonotopePush(Enclosure.over(g, b), limit=4).run()
    methods["whole numbers"] = whole_interval
    with np.errstate(all="ignore"):
        for label, method in methods.items():
            assert contains(method(on, box).boxes[graph.output], exact, xp), label
        assert contains(nearby(on, box), exact, xp)


def test_numbers_below_the_least_normal_one_are_charged():
    """What rounding takes of inputs of 1e-310 is less than any number, before the weights."""
    dice = np.random.default_rng(0)
    builder = Builder(20)
    weights = dice.normal(size=(3, 20)) * 1e300
    graph = builder.finish(builder.add("linear", Linear.of(weights), [Value(0, (20,))], (3,)))
    xp, point = backend("numpy-64"), dice.normal(size=(5, 20)) * 1e-310
    box = nearby(graph.on(xp), placed(xp, point, point))
    assert contains(box, exact_values(graph, point)[graph.output][None], xp)
