"""Searches of hidden neurons: sound, exact where they may go on, and of use to the whole search."""

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mlp, placed
from tests.search.test_refresh import problem_in
from tests.soundness.queries import Clause, network_of, problem_of, text_of
from verifier.bounds import Enclosure, crown
from verifier.bounds.root import refine_root
from verifier.graph import Graph
from verifier.search import deep, deepen, hulling
from verifier.search.deepen import Deepener, Hopeless, affordable
from verifier.search.hulling import Rest
from verifier.search.strategy import Strategy, decide
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.tensors import Backend, numpy_backend, single_precision, torch_backend
from verifier.verdict import Verified, Violated

SEEDS = st.integers(0, 10**6)
SIZES = (3, 6, 5, 4, 2)
NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")
XP = numpy_backend()
CLOSE = 0.03


def deepened(
    graph: Graph,
    plain: Enclosure,
    parts: int,
    seconds: float = 60.0,
    trial: float | None = None,
) -> Enclosure:
    """The root with searches of hidden neurons in so many parts; 0: without."""
    xp = graph.xp

    def ignore(*_: object) -> None:
        return None

    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        search = Deepener(workers, SETTINGS, (seconds, float("inf")), parts, {}, trial=trial)
        how = single_precision(xp), workers
        made = refine_root(graph, SETTINGS, plain, ignore, how, search if parts else None)
    return made.enclosure


def case_of(seed: int, xp: Backend = XP, leak: float = 0.0) -> tuple[Graph, Enclosure]:
    graph = mlp(seed, SIZES, leak).on(xp)
    box = placed(xp, *boxes("normal", [seed], 1, graph.input_size))
    return graph, crown(graph, box, SETTINGS).enclosure


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]), st.sampled_from([0.0, 0.1]))
def test_boxes_hold_every_value(seed, make, leak):
    xp = make("float64")
    graph, plain = case_of(seed, xp, leak)
    after = deepened(graph, plain, 16)
    low, high = (xp.numpy(x)[0] for x in (plain.boxes[0].lower, plain.boxes[0].upper))
    points = np.random.default_rng(seed).uniform(low, high, size=(300, len(low)))
    values = graph.values(xp.floats(points))
    for value in graph.relaxed_inputs:
        inside, outside = after.boxes[value], plain.boxes[value]
        found = xp.numpy(values[value])
        assert (found >= xp.numpy(inside.lower) - 1e-9).all()
        assert (found <= xp.numpy(inside.upper) + 1e-9).all()
        assert (inside.lower >= outside.lower - 1e-9).all()
        assert (inside.upper <= outside.upper + 1e-9).all()


@pytest.mark.parametrize("seed", range(8))
def test_with_enough_parts_signs_are_known_as_a_mixed_integer_program_knows_them(seed, monkeypatch):
    """Up to what multipliers lack of their best after a few steps."""
    monkeypatch.setattr(deepen, "PROMISING", 0.0)
    monkeypatch.setattr(deepen, "WORTH", 0.0)
    graph, plain = case_of(seed)
    root = deepened(graph, plain, 4096)
    for value in (v for v in graph.relaxed_inputs if not graph.affine_of_input[v]):
        box = root.boxes[value]
        exact = np.array([extremes(graph, plain, value, k) for k in range(graph.size(value))])
        assert (box.lower[0] <= exact[:, 0] + 1e-6).all()
        assert (box.upper[0] >= exact[:, 1] - 1e-6).all()
        # Neurons that are settled without a search have looser bounds, of the same sign.
        unstable = (box.lower[0] < 0) & (box.upper[0] > 0)
        assert not (unstable & ((exact[:, 0] > CLOSE) | (exact[:, 1] < -CLOSE))).any()
        assert box.lower[0][unstable] == pytest.approx(exact[unstable, 0], abs=CLOSE)
        assert box.upper[0][unstable] == pytest.approx(exact[unstable, 1], abs=CLOSE)


