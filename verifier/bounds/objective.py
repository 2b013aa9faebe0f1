"""Bounds of the property's rows: which clauses no point of a region can meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.back import DOUBLE_ROUNDOFF, LowerForm, Trace, back_substitute
from verifier.bounds.enclosure import Enclosure
from verifier.sets import Owner
from verifier.tensors import Array, Backend, Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Objective:
    """The unsafe set, as clauses of rows.

    Clause k is met where all its rows have outputs . y + inputs . x - threshold <= 0; a region is
    unsafe where some clause is met.
    """

    outputs: Float[Array, "rows m"]
    inputs: Float[Array, "rows n"] | None
    clause: Int[Array, " rows"]
    clauses: int
    xp: Backend
    rounded: bool = False
    """Did the working precision round some coefficient?"""

    @staticmethod
    def of(
        outputs: np.ndarray, inputs: np.ndarray | None, clause: np.ndarray, xp: Backend
    ) -> Objective:
        """From float64 rows; ``clause`` ascends from 0 and leaves none out."""
        count = int(clause[-1]) + 1
        given = [outputs] if inputs is None else [outputs, inputs]
        moved = [xp.floats(x) for x in given]
        rounded = any((xp.numpy(m) != x).any() for m, x in zip(moved, given, strict=True))
        extra = None if inputs is None else moved[1]
        return Objective(moved[0], extra, xp.ints(clause), count, xp, rounded)

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.outputs.shape[0]

    def best_of_clauses(self, x: Float[Array, "batch rows"]) -> Float[Array, "batch clauses"]:
        """The greatest entry of each clause."""
        if self.clauses == self.size:
            return x
        parts = [self.xp.amax(x[:, self._rows_of(k)], -1)[:, None] for k in range(self.clauses)]
        return self.xp.cat(parts, 1)

    def rounding(
        self, row: Int[Array, " asked"], owner: Owner, enclosure: Enclosure
    ) -> Float[Array, " asked"]:
        """What the rounding of some rows' coefficients may cost: next to nothing, mostly 0."""
        xp, output = self.xp, enclosure.graph.output
        cost = xp.doubles(xp.zeros(row.shape[0]))
        parts = [(output, self.outputs), (0, self.inputs)]
        if not self.rounded and (output > 0 or self.inputs is None):
            return cost
        for value, coefficients in parts:
            if coefficients is not None:
                unit = 4 * xp.unit_roundoff * enclosure.boxes[value].magnitude(xp)
                cost = cost + xp.row_dot(abs(coefficients[row]), owner.spread(unit))
        return cost

    def _rows_of(self, k: int) -> Array:
        return self.xp.nonzero(self.clause == k)[0]


@dataclass(frozen=True, eq=False)
class ObjectiveBounds:
    """Lower bounds of the rows over a batch, and the planes that gave them.

    ``least[b, s] > 0`` refutes clause ``clause[s]``; row s of batch entry b is at least
    ``coefficients[b, s] . x + constant[b, s]`` over the region. Rows that were not asked for have
    least = +inf and a zero plane.
    """

    least: Float[Array, "batch rows"]
    coefficients: Float[Array, "batch rows n"]
    constant: Float[Array, "batch rows"]
    batch: Int[Array, " asked"]
    row: Int[Array, " asked"]
    trace: Trace


def bound_objective(
    enclosure: Enclosure,
    objective: Objective,
    thresholds: Float[Array, "batch rows"],
    asked: Bool[Array, "batch rows"],
) -> ObjectiveBounds:
    """Back-substitute the rows that are asked for; thresholds are float64."""
    xp = enclosure.graph.xp
    batch, row = xp.nonzero(asked)
    owner = Owner.of(batch, enclosure.batch)
    trace = Trace()
    start = {enclosure.graph.output: objective.outputs[row]}
    if objective.inputs is not None:
        extra = objective.inputs[row]
        start[0] = start[0] + extra if 0 in start else extra
    form = back_substitute(enclosure, start, owner, trace=trace)
    rounding = objective.rounding(row, owner, enclosure)
    form = LowerForm(form.coefficients, form.constant - rounding)
    threshold = thresholds[batch, row]
    value = form.least(enclosure.boxes[0], owner, enclosure)
    rounding = 4 * DOUBLE_ROUNDOFF * (abs(value) + abs(threshold))
    shape = tuple(asked.shape)
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    least = xp.doubles(xp.zeros(*shape)) + infinity
    value = value - threshold - rounding
    # A threshold of -inf marks a clause that the case does not have: nothing meets it.
    finite = xp.function("isfinite", form.constant) & xp.function("isfinite", value)
    absent = threshold == -infinity
    least[batch, row] = xp.where(absent, infinity, xp.where(finite, value, -infinity))
    coefficients = xp.doubles(xp.zeros(*shape, enclosure.graph.input_size))
    sound = (finite & ~absent)[:, None]
    planes = xp.astype_double(form.coefficients)
    coefficients[batch, row] = xp.where(sound, planes, xp.doubles(xp.zeros(1)))
    constant = xp.doubles(xp.zeros(*shape)) - infinity
    rounding = 4 * DOUBLE_ROUNDOFF * (abs(form.constant) + abs(threshold))
    offset = form.constant - threshold - rounding
    constant[batch, row] = xp.where(finite, offset, -infinity)
    return ObjectiveBounds(least, coefficients, constant, batch, row, trace)
