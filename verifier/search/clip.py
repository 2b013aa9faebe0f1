"""Cut boxes with the linear bounds of the unsafe rows: what is left out cannot be unsafe."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verifier.bounds import DOUBLE_ROUNDOFF, Objective
from verifier.search.clip_jointly import clip_jointly
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float, gamma

SWEEPS = 2
"""Passes over the rows; a second one uses the box that the first one left."""
UNDERFLOW = 1e-300
"""More than the underflow errors of one row, or of one quotient."""
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
    lowers, uppers, alive, gained = [], [], [], 0.0
    jointly = jointly and box.lower.shape[1] <= JOINT_INPUTS
    for k in range(objective.clauses):
        rows = xp.nonzero(objective.clause == k)[0]
        part, empty = box, ~live[:, k]
        for _ in range(SWEEPS):
            part, nothing = _cut(part, coefficients[:, rows], constant[:, rows], objective)
            empty = empty | nothing
        if jointly and 1 < rows.shape[0] <= JOINT_ROWS:
            before = part
            part, nothing = clip_jointly(part, coefficients[:, rows], constant[:, rows], xp)
            empty = empty | nothing
            gained += _bisections(before, part, objective)
        lowers.append(part.lower)
        uppers.append(part.upper)
        alive.append(~empty[:, None])
    still = xp.cat(alive, 1)
    if objective.clauses == 1:
        return Clipped(Box(lowers[0], uppers[0]), still, gained)
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    lower, upper = infinity + box.lower * 0, -infinity + box.upper * 0
    for k in range(objective.clauses):
        member = still[:, k : k + 1]
        lower = xp.minimum(lower, xp.where(member, lowers[k], infinity))
        upper = xp.maximum(upper, xp.where(member, uppers[k], -infinity))
    none = ~still.any(1)[:, None]
    hull = Box(xp.where(none, box.lower, lower), xp.where(none, box.upper, upper))
    return Clipped(hull, still, gained / objective.clauses)


def _bisections(before: Box, after: Box, objective: Objective) -> float:
    """The mean of log2(volume before / volume after), over the inputs that still have a width."""
    xp = objective.xp
    old, new = before.upper - before.lower, after.upper - after.lower
    usable = (new > 0) & (old > 0)
    one = xp.doubles(xp.zeros(1)) + 1
    ratio = xp.where(usable, old, one) / xp.where(usable, new, one)
    return float(xp.function("log", ratio).sum()) / (math.log(2) * max(1, old.shape[0]))


def _cut(
    box: Box,
    coefficients: Float[Array, "batch rows n"],
    constant: Float[Array, "batch rows"],
    objective: Objective,
) -> tuple[Box, Bool[Array, " batch"]]:
    """One sweep: each coordinate's bound from each row, the other coordinates at their best.

    Returns the smaller boxes and which of them are empty (those keep their old bounds).
    """
    xp = objective.xp
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
