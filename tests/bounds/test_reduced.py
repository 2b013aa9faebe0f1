"""Reduced networks: the same function, the same bounds, and gradients that point uphill."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mixed, mlp, placed, residual
from verifier.bounds import Enclosure, crown
from verifier.bounds.columns import Columns, Patterns, Sides
from verifier.bounds.optimise import Rows, default_tilts, optimise
from verifier.bounds.reduced import Reduced, Reducer
from verifier.bounds.reducible import is_reducible
from verifier.bounds.root import refine_root
from verifier.bounds.sweep import Ascent, sweep_in_parts, sweep_patterns, values_at
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.sets import Box, Owner
from verifier.settings import ONE_BY_ONE
from verifier.tensors import (
    Backend,
    ScatterPlan,
    numpy_backend,
    single_precision,
    torch_backend,
)

SEEDS = st.integers(0, 10**6)
ROWS, BATCH, STEP = 3, 5, 1e-3
XP = numpy_backend()


@dataclass
class Case:
    """A root, its reduced form, and rows of its output."""

    root: Enclosure
    reducer: Reducer
    rows: Rows
    net: Reduced

    @property
    def center(self) -> np.ndarray:
        return np.asarray((self.root.boxes[0].lower + self.root.boxes[0].upper) / 2)[0]

    @property
    def radius(self) -> np.ndarray:
        return np.asarray((self.root.boxes[0].upper - self.root.boxes[0].lower) / 2)[0]


def graph_of(seed: int) -> Graph:
    leak = 0.1 * (seed % 3 == 0)
    return residual(seed) if seed % 2 else mlp(seed, (3, 6, 5, 4, 2), leak)


def case_of(seed: int, xp: Backend = XP, fast: Backend | None = None, record=None) -> Case:
    return reduced_form(graph_of(seed), seed, xp, fast, record)


def reduced_form(graph: Graph, seed: int, xp: Backend = XP, fast=None, record=None) -> Case:
    """A network's root over a random box, and its reduced form."""
    graph = graph.on(xp)
    box = placed(xp, *boxes("normal", [seed], 1, graph.input_size))
    plain = crown(graph, box, SETTINGS).enclosure
    how = (fast or numpy_backend("float64"), ONE_BY_ONE)
    note = record or (lambda *_: None)
    reducer = refine_root(graph, SETTINGS, plain, note, how)
    coefficients = np.random.default_rng(seed).normal(size=(ROWS, graph.output_size))
    start = {graph.output: xp.floats(coefficients)}
    rows = Rows(start, xp.doubles(xp.zeros(ROWS)), Owner.equal(1, ROWS, xp))
    net = reducer.net(reducer.tail(rows))
    return Case(reducer.enclosure, reducer, rows, net)


def patterns_of(case: Case, seed: int) -> Patterns:
    generator = np.random.default_rng(seed)
    shape = (BATCH * ROWS, case.net.neurons)
    phase = generator.choice([-1.0, 0.0, 0.0, 1.0], size=shape)
    tilt = np.where(phase == 0, generator.uniform(0.1, 0.9, shape), generator.uniform(0, 2, shape))
    rows = np.tile(np.arange(ROWS), BATCH)[:, None]
    return Patterns(rows, np.ones((len(rows), 1)), phase, tilt)


@given(SEEDS)
def test_a_reduced_network_computes_the_same(seed: int):
    case = case_of(seed)
    corner = np.random.default_rng(seed).uniform(-1, 1, (ROWS * 20, case.net.inputs))
    row = np.tile(np.arange(ROWS), 20)
    outputs = case.root.graph.evaluate(case.center + corner * case.radius)
    expected = (outputs * case.rows.start[case.root.graph.output][row]).sum(1)
    np.testing.assert_allclose(
        values_at(case.net, row[:, None], corner)[:, 0], expected, rtol=1e-7, atol=1e-7
    )


