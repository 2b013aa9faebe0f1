"""Bound a batch of boxes by as many rows of hidden neurons as pay."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifier.bounds import (
    CrownResult,
    ObjectiveBounds,
    bound_objective,
    by_forms,
    crown,
    crown_some,
    first_bounds,
    forward_pays,
    free_inputs,
)
from verifier.records import dataclass
from verifier.search.input_problem import InputProblem
from verifier.search.split.gap_smear import costs
from verifier.search.subproblems import Subproblems
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float

log = logging.getLogger(__name__)

MOST_TRACED = 1024
"""Up to so many inputs it is kept what each hidden neuron gets from each of them."""
MANY_NEURONS = 1000
"""With more hidden neurons than this, only those that cost the property's rows something are
bounded by rows."""
LEAST_SHARE = 1e-7
"""What a neuron must cost for that, as a share of what all of them cost."""
MOST_HALVED = 3
"""Rows of hidden neurons count as at most so many halvings of every input."""
PLANE_ROWS = 3
"""Rows that a plane of a product takes: two of its own, and half of two of the factors."""
FORWARD_ROWS = 64
"""Forward bounds of a box cost as much as so many rows for each of its inputs, and two more."""


@dataclass(frozen=True)
class Efforts:
    """Which of the steps that may or may not pay a round takes."""

    jointly: bool
    """Clip jointly."""
    sharpen: bool
    """Optimise the slopes of the best rows of open boxes."""
    forward: bool
    """Start from forward bounds where they pay: of use while boxes inherit little."""
    hidden: bool = True
    """Bound hidden neurons by rows; otherwise forward bounds are all there is."""
    trial: bool = False
    """Find out what the rows of hidden neurons are worth."""
    correlate: bool = False
    """Draw the planes of products closer together by rows."""
    try_products: bool = False
    """Find out what those rows are worth."""


@dataclass(frozen=True)
class Worth:
    """What some rows did for boxes that are open without them."""

    boxes: int
    bisections: float
    """How many bisections of each box would have done the same, by estimate; the sum over boxes."""
    rows: int
    """How many there were."""
    price: int
    """How many rows the bounds of a box without them are worth."""

    @staticmethod
    def none() -> Worth:
        """Nothing is known."""
        return Worth(0, 0.0, 0, 1)


def pay(worths: Sequence[Worth]) -> bool | None:
    """Do the rows on trial save more bisections than they cost? None: no box tells.

    So many bisections take 2^so many boxes, each of which costs bounds without them.
    """
    boxes = sum(worth.boxes for worth in worths)
    if not boxes:
        return None
    saved = sum(worth.bisections for worth in worths) / boxes
    cost = sum(worth.rows for worth in worths) / boxes / max(worth.price for worth in worths)
    log.debug("rows on trial save %.2f bisections at a price of %.1f", saved, cost)
    return saved > math.log2(1.0 + cost)


@dataclass(frozen=True, eq=False)
class Enclosed:
    """Boxes of all values, the property's rows, and what they took."""

    crown: CrownResult
    found: ObjectiveBounds
    rows: int
    worth: Worth
    spared: int = 0
    """Rows of neurons that are not linear by forward bounds, which the checker needs."""


