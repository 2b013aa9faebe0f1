"""Bounds by a reduced network in float64: below every exact value, and as good as sweeps."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verifier.bounds.root
import verifier.bounds.sure
import verifier.bounds.sure_rows
from tests.bounds.checks import SETTINGS, below
from tests.bounds.exact import exact_values
from tests.bounds.graphs import boxes, mlp, placed, points_in, residual
from verifier.bounds import crown
from verifier.bounds.columns import Patterns, Sides
from verifier.bounds.optimise import Rows, optimise, unit_rows
from verifier.bounds.root import refine_root
from verifier.bounds.sure import SureNet
from verifier.bounds.sure_rows import sure_elements, sure_layers, sure_rows
from verifier.search.sign_patterns import Neurons, cut_to_sides
from verifier.sets import Owner
from verifier.settings import ONE_BY_ONE
from verifier.tensors import numpy_backend, single_precision, torch_backend

SEEDS = st.integers(0, 10**6)
KINDS = ("normal", "normal", "point", "tiny", "far", "huge", "one-sided")
BATCH = 12


class Case:
    """A network reduced over a box, and random sign patterns that its outputs are bounded under."""

    def __init__(self, seed: int, make=numpy_backend):
        self.xp, self.generator = make("float64"), np.random.default_rng(seed)
        kind = KINDS[seed % len(KINDS)]
        graph = residual(seed) if seed % 3 == 0 else mlp(seed, (3, 6, 5, 4, 2), 0.25 * (seed % 2))
        self.plain_graph = graph
        graph = graph.on(self.xp)
        self.region = placed(self.xp, *boxes(kind, [seed], 1, graph.input_size))
        plain = crown(graph, self.region, SETTINGS).enclosure
        how = single_precision(self.xp), ONE_BY_ONE
        self.reducer = refine_root(graph, SETTINGS, plain, lambda *_: None, how)
        self.graph, count = graph, self.reducer.neurons
        xp, draw = self.xp, self.generator
        index = xp.arange(graph.output_size)
        self.rows = verifier.bounds.sure_rows.sure_elements(self.reducer, graph.output, index)
        self.sure = SureNet.of(self.reducer, self.rows)
        self.row = draw.integers(graph.output_size, size=(BATCH, 1))
        self.phase = draw.choice([-1.0, 0.0, 0.0, 0.0, 1.0], size=(BATCH, count))
        self.tilt = draw.random((BATCH, count)) * np.where(self.phase != 0, 2.0, 1.0)
        self.layers = [Neurons(v, s, i) for v, (s, i) in self.reducer.layers.items()]

    def patterns(self, weight: float = 1.0) -> Patterns:
        xp, one = self.xp, np.full((BATCH, 1), weight)
        arrays = (xp.floats(x) for x in (one, self.phase, self.tilt))
        return Patterns(xp.ints(self.row), *arrays)

    def inside(self, phase: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Which points [points, batch] meet each sign pattern; and their values, Fractions."""
        points = points_in(self.region, self.xp, 0, 40)[:, 0]
        values = exact_values(self.plain_graph, points)
        signs = [values[n.source][:, np.asarray(self.xp.numpy(n.index))] for n in self.layers]
        read = np.concatenate([np.zeros((len(points), 0)), *signs], axis=1)
        wrong = (read[:, None] * phase[None] < 0).any(2)
        return ~wrong.astype(bool), values


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]))
def test_bounds_are_below_every_exact_value(seed, make):
    case = Case(seed, make)
    if case.sure is None:
        return
    for sign in (1.0, -1.0):
        least = case.xp.numpy(case.sure.least(case.patterns(sign), ONE_BY_ONE))
        meets, values = case.inside(case.phase)
        outputs = values[case.graph.output][:, case.row[:, 0]] * int(sign)
        for b in range(BATCH):
            some = outputs[meets[:, b], b]
            assert below(np.full(some.shape, least[b]), some)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_they_are_as_good_as_sweeps_of_the_graph(seed):
    case, xp = Case(seed), numpy_backend()
    if case.sure is None or case.reducer.neurons == 0:
        return
    least = case.sure.least(case.patterns(), ONE_BY_ONE)
    enclosure = cut_to_sides(case.reducer.enclosure, case.layers, xp.floats(case.phase))
    one = xp.full((BATCH,), 1.0)
    rows = unit_rows(enclosure, case.graph.output, (xp.arange(BATCH), case.row[:, 0], one))
    tilts = case.reducer.whole_tilts(enclosure, rows, xp.floats(case.tilt))
    swept = optimise(enclosure, rows, 1, SETTINGS, tilts).least
    size = enclosure.boxes[case.graph.output].magnitude(xp).max() + 1
    finite = np.isfinite(swept)
    assert (least[finite] >= swept[finite] - 1e-9 * size).all()


@pytest.mark.parametrize("seed", range(12))
def test_other_boxes_of_neurons_are_used(seed):
    case, xp = Case(7 * seed), numpy_backend()
    if case.sure is None or case.reducer.neurons == 0:
        return
    net, points = case.sure.net, points_in(case.region, xp, 0, 40)[:, 0]
    # Half of each neuron's box, on either side: for the points that are there.
    upper = case.generator.random((BATCH, case.reducer.neurons)) < 0.5
    middle = (net.lower + net.upper) / 2
    sides = Sides(np.where(upper, middle, net.lower), np.where(upper, net.upper, middle))
    free = replace(case.patterns(), phase=case.phase * 0, sides=sides)
    least = case.sure.least(free, ONE_BY_ONE)
    values = exact_values(case.plain_graph, points)
    read = np.concatenate([values[n.source][:, n.index] for n in case.layers], axis=1)
    inside = ((read[:, None] >= sides.lower) & (read[:, None] <= sides.upper)).all(2)
    outputs = values[case.graph.output][:, case.row[:, 0]]
    for b in range(BATCH):
        some = outputs[inside[:, b].astype(bool), b]
        assert below(np.full(some.shape, least[b]), some)