def cut(case: Case, patterns: Patterns) -> Enclosure:
    """The root with neurons on their sides, and what is charged for it, as a search has them."""
    phase = patterns.phase
    from verifier.bounds import Objective
    from verifier.search.neuron_split import NeuronProblem
    from verifier.search.sign_patterns import SignPatterns
    from verifier.settings import SearchSettings

    graph = case.root.graph
    rows = case.rows.start[graph.output]
    objective = Objective.of(np.asarray(rows), None, np.arange(ROWS), XP)
    problem = NeuronProblem.of(case.root, objective, np.zeros(ROWS), (SETTINGS, SearchSettings()))
    none = np.zeros(len(phase), dtype=int)
    one = np.ones((len(phase), 1))
    own = patterns.sides
    ends = (phase[:, :0],) * 2 if own is None else (own.lower, own.upper)
    tilts, margin = phase[:, None] * 0, none * 0.0
    batch = SignPatterns(none, phase, tilts, margin, none, none, one, margin, *ends)
    return problem.enclosure(batch)


def within(case: Case, patterns: Patterns, seed: int) -> Sides:
    """Boxes of free neurons inside those of the root, 0 among them; others end at 0."""
    share = np.random.default_rng(seed).uniform(0.1, 1.0, (2, *patterns.phase.shape))
    return Sides(
        case.net.lower * share[0] * (patterns.phase <= 0),
        case.net.upper * share[1] * (patterns.phase >= 0),
    )


@pytest.mark.parametrize("own", [False, True])
@given(SEEDS)
def test_sweeps_give_the_bounds_of_the_graph(own: bool, seed: int):
    """Of the root's boxes, and of those that each subproblem has."""
    case = case_of(seed)
    patterns = patterns_of(case, seed)
    patterns = replace(patterns, sides=within(case, patterns, seed) if own else None)
    sweep = Columns.of(case.net, patterns).back()
    enclosure = cut(case, patterns)
    row = patterns.rows[:, 0]
    start = {v: x[row] for v, x in case.rows.start.items()}
    owner = Owner.equal(len(row), 1, XP)
    tilts, place = default_tilts(enclosure, start, owner), 0
    for layer, (_, index) in case.reducer.layers.items():
        stop = place + len(index)
        if layer in tilts:
            tilts[layer] = np.array(tilts[layer])
            tilts[layer][:, index] = patterns.tilt[:, place:stop]
        place = stop
    rows = Rows(start, np.zeros(len(row)), owner)
    expected = optimise(enclosure, rows, 1, SETTINGS, tilts).least
    np.testing.assert_allclose(sweep.least, expected, rtol=1e-6, atol=1e-6)


@given(SEEDS)
def test_bounds_are_below_what_points_of_the_pattern_give(seed: int):
    case = case_of(seed)
    generator = np.random.default_rng(seed)
    corner = generator.uniform(-1, 1, (40, case.net.inputs))
    values = case.root.graph.values(case.center + corner * case.radius)
    parts = [values[source][:, index] for source, index in case.reducer.layers.values()]
    signs = np.sign(np.concatenate([np.zeros((40, 0)), *parts], 1))
    phase = signs * (generator.random(signs.shape) < 0.5)
    row = generator.integers(ROWS, size=40)
    tilt, width = generator.uniform(0, 1, phase.shape), 1 + seed % 3
    rows = (row[:, None] + np.arange(width)) % ROWS
    weight = np.full(rows.shape, 1 / width)
    patterns = Patterns(rows, weight, phase, tilt)
    found = sweep_patterns(case.net, patterns, Ascent(4, 0.35, 0.98))
    assert (found.weight >= 0).all()
    np.testing.assert_allclose(found.weight.sum(1), 1, rtol=1e-12)
    # Whatever the weights are, the greatest of the rows is at least their weighted mean.
    assert (found.least <= values_at(case.net, rows, corner).max(1) + 1e-6).all()


