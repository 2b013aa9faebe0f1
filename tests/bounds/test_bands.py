"""Products in groups: what dense ones give, for whatever matrix, in every sweep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.bounds import products, sweep
from verifier.bounds.bands import WORTH, Bands
from verifier.bounds.columns import Columns, Patterns, Sides
from verifier.bounds.products import Product
from verifier.bounds.reduced import Reduced
from verifier.bounds.sweep import Ascent, Swept, sweep_in_parts, sweep_patterns, values_at
from verifier.settings import Spread
from verifier.tensors import Backend, numpy_backend, torch_backend

SEEDS = st.integers(0, 10**6)
XP = numpy_backend("float64")
SIDE = 16
"""Of the image that networks here read."""


def spots(number: np.random.Generator, count: int) -> np.ndarray:
    return number.uniform(0, SIDE, (count, 2))


def local(number: np.random.Generator, made: np.ndarray, read: np.ndarray, reach: float):
    """A matrix whose elements read what is near them."""
    near = (abs(made[:, None] - read[None]) <= reach).all(2)
    return number.normal(size=near.shape) * near


def network(seed: int, xp: Backend = XP) -> Reduced:
    """Two layers of an image of two channels, the neurons in any order, and one that reads all."""
    number = np.random.default_rng(seed)
    pixels = np.stack(np.meshgrid(range(SIDE), range(SIDE)), 2).reshape(-1, 2).repeat(2, 0) * 1.0
    pixels = pixels[number.permutation(len(pixels))]
    first, second, last = spots(number, 200), spots(number, 120), 10
    count = len(first) + len(second) + last
    links = np.zeros((count, count))
    links[200:320, :200] = local(number, second, first, 2.5)
    links[320:, :320] = number.normal(size=(last, 320)) / 10
    weights = np.concatenate(
        [
            local(number, first, pixels, 1.5),
            local(number, second, pixels, 3.5),
            number.normal(size=(last, len(pixels))) / 10,
        ]
    )
    layers = (slice(0, 200), slice(200, 320), slice(320, count))
    rows = number.normal(size=(6, len(pixels))), number.normal(size=(6, count))
    bound = number.uniform(1, 5, (2, count))
    chord = bound[1] / bound.sum(0)
    arrays = [weights, links, number.normal(size=count), *rows, number.normal(size=6)]
    lines = [chord, bound[0] * chord, chord * 0, bound.min(0), chord * 0, -bound[0], bound[1]]
    moved = [xp.floats(x) for x in (*arrays, *lines, chord, chord)]
    return Reduced(xp, layers, Bands(xp, layers, moved[0], moved[1]), *moved)


def grouped(net: Reduced) -> Reduced:
    made = replace(net, bands=Bands(net.xp, net.layers, net.weights, net.links))
    made.bands.expect(WORTH)
    return made


def patterns_of(net: Reduced, seed: int, kind: str, count: int = 9) -> Patterns:
    number, xp = np.random.default_rng(seed), net.xp
    phase = number.choice([-1.0, 0.0, 0.0, 1.0], size=(count, net.neurons))
    tilt = np.where(
        phase == 0, number.uniform(0, 1, phase.shape), number.uniform(0, 2, phase.shape)
    )
    rows = np.stack([number.permutation(6)[: 1 + (kind != "single")] for _ in range(count)])
    weight = np.full(rows.shape, 1 / rows.shape[1])
    low, high = xp.numpy(net.lower), xp.numpy(net.upper)
    share = number.uniform(0.1, 1, (2, *phase.shape))
    sides = Sides(
        xp.floats(low * share[0] * (phase <= 0)), xp.floats(high * share[1] * (phase >= 0))
    )
    unit = number.uniform(0.1, 1, count)
    return Patterns(
        xp.ints(rows),
        xp.floats(weight),
        xp.floats(phase),
        xp.floats(tilt),
        sides if kind != "single" else None,
        xp.floats(unit) if kind == "unit" else None,
    )


@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS,
    make=st.sampled_from([numpy_backend, torch_backend]),
    kind=st.sampled_from(["local", "empty", "full", "mixed", "blocks"]),
)
def test_products_in_groups_are_dense_products(seed: int, make, kind: str):
    xp, number = make("float64"), np.random.default_rng(seed)
    places = spots(number, int(number.integers(130, 260)))
    read = spots(number, int(number.integers(130, 260)))
    matrix = local(number, places, read, 2.0)
    if kind == "mixed":
        matrix[number.random(len(places)) < 0.1] = 1.0
        matrix[number.random(len(places)) < 0.1] = 0.0
        matrix[:, number.random(len(read)) < 0.2] = 0.0
    if kind == "blocks":
        other = number.integers(0, 4, len(read))
        matrix = number.normal(size=matrix.shape) * (places[:, :1] // 4 == other)
    if kind in ("empty", "full"):
        matrix = matrix * 0 + (kind == "full")
    kinds = [slice(0, 50), slice(50, len(places))]
    product = Product.of(xp.floats(matrix), xp, places, kinds)
    assert bool(product.buckets) == (kind not in ("empty", "full"))
    x = number.normal(size=(len(read), 5))
    np.testing.assert_allclose(xp.numpy(product(xp.floats(x))), matrix @ x, rtol=1e-12, atol=1e-12)
    one = xp.numpy(product(xp.floats(x[:, :1])))
    np.testing.assert_allclose(one, matrix @ x[:, :1], rtol=1e-12, atol=1e-12)


def test_what_is_local_is_found_out_and_costs_less():
    net = grouped(network(0))
    links = net.bands.links_now
    for product in (links.of_inputs, links.to_inputs, links.onward[1], links.back[1]):
        assert product is not None
        assert product.buckets
        made = sum(
            b.weights.shape[0] * b.weights.shape[1] * b.weights.shape[2] for b in product.buckets
        )
        assert made < 0.5 * product.matrix.size
    assert links.onward[0] is None
    assert links.back[0] is None


@pytest.mark.parametrize("make", [numpy_backend, torch_backend])
@pytest.mark.parametrize("kind", ["single", "summed", "unit"])
@pytest.mark.parametrize("last", [True, False])
def test_sweeps_are_the_same_with_groups(make, kind: str, last: bool):
    for seed in range(3):
        net = network(seed, make("float64"))
        patterns = patterns_of(net, seed, kind)
        ascent = Ascent(5, 0.35, 0.98, last=last, points=True)
        plain, banded = (sweep_patterns(n, patterns, ascent) for n in (net, grouped(net)))
        assert not net.bands.grouped
        for name in ("least", "tilt", "weight", "passed", "proved", "margin", "corner"):
            one, other = (net.xp.numpy(getattr(x, name)) for x in (plain, banded))
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


@settings(deadline=None, max_examples=8)
@given(seed=SEEDS, kind=st.sampled_from(["single", "summed", "unit"]))
def test_a_pattern_is_swept_the_same_alone_and_among_others(seed: int, kind: str):
    net, ascent = grouped(network(seed % 5)), Ascent(4, 0.35, 0.98, points=True)
    patterns = patterns_of(net, seed, kind)
    whole = sweep_patterns(net, patterns, ascent)
    singly = [sweep_patterns(net, patterns[k : k + 1], ascent) for k in range(9)]
    for name in ("least", "tilt", "weight", "passed", "proved", "margin"):
        parts = np.concatenate([getattr(part, name) for part in singly])
        np.testing.assert_allclose(getattr(whole, name), parts, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["single", "summed", "unit"])
def test_the_order_of_a_layers_neurons_does_not_matter(kind: str):
    net, number = network(1), np.random.default_rng(1)
    order = np.concatenate([number.permutation(p.stop - p.start) + p.start for p in net.layers])
    names = ("bias", "chord", "offset", "leak", "kink", "tilt", "lower", "upper", "reach", "cost")
    moved = {name: getattr(net, name)[order] for name in names}
    weights, links = net.weights[order], net.links[order][:, order]
    moved |= {"weights": weights, "links": links, "row_links": net.row_links[:, order]}
    other = replace(net, bands=Bands(XP, net.layers, weights, links), **moved)
    patterns = patterns_of(net, 2, kind)
    sides = patterns.sides
    if sides is not None:
        sides = Sides(sides.lower[:, order], sides.upper[:, order])
    turned = replace(
        patterns, phase=patterns.phase[:, order], tilt=patterns.tilt[:, order], sides=sides
    )
    ascent = Ascent(4, 0.35, 0.98)
    one = sweep_patterns(grouped(net), patterns, ascent)
    two = sweep_patterns(grouped(other), turned, ascent)
    np.testing.assert_allclose(one.least, two.least, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(one.weight, two.weight, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(one.tilt[:, order], two.tilt, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(one.passed[:, order], two.passed, rtol=1e-8, atol=1e-8)


def test_groups_are_looked_for_once_they_pay_and_the_same_ones_each_time():
    net = network(0)
    net.bands.expect(WORTH - 1)
    assert not net.bands.links_now.of_inputs.buckets
    net.bands.expect(1)
    found, again = net.bands.links_now, grouped(net).bands.links_now
    assert found.of_inputs.buckets
    for one, other in zip(found.to_inputs.buckets, again.to_inputs.buckets, strict=True):
        np.testing.assert_array_equal(one.index, other.index)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_matrices_without_anything_local_stay_dense():
    net, number = network(0), np.random.default_rng(0)
    full = Bands(XP, net.layers, number.normal(size=net.weights.shape), net.links * 0)
    full.expect(WORTH)
    links = full.links_now
    assert not links.of_inputs.buckets
    assert not links.to_inputs.buckets
    assert links.onward == (None, None, None)


class _Counting(Spread):
    """Two workers; notes how many patterns each part has."""

    count = 2

    def __init__(self):
        self.sizes: list[int] = []

    def map(self, function, parts):
        found: list[Swept] = [function(part) for part in parts]
        self.sizes = [len(x.least) for x in found]
        return found


@pytest.mark.parametrize("count", [7, 40, 61])
def test_parts_are_equal_and_as_many_for_each_worker(count: int, monkeypatch):
    monkeypatch.setattr(sweep, "SWEPT_NUMBERS", 25 * 512)
    monkeypatch.setattr(sweep, "SPREAD_WORK", 1)
    net, spread = network(3), _Counting()
    patterns = patterns_of(net, 3, "summed", count)
    found = sweep_in_parts(net, patterns, Ascent(2, 0.35, 0.98), spread)
    assert len(spread.sizes) % 2 == 0
    assert sum(spread.sizes) == count
    assert max(spread.sizes) - min(spread.sizes) <= 1
    assert max(spread.sizes) <= 25
    whole = sweep_patterns(net, patterns, Ascent(2, 0.35, 0.98))
    np.testing.assert_allclose(found.least, whole.least, rtol=1e-9, atol=1e-9)


def test_points_come_back_where_the_rows_are_low():
    for seed in range(4):
        net = network(seed)
        net = replace(net, row_bias=net.row_bias + np.linspace(-40, 120, 6))
        patterns = patterns_of(net, seed, "summed", 30)
        found = sweep_patterns(net, patterns, Ascent(3, 0.35, 0.98, points=True))
        open_ = found.proved == 0
        assert (found.margin[~open_] == np.inf).all()
        assert (found.corner[~open_] == 0).all()
        pointed = (found.corner != 0).any(1)
        values = values_at(net, patterns.rows, found.corner).max(1)
        np.testing.assert_allclose(found.margin[pointed], values[pointed], rtol=1e-9, atol=1e-9)
        assert (found.margin[open_ & ~pointed] > 0).all()
        assert (found.margin[pointed] < 1e-3).all()
        # What a bound is at least, its minimiser's value is, too.
        assert (found.margin[open_] >= found.least[open_] - 1e-6).all()


def test_cuts_of_groups_are_the_cheapest():
    number = np.random.default_rng(0)

    def price(groups) -> float:
        made, read = (max(len(getattr(g, n)) for g in groups) for n in ("made", "read"))
        each = read * (products.READ + made) + products.MADE * made
        return len(groups) * each + products.BUCKET

    for _ in range(20):
        sizes = sorted(zip(number.integers(1, 9, 8), number.integers(5, 60, 8), strict=True))
        groups = [products.Group(np.arange(m), np.arange(r)) for m, r in sizes]
        found = products._cuts(groups)
        assert [g for part in found for g in part] == groups
        every = []
        for mask in range(2**7):
            ends = [i + 1 for i in range(7) if mask >> i & 1]
            cut = [groups[a:b] for a, b in zip([0, *ends], [*ends, 8], strict=True)]
            every.append(sum(price(part) for part in cut))
        assert sum(price(part) for part in found) == min(every)


def test_columns_that_are_kept_go_on_as_they_were():
    net = grouped(network(2))
    patterns = patterns_of(net, 5, "unit")
    whole, some = Columns.of(net, patterns), Columns.of(net, patterns)
    index = np.array([1, 4, 8])
    some.keep(index)
    for step in (1, 2, 3):
        one, two = whole.back(), some.back()
        np.testing.assert_allclose(one.least[index], two.least, rtol=1e-9, atol=1e-9)
        whole.climb(one, -np.sign(one.rows_in), step, 0.2)
        some.climb(two, -np.sign(two.rows_in), step, 0.2)
    np.testing.assert_allclose(whole.tilt[:, index], some.tilt, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [numpy_backend, torch_backend])
def test_groups_of_another_precision_lose_nothing(make):
    """What is 0 in single precision only is not left out."""
    for seed, tiny in ((0, False), (1, True)):
        net = network(seed, make("float32"))
        exact, xp = network(seed, make("float64")), make("float64")
        weights, links = xp.copy(exact.weights), xp.copy(exact.links)
        if tiny:
            weights[weights == 0] = 1e-60
            links[320:, :320] = 1e-60
            net.links[320:, :320] = 0.0
        known = grouped(replace(net, links=net.links)).bands
        double = Bands(xp, exact.layers, weights, links, like=known)
        double.expect(WORTH)
        made = double.links_now
        assert bool(made.of_inputs.buckets) != tiny
        number = np.random.default_rng(seed)
        x = number.normal(size=(weights.shape[1], 4)) * (1e60 if tiny else 1)
        np.testing.assert_allclose(
            xp.numpy(made.of_inputs(xp.floats(x))), xp.numpy(weights) @ x, rtol=1e-9, atol=1e-9
        )
        y = number.normal(size=(320, 4)) * (1e60 if tiny else 1)
        assert made.onward[2] is not None
        last = xp.numpy(made.onward[2](xp.floats(y)))
        np.testing.assert_allclose(last, xp.numpy(links)[320:, :320] @ y, rtol=1e-9, atol=1e-9)