def test_without_what_rounding_costs_some_bounds_would_be_wrong(monkeypatch):
    monkeypatch.setattr(verifier.bounds.sure, "gamma", lambda *_: 0.0)
    for module in (verifier.bounds.sure_rows, verifier.bounds.root):
        monkeypatch.setattr(module, "sure_elements", _without_error)
    wrong = 0
    for seed in range(2, 250, 7):
        case = Case(seed)
        if case.sure is None:
            continue
        least = case.sure.least(case.patterns(), ONE_BY_ONE)
        meets, values = case.inside(case.phase)
        outputs = values[case.graph.output][:, case.row[:, 0]]
        for b in range(BATCH):
            some = outputs[meets[:, b], b]
            wrong += not below(np.full(some.shape, least[b]), some)
    assert wrong > 0


def _without_error(reducer, value, index):
    found = sure_elements(reducer, value, index)
    return replace(found, error=found.error * 0)


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_forms_are_as_near_to_elements_as_they_say(seed):
    case, xp = Case(seed), numpy_backend()
    points = points_in(case.region, xp, seed, 12)[:, 0]
    values = exact_values(case.plain_graph, points)
    outputs = [values[n.value][:, n.index] for n in case.layers]
    outputs = np.concatenate([np.zeros((len(points), 0), dtype=object), *outputs], axis=1)
    forms = [*zip(case.layers, sure_layers(case.reducer), strict=True)]
    known = [(values[n.source][:, n.index], rows) for n, rows in forms]
    for read, rows in [*known, (values[case.graph.output], case.rows)]:
        if not (np.isfinite(rows.tail.bias) & np.isfinite(rows.error)).all():
            continue
        for k, point in enumerate(points):
            there = outputs[k][: rows.tail.links.shape[1]]
            for j, exact in enumerate(read[k]):
                terms = zip(rows.tail.weights[j], point, strict=True)
                form = sum(Fraction(w) * Fraction(x) for w, x in terms)
                linked = zip(rows.tail.links[j], there, strict=True)
                form += sum(Fraction(w) * Fraction(y) for w, y in linked)
                form += Fraction(rows.tail.bias[j])
                assert abs(Fraction(exact) - form) <= Fraction(rows.error[j])


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_one_sweep_finds_what_two_do(seed):
    case, xp = Case(seed), numpy_backend()
    index = np.arange(case.graph.output_size)
    signs = (xp.full(index.shape, s) for s in (1.0, -1.0))
    enclosure = case.reducer._charged()
    low, high = (unit_rows(enclosure, case.graph.output, (index * 0, index, s)) for s in signs)
    two = sure_rows(case.reducer, low, high)
    if two is None or not np.isfinite(two.tail.bias).all():
        return
    np.testing.assert_array_equal(case.rows.tail.weights, two.tail.weights)
    np.testing.assert_array_equal(case.rows.tail.links, two.tail.links)
    size = abs(two.tail.bias) + two.error
    assert (abs(case.rows.tail.bias - two.tail.bias) <= 1e-13 * size).all()
    assert (case.rows.error >= 0.999 * two.error - 1e-15 * size).all()
    assert (case.rows.error <= 1.001 * two.error + 1e-13 * size).all()


def test_every_layers_matrices_are_charged():
    case = Case(1)
    assert case.sure is not None
    layers, net, start = sure_layers(case.reducer), case.sure.net, 0
    region = case.region
    reach = (region.magnitude(case.xp) + region.upper - region.lower)[0]
    for layer in layers:
        tail, part = layer.tail, slice(start, start := start + layer.error.shape[0])
        size = abs(tail.weights) @ reach + abs(tail.bias)
        size = size + abs(tail.links) @ case.sure.most[: tail.links.shape[1]]
        terms = net.inputs + net.neurons
        assert (case.sure.error[part] >= layer.error + terms * 2.0**-53 * size).all()
    assert start == net.neurons


def test_infinite_numbers_prove_nothing():
    case = Case(1)
    assert case.sure is not None
    error = case.sure.error * float("nan")
    least = replace(case.sure, error=error).least(case.patterns(), ONE_BY_ONE)
    assert (least == -np.inf).all()


def test_sums_of_many_rows_are_charged():
    """The rows' constants are added up, too: as many as a clause has."""
    xp, width = torch_backend("float64"), 2000
    graph = mlp(3, (1, 1, 1)).on(xp)
    region = placed(xp, -np.ones((1, 1)), np.ones((1, 1)))
    plain = crown(graph, region, SETTINGS).enclosure
    how = single_precision(xp), ONE_BY_ONE
    reducer = refine_root(graph, SETTINGS, plain, lambda *_: None, how)
    none = xp.zeros(width, 1)
    bias = np.r_[1.0, np.full(width - 1, -(2.0**-54) * 0.99)]
    start = {graph.output: none}
    low = Rows(start, xp.doubles(bias), Owner.equal(1, width, xp))
    high = Rows(start, xp.doubles(-bias), Owner.equal(1, width, xp))
    sure = SureNet.of(reducer, sure_rows(reducer, low, high), width)
    assert sure is not None
    one, neurons = xp.full((1, width), 1.0), xp.zeros(1, reducer.neurons)
    patterns = Patterns(xp.arange(width)[None], one, neurons, neurons)
    exact = sum(map(Fraction, bias))
    assert Fraction(float(sure.least(patterns, ONE_BY_ONE)[0])) <= exact
