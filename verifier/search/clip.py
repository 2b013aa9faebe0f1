"""Cut boxes with the linear bounds of the unsafe rows: what is left out cannot be unsafe."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.bounds import DOUBLE_ROUNDOFF, Objective
from verifier.records import dataclass
from verifier.search.clip_jointly import clip_jointly
from verifier.sets import Box
from verifier.tensors import Array, Backend, Bool, Float, gamma

SWEEPS = 2
"""Passes over the rows; a second one uses the box that the first one left."""
UNDERFLOW = 1e-300
"""More than the underflow errors of one row, or of one quotient."""
ELEMENTS = 1 << 20
"""Coefficients that are looked at together."""
JOINT_ROWS, JOINT_INPUTS = 32, 16
"""Clauses of several rows are also clipped jointly, up to so many rows and inputs."""


@dataclass(frozen=True, eq=False)
class Clipped:
    """Smaller boxes, and the clauses that can still be met in them."""

    box: Box
    live: Bool[Array, "batch clauses"]
    gained: float
    """By how many bisections, in the mean, joint clipping shrank the boxes further."""


def clip(
    box: Box,
    coefficients: Float[Array, "batch rows n"],
    constant: Float[Array, "batch rows"],
    objective: Objective,
    live: Bool[Array, "batch clauses"],
    *,
    jointly: bool = True,
) -> Clipped:
    """Keep the part of each float64 box where, for some live clause, all its planes are <= 0.

    A clause's part is the box of the points that satisfy its rows one by one (relaxed clipping,
    Clip-and-Verify 2025, in closed form), then all together; several clauses give the hull of their
    parts. Bounds move outward by the rounding of their own computation.
    """
    xp = objective.xp
    jointly = jointly and box.lower.shape[1] <= JOINT_INPUTS
    if objective.clauses == 1:
        part, empty, gained = _parts(box, coefficients, constant, xp, jointly=jointly)
        return Clipped(part, live & ~empty[:, None], gained)
    still = xp.copy(live)
    least, most = -box.lower - float("inf"), box.upper - float("inf")
    gained = 0.0
    for clauses, rows in _groups(objective, box):
        batch, place = xp.nonzero(live[:, xp.ints(clauses)])
        if batch.shape[0] == 0:
            continue
        members, where = xp.ints(rows)[place], batch[:, None]
        planes = coefficients[where, members], constant[where, members]
        part, empty, saved = _parts(box[batch], *planes, xp, jointly=jointly)
        gained += saved * batch.shape[0]
        still[batch, xp.ints(clauses)[place]] = ~empty
        kept = xp.nonzero(~empty)[0]
        owner, count = batch[kept], len(live)
        least = xp.maximum(least, xp.segment_max(-part.lower[kept], owner, count))
        most = xp.maximum(most, xp.segment_max(part.upper[kept], owner, count))
    none = ~still.any(1)[:, None]
    hull = Box(xp.where(none, box.lower, -least), xp.where(none, box.upper, most))
    return Clipped(hull, still, gained / max(1, int(live.sum())))


def _groups(objective: Objective, box: Box) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Clauses of as many rows each, and their rows: so many that their parts fit into memory."""
    batch, size = box.lower.shape
    for clauses, rows in objective.by_width:
        step = max(1, ELEMENTS // max(1, batch * rows.shape[1] * size))
        for start in range(0, len(clauses), step):
            yield clauses[start : start + step], rows[start : start + step]


def _parts(
    box: Box,
    coefficients: Float[Array, "batch rows n"],
    constant: Float[Array, "batch rows"],
    xp: Backend,
    *,
    jointly: bool,
) -> tuple[Box, Bool[Array, " batch"], float]:
    """The boxes of the points that satisfy all rows, which of them are empty, and what was gained.

    Those that are found to be empty keep some of their bounds.
    """
    box, empty = _cut(box, coefficients, constant, xp)
    gained = 0.0
    for _ in range(SWEEPS - 1):
        box, nothing = _cut(box, coefficients, constant, xp)
        empty = empty | nothing
    if jointly and 1 < constant.shape[1] <= JOINT_ROWS:
        before = box
        box, nothing = clip_jointly(box, coefficients, constant, xp)
        empty = empty | nothing
        gained = _bisections(before, box, xp)
    return box, empty, gained


def _bisections(before: Box, after: Box, xp: Backend) -> float:
    """The mean of log2(volume before / volume after), over the inputs that still have a width."""
    old, new = before.upper - before.lower, after.upper - after.lower
    usable = (new > 0) & (old > 0)
    one = xp.doubles(xp.zeros(1)) + 1
    ratio = xp.where(usable, old, one) / xp.where(usable, new, one)
    return float(xp.function("log", ratio).sum()) / (math.log(2) * max(1, old.shape[0]))


def _cut(
    box: Box,
    coefficients: Float[Array, "batch rows n"],
    constant: Float[Array, "batch rows"],
    xp: Backend,
) -> tuple[Box, Bool[Array, " batch"]]:
    """One sweep: each coordinate's bound from each row, the other coordinates at their best.

    Returns the smaller boxes and which of them are empty (those keep their old bounds).
    """
    low, high = box.lower[:, None, :], box.upper[:, None, :]
    # A plane that says nothing (constant -inf, coefficients 0) reads 0 . x - 1 <= 0.
    constant = xp.where(xp.function("isfinite", constant), constant, xp.doubles(xp.zeros(1)) - 1)
    best = xp.minimum(coefficients * low, coefficients * high)
    total = constant + best.sum(-1)
    size = coefficients.shape[-1]
    reach = abs(constant) + (abs(coefficients) * xp.maximum(abs(low), abs(high))).sum(-1)
    error = gamma(2 * size + 12, DOUBLE_ROUNDOFF) * reach + UNDERFLOW
    # A point with row <= 0 has a_i x_i <= -(constant + what the others give at best).
    rest = (total - error)[:, :, None] - best
    one = xp.doubles(xp.zeros(1)) + 1
    usable = abs(coefficients) > 0
    bound = -rest / xp.where(usable, coefficients, one)
    slack = 8 * DOUBLE_ROUNDOFF * abs(bound) + UNDERFLOW
    infinity = one * float("inf")
    usable = usable & xp.function("isfinite", bound)
    bound, slack = xp.where(usable, bound, one), xp.where(usable, slack, one)
    above = xp.where(usable & (coefficients > 0), bound + slack, infinity)
    below = xp.where(usable & (coefficients < 0), bound - slack, -infinity)
    upper = xp.minimum(box.upper, xp.amin(above, 1))
    lower = xp.maximum(box.lower, xp.amax(below, 1))
    # A whole row above 0 leaves nothing, whatever its coefficients.
    nothing = (total - error > 0).any(1) | (lower > upper).any(1)
    kept = nothing[:, None]
    return Box(xp.where(kept, box.lower, lower), xp.where(kept, box.upper, upper)), nothing