@given(SEEDS)
def test_gradients_are_those_of_the_bound(seed: int):
    case = case_of(seed)
    given_, generator = patterns_of(case, seed), np.random.default_rng(seed)
    rows = (given_.rows + np.arange(2)) % ROWS
    patterns = replace(given_, rows=rows, weight=generator.uniform(0.2, 0.8, rows.shape))
    columns = Columns.of(case.net, patterns)
    sweep = columns.back()
    gradients = [x.T for x in columns.gradients(sweep, -np.sign(sweep.rows_in)) if x is not None]
    tilt, weight = (generator.normal(size=g.shape) for g in gradients)
    sides = []
    for step in (STEP, -STEP):
        moved = patterns.tilt + step * tilt, patterns.weight + step * weight
        there = replace(patterns, tilt=moved[0], weight=moved[1])
        sides.append(Columns.of(case.net, there).back().least)
    right, left = (sides[0] - sweep.least) / STEP, (sweep.least - sides[1]) / STEP
    smooth = abs(left - right) < 1e-3
    expected = (gradients[0] * tilt).sum(1) + (gradients[1] * weight).sum(1)
    np.testing.assert_allclose(((left + right) / 2)[smooth], expected[smooth], atol=2e-3)


@given(SEEDS)
def test_steps_raise_the_bounds(seed: int):
    case = case_of(seed)
    patterns = patterns_of(case, seed)
    once = sweep_patterns(case.net, patterns, Ascent(1, 0.35, 0.98, last=False))
    often = sweep_patterns(case.net, patterns, Ascent(12, 0.35, 0.98, last=False))
    assert (often.least >= once.least).all()
    again = Columns.of(case.net, replace(patterns, tilt=often.tilt)).back()
    np.testing.assert_allclose(again.least, often.least, rtol=1e-9, atol=1e-9)


@given(SEEDS)
def test_the_last_multipliers_come_back_where_nothing_is_proved(seed: int):
    """The best ones are a trap: small steps from one pattern to the next would never add up."""
    case = case_of(seed)
    patterns = patterns_of(case, seed)
    found = sweep_patterns(case.net, patterns, Ascent(3, 0.35, 0.98))
    again = Columns.of(case.net, replace(patterns, tilt=found.tilt)).back()
    np.testing.assert_allclose(again.passed.T, found.passed, rtol=1e-9, atol=1e-9)
    done = found.proved > 0
    assert (again.least[done] > 0).all()
    first = Columns.of(case.net, patterns).back()
    leaning = ((patterns.phase == 0) & (first.passed.T > 0)).any(1)
    moved = (found.tilt != patterns.tilt).any(1)
    assert moved[leaning & ~done].all()


@given(SEEDS, st.integers(1, 3))
def test_parts_change_nothing(seed: int, width: int):
    case = case_of(seed)
    given_ = patterns_of(case, seed)
    rows = (given_.rows + np.arange(width)) % ROWS
    patterns = replace(given_, rows=rows, weight=np.full(rows.shape, 1 / width))
    ascent = Ascent(3, 0.35, 0.98)
    whole = sweep_patterns(case.net, patterns, ascent)
    singly = [sweep_patterns(case.net, patterns[k : k + 1], ascent) for k in range(len(rows))]
    for name in ("least", "tilt", "weight", "proved", "margin"):
        parts = np.concatenate([getattr(part, name) for part in singly])
        np.testing.assert_allclose(getattr(whole, name), parts, rtol=1e-9, atol=1e-12)
    parts = sweep_in_parts(case.net, patterns, ascent, ONE_BY_ONE)
    np.testing.assert_array_equal(parts.least, whole.least)


def test_rows_that_hold_together_only_are_proved_by_a_weighted_sum():
    """x and -x + 1/2: each may be at most 0, but not both."""
    builder = Builder(1)
    hidden = Linear.of(np.array([[1.0], [-1.0]]), np.zeros(2))
    value = builder.add("hidden", hidden, [Value(0, (1,))], (2,))
    value = builder.add("relu", Relu.of(2), [value], (2,))
    last = Linear.of(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([0.0, 0.5]))
    graph = builder.finish(builder.add("last", last, [value], (2,))).on(XP)
    box = Box(-np.ones((1, 1)), np.ones((1, 1)))
    how = (numpy_backend("float64"), ONE_BY_ONE)
    plain = crown(graph, box, SETTINGS).enclosure
    reducer = refine_root(graph, SETTINGS, plain, lambda *_: None, how)
    rows = Rows({graph.output: np.eye(2)}, np.zeros(2), Owner.equal(1, 2, XP))
    net = reducer.net(reducer.tail(rows))
    signs = np.array([[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0]])
    tilt = np.where(signs == 0, 1.0, 0.0)
    both, one = np.tile([[0, 1]], (3, 1)), np.array([[1.0, 0.0]] * 3)
    assert (
        sweep_patterns(net, Patterns(both, one, signs, tilt), Ascent(40, 0.35, 0.98)).proved
    ).all()
    for row in (0, 1):
        single = Patterns(both[:, row : row + 1], one[:, :1], signs, tilt)
        assert not sweep_patterns(net, single, Ascent(40, 0.35, 0.98)).proved[0]


