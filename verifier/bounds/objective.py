"""Bounds of the property's rows: which clauses no point of a region can meet."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from verifier.bounds.back import DOUBLE_ROUNDOFF, LowerForm, Trace, back_substitute
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import Rows, optimise
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Bool, Float, Int, distinct, gamma


def lost(enclosure: Enclosure, value: int) -> Float[Array, " batch"]:
    """What coefficients on a value may cost that the working precision rounds below its range."""
    xp = enclosure.graph.xp
    return 2 * xp.least_normal * xp.astype_double(enclosure.boxes[value].magnitude(xp)).sum(1)


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

    def start(
        self, row: Int[Array, " asked"], enclosure: Enclosure, owner: Owner
    ) -> tuple[dict[int, Array], Float[Array, " asked"]]:
        """Some rows as a back-substitution starts them, and what their rounding may cost.

        Rows are float64 in the property; each coefficient carries one rounding to the working
        precision, and another where the output is the input.
        """
        xp, output = self.xp, enclosure.graph.output
        start = {output: self.outputs[row]}
        unit = 2 * xp.unit_roundoff

        def cost(rows: Array, value: int) -> Array:
            reach = unit * enclosure.boxes[value].magnitude(xp)
            return xp.row_dot(abs(rows), owner.spread(reach)) + owner.spread(lost(enclosure, value))

        error = cost(start[output], output)
        if self.inputs is not None:
            extra = self.inputs[row]
            error = error + cost(extra, 0)
            start[0] = start[0] + extra if 0 in start else extra
        return start, error + xp.tiny

    def best_of_clauses(self, x: Float[Array, "batch rows"]) -> Float[Array, "batch clauses"]:
        """The greatest entry of each clause."""
        if self.clauses == self.size:
            return x
        return self.xp.segment_max(x.T, self.clause, self.clauses).T

    def by_boxes(
        self, enclosure: Enclosure, thresholds: Float[Array, "batch rows"]
    ) -> Float[Array, "batch clauses"]:
        """What the outputs' boxes say of the best row of each clause: above 0, it is not met."""
        xp, output = self.xp, enclosure.graph.output
        parts = [(output, self.outputs)] + ([] if self.inputs is None else [(0, self.inputs)])
        margin, size, terms = -thresholds, abs(thresholds), 8
        for value, coefficients in parts:
            box, rows = enclosure.boxes[value], xp.astype_double(coefficients)
            low, high = xp.astype_double(box.lower), xp.astype_double(box.upper)
            margin = margin + low @ rows.clip(min=0).T + high @ rows.clip(max=0).T
            size = size + xp.astype_double(box.magnitude(xp)) @ abs(rows).T
            terms += rows.shape[1]
            margin = margin - lost(enclosure, value)[:, None]
        margin = margin - gamma(terms, 2 * xp.unit_roundoff) * size
        absent = thresholds == -float("inf")
        return self.best_of_clauses(xp.where(absent, abs(thresholds), margin))

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
                cost = cost + owner.spread(lost(enclosure, value))
        return cost

    @cached_property
    def _extents(self) -> tuple[np.ndarray, np.ndarray]:
        """The first row of each clause, and the number of its rows."""
        _, *extents = np.unique(self.xp.numpy(self.clause), return_index=True, return_counts=True)
        return extents[0], extents[1]

    @cached_property
    def by_width(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The clauses with as many rows, for each number of rows, and their rows.

        Int [clauses] and [clauses, width]; widths ascend.
        """
        first, size = self._extents
        widths = distinct(size)
        parts = [(np.flatnonzero(size == width), width) for width in widths]
        return tuple((k, first[k][:, None] + np.arange(width)) for k, width in parts)

    @cached_property
    def members(self) -> Int[Array, "clauses width"]:
        """The rows of each clause; shorter ones repeat their first row."""
        first, size = self._extents
        place = np.arange(size.max())
        return self.xp.ints(first[:, None] + np.where(place < size[:, None], place, 0))


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
    start, error = objective.start(row, enclosure, owner)
    form = back_substitute(enclosure, start, owner, trace=trace)
    shape = tuple(asked.shape)
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    found = ObjectiveBounds(
        xp.doubles(xp.zeros(*shape)) + infinity,
        xp.doubles(xp.zeros(*shape, enclosure.graph.input_size)),
        xp.doubles(xp.zeros(*shape)) - infinity,
        batch,
        row,
        trace,
    )
    form = LowerForm(form.coefficients, form.constant - error)
    threshold = thresholds[batch, row]
    value = form.least(enclosure.boxes[0], owner, enclosure)
    rounding = 4 * DOUBLE_ROUNDOFF * (abs(value) + abs(threshold))
    value = value - threshold - rounding
    rounding = 4 * DOUBLE_ROUNDOFF * (abs(form.constant) + abs(threshold))
    form = LowerForm(form.coefficients, form.constant - threshold - rounding)
    # A threshold of -inf marks a clause that the case does not have: nothing meets it.
    absent = threshold == -infinity
    _record(found, (batch, row), xp.where(absent, infinity, value), form, xp)
    return found


def _record(
    found: ObjectiveBounds,
    where: tuple[Array, Array],
    value: Float[Array, " asked"],
    form: LowerForm,
    xp: Backend,
) -> None:
    """Write bounds and planes of some rows; what is no number bounds nothing."""
    infinity = xp.doubles(xp.zeros(1)) + float("inf")
    finite = xp.function("isfinite", form.constant) & xp.function("isfinite", value)
    absent = value == infinity
    found.least[where] = xp.where(absent | finite, value, -infinity)
    planes = xp.astype_double(form.coefficients)
    found.coefficients[where] = xp.where(finite[:, None], planes, xp.doubles(xp.zeros(1)))
    found.constant[where] = xp.where(finite, form.constant, -infinity)


@dataclass(frozen=True, eq=False)
class Sharpened:
    """Rows whose slopes were optimised, and the slopes: tilts[v] is [rows, n]."""

    batch: Int[Array, " rows"]
    row: Int[Array, " rows"]
    tilts: dict[int, Array]


def sharpen(
    enclosure: Enclosure,
    objective: Objective,
    found: ObjectiveBounds,
    thresholds: Float[Array, "batch rows"],
    settings: tuple[BoundSettings, int],
) -> Sharpened | None:
    """Optimise the slopes of the best row of every clause that is not refuted yet, in place.

    ``settings`` are the optimiser's, and the number of its steps. Returns the slopes of the rows
    that improved.
    """
    xp = enclosure.graph.xp
    chosen = _best_rows(objective, found)
    if chosen.shape[0] == 0:
        return None
    batch, row = found.batch[chosen], found.row[chosen]
    threshold = thresholds[batch, row]
    rounding = 4 * DOUBLE_ROUNDOFF * abs(threshold)
    owner = Owner.of(batch, enclosure.batch)
    start, error = objective.start(row, enclosure, owner)
    rows = Rows(start, -threshold - rounding - error, owner)
    better = optimise(enclosure, rows, settings[1], settings[0])
    constant = better.form.constant
    form = LowerForm(better.form.coefficients, constant - 4 * DOUBLE_ROUNDOFF * abs(constant))
    improved = better.least > found.least[batch, row]
    some = xp.nonzero(improved)[0]
    where = (batch[some], row[some])
    form = LowerForm(form.coefficients[some], form.constant[some])
    _record(found, where, better.least[some], form, xp)
    for value, rows_there in better.trace.rows.items():
        found.trace.rows[value][chosen] = rows_there
    tilts = {value: tilt[some] for value, tilt in better.tilts.items()}
    return Sharpened(batch[some], row[some], tilts)


def _best_rows(objective: Objective, found: ObjectiveBounds) -> Int[Array, " chosen"]:
    """The places, among the rows asked for, of the best one of each clause that is not refuted."""
    xp = objective.xp
    best = objective.best_of_clauses(found.least)
    clause = objective.clause[found.row]
    mine = best[found.batch, clause]
    chosen = (found.least[found.batch, found.row] >= mine) & ~(mine > 0)
    return xp.nonzero(chosen)[0]
