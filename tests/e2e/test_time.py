"""The seconds that a user gives, and when they began."""

import math
import time
from pathlib import Path

import pytest

import verifier
from tests.cli.made import flat, twice
from verifier.search import by_inputs
from verifier.search.input_split import bound_round
from verifier.settings import DeadlinePassed
from verifier.verdict import Reason, Unknown

EXAMPLES = Path(__file__).parents[2] / "benchmarks" / "examples"


def verify(started: float | None) -> object:
    net, prop, _ = (EXAMPLES / "instances.csv").read_text().split("\n")[0].split(",")
    return verifier.verify(EXAMPLES / net, EXAMPLES / prop, timeout=30.0, started=started).verdict


def test_seconds_that_have_passed_are_not_left():
    found = verify(time.monotonic() - 100)
    assert isinstance(found, Unknown)
    assert found.reason == Reason.OUT_OF_TIME


@pytest.mark.parametrize("started", [None, math.nan, math.inf, 1e12])
def test_seconds_begin_now_at_the_latest(started):
    begun = time.monotonic()
    assert not isinstance(verify(started), Unknown)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(("rounds", "left"), [(0, 1), (1, 2)])
def test_what_a_late_round_had_taken_is_still_open(tmp_path, monkeypatch, rounds, left):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.0000000001))")
    done = list[object]()

    def late(*given):
        if len(done) == rounds:
            raise DeadlinePassed
        done.append(given)
        return bound_round(*given)

    monkeypatch.setattr(by_inputs, "bound_round", late)
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=30.0).verdict
    assert isinstance(found, Unknown)
    assert found.reason == Reason.OUT_OF_TIME
    assert found.open == left
    assert found.margin < 0
