"""Forward bounds in place of rows, rows for some neurons only, and chunks that others work on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS, Trial, backend, contains
from tests.bounds.graphs import Weights, mlp, placed
from verifier.bounds import HiddenOptimiser, by_forms, crown, crown_some, free_inputs
from verifier.bounds.crown import unstable_mask
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.forward import forward
from verifier.families import Product
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.search.workers import Workers
from verifier.settings import ONE_BY_ONE, Spread


@given(seed=st.integers(0, 10**6))
def test_forms_over_the_inputs_with_a_width_hold_every_point(seed: int):
    trial = Trial.of(seed, "numpy-64", ("normal", "point", "one-sided"))
    with np.errstate(all="ignore"):
        found = by_forms(trial.placed, trial.box)
    for value, exact in enumerate(trial.values):
        assert contains(found.enclosure.boxes[value], exact, trial.xp), value


def test_fixed_inputs_need_no_coefficients():
    xp, generator = backend("numpy-64"), np.random.default_rng(3)
    graph = mlp(3, (6, 40, 40, 3)).on(xp)
    center, radius = generator.normal(size=(5, 6)), np.zeros((5, 6))
    for row, free in enumerate(([0], [5], [1, 2], [], [3, 4])):
        radius[row, free] = 0.3
    box = placed(xp, center - radius, center + radius)
    assert free_inputs(box) == 2
    assert free_inputs(box[:0]) == 1
    few, wide = forward(graph, box), crown(graph, box, SETTINGS).enclosure
    for row in range(5):
        points = center[row] + radius[row] * generator.uniform(-1, 1, size=(50, 6))
        for value, exact in enumerate(graph.values(points)):
            low, high = few.boxes[value].lower[row], few.boxes[value].upper[row]
            assert (low <= exact).all(), (row, value)
            assert (exact <= high).all(), (row, value)
    # With so few free inputs they are nearly as tight as CROWN.
    widths = [e.boxes[graph.output].upper - e.boxes[graph.output].lower for e in (few, wide)]
    assert (widths[0] <= 3 * widths[1] + 1e-9).all()


def test_influence_is_that_of_the_free_inputs():
    xp = backend("numpy-64")
    graph = mlp(1, (3, 30, 30, 2)).on(xp)
    center = np.zeros((2, 3))
    radius = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.5]])
    found = by_forms(graph, placed(xp, center - radius, center + radius))
    assert found.hidden
    for rows in found.hidden:
        first, second = rows.influence[rows.batch == 0], rows.influence[rows.batch == 1]
        assert (first[:, 0] > 0).any()
        assert (second[:, 2] > 0).any()
        assert not first[:, 1:].any()
        assert not second[:, :2].any()


def test_only_wanted_neurons_get_rows():
    xp = backend("numpy-64")
    graph = mlp(5, (4, 30, 30, 30, 2)).on(xp)
    box = placed(xp, np.full((1, 4), -0.5), np.full((1, 4), 0.5))
    start = dict(enumerate(by_forms(graph, box).enclosure.boxes))
    none = {v: xp.zeros(1, graph.size(v)) > 0 for v in graph.relaxed_inputs}
    every = {v: xp.zeros(1, graph.size(v)) == 0 for v in graph.relaxed_inputs}
    loose = crown_some(graph, box, SETTINGS, start, none).enclosure.boxes
    tight = crown_some(graph, box, SETTINGS, start, every).enclosure.boxes
    full = crown(graph, box, SETTINGS, start).enclosure.boxes
    for value in graph.relaxed_inputs:
        assert (loose[value].lower == start[value].lower).all()
        # With the help of rows forward bounds are tighter, too.
        assert (tight[value].lower >= full[value].lower - 1e-9).all()
    last = graph.relaxed_inputs[-1]
    assert (tight[last].upper < loose[last].upper).any()


class InThreads(Spread):
    """Two at once."""

    count = 2

    def map(self, function, parts):
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(function, parts))


@pytest.mark.parametrize("name", ["numpy-64", "torch-64"])
def test_chunks_in_threads_give_the_same_bounds(name: str):
    xp = backend(name)
    graph = mlp(2, (4, 60, 60, 60, 2)).on(xp)
    box = placed(xp, np.full((3, 4), -0.7), np.full((3, 4), 0.6))
    alone = crown(graph, box, replace(SETTINGS, chunk_bytes_cpu=1)).enclosure.boxes
    both = replace(SETTINGS, chunk_bytes_cpu=1, spread=InThreads())
    together = crown(graph, box, both).enclosure.boxes
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(xp.numpy(a.lower), xp.numpy(b.lower), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(xp.numpy(a.upper), xp.numpy(b.upper), rtol=1e-12, atol=1e-12)


def products(seed: int) -> Graph:
    """Products of linear functions, and ReLUs that read these."""
    weights, builder = Weights(np.random.default_rng(seed)), Builder(3)
    value = Value(0, (3,))
    for _ in range(2):
        factors = [builder.add("", weights.linear(value.size, 40), [value], (40,)) for _ in "xy"]
        value = builder.add("", Product.of(40), factors, (40,))
    value = builder.add("", weights.linear(40, 20), [value], (20,))
    value = builder.add("", Relu.of(20), [value], (20,))
    return builder.finish(builder.add("", weights.linear(20, 2), [value], (2,)))


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_choose_planes_are_the_same_in_processes(seed: int, monkeypatch):
    xp = backend("numpy-64")
    graph = products(seed).on(xp)
    box = placed(xp, np.full((1, 3), -0.7), np.full((1, 3), 0.6))
    optimiser, found, kept = HiddenOptimiser(3, bend=True), [], list[bool]()
    with np.errstate(all="ignore"), Workers(xp) as workers:
        monkeypatch.setattr(workers, "count", 2)
        whole = workers.apart

        def apart(function, parts):
            kept.append(len(parts) > 1)
            return whole(function, parts)

        monkeypatch.setattr(workers, "apart", apart)
        for spread in (ONE_BY_ONE, workers):
            how = replace(SETTINGS, spread=spread, chunk_bytes_cpu=1)
            found.append(crown(graph, box, how, optimiser=optimiser).enclosure.boxes)
    assert any(kept)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.lower, b.lower, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(a.upper, b.upper, rtol=1e-12, atol=1e-12)
    plain = crown(graph, box, SETTINGS).enclosure.boxes
    assert any((a.lower > b.lower).any() for a, b in zip(found[0], plain, strict=True))


def masked() -> Graph:
    """relu(relu(W x)) times a mask, which is an input, and read by a ReLU."""
    generator = np.random.default_rng(0)
    builder = Builder(4)
    x = Value(0, (4,))
    first = np.zeros((6, 4))
    first[:, :2] = generator.normal(size=(6, 2))
    mask = np.zeros((6, 4))
    mask[:3, 2], mask[3:, 3] = 1.0, 1.0
    hidden = builder.add("first", Linear.of(first), [x], (6,))
    hidden = builder.add("relu", Relu.of(6), [hidden], (6,))
    hidden = builder.add("second", Linear.of(generator.normal(size=(6, 6))), [hidden], (6,))
    hidden = builder.add("relu2", Relu.of(6), [hidden], (6,))
    masks = builder.add("mask", Linear.of(mask), [x], (6,))
    product = builder.add("product", Product.of(6), [hidden, masks], (6,))
    return builder.finish(product)


def test_a_factor_of_a_point_needs_no_rows():
    xp, graph = backend("numpy-64"), masked()
    graph = graph.on(xp)
    (product,) = (v for v in graph.nonlinear if isinstance(graph.node(v).operator, Product))
    factor = graph.node(product).inputs[0]
    lower = np.array([[-0.5, -0.5, 1.0, 0.0], [-0.5, -0.5, 0.0, 0.0]])
    upper = np.array([[0.5, 0.5, 1.0, 0.0], [0.5, 0.5, 1.0, 0.0]])
    box = placed(xp, lower, upper)
    enclosure = Enclosure.over(graph, box)
    while len(enclosure.boxes) <= factor:
        value = enclosure.step()
        if value in graph.nonlinear:
            enclosure.relax(value)
    needed = unstable_mask(enclosure, factor)
    wide = enclosure.boxes[factor].upper > enclosure.boxes[factor].lower
    assert not needed[0].any()
    assert (needed[1] == (wide[1] & np.array([True] * 3 + [False] * 3))).all()
