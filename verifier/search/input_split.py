"""Branch and bound over the input: bound boxes, close what is proved, bisect the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds import CrownResult, ObjectiveBounds, Sharpened, sharpen
from verifier.certify import Action, Chosen, ProofTree, Tilts
from verifier.records import dataclass
from verifier.search.clip import clip
from verifier.search.enclose import Efforts, Worth, enclose
from verifier.search.input_problem import InputProblem
from verifier.search.split import gap_smear
from verifier.search.subproblems import Subproblems
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float, Int

SECOND_OPINION = 48
"""Splits from one longest-edge split to the next."""


@dataclass(eq=False)
class Round:
    """What one round found out about a batch."""

    open: Subproblems
    """The rows that stay open, with their new bounds."""
    closed: Array
    """The proof-tree numbers of the rows that were closed."""
    scores: Float[Array, "batch n"]
    """For the open rows: which input to split."""
    candidates: Float[Array, "points n"]
    """Points that may be unsafe."""
    candidate_thresholds: Float[Array, "points rows"]
    candidate_cases: Int[Array, " points"]
    rows: int
    """How many rows were back-substituted."""
    gained: float
    """What joint clipping was worth, in bisections for each box."""
    sharpened: tuple[int, int]
    """How many boxes plain bounds left open, and how many of these optimised slopes closed."""
    taken: Int[Array, " taken"]
    """The proof-tree numbers of all rows of the batch."""
    clipped: Action
    """How they were clipped."""
    bounded: Int[Array, " bounded"]
    """The numbers of those that were bounded: clipping left something of them."""
    chosen: Chosen | None
    """The slopes that were optimised."""
    worth: Worth
    spared: int
    """How many rows of hidden neurons the checker may need that were not."""

    def log(self, tree: ProofTree) -> None:
        """Write down what was done."""
        tree.act(self.taken, self.clipped)
        tree.act(self.bounded, Action.HIDDEN | Action.ROWS)
        tree.close(self.closed)
        if self.chosen is not None:
            tree.choose(self.chosen)


def bound_round(problem: InputProblem, batch: Subproblems, efforts: Efforts) -> Round:
    """Clip, bound and score a batch of boxes."""
    xp = problem.graph.xp
    taken = batch.node
    batch, empty, gained = _clip(problem, batch, jointly=efforts.jointly)
    enclosed = enclose(problem, batch, inherited(problem, batch), efforts)
    result, found = enclosed.crown, enclosed.found
    best = problem.objective.best_of_clauses(found.least)
    live = batch.live & ~(best > 0)
    before, better = int(live.any(1).sum()), None
    if efforts.sharpen and before:
        settings = (problem.bounds, problem.bounds.box_steps)
        bent = result.enclosure.bent(recorded=True)
        better = sharpen(bent, problem.objective, found, batch.thresholds, settings)
        best = problem.objective.best_of_clauses(found.least)
        live = batch.live & ~(best > 0)
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    margin = xp.amin(xp.where(live, best, infinity), 1)
    margin = xp.maximum(margin, batch.margin)
    still = live.any(1)
    keep = xp.nonzero(still)[0]
    closed = xp.cat([empty, batch.node[~still]], 0)
    batch = _with_bounds(problem, batch, result, found)
    batch = replace(batch, live=live, margin=margin)
    scores = gap_smear(result, found)[keep] if keep.shape[0] else batch.lower[keep]
    still_open = batch[keep]
    points, origin = _minimisers(problem, still_open, found.coefficients[keep])
    return Round(
        open=still_open,
        closed=closed,
        scores=scores,
        candidates=points,
        candidate_thresholds=still_open.thresholds[origin],
        candidate_cases=still_open.case[origin],
        rows=found.row.shape[0] + enclosed.rows,
        gained=gained,
        sharpened=(before, before - keep.shape[0]),
        taken=taken,
        clipped=problem.clipping(jointly=efforts.jointly),
        bounded=batch.node,
        chosen=None if better is None else _chosen(problem, batch, better),
        worth=enclosed.worth,
        spared=enclosed.spared,
    )


def _chosen(problem: InputProblem, batch: Subproblems, better: Sharpened) -> Chosen:
    xp = problem.graph.xp
    neurons = {v: np.arange(problem.graph.size(v)) for v in better.tilts}
    tilts = Tilts.of(better.tilts, neurons, better.batch.shape[0], xp)
    return Chosen(xp.numpy(batch.node[better.batch]), xp.numpy(better.row), tilts)


def _clip(
    problem: InputProblem, batch: Subproblems, *, jointly: bool
) -> tuple[Subproblems, Array, float]:
    """The batch with its boxes cut by its planes, less the rows that nothing is left of."""
    xp, objective = problem.graph.xp, problem.objective
    if not problem.clipping(jointly=jointly):
        return batch, batch.node[:0], 0.0
    box = Box(xp.astype_double(batch.lower), xp.astype_double(batch.upper))
    planes = (batch.coefficients, batch.constant)
    cut = clip(box, *planes, objective, batch.live, jointly=jointly)
    alive = cut.live.any(1)
    lower, upper = xp.outward_cast(cut.box.lower, cut.box.upper)
    batch = replace(
        batch,
        lower=xp.maximum(lower, batch.lower),
        upper=xp.minimum(upper, batch.upper),
        live=cut.live,
    )
    keep = xp.nonzero(alive)[0]
    return batch[keep], batch.node[~alive], cut.gained


def inherited(problem: InputProblem, batch: Subproblems) -> dict[int, Box]:
    boxes, start = {}, 0
    for value in problem.hidden_values:
        stop = start + problem.graph.size(value)
        boxes[value] = Box(batch.hidden_lower[:, start:stop], batch.hidden_upper[:, start:stop])
        start = stop
    return boxes


def _with_bounds(
    problem: InputProblem, batch: Subproblems, result: CrownResult, found: ObjectiveBounds
) -> Subproblems:
    xp, boxes = problem.graph.xp, result.enclosure.boxes
    values = problem.hidden_values
    if values:
        lower = xp.cat([boxes[v].lower for v in values], 1)
        upper = xp.cat([boxes[v].upper for v in values], 1)
        batch = replace(batch, hidden_lower=lower, hidden_upper=upper)
    return replace(batch, coefficients=found.coefficients, constant=found.constant)


def _minimisers(
    problem: InputProblem, batch: Subproblems, coefficients: Float[Array, "batch rows n"]
) -> tuple[Float[Array, "points n"], Int[Array, " points"]]:
    """Each live row's minimiser over its box, and the boxes' centres; and which box each is of."""
    xp = problem.graph.xp
    box, row = xp.nonzero(batch.live[:, problem.objective.clause])
    points = xp.where(coefficients[box, row] > 0, batch.lower[box], batch.upper[box])
    centers = (batch.lower + batch.upper) / 2
    origin = xp.cat([box, xp.arange(len(batch))], 0)
    return xp.cat([points, centers], 0), origin


def splittable(rows: Subproblems) -> Bool[Array, "batch n"]:
    """Which inputs of each box have numbers between their bounds."""
    middle = rows.lower + (rows.upper - rows.lower) / 2
    return (middle > rows.lower) & (middle < rows.upper)


def bisect(problem: InputProblem, rows: Subproblems, scores: Array, tree: ProofTree) -> Subproblems:
    """Split each box in its best-scored input; boxes too thin to split are left out.

    Every ``SECOND_OPINION`` levels the longest edge decides instead: a score that never picks some
    input cannot keep a search from converging.
    """
    xp = problem.graph.xp
    width = rows.upper - rows.lower
    edge = width if problem.scale is None else width / problem.scale
    middle = rows.lower + width / 2
    able = splittable(rows)
    none = xp.full((1,), -1.0)
    scores = xp.where(able, scores, none)
    # Where every score is 0 the widest input is as good as any.
    second = rows.depth % SECOND_OPINION == SECOND_OPINION - 1
    flat = (~(scores > 0).any(1) | second)[:, None]
    scores = xp.where(flat & able, edge, scores)
    choice = scores.argmax(1)
    batch = xp.arange(len(rows))
    kept = xp.nonzero(able[batch, choice])[0]
    rows, choice, batch = rows[kept], choice[kept], xp.arange(kept.shape[0])
    point = middle[kept][batch, choice]
    children = tree.split(rows.node, choice, point)
    lower, upper = xp.copy(rows.lower), xp.copy(rows.upper)
    lower[batch, choice], upper[batch, choice] = point, point
    below = replace(rows, upper=upper, node=children[: len(rows)], depth=rows.depth + 1)
    above = replace(rows, lower=lower, node=children[len(rows) :], depth=rows.depth + 1)
    return Subproblems.cat([below, above], xp)
