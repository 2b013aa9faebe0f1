"""Tiles: the bounds of CROWN, over the part of the network that each neuron sees."""

import sys

import numpy as np
import pytest

from tests.graph.test_crop import u_net
from verifier.bounds import HiddenOptimiser, Tiler, by_forms, crown, crown_some, groups, tiles
from verifier.bounds.offsets import Offsets
from verifier.ops.steps import step
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import torch_backend

XP, XP64 = torch_backend(), torch_backend("float64")


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "LEAST_WORK", 0)
    monkeypatch.setattr(tiles, "TILE_WORK", 0)


def region_of(graph, generator, radius=0.3):
    center = generator.normal(size=(1, graph.input_size))
    return Box(XP.floats(center - radius), XP.floats(center + radius))


def points(region: Box, generator: np.random.Generator) -> np.ndarray:
    """Corners of a region, and points in it."""
    low, high = np.asarray(region.lower), np.asarray(region.upper)
    corners = np.where(generator.random((300, low.shape[1])) < 0.5, low, high)
    return np.concatenate([corners, generator.uniform(low, high, (300, low.shape[1]))])


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_those_of_whole_sweeps(seed: int):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    placed, region = graph.on(XP), region_of(graph, generator)
    tiler = Tiler.of(graph, XP)
    assert tiler is not None
    mine = crown(
        placed, region, BoundSettings(), optimiser=HiddenOptimiser(0, tiler=tiler)
    ).enclosure
    whole = crown(placed, region, BoundSettings()).enclosure
    assert tiler.spared != 0
    for value in graph.relaxed_inputs:
        size = np.asarray(whole.boxes[value].magnitude(XP))
        for one, other in zip(
            (mine.boxes[value].lower, mine.boxes[value].upper),
            (whole.boxes[value].lower, whole.boxes[value].upper),
            strict=True,
        ):
            assert (abs(np.asarray(one) - np.asarray(other)) <= 1e-4 * (1 + size)).all()


@pytest.mark.parametrize("seed", range(6))
def test_values_lie_in_the_boxes(seed: int):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    region = region_of(graph, generator)
    boxes = crown(
        graph.on(XP),
        region,
        BoundSettings(),
        optimiser=HiddenOptimiser(0, tiler=Tiler.of(graph, XP)),
    ).enclosure.boxes
    values = graph.on(XP).values(XP.floats(points(region, generator)))
    for box, value in zip(boxes, values, strict=True):
        assert (np.asarray(value) >= np.asarray(box.lower)).all()
        assert (np.asarray(value) <= np.asarray(box.upper)).all()


def around(graph, generator, radius=0.002):
    """A small region far from 0."""
    center = generator.normal(size=(1, graph.input_size)) + 3
    return Box(XP64.floats(center - radius), XP64.floats(center + radius))


def least(graph, region, xp, *, moved: bool) -> np.ndarray:
    """Lower bounds of the last value's neurons by one tile, about the region's middle or not."""
    tiler, value = Tiler(graph, XP), graph.relaxed_inputs[-1]
    if moved:
        tiler.move(region, single=False)
    whole = crown(graph.on(XP64), region, BoundSettings()).enclosure
    count = graph.size(value)
    tile = tiler.tile(whole, value, np.arange(count), xp)
    return np.asarray(tile.least(xp.arange(count), xp.full((count,), 1.0), BoundSettings()))


@pytest.mark.parametrize("seed", range(6))
def test_around_the_middle_bounds_are_tighter_and_hold(seed: int):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    region = around(graph, generator)
    exact = least(graph, region, XP64, moved=False)
    mine, other = (least(graph, region, XP, moved=moved) for moved in (True, False))
    values = graph.on(XP64).values(XP64.floats(points(region, generator)))
    assert (np.asarray(values[graph.relaxed_inputs[-1]]) >= mine).all()
    assert (mine <= exact).all()
    assert (exact - mine).sum() < 0.7 * (exact - other).sum()


