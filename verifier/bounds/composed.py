"""Relaxations of several nodes in a row, multiplied out."""

from __future__ import annotations

import numpy as np

from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Backend, Float, ScatterPlan


@dataclass(frozen=True, eq=False)
class Composed:
    """below . z + low <= v <= above . z + high on one box, for two values v and z far apart.

    Each element of v needs few of z; those that need the same ones form a group, and all groups
    have the same size. ``noise`` bounds, per unit of |coefficient| on v, the rounding of all that
    a row computes here, ``underflow`` what is lost below the least normal number.
    """

    xp: Backend
    source: int
    """The value z."""
    outputs: Array
    """[groups * r]: elements of v, group by group."""
    plan: ScatterPlan
    """Where the groups' elements of z go: [groups * k]."""
    back: ScatterPlan
    """Where the groups' elements of v go: the inverse of ``outputs``."""
    below: Float[Array, "groups r k"]
    above: Float[Array, "groups r k"]
    low: Float[Array, "1 m"]
    high: Float[Array, "1 m"]
    noise: Float[Array, "1 m"]
    underflow: float

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner
    ) -> tuple[Float[Array, "rows n"], Float[Array, " rows"]]:
        """Coefficients A on z, and c with rows . v >= A . z + c."""
        xp, count = self.xp, rows.shape[0]
        groups, each, _ = self.below.shape
        positive = rows.clip(min=0)
        negative = rows - positive

        def grouped(x: Array) -> Array:
            return xp.columns(x, self.outputs).reshape(count, groups, each).swapaxes(0, 1)

        part = grouped(positive) @ self.below + grouped(negative) @ self.above
        flat = part.swapaxes(0, 1).reshape(count, -1)
        constant = xp.row_dot(positive, self.low - self.noise)
        constant = constant + xp.row_dot(negative, self.high + self.noise)
        return xp.scatter_columns(flat, self.plan), constant - self.underflow

    def push_forward(
        self, rows: Float[Array, "rows m"], inputs: Float[Array, "rows n"]
    ) -> Float[Array, "rows m"]:
        """The value of the planes that ``pull_back`` chose, at points of z."""
        xp, count = self.xp, rows.shape[0]
        groups, _, each = self.below.shape
        z = xp.columns(inputs, self.plan.index).reshape(count, groups, each).swapaxes(0, 1)

        def side(slopes: Array, offset: Array) -> Array:
            value = (z @ slopes.swapaxes(1, 2)).swapaxes(0, 1).reshape(count, -1)
            return xp.scatter_columns(value, self.back) + offset

        below, above = side(self.below, self.low), side(self.above, self.high)
        return xp.where(rows >= 0, below, above)


def groups_of(
    used: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that use the same columns: (rows [groups, r], columns [groups, k]).

    ``used`` is bool [m, n]. Where groups differ in size, all rows are one group that uses all
    columns.
    """
    alike, group = np.unique(used, axis=0, return_inverse=True)
    sizes, widths = np.bincount(group.reshape(-1)), alike.sum(1)
    if (sizes != sizes[0]).any() or (widths != widths[0]).any() or widths[0] == 0:
        return np.arange(used.shape[0])[None], np.arange(used.shape[1])[None]
    rows = np.argsort(group.reshape(-1), kind="stable").reshape(len(sizes), sizes[0])
    columns = np.nonzero(alike)[1].reshape(len(sizes), widths[0])
    return rows, columns
