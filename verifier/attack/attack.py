"""The whole hunt for a counterexample: cheap points first, then descents, each find confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from verifier.attack.confirm import Judge, Witness
from verifier.attack.effort import Effort
from verifier.attack.gradient import points_at_once
from verifier.attack.pgd import KEPT, Launch, descend, pgd
from verifier.attack.sample import Walk, corners, even_spread, examine, refine, scan
from verifier.attack.target import Candidates, Regions, Target

LOW_DIMENSION = 12
"""Up to so many free inputs, corners and even spreads are worth their time."""
SHALLOW = 1e-5
"""A witness whose margin is less than this share of its rows' values is pushed deeper."""
LENGTHS = (40, 160, 400)
"""Gradient steps in the first rounds; the last is repeated."""
RESUMED = 4
"""How many of the best points a round takes over from the last: few, so that it looks elsewhere."""
PUSHES = (0.001, 0.01, 0.1)
"""How far points are pushed deeper, as factors of the steps."""


class Attack:
    """A hunt that can be continued: what was found, and what was refused, is remembered.

    Attributes:
        nearest: the best points so far, with margins towards what is still asked for
    """

    def __init__(
        self, target: Target, regions: Regions, judge: Judge, generator: np.random.Generator
    ) -> None:
        xp = target.graph.xp
        possible = xp.bools(judge.possible())[:, None]
        never = xp.full((1,), -float("inf"))
        self.regions = Regions(regions.box, xp.where(possible, regions.bounds, never))
        self.target, self.judge, self.generator = target, judge, generator
        self.nearest = Candidates.none(target.graph.input_size)
        self.rounds = 0

    def run(self, effort: Effort, candidates: Candidates | None = None) -> Witness | None:
        """Hunt until a witness is confirmed or the effort is spent; ``candidates`` come first."""
        if not bool(self.regions.open(self.target).any()):
            return None
        for found in self._stages(effort, candidates):
            self.nearest = self.nearest.join(found).best(KEPT)
            witness = self.offer(found.unsafe(), effort)
            if witness is not None or effort.over:
                return witness
        return None

    def offer(self, found: Candidates, effort: Effort) -> Witness | None:
        """Confirm unsafe points, pushed deeper if need be; ask for more where they are refused."""
        if not len(found):
            return None
        witness = self.judge.confirm(found)
        if witness is not None and not self._shallow(found):
            return witness
        deeper = self.push(found, effort)
        witness = self.judge.confirm(deeper) or witness
        if witness is None:
            self._demand(deeper)
        return witness

    def push(self, found: Candidates, effort: Effort) -> Candidates:
        """The same points, or deeper ones close by."""
        xp = self.target.graph.xp
        count = max(len(PUSHES), min(points_at_once(self.target.graph), 24))
        starts = found.repeated(count)
        case = xp.ints(starts.case)
        launch = Launch(
            points=xp.floats(starts.points),
            case=case,
            clause=case * 0 - 1,
            direction=xp.zeros(count, self.target.graph.output_size),
            reach=xp.floats(np.resize(PUSHES, (count, 1))),
        )
        deep = replace(effort, goal=-float("inf"), descent=30)
        return descend(self.target, self.regions, launch, deep)[0]

    def _shallow(self, found: Candidates) -> bool:
        """Might another machine's rounding undo the first candidate?"""
        target, xp = self.target, self.target.graph.xp
        rows = abs(xp.numpy(target.output_coefficients))
        outputs = xp.numpy(target.graph.evaluate(xp.floats(found.points[:1])))[0]
        return bool(-found.margins[0] < SHALLOW * float((rows @ abs(outputs)).max()))

    def _demand(self, refused: Candidates) -> None:
        """Points of these boxes must be deeper, from now on, than the deepest of the refused."""
        target, xp = self.target, self.target.graph.xp
        for place in np.unique(refused.case, return_index=True)[1]:
            case, depth = int(refused.case[place]), min(float(refused.margins[place]), 0.0)
            bounds = self.regions.bounds[case]
            usual = xp.where(xp.function("isfinite", bounds), abs(bounds), xp.zeros(1))
            outputs = target.graph.evaluate(xp.floats(refused.points[place : place + 1]))[0]
            usual = usual + abs(target.output_coefficients) @ abs(outputs)
            more = 1.1 * -depth + 8 * xp.unit_roundoff * usual + xp.tiny
            self.regions.bounds[case] = bounds - more
        known = self.nearest
        self.nearest = examine(self.target, self.regions, known.points, known.case)

    def _stages(self, effort: Effort, candidates: Candidates | None) -> Iterator[Candidates]:
        """Finds, the cheapest way first; then descents and even spreads, of growing length."""
        target, regions, generator = self.target, self.regions, self.generator
        many, steps = points_at_once(target.graph), effort.steps
        low = len(regions.free()) <= LOW_DIMENSION
        if candidates is not None and len(candidates):
            yield examine(target, regions, candidates.points, candidates.case)
        if self.rounds == 0:
            limit = max(1, (8 * many if low else many) // regions.count)
            yield scan(target, regions, corners(regions, limit, generator), effort)
        while steps > 0:
            some = min(steps, LENGTHS[min(self.rounds, len(LENGTHS) - 1)])
            steps -= some
            descents = replace(effort, steps=some)
            yield pgd(target, regions, descents, generator, self.nearest.best(RESUMED))
            if low:
                count = max(1, (many << min(1 + 2 * self.rounds, 9)) // regions.count)
                yield scan(target, regions, even_spread(regions, count, generator), effort)
                yield refine(target, regions, self.nearest.spread(Walk.points), Walk(effort=effort))
            self.rounds += 1


def falsify(
    problem: tuple[Target, Regions, Judge],
    effort: Effort,
    generator: np.random.Generator,
    candidates: Candidates | None = None,
) -> Witness | None:
    """A confirmed counterexample, or None where none was found within the effort."""
    return Attack(*problem, generator).run(effort, candidates)
