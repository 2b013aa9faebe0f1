"""The seconds that a user gives, and when they began."""

import math
import time
from pathlib import Path

import pytest

import verifier
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