def by_offsets(graph, region) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the last value's neurons, over offsets by one tile and by whole sweeps."""
    tiler, value = Tiler(graph, XP), graph.relaxed_inputs[-1]
    whole = crown(graph.on(XP64), region, BoundSettings()).enclosure
    made, index = Offsets.of(whole), XP64.arange(graph.size(value))
    assert made is not None
    assert made.reach(value)
    tile = tiler.tile_of_offsets(made, value, np.arange(graph.size(value)))
    ones = XP64.full((graph.size(value),), 1.0)
    mine = tile.least(index, ones, BoundSettings())
    return np.asarray(mine), np.asarray(made.bound(value, (index * 0, index, ones))[0])


@pytest.mark.parametrize("radius", [0.3, 0.002])
@pytest.mark.parametrize("seed", range(6))
def test_tiles_of_offsets_are_tighter_and_hold(seed: int, radius: float):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    region = around(graph, generator, radius)
    exact, other = least(graph, region, XP64, moved=False), least(graph, region, XP, moved=True)
    mine, whole = by_offsets(graph, region)
    values = graph.on(XP64).values(XP64.floats(points(region, generator)))
    assert (np.asarray(values[graph.relaxed_inputs[-1]]) >= mine).all()
    assert (mine <= exact).all()
    assert (exact - mine).sum() < 0.7 * (exact - other).sum()
    np.testing.assert_allclose(mine, whole, rtol=0, atol=0.1 * float((exact - other).max()))


@pytest.mark.parametrize("seed", range(3))
def test_crown_takes_tiles_of_offsets(seed: int):
    graph = u_net(seed)
    region = around(graph, np.random.default_rng(seed), 0.1)
    placed, optimiser = graph.on(XP64), HiddenOptimiser(0, tiler=Tiler(graph, XP))
    mine = crown(placed, region, BoundSettings(), optimiser=optimiser).enclosure
    whole = crown(placed, region, BoundSettings()).enclosure
    assert mine.offsets is not None
    for value in graph.relaxed_inputs:
        one, other = mine.boxes[value], whole.boxes[value]
        slack = 1e-3 * float((other.upper - other.lower).max())
        np.testing.assert_allclose(one.lower, other.lower, rtol=0, atol=slack)
        np.testing.assert_allclose(one.upper, other.upper, rtol=0, atol=slack)


