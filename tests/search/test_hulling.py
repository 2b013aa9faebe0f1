"""Searches with planes of hulls: they lose no point, and say what searches without say."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests.bounds.graphs import mlp
from tests.search.test_refresh import (
    NEURONS,
    SMALL_PROBLEMS,
    loses_no_low_point,
    problem_in,
)
from tests.soundness.queries import outputs_at_least
from verifier.bounds import hulls
from verifier.bounds.columns import Patterns
from verifier.bounds.hulls import HullAscent, HullNet
from verifier.search import deep, hulling
from verifier.search.hulling import HULLED, Hulled, Rest, try_hulls, with_cuts
from verifier.search.neuron_split import NeuronProblem
from verifier.search.sign_patterns import SignPatterns
from verifier.search.strategy import decide
from verifier.search.workers import Workers
from verifier.verdict import Verified, Violated


@pytest.fixture
def at_once(monkeypatch):
    """Hulls after the first round, used whatever they gain."""
    monkeypatch.setattr(deep, "PARTS", ())
    for name, value in {"FIRST": 0.0, "FIRST_SHARE": 0.0, "LATER": 0.0, "WORTH": -1.0}.items():
        monkeypatch.setattr(hulling, name, value)


def hulled(problem: NeuronProblem) -> tuple[NeuronProblem, SignPatterns]:
    """The problem with the planes of its first clause, and its root with their multipliers."""
    net, sure = problem.reduced, problem.sure
    assert net is not None
    assert sure is not None
    fast = net.xp
    rows = problem.members[fast.ints([0])]
    weight = fast.full(tuple(rows.shape), 1.0 / rows.shape[1])
    none = fast.zeros(1, net.neurons)
    pattern = Patterns(rows, weight, none, none)
    ascent = HullAscent(HullNet.of(net), hulling._sum_of_rows(net, pattern), fast.numpy(net.tilt))
    ascent.run(30, lambda: None)
    planes = ascent.planes
    tilt = np.concatenate([planes.tilt, 0 * planes.tilt, planes.weight])[None]
    start = fast.floats(fast.doubles(tilt)), weight
    one = Hulled(0, planes, planes.cuts(sure), ascent.best, start=start)
    xp = problem.root.graph.xp
    roots = hulling._started(problem, problem.roots(xp.ints([0]), xp.ints([0])), [one])
    return with_cuts(problem, [one]), roots


@settings(deadline=None, max_examples=5)
@given(**SMALL_PROBLEMS)
def test_no_point_is_lost_that_has_low_rows(seed, make, sizes, rows, leak):
    xp = make("float64")
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        plain = replace(problem_in(seed, sizes, xp, workers, rows, leak), refreshing=None)
        if plain.reduced is None or plain.sure is None:
            return
        problem, roots = hulled(plain)
        assert problem.hulled
        assert loses_no_low_point(problem, seed, workers, roots)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [-0.02, 0.02])
@pytest.mark.parametrize("sizes", [(8, 14, 1), (10, 8, 8, 6, 1)])
def test_the_verdict_is_the_same_with_hulls_and_without(seed, share, sizes, at_once, monkeypatch):
    problem, network = outputs_at_least(mlp(seed, sizes), seed, share)
    with_hulls = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(hulling, "STEPS", 0)
    plain = decide(problem, network, 60.0, NEURONS)
    assert isinstance(plain, Verified | Violated)
    assert type(plain) is type(with_hulls)


def test_hulls_take_fewer_subproblems(at_once, monkeypatch):
    counts = []
    for steps in (100, 0):
        monkeypatch.setattr(hulling, "STEPS", steps)
        problem, network = outputs_at_least(mlp(5, (30, 20, 20, 1)), 5, 0.3)
        verdict = decide(problem, network, 120.0, NEURONS)
        assert isinstance(verdict, Verified)
        assert verdict.proof is not None
        counts.append(verdict.proof.count)
        assert verdict.proof.lacking == ""
        assert any(chosen.hulls for chosen in verdict.proof.chosen) is (steps > 0)
    assert 1.3 * counts[0] < counts[1]


@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_planes_of_relus_are_on_record(leak, at_once):
    """Certificates have no place for those of functions with slopes on both sides."""
    problem, network = outputs_at_least(mlp(5, (30, 20, 20, 1), leak=leak), 5, 0.3)
    verdict = decide(problem, network, 120.0, NEURONS)
    assert isinstance(verdict, Verified)
    assert verdict.proof is not None
    assert verdict.proof.lacking == (HULLED if leak else "")
    assert any(chosen.hulls for chosen in verdict.proof.chosen) is (leak == 0)


@pytest.mark.parametrize("nothing", ["planes", "weights"])
def test_only_planes_close_a_clause(nothing, at_once, monkeypatch):
    """What single precision takes for positive at the root is not proved by that."""
    if nothing == "weights":
        monkeypatch.setattr(hulls, "MOST_EDGES", 0)
    planes = vars(HullAscent)["planes"].fget

    def without(self):
        found = planes(self)
        some = {f.name: getattr(found, f.name)[:0] for f in fields(found) if f.name != "tilt"}
        return replace(found, **some)

    monkeypatch.setattr(HullAscent, "planes", property(without))
    seen = []

    def positive(*given):
        found = sweep(*given)
        return replace(found, least=abs(found.least) + 1e-8)

    def watched(*given):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hulling, "sweep_in_parts", positive)
            seen.append(try_hulls(*given))
        return seen[-1]

    sweep = hulling.sweep_in_parts
    monkeypatch.setattr(deep, "try_hulls", watched)
    problem, network = outputs_at_least(mlp(2, (8, 8, 6, 1)), 2, -0.02)
    assert isinstance(decide(problem, network, 60.0, NEURONS), Violated)
    for share in (0.02, 0.1):
        problem, network = outputs_at_least(mlp(5, (30, 20, 20, 1)), 5, share)
        decide(problem, network, 5.0, NEURONS)
    rests = [one for one in seen if isinstance(one, Rest)]
    assert rests
    assert all(one.hulled == [] for one in rests)
