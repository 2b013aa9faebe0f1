"""Constants too small for float32 are taken for 0, and what that changes is counted."""

from dataclasses import replace

import numpy as np
import pytest

from tests.bounds.checks import METHODS, backend, contains
from tests.bounds.exact import exact_values
from tests.bounds.graphs import Weights, placed, points_in
from verifier.bounds import Objective, bound_objective, by_forms
from verifier.bounds.zonotope import zonotope
from verifier.errors import UnsupportedModel
from verifier.families import Affine
from verifier.graph import Builder, Graph, Value
from verifier.ops.conv_transpose import TransposedConvolution
from verifier.ops.convolution import Convolution
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.ops.sum import Sum

ALL = {
    **METHODS,
    "forms": lambda graph, box: by_forms(graph, box).enclosure,
    "zonotope": lambda graph, box: zonotope(graph, box, 40),
}
SINGLE = ("numpy-32", "torch-32")


def tiny_net(seed: int) -> Graph:
    """Inputs of 1e29 count in outputs of about 1 by entries that float32 cannot hold well."""
    weights = Weights(np.random.default_rng(seed))
    tiny = weights.normal(4, 2) * 10.0 ** -weights.generator.integers(30, 42, size=(4, 2))
    builder, source = Builder(2), Value(0, (2,))
    first = builder.add("first", Linear.of(tiny, weights.normal(4, scale=1e-31)), [source], (4,))
    factors = np.where(np.arange(2) < 1, weights.normal(2, scale=1e-31), weights.normal(2) * 1e-30)
    scaled = builder.add("scale", Scale.of(2, factors, None), [source])
    second = Linear.of(weights.normal(4, 2, scale=1e-31), None)
    other = builder.add("second", second, [source], (4,))
    both = builder.add("both", Sum.of(4, (1, -1)), [first, other])
    hidden = builder.add("relu", Relu.of(4), [both])
    last = builder.add("last", weights.linear(4, 2), [hidden], (2,))
    return builder.finish(builder.add("out", Sum.of(2, (1, 1)), [last, scaled]))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("seed", range(8))
def test_boxes_hold_what_flushed_constants_do(name: str, seed: int):
    graph, xp, generator = tiny_net(seed), backend(name), np.random.default_rng(seed)
    operators = [node.operator.on(xp) for node in graph.nodes[:2]]
    assert any(isinstance(x, Affine) and x.lost for x in operators)
    center = generator.normal(size=(3, 2)) * 1e29
    radius = generator.uniform(0, 1, size=(3, 2)) * [[1e29], [1e22], [0.0]]
    box = placed(xp, center - radius, center + radius)
    points = points_in(box, xp, seed, 20)
    values = exact_values(graph, points.reshape(-1, 2))
    for label, method in ALL.items():
        with np.errstate(all="ignore"):
            found = method(graph.on(xp), box)
        for v, exact in enumerate(values):
            shaped = exact.reshape(len(points), 3, -1)
            assert contains(found.boxes[v], shaped, xp), (label, v)


def test_flushing_is_counted_only_where_it_changes_something():
    ordinary = Linear.of(np.ones((2, 2)), np.zeros(2))
    assert ordinary.on(backend("numpy-32")).lost == 0
    tiny = Linear.of(np.full((2, 2), 1e-35), np.ones(2))
    assert tiny.on(backend("numpy-64")).lost == 0
    placed_tiny = tiny.on(backend("numpy-32"))
    assert 1e-35 < placed_tiny.lost <= 1e-30
    assert not placed_tiny.weight.any()


@pytest.mark.parametrize("name", SINGLE)
def test_convolutions_both_ways_are_flushed(name: str):
    xp, generator = backend(name), np.random.default_rng(0)
    weight = generator.normal(size=(2, 1, 3)) * 1e-31
    forward = Convolution.of(weight, None, (1, 6), ((1,), (0, 0), (1,), 1))
    for operator in (forward, TransposedConvolution.of(forward, np.full(1, 1e-33))):
        x = generator.normal(size=(5, operator.sizes[0])) * 1e29
        exact = operator.on(backend("torch-64")).evaluate(backend("torch-64").floats(x))
        flushed = operator.on(xp)
        lost = xp.numpy(flushed.lost_of(xp.floats(abs(x))))
        near = abs(np.asarray(exact) - xp.numpy(flushed.evaluate(xp.floats(x))))
        assert (near <= lost).all()
        assert near.max() > 1e-3


def test_sums_that_may_repeat_a_source_are_not_flushed():
    """There an entry of the matrix is a constant times the number of repeats."""
    sums = GatherSum.of(np.zeros((1, 1000), dtype=np.int64), np.full(1, 5e-31), 1)
    assert not sums.fits_single
    with pytest.raises(UnsupportedModel, match="use float64"):
        sums.on(backend("torch-32"))


@pytest.mark.parametrize("name", SINGLE)
def test_coefficients_of_rows_below_the_range_are_charged(name: str):
    builder = Builder(1)
    identity = Linear.of(np.ones((1, 1)), None)
    graph = builder.finish(builder.add("out", identity, [Value(0, (1,))], (1,)))
    xp = backend(name)
    box = placed(xp, np.full((1, 1), 1e35), np.full((1, 1), 2e35))
    objective = Objective.of(np.array([[-1e-46]]), None, np.zeros(1, dtype=np.int64), xp)
    enclosure = METHODS["crown"](graph.on(xp), box)
    for threshold in (0.0, -1e-12):
        thresholds = xp.doubles(np.full((1, 1), threshold))
        found = bound_objective(enclosure, objective, thresholds, xp.bools(np.ones((1, 1))))
        exact = -1e-46 * 2e35 - threshold
        assert float(xp.numpy(found.least)[0, 0]) <= exact
        assert float(xp.numpy(objective.by_boxes(enclosure, thresholds))[0, 0]) <= exact


def test_what_cannot_be_flushed_is_still_refused():
    huge = Linear.of(np.full((1, 1), 1e35), None)
    both = replace(huge, weight=np.array([[1e35, 1e-35]]), sizes=(2,))
    for operator in (huge, both):
        assert not operator.fits_single
        with pytest.raises(UnsupportedModel, match="use float64"):
            operator.on(backend("numpy-32"))