@pytest.mark.parametrize("radius", [0.3, 0.002])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_tiles_are_those_of_whole_sweeps(seed: int, radius: float):
    """Over several regions, of any signs, a few rows at a time."""
    graph, generator = u_net(seed), np.random.default_rng(seed)
    center = generator.normal(size=(3, graph.input_size))
    region = Box(XP64.floats(center - radius), XP64.floats(center + radius))
    enclosure, value = crown(graph.on(XP64), region, BoundSettings()).enclosure, graph.output
    made, tiler, size = Offsets.of(enclosure), Tiler(graph, XP), graph.size(graph.output)
    assert made is not None
    assert made.reach(value)
    tile = np.sort(generator.choice(size, size // 2, replace=False))
    batch, neuron = np.sort(generator.integers(3, size=40)), generator.choice(tile, 40)
    sign = generator.choice([-1.0, 1.0], 40)
    which = XP64.ints(batch), XP64.ints(neuron), XP64.floats(sign)
    few = BoundSettings(chunk_bytes_cpu=1)
    crop = tiler.crop_of_offsets(value, tile)
    mine, forms = made.bound_tile(value, (tile, crop), which, few)
    other, whole = made.bound(value, which)
    values = enclosure.graph.values
    for entry in range(3):
        there = batch == entry
        reached = np.asarray(
            values(XP64.floats(points(region[entry : entry + 1], generator)))[value]
        )
        lowest = (reached[:, neuron[there]] * sign[there]).min(0)
        assert (np.asarray(mine)[there] <= lowest).all()
        gap = lowest - np.asarray(other)[there]
        assert (abs(np.asarray(mine - other)[there]) <= 1e-3 * gap).all()
    np.testing.assert_allclose(forms, whole, rtol=0, atol=1e-5 * float(abs(whole).max()))


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_some_neurons_are_swept_by_tiles(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Over two regions, and their forms are those of whole sweeps, in the same order."""
    module = sys.modules["verifier.bounds.crown"]
    monkeypatch.setattr(module, "LEAST_WORK", 0)
    monkeypatch.setattr(groups, "SMALL_TILE_WORK", 0)
    monkeypatch.setattr(module, "TILES_AT_ONCE", 3)
    graph, generator = u_net(seed), np.random.default_rng(seed)
    center = generator.normal(size=(2, graph.input_size))
    region, placed = Box(XP64.floats(center - 0.1), XP64.floats(center + 0.1)), graph.on(XP64)
    start = dict(enumerate(by_forms(placed, region).enclosure.boxes))
    wanted = {v: XP64.bools(generator.random((2, graph.size(v))) < 0.7) for v in start}
    tiler, taken = Tiler(graph, XP), list[int]()
    whole = Offsets.bound_tile

    def bound_tile(self, value, *rest):
        taken.append(value)
        return whole(self, value, *rest)

    monkeypatch.setattr(Offsets, "bound_tile", bound_tile)
    mine = crown_some(placed, region, BoundSettings(), start, wanted, tiler)
    assert len(taken) > 3
    other = crown_some(placed, region, BoundSettings(), start, wanted)
    for value in graph.relaxed_inputs:
        one, two = mine.enclosure.boxes[value], other.enclosure.boxes[value]
        slack = 1e-3 * float((two.upper - two.lower).max())
        np.testing.assert_allclose(one.lower, two.lower, rtol=0, atol=slack)
        np.testing.assert_allclose(one.upper, two.upper, rtol=0, atol=slack)
        for sample in placed.values(XP64.floats(points(region[:1], generator)))[value]:
            assert (sample >= one.lower[0]).all()
            assert (sample <= one.upper[0]).all()
    assert len(mine.hidden) == len(other.hidden) > 0
    for one, two in zip(mine.hidden, other.hidden, strict=True):
        for name in ("batch", "neuron"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        atol = 1e-3 * float(two.influence.max())
        np.testing.assert_allclose(one.influence, two.influence, rtol=0, atol=atol)


def test_double_precision_is_not_swept_around_the_middle():
    graph, generator = u_net(0), np.random.default_rng(0)
    region = around(graph, generator)
    mine, other = (least(graph, region, XP64, moved=moved) for moved in (True, False))
    np.testing.assert_array_equal(mine, other)


def test_float32_execution_is_not_bounded_from_offsets():
    graph, generator = u_net(0), np.random.default_rng(0)
    tiler = Tiler(graph, XP)
    tiler.move(around(graph, generator), single=True)
    assert tiler.recentred is None


def test_tiles_are_a_partition():
    graph = u_net(0)
    tiler = Tiler(graph, XP)
    value = graph.relaxed_inputs[-1]
    neurons = np.arange(0, graph.size(value), 2)
    found = tiler.tiles(value, neurons)
    assert found is not None
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), neurons)


def test_blocks_are_those_of_their_rows():
    generator = np.random.default_rng(0)
    for count in (1, 2, 3):
        blocks = generator.integers(-3, 4, (200, count))
        neurons = np.sort(generator.choice(1000, 200, replace=False))
        found = tiles._blocks(neurons, blocks)
        assert [neurons[neurons.searchsorted(some)].tolist() for some in found] == [
            neurons[(blocks == one).all(1)].tolist() for one in np.unique(blocks, axis=0)
        ]


def test_little_work_is_left_to_whole_sweeps(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "LEAST_WORK", 10**15)
    graph = u_net(0)
    assert Tiler(graph, XP).tiles(graph.relaxed_inputs[-1], np.arange(4)) is None


def test_constants_that_single_precision_lacks_have_no_tiles():
    from verifier.graph import Builder, Value
    from verifier.ops.scale import Scale

    builder, x = Builder(2), Value(0, (2,))
    graph = builder.finish(builder.add("s", Scale.of(2, np.array([1e40, 1.0]), None), [x]))
    assert Tiler.of(graph, XP) is None


def test_nothing_is_swept_behind_jumps():
    from verifier.graph import Builder, Value

    builder, x = Builder(4), Value(0, (4,))
    side = step("side", builder, x, (0, 0, 1), np.zeros(1))
    graph = builder.finish(builder.rearrange("order", side, np.array([1, 0, 3, 2])))
    assert Tiler(graph, XP).behind_jumps == [False, True, True]