def extremes(graph: Graph, plain: Enclosure, value: int, neuron: int) -> tuple[float, float]:
    """The least and the greatest number that a neuron's input takes on, by HiGHS."""
    box = plain.boxes[0]
    lower, upper = [*box.lower[0]], [*box.upper[0]]
    integral, rows, low, high = [0] * len(lower), list[dict[int, float]](), [], []
    place = {0: np.arange(len(lower))}

    def column(least: float, most: float, *, whole: bool = False) -> int:
        lower.append(least)
        upper.append(most)
        integral.append(int(whole))
        return len(lower) - 1

    def row(terms: dict[int, float], least: float, most: float) -> None:
        rows.append(terms)
        low.append(least)
        high.append(most)

    for v in range(1, value + 1):
        (source,) = graph.node(v).inputs
        at, wide = place[source], plain.boxes[v]
        if v in graph.nonlinear:
            made = [relu_of(column, row, int(s), plain.boxes[source], k) for k, s in enumerate(at)]
        else:
            bias = graph.node(v).operator.evaluate(np.zeros((1, len(at))))[0]
            weight = graph.node(v).operator.evaluate(np.eye(len(at))) - bias
            made = [column(wide.lower[0, k] - 1, wide.upper[0, k] + 1) for k in range(len(bias))]
            for k, y in enumerate(made):
                row({y: 1.0} | {int(s): -weight[i, k] for i, s in enumerate(at)}, bias[k], bias[k])
        place[v] = np.array(made)
    matrix = np.zeros((len(rows), len(lower)))
    for i, terms in enumerate(rows):
        for k, c in terms.items():
            matrix[i, k] = c
    cost = np.zeros(len(lower))
    cost[place[value][neuron]] = 1.0
    ends = []
    box_of: Any = Bounds
    row_of: Any = LinearConstraint
    for sign in (1, -1):
        answer = milp(
            sign * cost,
            constraints=row_of(matrix, low, high),
            bounds=box_of(lower, upper),
            integrality=integral,
        )
        ends.append(sign * answer.fun)
    return ends[0], ends[1]


def relu_of(column, row, source: int, box: Box, k: int) -> int:
    """The column of y = relu(s): y >= s, y >= 0, y <= s - l (1 - z), y <= u z."""
    least, most = min(box.lower[0, k], -1e-6), max(box.upper[0, k], 1e-6)
    y, z = column(0.0, most), column(0, 1, whole=True)
    row({y: 1.0, source: -1.0}, 0, np.inf)
    row({y: 1.0, source: -1.0, z: -least}, -np.inf, -least)
    row({y: 1.0, z: -most}, -np.inf, 0)
    return y


def test_a_slow_machine_finds_the_same(monkeypatch):
    """Seconds are counted: nothing rests on how long a sweep takes."""
    graph, plain = case_of(1)
    seconds = 0.02
    before, whole = deepened(graph, plain, 256, seconds), deepened(graph, plain, 256)
    fast = deepen.sweep_in_parts

    def slow(*arguments):
        time.sleep(0.02)
        return fast(*arguments)

    monkeypatch.setattr(deepen, "sweep_in_parts", slow)
    after = deepened(graph, plain, 256, seconds)
    differ = False
    for value in graph.relaxed_inputs:
        np.testing.assert_array_equal(before.boxes[value].lower, after.boxes[value].lower)
        np.testing.assert_array_equal(before.boxes[value].upper, after.boxes[value].upper)
        differ |= (before.boxes[value].lower != whole.boxes[value].lower).any()
    assert differ  # The seconds did not do.


def test_a_machine_that_is_much_slower_ends_by_the_clock():
    graph, plain = case_of(1)
    with np.errstate(all="ignore"), Workers(XP) as workers:
        search = Deepener(workers, SETTINGS, (60.0, time.monotonic() - 1), 16, {})
        how = single_precision(XP), workers
        refine_root(graph, SETTINGS, plain, lambda *_: None, how, search)
    assert search.spent < 1.0
    assert search.subproblems < 200