def enclose(
    problem: InputProblem, batch: Subproblems, inherited: dict[int, Box], efforts: Efforts
) -> Enclosed:
    """Bound the values and the property's rows over a batch of boxes."""
    graph, settings, region = problem.graph, problem.bounds, Box(batch.lower, batch.upper)
    inputs = free_inputs(region)
    # Forward bounds hold over the real numbers, not for float32 execution.
    usable = not settings.single and len(batch) > 0
    pays = usable and forward_pays(graph, settings, inputs)
    # Of few neurons all are bounded, by rows alone: as the checker does.
    if pays and problem.hidden_neurons > MANY_NEURONS:
        return _from_forms(problem, batch, inherited, efforts)
    if usable and efforts.forward:
        inherited = first_bounds(graph, region, settings, inherited) or inherited
    keep = graph.input_size <= MOST_TRACED
    settings = replace(settings, correlate=efforts.correlate)
    result = crown(graph, region, settings, inherited, keep_hidden=keep)
    found, rows = _objective(problem, batch, result), _count(result)
    if not efforts.try_products:
        return Enclosed(result, found, rows, Worth.none())
    before, settings = _margins(problem, batch, found), replace(settings, correlate=True)
    result = crown(graph, region, settings, inherited, keep_hidden=keep)
    found = _objective(problem, batch, result)
    extra, each = _product_rows(result), max(1, (rows + found.row.shape[0]) // max(1, len(batch)))
    inputs = free_inputs(region)
    worth = _worth(before, _margins(problem, batch, found), (extra, each), inputs)
    return Enclosed(result, found, rows + extra, worth)


def _from_forms(
    problem: InputProblem, batch: Subproblems, inherited: dict[int, Box], efforts: Efforts
) -> Enclosed:
    """Forward bounds first, then rows for the neurons that cost something in boxes still open."""
    graph, region = problem.graph, Box(batch.lower, batch.upper)
    inputs = free_inputs(region)
    result = by_forms(graph, region, inherited)
    found, spared = _objective(problem, batch, result), _count(result)
    if not efforts.hidden:
        return Enclosed(result, found, 2 * inputs * len(batch), Worth.none(), spared)
    before = _margins(problem, batch, found)
    if (before > 0).all():
        return Enclosed(result, found, 0, Worth.none(), spared)
    wanted = _wanted(problem, batch, result, found)
    boxes = dict(enumerate(result.enclosure.boxes))
    result = crown_some(graph, region, problem.bounds, boxes, wanted, problem.tiler)
    rows, found = _count(result), _objective(problem, batch, result)
    after = _margins(problem, batch, found)
    price = FORWARD_ROWS * (inputs + 2)
    worth = _worth(before, after, (rows, price), inputs) if efforts.trial else Worth.none()
    return Enclosed(result, found, rows, worth, spared)


def _objective(problem: InputProblem, batch: Subproblems, result: CrownResult) -> ObjectiveBounds:
    asked = batch.live[:, problem.objective.clause]
    return bound_objective(result.enclosure, problem.objective, batch.thresholds, asked)


def _count(result: CrownResult) -> int:
    """About how many rows of hidden neurons there were."""
    return 2 * sum(hidden.batch.shape[0] for hidden in result.hidden)


def _product_rows(result: CrownResult) -> int:
    """How many rows the planes of products took."""
    return PLANE_ROWS * sum(made.batch.shape[0] for made in result.correlations)


def _margins(
    problem: InputProblem, batch: Subproblems, found: ObjectiveBounds
) -> Float[np.ndarray, " batch"]:
    """The least over live clauses of the greatest bound of a row."""
    xp = problem.graph.xp
    best = problem.objective.best_of_clauses(found.least)
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    return xp.numpy(xp.amin(xp.where(batch.live, best, infinity), 1))


def _wanted(
    problem: InputProblem, batch: Subproblems, result: CrownResult, found: ObjectiveBounds
) -> dict[int, Bool[Array, "batch n"]]:
    """The neurons that cost the rows of an open box something."""
    xp = problem.graph.xp
    opened = xp.bools(~(_margins(problem, batch, found) > 0))[:, None]
    cost = costs(result, found)
    total = xp.zeros(len(batch))
    for each in cost.values():
        total = total + each.sum(1)
    least = LEAST_SHARE * total
    # Where something is no number, everything is wanted.
    return {v: opened & ~(x <= least[:, None]) for v, x in cost.items()}


def _worth(
    before: Float[np.ndarray, " batch"],
    after: Float[np.ndarray, " batch"],
    paid: tuple[int, int],
    inputs: int,
) -> Worth:
    """Compare margins with those of forward bounds: halving all inputs halves what is missing."""
    missing = ~(before > 0)
    count = int(missing.sum())
    if not count:
        return Worth.none()
    ratio = np.minimum(before[missing], -1e-300) / np.minimum(after[missing], -1e-300)
    halved = np.where(after[missing] > 0, MOST_HALVED, np.log2(ratio))
    halved = np.where(np.isnan(halved), MOST_HALVED, halved).clip(0, MOST_HALVED)
    return Worth(count, inputs * float(halved.sum()), *paid)
