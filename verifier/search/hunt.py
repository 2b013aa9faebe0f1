"""Falsification within a search: a slice of time for the attack."""

from __future__ import annotations

import time

import numpy as np

from verifier.attack import Attack, Effort, Regions, Target
from verifier.attack.tail import compares, without_tail
from verifier.search.context import Context
from verifier.sets import Box
from verifier.verdict import Violated

CASES_AT_ONCE = 512
"""How many input boxes one attack looks into."""


class Hunt:
    """An attack on some of the cases that can be continued."""

    def __init__(self, context: Context, first: int = 0) -> None:
        stop = min(len(context.problem.cases), first + CASES_AT_ONCE)
        cases = np.arange(first, stop)
        xp, batch = context.graph.xp, context.problem.take(first, stop)
        box = Box(xp.floats(batch.lower), xp.floats(batch.upper))
        rows, graph = context.problem.rows, context.graph
        if compares(rows, batch.bounds):
            graph = without_tail(graph)
        self.attack = Attack(
            Target.of(graph, rows),
            Regions(box, xp.floats(batch.bounds)),
            context.judge(cases),
            context.generator,
        )
        self.context, self.cases = context, cases

    def run(self, seconds: float, steps: int = 400) -> Violated | None:
        """Look for a counterexample for some time."""
        deadline = min(self.context.deadline, time.monotonic() + seconds)
        witness = self.attack.run(Effort(steps=steps, deadline=deadline))
        return None if witness is None else self.context.accept(witness, self.cases)
