"""Back-substitution: a lower bound of rows over some values, as a linear form of the input.

CROWN, alpha and beta differ only in the multipliers that the relaxations choose on the way
(Zhang et al. 2018; Salman et al. 2019 for the dual view).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.bounds.enclosure import Enclosure
from verifier.families import Affine
from verifier.sets import Box, Owner
from verifier.tensors import Array, Float, Int, gamma

DOUBLE_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class LowerForm:
    """rows . values >= coefficients . x + constant, for every input x of the rows' regions."""

    coefficients: Float[Array, "rows n"]
    constant: Float[Array, " rows"]

    def least(self, region: Box, owner: Owner, enclosure: Enclosure) -> Float[Array, " rows"]:
        """The least value over the region, in float64, rounding included."""
        xp = enclosure.graph.xp
        size = self.coefficients.shape[-1]
        center = (region.lower + region.upper) / 2
        radius = (region.upper - region.lower) / 2
        error = gamma(min(size, xp.dot_terms) + 12, xp.unit_roundoff)
        reach = radius + 2 * error * region.magnitude(xp) + size * xp.least_normal
        value = xp.row_dot(self.coefficients, owner.spread(center))
        value = value - xp.row_dot(abs(self.coefficients), owner.spread(reach))
        rounding = 4 * DOUBLE_ROUNDOFF * (abs(value) + abs(self.constant))
        return value + self.constant - rounding - xp.tiny


@dataclass(eq=False)
class Trace:
    """What a back-substitution leaves behind for gradients and branching."""

    rows: dict[int, Float[Array, "rows _"]] = field(default_factory=dict)
    """The coefficients on the output of each nonlinear node."""


def back_substitute(
    enclosure: Enclosure,
    start: Mapping[int, Float[Array, "rows _"]],
    owner: Owner,
    tilts: Mapping[int, Float[Array, "rows _"]] | None = None,
    trace: Trace | None = None,
) -> LowerForm:
    """Bound ``sum_v start[v] . value_v`` from below by a form of the input.

    Sound for every tilt in its range (and any nonnegative cut multipliers). The constant is float64
    and is lowered by all rounding errors of the sweep, for sums taken in any order.
    """
    graph, xp = enclosure.graph, enclosure.graph.xp
    pending = dict(start)
    total = xp.doubles(xp.zeros(owner.rows))
    absolute = xp.doubles(xp.zeros(owner.rows))
    steps = 0
    for value in range(max(pending), 0, -1):
        rows = pending.pop(value, None)
        if rows is None:
            continue
        node = graph.node(value)
        if isinstance(node.operator, Affine):
            parts, constant = _through_affine(enclosure, value, rows, owner)
            if value in start or value not in enclosure.fused:
                constant = constant - xp.row_dot(abs(rows), owner.spread(enclosure.noise[value]))
        else:
            tilt = None if tilts is None else tilts.get(value)
            parts, constant = enclosure.relaxations[value].pull_back(rows, owner, tilt)
            if trace is not None:
                trace.rows[value] = rows
        for i, part in zip(node.inputs, parts, strict=True):
            if i not in pending:
                pending[i] = part
                continue
            pending[i] = pending[i] + part
            rounding = 2 * xp.unit_roundoff * enclosure.boxes[i].magnitude(xp)
            constant = constant - xp.row_dot(abs(pending[i]), owner.spread(rounding))
        constant = constant - owner.spread(enclosure.underflow[value])
        total, absolute, steps = total + constant, absolute + abs(constant), steps + 1
    total = total - (steps + 2) * DOUBLE_ROUNDOFF * absolute
    if 0 not in pending:
        return LowerForm(xp.zeros(owner.rows, graph.input_size), total)
    return LowerForm(pending[0], total)


def _through_affine(
    enclosure: Enclosure, value: int, rows: Float[Array, "rows n"], owner: Owner
) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
    """(rows on the inputs, rows . bias)."""
    xp, operator = enclosure.graph.xp, enclosure.graph.node(value).operator
    assert isinstance(operator, Affine)
    if operator.bias is None:
        return operator.adjoint(rows), xp.doubles(xp.zeros(owner.rows))
    return operator.adjoint(rows), xp.row_dot(rows, operator.bias[None, :])


def unit_start(
    enclosure: Enclosure, value: int, index: Int[Array, " rows"], sign: Float[Array, " rows"]
) -> tuple[dict[int, Array], Float[Array, " rows"]]:
    """The start of rows ``sign * e_index`` on a value, one step back where that is a table look-up.

    Returns the start and a constant to add; the noise of the skipped step, for owners to be charged
    with, is the caller's: ``enclosure.noise[value][owner, index]``.
    """
    xp, graph = enclosure.graph.xp, enclosure.graph
    node = graph.node(value) if value else None
    if node is None or not isinstance(node.operator, Affine):
        unit = xp.zeros(index.shape[0], graph.size(value))
        unit[xp.arange(index.shape[0]), index] = sign
        return {value: unit}, xp.doubles(xp.zeros(index.shape[0]))
    start: dict[int, Array] = {}
    for i, part in zip(node.inputs, node.operator.unit_rows(index), strict=True):
        signed = part * sign[:, None]
        start[i] = start[i] + signed if i in start else signed
    bias = node.operator.bias
    constant = xp.zeros(index.shape[0]) if bias is None else bias[index] * sign
    return start, xp.astype_double(constant)
