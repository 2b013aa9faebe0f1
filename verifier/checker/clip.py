"""Cut boxes by planes: what lies above some plane of every clause cannot be unsafe."""

from __future__ import annotations

import numpy as np

from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.errors import require_time

SWEEPS = 2
"""Passes over the rows of a clause; the second starts from the box that the first one left."""
PASSES = 2
"""Times that each multiplier of a joint cut is maximised in turn."""
LARGE = 1e300
"""In multipliers, which may be any numbers >= 0, instead of larger fractions."""


Box = tuple[Floats, Floats]
"""Lower and upper bounds, [batch, n] both; nothing is left where some lower one is greater."""


def clip(
    box: Box,
    known: tuple[Floats, Ints],
    live: Ints,
    arithmetic: Arithmetic,
    *,
    jointly: bool,
    deadline: float = float("inf"),
) -> tuple[Floats, Floats, Ints]:
    """The hull of the parts of each box where some live clause has all its planes <= 0.

    Known are the planes [batch, rows, n + 1], coefficients and constants, and the clause [rows] of
    each, ascending; ``live`` [batch, clauses]. Returns the new box and the clauses that can still
    be met in it. A box of which nothing is left stays as it is.
    """
    planes, clause = known
    still = live.copy()
    low, high = np.full_like(box[0], np.inf), np.full_like(box[1], -np.inf)
    starts: list[int] = np.searchsorted(clause, np.arange(int(live.shape[1]) + 1)).tolist()
    for k in np.flatnonzero(np.any(live, 0)).tolist():
        rows = np.arange(starts[k], starts[k + 1])
        a, c, part = planes[:, rows, :-1], planes[:, rows, -1], box
        require_time(deadline)
        for _ in range(SWEEPS if len(rows) else 0):
            part = _cut(part, a, c, arithmetic)
        if jointly and len(rows) > 1:
            part = _cut_jointly(part, a, c, arithmetic, deadline)
        still[:, k] &= ~np.any(part[0] > part[1], 1)
        met = still[:, k, None]
        low = np.where(met, np.minimum(low, part[0]), low)
        high = np.where(met, np.maximum(high, part[1]), high)
    some = np.any(still, 1)[:, None]
    return np.where(some, low, box[0]), np.where(some, high, box[1]), still


def _intersect(box: Box, lower: Floats, upper: Floats) -> Box:
    """What is no number cuts nothing."""
    return np.where(lower > box[0], lower, box[0]), np.where(upper < box[1], upper, box[1])


def _cut(box: Box, a: Floats, c: Floats, arithmetic: Arithmetic) -> Box:
    """a . x + c <= 0 bounds each coordinate, the others being at their best, row by row.

    a_i x_i <= -(c + sum over j != i of min(a_j x_j)); the sum is that of all j, less the i-th.
    """
    known = abs(c) < np.inf
    c = np.where(known, c, 0)
    # What is empty already stays so: no infinity of it meets a fraction.
    low, high = a * box[0][:, None, :], a * np.maximum(*box)[:, None, :]
    best, size = np.minimum(low, high), a.shape[2]
    reach = np.maximum(abs(low), abs(high)).sum(2) + abs(c)
    error = 2 * arithmetic.gamma(2 * size + 12) * reach + arithmetic.tiny * (size + 8)
    total = c + best.sum(2) - error
    rest = total[:, :, None] - best
    usable = (a != 0) & (abs(rest) < np.inf) & known[:, :, None]
    bound = -np.where(usable, rest, 0) / np.where(usable, a, 1)
    slack = arithmetic.gamma(8) * abs(bound) + arithmetic.tiny
    upper = np.where(usable & (a > 0), bound + slack, np.inf).min(1)
    lower = np.where(usable & (a < 0), bound - slack, -np.inf).max(1)
    empty = np.any(known & (total > 0), 1)[:, None]
    return _intersect(box, lower, np.where(empty, -np.inf, upper))


def _cut_jointly(
    box: Box, a: Floats, c: Floats, arithmetic: Arithmetic, deadline: float = float("inf")
) -> Box:
    """Bound each coordinate subject to all rows: by any multipliers >= 0 of theirs.

    x_i >= min over the box of (e_i + beta A) . x + beta c, where beta >= 0, A x + c <= 0.
    """
    rows, size = a.shape[1:]
    known = abs(c) < np.inf
    a, c = np.where(known[:, :, None], a, 0), np.where(known, c, 0)
    axes = np.concatenate([np.eye(size), -np.eye(size)])
    beta = arithmetic.numbers(_multipliers(box, (a, c), axes, deadline))
    direction = arithmetic.numbers(axes)[None] + beta @ a
    low, high = box[0][:, None, :], np.maximum(*box)[:, None, :]
    least = np.minimum(direction * low, direction * high).sum(2) + (beta * c[:, None, :]).sum(2)
    reach = np.maximum(abs(low), abs(high))
    scale = ((beta @ abs(a) + 1) * reach).sum(2) + (beta * abs(c)[:, None, :]).sum(2)
    error = 2 * arithmetic.gamma(2 * (size + rows) + 16) * scale
    small = arithmetic.tiny * (size * (rows + 4) + 8) * (1 + reach.sum(2))
    least = least - error - small
    return _intersect(box, least[:, :size], -least[:, size:])


def _multipliers(box: Box, planes: tuple[Floats, Floats], axes: Floats, deadline: float) -> Floats:
    """Good multipliers [batch, axes, rows], each maximised in turn; any numbers >= 0 would do."""
    a, c = map(_nearly, planes)
    low, high = (_nearly(x)[:, None, :] for x in box)
    center, radius = (low + high) / 2, (high - low) / 2
    beta = np.zeros((len(a), len(axes), a.shape[1]))
    direction = axes[None] + 0 * center
    for row in list(range(a.shape[1])) * PASSES:
        require_time(deadline)
        slope = a[:, row][:, None, :]
        without = direction - beta[:, :, row, None] * slope
        beta[:, :, row] = _best(without, slope, c[:, row], (center, radius))
        direction = without + beta[:, :, row, None] * slope
    return beta


def _nearly(x: Floats) -> Floats:
    """Fractions as floats; those beyond float64 as large ones."""
    return np.clip(x, -LARGE, LARGE).astype(np.float64) if x.dtype == object else x


def _best(direction: Floats, slope: Floats, constant: Floats, box: Box) -> Floats:
    """The t >= 0 that maximises min over the box of (direction + t slope) . x + t constant.

    Concave and piecewise linear in t: its slope falls at the t where a coordinate turns its sign.
    """
    center, radius = box
    slope = slope + 0 * direction
    turn = np.where(slope != 0, -direction / np.where(slope != 0, slope, 1), -1.0)
    ahead = turn > 0
    sign = np.where(direction != 0, np.sign(direction), np.sign(slope))
    start = (slope * center - radius * slope * sign).sum(2) + constant[:, None]
    turn = np.where(ahead, turn, np.inf)
    order = np.argsort(turn, axis=2, kind="stable")
    falls = np.where(ahead, 2 * radius * abs(slope), 0.0)
    after = start[:, :, None] - np.cumsum(np.take_along_axis(falls, order, 2), 2)
    first = (after <= 0).argmax(2)[:, :, None]
    found = np.take_along_axis(np.take_along_axis(turn, order, 2), first, 2)[:, :, 0]
    # Where it rises for ever the planes contradict each other, by no more than rounding as a rule.
    last = np.where(ahead, turn, 0.0).max(2)
    found = np.where(after[:, :, -1] > 0, last, found)
    usable = (start > 0) & (found < np.inf)
    return np.where(usable, found, 0.0)
