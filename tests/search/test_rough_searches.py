"""Searches whose sweeps have products of 8 bits: they lose no point, and say what others say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.bounds.graphs import mlp
from tests.bounds.test_rough import everywhere
from tests.search.test_refresh import NEURONS, SMALL_PROBLEMS, loses_no_low_point, problem_in
from tests.soundness.queries import outputs_at_least
from verifier.bounds import bands
from verifier.search.strategy import decide
from verifier.search.workers import Workers
from verifier.verdict import Verified, Violated

__all__ = ["everywhere"]


@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(**SMALL_PROBLEMS)
def test_no_point_is_lost_that_has_low_rows(seed, make, sizes, rows, leak, everywhere):
    xp = make("float64")
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        problem = replace(problem_in(seed, sizes, xp, workers, rows, leak), refreshing=None)
        if problem.reduced is None:
            return
        roots = problem.roots(xp.ints([0]), xp.ints([0]))
        assert loses_no_low_point(problem, seed, workers, roots)
        assert problem.reduced.bands.is_rough


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [-0.02, 0.02, 0.3])
@pytest.mark.parametrize("sizes", [(8, 14, 1), (10, 8, 8, 6, 1)])
def test_the_verdict_is_the_same(seed, share, sizes, everywhere, monkeypatch):
    problem, network = outputs_at_least(mlp(seed, sizes), seed, share)
    about = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(bands, "LONG", float("inf"))
    plain = decide(problem, network, 60.0, NEURONS)
    assert isinstance(plain, Verified | Violated)
    assert type(plain) is type(about)
