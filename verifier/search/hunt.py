"""Falsification within a search: a slice of time for the attack."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np

from verifier.attack import Attack, Effort, Regions, Target
from verifier.attack.tail import compares, without_tail
from verifier.search.context import Context
from verifier.sets import Box
from verifier.verdict import Violated

CASES_AT_ONCE = 512
"""How many input boxes one attack looks into."""
LARGE_WORK = 1_000_000
"""Multiply-adds of a network from which on the attack comes before the first bounds."""
FIRST_HUNT, HUNT_SECONDS = 0.4, 1.0
"""Seconds of the first attack on a problem whose neurons are split, at least, and of each later
one. Where there are counterexamples most are found in the first quarter of a second; there is
another attack on what is open after a round."""
EARLY_SECONDS, LATER = 10.0, 0.25
"""From so many seconds on the attack's share of the time is that much of what it was before."""


def hunting_time(share: float, elapsed: float) -> float:
    """How long a search of so many seconds may have attacked."""
    early = min(elapsed, EARLY_SECONDS)
    return share * (early + LATER * (elapsed - early))


class Hunt:
    """An attack on some of the cases that can be continued."""

    def __init__(self, context: Context, first: int = 0) -> None:
        stop = min(len(context.problem.cases), first + CASES_AT_ONCE)
        self.context, self.cases = context, np.arange(first, stop)
        self.early = self.counted = 0.0
        """Seconds of an attack before there were bounds, and of those that ``go_on`` counts."""

    @cached_property
    def attack(self) -> Attack:
        """On the cases."""
        context, xp = self.context, self.context.graph.xp
        batch = context.problem.take(int(self.cases[0]), int(self.cases[-1]) + 1)
        box = Box(xp.floats(batch.lower), xp.floats(batch.upper))
        rows, graph = context.problem.rows, context.graph
        if compares(rows, batch.bounds):
            graph = without_tail(graph)
        return Attack(
            Target.of(graph, rows),
            Regions(box, xp.floats(batch.bounds)),
            context.judge(self.cases),
            context.generator,
        )

    def before_bounds(self) -> Violated | None:
        """Attack, once for all cases, where bounds take so long that this should come first."""
        if self.context.graph.work <= LARGE_WORK or self.cases[0] % CASES_AT_ONCE:
            return None
        self.early = FIRST_HUNT
        return self.run(FIRST_HUNT, steps=200)

    def after_bounds(self, took: float) -> Violated | None:
        """Attack for half of the seconds that the first bounds took, or go on with that."""
        seconds = min(HUNT_SECONDS, max(FIRST_HUNT, took / 2)) - self.early
        return self.run(seconds, steps=200) if seconds > 0 else None

    def go_on(self, share: float, seconds: float) -> Violated | None:
        """Attack again, where attacks have had less than their share of the search's time."""
        context = self.context
        elapsed = context.deadline - context.left - context.started
        if self.counted >= hunting_time(share, elapsed) - seconds:
            return None
        return self.count(seconds)

    def count(self, seconds: float) -> Violated | None:
        """Attack, and count the time."""
        before = self.context.left
        found = self.run(seconds)
        self.counted += before - self.context.left
        return found

    def run(self, seconds: float, steps: int = 400) -> Violated | None:
        """Look for a counterexample for some time."""
        deadline = min(self.context.deadline, time.monotonic() + seconds)
        witness = self.attack.run(Effort(steps=steps, deadline=deadline))
        return None if witness is None else self.context.accept(witness, self.cases)
