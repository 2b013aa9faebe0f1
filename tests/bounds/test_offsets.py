"""Rows over offsets, in single precision: below every point, and nearly as good as float64's."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS, Trial, backend, below
from tests.graph.test_crop import u_net
from verifier.bounds import Enclosure, crown, interval
from verifier.bounds.crown import unit_rows
from verifier.bounds.offsets import Offsets
from verifier.bounds.optimise import optimise
from verifier.families import MatrixProduct, Product
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend, torch_backend

XP = torch_backend("float64")
SEEDS = st.integers(0, 10**6)
NAMES = st.sampled_from(("numpy-64", "torch-64"))


def which(enclosure: Enclosure, value: int, sign: float):
    """Rows of all neurons of a value, in all boxes."""
    xp, size = enclosure.graph.xp, enclosure.graph.size(value)
    batch = xp.repeat(xp.arange(enclosure.batch), size)
    neuron = xp.cat([xp.arange(size)] * enclosure.batch, 0)
    return batch, neuron, xp.full((size * enclosure.batch,), sign)


def by_offsets(enclosure: Enclosure, value: int, sign: float) -> np.ndarray | None:
    made = Offsets.of(enclosure)
    if made is None or not made.reach(value):
        return None
    least, _ = made.bound(value, which(enclosure, value, sign))
    return np.asarray(least).reshape(enclosure.batch, -1)


def in_double(enclosure: Enclosure, value: int, sign: float) -> np.ndarray:
    rows = unit_rows(enclosure, value, which(enclosure, value, sign))
    return np.asarray(optimise(enclosure, rows, 1, SETTINGS).least).reshape(enclosure.batch, -1)


@given(seed=SEEDS, name=NAMES)
def test_rows_are_below_every_point(name: str, seed: int):
    trial = Trial.of(seed, name)
    with np.errstate(all="ignore"):
        enclosure = crown(trial.placed, trial.box, SETTINGS).enclosure
        for value, sign in itertools.product(range(1, len(trial.placed.nodes) + 1), (1, -1)):
            least = by_offsets(enclosure, value, float(sign))
            if least is not None:
                assert below(least[None], trial.values[value] * sign), (value, sign)


@given(seed=SEEDS, name=NAMES)
def test_what_affine_operators_round_is_charged(name: str, seed: int):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(15, 4)), generator.normal(size=(20, 15))
    # The last layer takes nearly all away that the layers before pass on.
    other = 1e-3 * generator.normal(size=second.shape) - second
    weights = [np.concatenate([first, first]), np.concatenate([second, other], 1)]
    builder, value = Builder(4), Value(0, (4,))
    for weight in weights:
        layer = Linear.of(weight, generator.normal(size=len(weight)))
        value = builder.add("", layer, [value], (len(weight),))
    xp = backend(name)
    graph, center = builder.finish(value).on(xp), generator.normal(size=(1, 4))
    box = Box(xp.floats(center - 0.1), xp.floats(center + 0.1))
    reach = 0.1 * abs(weights[1] @ weights[0]).sum(1)
    exact = np.asarray(graph.evaluate(xp.floats(center)))[0] - reach
    mine = by_offsets(interval(graph, box), graph.output, 1.0)
    assert mine is not None
    assert (mine[0] <= exact + 1e-12).all()
    assert (exact - mine[0] <= 1e-4 * (abs(weights[1]) @ abs(weights[0])).sum(1)).all()


@pytest.mark.parametrize("radius", [1e12, 1e20])
@pytest.mark.parametrize("number", [2e-46, 6e-46, 1e-44, 1e-40])
def test_slopes_too_small_for_single_precision_are_charged(radius: float, number: float):
    """x y for one small y, times 1e29: the slope y is 0, or far off, in float32."""
    builder, x = Builder(2), Value(0, (2,))
    one = builder.rearrange("u", x, np.array([0]), np.zeros(1))
    other = builder.rearrange("v", x, np.array([1]), np.zeros(1))
    product = builder.add("p", Product.of(1), [one, other])
    graph = builder.finish(builder.add("s", Scale.of(1, np.array([1e29]), None), [product]))
    sides = np.array([[-radius, number]]), np.array([[radius, number]])
    enclosure = crown(graph.on(numpy_backend("float64")), Box(*sides), SETTINGS).enclosure
    for sign in (1.0, -1.0):
        mine = by_offsets(enclosure, graph.output, sign)
        assert mine is not None
        assert mine[0, 0] <= -1e29 * radius * number * (1 - 1e-12)


def around(graph: Graph, generator: np.random.Generator, radius: float) -> Box:
    """Two boxes far from 0."""
    center = generator.normal(size=(2, graph.input_size)) + 3
    return Box(XP.floats(center - radius), XP.floats(center + radius))


@pytest.mark.parametrize("radius", [0.3, 0.002])
@pytest.mark.parametrize("seed", range(4))
def test_rows_lose_little_to_rounding(seed: int, radius: float):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    box = around(graph, generator, radius)
    enclosure = crown(graph.on(XP), box, SETTINGS).enclosure
    for value in graph.relaxed_inputs:
        found = enclosure.boxes[value]
        width = np.asarray(found.upper - found.lower)
        for sign in (1.0, -1.0):
            mine, best = by_offsets(enclosure, value, sign), in_double(enclosure, value, sign)
            assert mine is not None
            assert (mine <= best + 1e-12 * abs(best)).all()
            assert (best - mine <= 1e-3 * width + 1e-9).all()


@pytest.mark.parametrize("seed", range(4))
def test_crown_takes_them_where_there_is_much_work(seed: int, monkeypatch: pytest.MonkeyPatch):
    graph, box = u_net(seed), around(u_net(seed), np.random.default_rng(seed), 0.05)
    whole = crown(graph.on(XP), box, SETTINGS, keep_hidden=True)
    monkeypatch.setattr(sys.modules["verifier.bounds.crown"], "LEAST_WORK", 0)
    mine = crown(graph.on(XP), box, SETTINGS, keep_hidden=True)
    assert whole.enclosure.offsets is None
    assert mine.enclosure.offsets is not None
    for one, other in zip(mine.enclosure.boxes, whole.enclosure.boxes, strict=True):
        slack = 1e-3 * float((other.upper - other.lower).max())
        np.testing.assert_allclose(one.lower, other.lower, rtol=0, atol=slack)
        np.testing.assert_allclose(one.upper, other.upper, rtol=0, atol=slack)
    for rows, others in zip(mine.hidden, whole.hidden, strict=True):
        np.testing.assert_array_equal(rows.neuron, others.neuron)
        np.testing.assert_allclose(rows.influence, others.influence, rtol=1e-3, atol=1e-3)


def test_boxes_that_became_smaller_are_seen():
    graph = u_net(0)
    enclosure = crown(
        graph.on(XP), around(graph, np.random.default_rng(0), 0.3), SETTINGS
    ).enclosure
    made = Offsets.of(enclosure)
    value = next(v for v in graph.nonlinear if graph.node(v).inputs != (0,))
    (source,) = graph.node(value).inputs
    assert made is not None
    assert made.reach(source)
    old, box = made.enclosure.boxes[source], enclosure.boxes[source]
    enclosure.boxes[source] = Box(box.center, box.center)
    assert made.reach(value)
    assert (made.enclosure.boxes[source].upper < old.upper).any()


def small(scale: float) -> Graph:
    builder, x = Builder(2), Value(0, (2,))
    scaled = builder.add("s", Scale.of(2, np.array([scale, 1.0]), np.ones(2)), [x])
    return builder.finish(builder.add("r", Relu.of(2), [scaled]))


def test_there_are_none_where_single_precision_will_not_do():
    box = Box(np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]]))
    for scale, xp, single in (
        (1e40, numpy_backend("float64"), False),
        (1.0, numpy_backend("float32"), False),
        (1.0, numpy_backend("float64"), True),
    ):
        graph = small(scale).on(xp)
        region = Box(xp.floats(box.lower), xp.floats(box.upper))
        enclosure = crown(graph, region, BoundSettings(single=single)).enclosure
        assert Offsets.of(enclosure) is None
    graph = small(1.0).on(numpy_backend("float64"))
    assert Offsets.of(crown(graph, box, SETTINGS).enclosure) is not None


def test_relaxations_that_are_no_planes_are_not_followed():
    builder, x = Builder(4), Value(0, (4,))
    scaled = builder.add("s", Scale.of(4, np.full(4, 2.0), np.ones(4)), [x])
    operator = MatrixProduct.of(1, 2, 2, 2)
    graph = builder.finish(builder.add("p", operator, [scaled, scaled]))
    region = Box(np.full((1, 4), -1.0), np.full((1, 4), 1.0))
    made = Offsets.of(crown(graph.on(numpy_backend("float64")), region, SETTINGS).enclosure)
    assert made is not None
    assert made.reach(1)
    assert not made.reach(2)