@given(SEEDS)
def test_single_precision_and_torch_agree(seed: int):
    exact = case_of(seed)
    patterns = patterns_of(exact, seed)
    expected = sweep_patterns(exact.net, patterns, Ascent(3, 0.1, 0.98, last=False)).least
    for xp in (numpy_backend(), torch_backend("float64")):
        case = case_of(seed, xp, single_precision(xp))
        fast = case.net.xp
        assert fast.dtype == "float32"
        assert fast.name == xp.name
        if case.net.neurons != exact.net.neurons:
            continue
        arrays = (fast.floats(patterns.phase), fast.floats(patterns.tilt))
        rows = fast.ints(patterns.rows)
        moved = Patterns(rows, fast.full(tuple(rows.shape), 1.0), *arrays)
        found = sweep_patterns(case.net, moved, Ascent(3, 0.1, 0.98, last=False))
        np.testing.assert_allclose(fast.numpy(found.least), expected, rtol=5e-2, atol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_only_networks_of_relus_are_reduced(seed: int):
    graph = mixed(seed, inputs=3, steps=8).on(XP)
    enclosure = crown(graph, Box(np.zeros((1, 3)) - 1, np.zeros((1, 3)) + 1), SETTINGS).enclosure
    simple = all(type(graph.node(v).operator).__name__ == "Relu" for v in graph.nonlinear)
    assert simple or not is_reducible(enclosure)


def test_rounding_is_not_charged_to_proposals():
    generator, size = np.random.default_rng(0), 200
    builder, x = Builder(size), Value(0, (size,))
    weight = generator.normal(size=(20, size))
    line = builder.add("line", Linear.of(weight, generator.normal(size=20)), [x], (20,))
    graph = builder.finish(builder.add("relu", Relu.of(20), [line]))
    middle = np.full(size, 10.0) - weight.T @ np.linalg.solve(weight @ weight.T, weight.sum(1)) * 10
    exact, biases = weight @ middle, []
    for xp in (XP, single_precision(XP)):
        region = Box(xp.floats(middle[None] - 0.1), xp.floats(middle[None] + 0.1))
        enclosure = Enclosure.over(graph.on(xp), region)
        enclosure.step()
        enclosure.step()
        enclosure.relax(2)
        reducer = Reducer.of(enclosure, xp, SETTINGS)
        reducer.add(2)
        assert reducer.neurons == 20
        biases.append(np.asarray(reducer.tails[0].bias))
        noise = np.asarray(enclosure.noise[1])[0]
    assert abs(exact).max() < 1e-9
    assert (abs(biases[1] - biases[0]) < 0.1 * noise).all()


def test_ascending_plans_are_plans():
    generator = np.random.default_rng(0)
    for _ in range(20):
        index = np.flatnonzero(generator.random(9) < 0.5)
        mine, other = ScatterPlan.of(index, 9), ScatterPlan.of(index[::-1], 9)
        source = generator.normal(size=(3, len(index)))
        np.testing.assert_array_equal(
            XP.scatter_columns(source, mine), XP.scatter_columns(source[:, ::-1], other)
        )
        assert mine.unique
        assert other.unique


@pytest.mark.parametrize("columns", [0, 1, 30, 400])
def test_columns_are_added_up_by_target(columns: int):
    """Also many for one target, and none for some."""
    generator = np.random.default_rng(columns)
    for size in (1, 3, 50):
        index = (size * generator.random(columns) ** 4).astype(np.int64)
        source = generator.normal(size=(3, columns))
        expected = np.zeros((3, size))
        np.add.at(expected.T, index, source.T)
        found = XP.scatter_columns(source, ScatterPlan.of(index, size))
        np.testing.assert_allclose(found, expected, atol=1e-12)