def test_the_clock_too_is_shared_among_values(monkeypatch):
    """Where it ends what was counted to take longer, all get their part of it."""
    graph = mlp(3, (8, 12, 12, 12, 12, 1)).on(XP)
    plain = crown(graph, placed(XP, *boxes("normal", [3], 1, 8)), SETTINGS).enclosure
    now, made, sweep, search = [0.0], [], deepen.sweep_in_parts, Deepener._search

    def slow(*arguments):
        now[0] += 0.01
        return sweep(*arguments)

    def watched(self, net, known, store, end):
        parts = search(self, net, known, store, end)
        made.append(len(parts) / len(known))
        return parts

    monkeypatch.setattr(deepen, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(deepen, "sweep_in_parts", slow)
    monkeypatch.setattr(Deepener, "_search", watched)
    unstable = deepen.hidden_unstable(plain)
    with np.errstate(all="ignore"), Workers(XP) as workers:
        deepener = Deepener(workers, SETTINGS, (60.0, 0.2), 256, unstable)
        how = single_precision(XP), workers
        refine_root(graph, SETTINGS, plain, lambda *_: None, how, deepener)
    assert len(made) > 4
    assert all(parts > 1 for parts in made)


def test_without_time_nothing_is_searched_for():
    graph, plain = case_of(1)
    before, after = deepened(graph, plain, 0), deepened(graph, plain, 256, seconds=-1.0)
    for value in graph.relaxed_inputs:
        assert (before.boxes[value].lower <= after.boxes[value].lower).all()
        assert (before.boxes[value].upper >= after.boxes[value].upper).all()


@pytest.mark.parametrize("trial", [None, 1e-9, 30.0, float("inf")])
def test_only_a_trial_is_left_where_little_is_settled(trial, monkeypatch):
    monkeypatch.setattr(deepen, "PROMISING", 2.0)
    graph, plain = case_of(1)
    with Workers(XP) as workers:
        search = Deepener(workers, SETTINGS, (60.0, float("inf")), 16, {}, trial=trial)
        how = single_precision(XP), workers
        with pytest.raises(Hopeless) if trial is not None else nullcontext():
            refine_root(graph, SETTINGS, plain, lambda *_: None, how, search)
    assert search.subproblems > 0


def test_after_a_trial_that_pays_neurons_get_what_they_would_have_got(monkeypatch):
    monkeypatch.setattr(deepen, "PROMISING", -1.0)
    graph, plain = case_of(1)
    whole = deepened(graph, plain, 256)
    for trial in (1e-9, float("inf")):
        made = deepened(graph, plain, 256, trial=trial)
        for value in graph.relaxed_inputs:
            for side in ("lower", "upper"):
                one, other = (getattr(x.boxes[value], side) for x in (made, whole))
                np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_trial_must_do_for_the_first_neurons_that_read_others():
    """Those of a layer that reads many inputs take longer; where there is none, none pays."""
    xp, seconds = XP, {}
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        for sizes in ((6, 12, 1), (6, 12, 10, 1), (600, 300, 200, 1)):
            problem = problem_in(0, sizes, xp, workers)
            assert not affordable(problem, 0.0, workers)
            tried = np.geomspace(1e-3, 1e3, 200)
            enough = [affordable(problem, float(x), workers) for x in tried]
            assert enough == sorted(enough)
            seconds[sizes] = tried[enough.index(True)] if any(enough) else np.inf
    first, second, third = seconds.values()
    assert second < third < first == np.inf


def test_the_search_goes_on_where_a_trial_is_left(monkeypatch):
    monkeypatch.setattr(deepen, "PROMISING", 2.0)
    monkeypatch.setattr(deep, "PATIENCE", 1e-9)
    monkeypatch.setattr(hulling, "STEPS", 0)
    monkeypatch.setattr(hulling, "FIRST", 0.0)
    left = list[Hopeless]()
    deeper = Deepener.deeper

    def watched(self, problem):
        try:
            return deeper(self, problem)
        except Hopeless as reason:
            left.append(reason)
            raise

    monkeypatch.setattr(Deepener, "deeper", watched)
    rests, hulls = list[object](), deep.try_hulls
    monkeypatch.setattr(deep, "try_hulls", lambda *given: rests.append(hulls(*given)) or rests[-1])
    verdict = decide(*outputs_at_least(2, 0.6), 60.0, NEURONS)
    assert isinstance(verdict, Verified)
    assert len(left) == 1
    # What the clauses lacked before any split is known still.
    assert all(-np.inf < one.root_margin < 0 for one in rests if isinstance(one, Rest))
    assert any(isinstance(one, Rest) for one in rests)


def outputs_at_least(seed: int, share: float):
    """A network with 16 inputs, and "output 0 is at least" a share of the way to its extreme."""
    graph = mlp(seed, (16, 6, 6, 5, 1))
    low, high = -np.ones(16), np.ones(16)
    points = np.random.default_rng(seed).uniform(low, high, size=(4000, 16))
    points = np.concatenate([points, np.sign(points)])
    reached = graph.values(points)[graph.output].max()
    clause = Clause(-np.ones((1, 1)), np.array([-(reached + share * abs(reached))]))
    return problem_of(graph, text_of([(low, high)], [clause])), network_of(graph)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [-0.02, 0.2, 0.6])
def test_the_verdict_is_the_same_whether_neurons_are_searched_for_or_not(seed, share, monkeypatch):
    problem, network = outputs_at_least(seed, share)
    plain = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(deep, "PATIENCE", 0.0)
    monkeypatch.setattr(hulling, "STEPS", 0)
    monkeypatch.setattr(hulling, "FIRST", 0.0)
    monkeypatch.setattr(deep, "BETTER", float("inf"))
    monkeypatch.setattr(deepen, "PROMISING", 0.0)
    deeper = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(deep, "BETTER", 0.0)
    again = decide(problem, network, 60.0, NEURONS)
    assert isinstance(plain, Verified | Violated)
    assert type(plain) is type(deeper) is type(again)
