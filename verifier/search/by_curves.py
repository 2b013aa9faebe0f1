"""Decide a case of a network of curves: boxes of neurons are cut, one subproblem after another.

Two efforts take turns. A cut is cheap: the boxes of the other neurons stay, and a batch is bounded
together. Boxes of all hidden neurons where the clause is met (``bounds/suppose.py``) cost hundreds
of times as much, and close or help many subproblems whose margins are near enough to 0; how near
is learnt for each clause from what it did before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import field, replace

from verifier.bounds import Enclosure, Objective
from verifier.certify import ProofTree
from verifier.records import dataclass
from verifier.search.context import Context
from verifier.search.curve_round import bound_cuts, refine
from verifier.search.curve_split import CurveProblem, Cuts, split_cuts
from verifier.search.frontier import Frontier
from verifier.search.product_root import product_root
from verifier.settings import BoundSettings, DeadlinePassed
from verifier.tensors import Array
from verifier.verdict import Reason, Unknown, Violated

log = logging.getLogger(__name__)

UNRECORDED = "lines of curves, and boxes where the property fails, are not in certificates yet"

AT_ONCE = 32
"""Subproblems that are bounded together."""
HELPED = 0.8
"""Boxes helped if this share of the margin is left, or less."""
FURTHER, NEARER = 1.5, 0.7
"""By how much the reach of a clause grows where they did, and shrinks where they did not."""


@dataclass(eq=False)
class CurveSearch:
    """The state of one search over cuts."""

    context: Context
    objective: Objective
    tree: ProofTree
    examine: Callable[[Array], Violated | None]
    """Tries points that may be counterexamples."""
    hunt: Callable[[], Violated | None]
    """Looks for one elsewhere, now and then."""
    problem: CurveProblem = field(init=False)
    """Made of the root's bounds."""
    bounded: int = 0
    closed: int = 0
    reach: dict[int, float] = field(default_factory=dict[int, float])
    """For each clause the least margin at which boxes where it is met are worth their price."""

    def run(
        self,
        plain: Enclosure,
        case: int,
        thresholds: Array,
        clauses: Array,
        settings: BoundSettings,
    ) -> Violated | Unknown | None:
        """Decide some clauses of a case; None: proved."""
        node = self.context.graph.xp.ints([case])
        self.tree.lacking = UNRECORDED
        settings = replace(settings, learning_rate=settings.product_rate)
        root = product_root(plain, self.objective, thresholds, clauses, settings)
        log.info("%d clauses left after the root", root.clauses.shape[0])
        if root.clauses.shape[0] == 0:
            self.tree.close(node)
            self.closed += 1
            return None
        efforts = settings, self.context.settings
        self.problem = CurveProblem.of(root, self.objective, thresholds, efforts)
        children = self.tree.by_clause(node, root.clauses)
        return self._search(self.problem.roots(root.clauses, children))

    def _search(self, roots: Cuts) -> Violated | Unknown | None:
        """All subproblems, those of the least margin first."""
        xp, context = self.context.graph.xp, self.context
        frontier = Frontier(xp, context.settings.frontier_bytes, Cuts.cat)
        frontier.push(roots)
        stuck, worst = 0, float("inf")
        while len(frontier):
            batch = frontier.take(AT_ONCE)
            try:
                found, left = self._round(batch)
            except DeadlinePassed:
                frontier.push(batch)
                return Unknown(Reason.OUT_OF_TIME, frontier.worst_margin, len(frontier))
            if found is not None:
                return found
            able = left.branch >= 0
            some = xp.nonzero(~able)[0]
            stuck += len(some)
            worst = min([worst, *left.margin[some].tolist()])
            some = xp.nonzero(able)[0]
            if len(some):
                frontier.push(split_cuts(self.problem, left[some], self.tree))
            context.tell(len(frontier), self.closed, frontier.worst_margin)
        return Unknown(Reason.NO_SPLIT, worst, stuck) if stuck else None

    def _round(self, batch: Cuts) -> tuple[Violated | None, Cuts]:
        """A counterexample, if one turns up, and what stays open of a batch."""
        xp, steps = self.context.graph.xp, self.context.bounds.split_steps
        open_, points = self._bounded(batch, steps)
        found = self.examine(points) or self.hunt()
        if found is not None:
            return found, open_
        parts = [self._refined(open_[i : i + 1]) for i in range(len(open_))]
        return None, Cuts.cat(parts, xp) if parts else open_

    def _bounded(self, batch: Cuts, steps: int) -> tuple[Cuts, Array]:
        """What rows leave open of a batch, and where they are least."""
        self.context.bounds.check_time()
        result = bound_cuts(self.problem, batch, steps)
        self.bounded += len(batch)
        self._close(result.closed)
        return result.open, result.candidates

    def _close(self, batch: Cuts) -> None:
        self.tree.close(batch.node)
        self.closed += len(batch)

    def _refined(self, one: Cuts) -> Cuts:
        """A subproblem over the boxes where its clause is met, as long as these help."""
        steps = self.context.bounds.split_steps
        while len(one):
            clause, before = int(one.clause[0]), float(one.margin[0])
            reach = self.reach.get(clause, -float("inf"))
            if before < reach:
                return one
            new = refine(self.problem, one, steps)
            if new is None:
                self._close(one)
            left = one[:0] if new is None else self._bounded(new, 2 * steps)[0]
            after = float(left.margin[0]) if len(left) else 0.0
            if after < HELPED * before:
                self.reach[clause] = max(reach, NEARER * after)
                return left
            known = reach if clause in self.reach else before
            self.reach[clause] = min(known, FURTHER * before)
            one = left
        return one
