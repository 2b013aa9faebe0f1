"""Back-substitution: a lower bound of rows over some values, as a linear form of the input.

CROWN, alpha and beta differ only in the multipliers that the relaxations choose on the way
(Zhang et al. 2018; Salman et al. 2019 for the dual view).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from verifier.bounds.composed import Composed
from verifier.bounds.enclosure import Enclosure
from verifier.families import Affine
from verifier.records import dataclass
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
        center = region.center
        radius = region.radius
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
    noise: Mapping[int, Float[Array, "batch _"]] | None = None
    """Where given, rounding errors are not taken from the constant, but summed up in ``lost``; and
    what nonlinear nodes lose is this, for each unit of a coefficient."""
    lost: Float[Array, " rows"] | None = None
    """By how much rows may be off the form that comes back, either way."""


@dataclass(frozen=True, eq=False)
class Route:
    """How far a back-substitution goes, and what it may skip."""

    stop: int = 0
    """The value whose form is wanted: rows depend on the input only by way of it."""
    shortcuts: Mapping[int, Composed] = field(default_factory=dict)
    """Composed relaxations of the same boxes, to be taken where rows come to them."""


def back_substitute(
    enclosure: Enclosure,
    start: Mapping[int, Float[Array, "rows _"]],
    owner: Owner,
    tilts: Mapping[int, Float[Array, "rows _"]] | None = None,
    trace: Trace | None = None,
    route: Route | None = None,
) -> LowerForm:
    """Bound ``sum_v start[v] . value_v`` from below by a form of the input, or of another value.

    Sound for every tilt in its range (and any nonnegative cut multipliers). The constant is float64
    and is lowered by all rounding errors of the sweep, for sums taken in any order. With
    ``trace.noise`` it is not, and the form is near the rows, not below them.
    """
    graph, xp = enclosure.graph, enclosure.graph.xp
    pending = dict(start)
    total = xp.doubles(xp.zeros(owner.rows))
    absolute = xp.doubles(xp.zeros(owner.rows))
    steps, route, ledger = 0, route or Route(), _Ledger(trace)
    stop = route.stop
    for value in range(max(pending), stop, -1):
        rows = pending.pop(value, None)
        if rows is None:
            continue
        tilt = None if tilts is None else tilts.get(value)
        inputs, parts, constant = _through(enclosure, value, rows, (owner, tilt), route)
        if isinstance(graph.node(value).operator, Affine):
            if value in start or value not in enclosure.fused:
                ledger.charge(xp.row_dot(abs(rows), owner.spread(enclosure.noise[value])))
        elif trace is not None:
            trace.rows[value] = rows
            if trace.noise is not None:
                ledger.charge(xp.row_dot(abs(rows), owner.spread(trace.noise[value])))
        for i, part in zip(inputs, parts, strict=True):
            if i not in pending:
                pending[i] = part
                continue
            pending[i] = pending[i] + part
            rounding = 2 * xp.unit_roundoff * enclosure.boxes[i].magnitude(xp)
            ledger.charge(xp.row_dot(abs(pending[i]), owner.spread(rounding)))
        ledger.charge(owner.spread(enclosure.underflow[value]))
        constant = ledger.settled(constant)
        total, absolute, steps = total + constant, absolute + abs(constant), steps + 1
    total = ledger.rounded(total, (steps + 2) * DOUBLE_ROUNDOFF * absolute)
    if stop not in pending:
        return LowerForm(xp.zeros(owner.rows, graph.size(stop)), total)
    return LowerForm(pending[stop], total)


@dataclass(eq=False)
class _Ledger:
    """What rounding may take: from the constant, or kept apart where a trace wants that."""

    trace: Trace | None
    losses: list[Array] = field(default_factory=list[Array])
    """Of the step at work, or all of them where they are kept apart."""

    def charge(self, loss: Array) -> None:
        """Note a loss, at least 0: float64."""
        self.losses.append(loss)

    def settled(self, constant: Array) -> Array:
        """The constant of a step, less its losses unless these are kept apart."""
        if self.trace is not None and self.trace.noise is not None:
            return constant
        for loss in self.losses:
            constant = constant - loss
        self.losses = []
        return constant

    def rounded(self, total: Array, rounding: Array) -> Array:
        """The sum of the constants; ``rounding``: what that may be off by."""
        if self.trace is None or self.trace.noise is None:
            return total - rounding
        lost = rounding
        for loss in self.losses:
            lost = lost + loss
        self.trace.lost = lost * (1 + (len(self.losses) + 4) * DOUBLE_ROUNDOFF)
        return total


def _through(
    enclosure: Enclosure,
    value: int,
    rows: Float[Array, "rows n"],
    how: tuple[Owner, Array | None],
    route: Route,
) -> tuple[tuple[int, ...], tuple[Array, ...], Float[Array, " rows"]]:
    """The values that rows on a value go back to, the rows there, and a constant."""
    node, (owner, tilt) = enclosure.graph.node(value), how
    if value in route.shortcuts:
        part, constant = route.shortcuts[value].pull_back(rows, owner)
        return (route.shortcuts[value].source,), (part,), constant
    if isinstance(node.operator, Affine):
        return node.inputs, *_through_affine(enclosure, value, rows, owner)
    return node.inputs, *enclosure.relaxations[value].pull_back(rows, owner, tilt)


def _through_affine(
    enclosure: Enclosure, value: int, rows: Float[Array, "rows n"], owner: Owner
) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
    """(rows on the inputs, rows . bias)."""
    xp, operator = enclosure.graph.xp, enclosure.graph.node(value).operator
    assert isinstance(operator, Affine)
    if operator.bias is None:
        return operator.adjoint(rows), xp.doubles(xp.zeros(owner.rows))
    return operator.adjoint(rows), xp.row_dot(rows, operator.bias[None, :])


@dataclass(eq=False)
class UnitStart:
    """The start of rows ``sign * e_index`` on a value, as far back as looking up will do."""

    enclosure: Enclosure
    start: dict[int, Float[Array, "rows _"]] = field(default_factory=dict)
    biases: list[Float[Array, " rows"]] = field(default_factory=list)
    """What the operators that were passed add, float64."""
    met: list[int] = field(default_factory=list)
    """Values where coefficients were added to others."""
    skipped: list[tuple[int, Int[Array, " rows"]]] = field(default_factory=list)
    """Elements of affine values that were passed: their noise is still to be charged."""

    @staticmethod
    def of(
        enclosure: Enclosure, value: int, index: Int[Array, " rows"], sign: Float[Array, " rows"]
    ) -> UnitStart:
        """Through one affine operator, or through several that only pick elements."""
        made = UnitStart(enclosure)
        made._follow(value, index, sign)
        return made

    def _follow(self, value: int, index: Array, sign: Array) -> None:
        node = self.enclosure.graph.node(value) if value else None
        if node is None or not isinstance(node.operator, Affine):
            self._unit(value, index, sign)
            return
        self.skipped.append((value, index))
        picks = node.operator.picks(index)
        if picks is not None:
            for i, (place, factor) in zip(node.inputs, picks, strict=True):
                self._follow(i, place, sign * factor)
            return
        for i, part in zip(node.inputs, node.operator.unit_rows(index), strict=True):
            self._add(i, part * sign[:, None])
        if node.operator.bias is not None:
            xp = self.enclosure.graph.xp
            self.biases.append(xp.astype_double(node.operator.bias[index] * sign))

    def constant(self, owner: Owner, batch: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """What to add to the rows: biases, less all rounding and noise on the way; float64."""
        terms = [*self.biases, *(-loss for loss in self._losses(owner, batch))]
        total, rounding = self._sum(terms, owner)
        return total - rounding

    def apart(
        self, owner: Owner, batch: Int[Array, " rows"]
    ) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
        """What to add to the rows, and by how much that may be off, either way; float64."""
        total, rounding = self._sum(self.biases, owner)
        lost, more = self._sum(self._losses(owner, batch), owner)
        return total, (lost + more + rounding) * (1 + 4 * DOUBLE_ROUNDOFF)

    def _losses(self, owner: Owner, batch: Int[Array, " rows"]) -> list[Float[Array, " rows"]]:
        enclosure, xp = self.enclosure, self.enclosure.graph.xp
        terms = [xp.astype_double(enclosure.noise[v][batch, i]) for v, i in self.skipped]
        for value in self.met:
            rounding = 2 * xp.unit_roundoff * enclosure.boxes[value].magnitude(xp)
            terms.append(xp.row_dot(abs(self.start[value]), owner.spread(rounding)))
        return terms

    def _sum(self, terms: list[Array], owner: Owner) -> tuple[Array, Array]:
        """A sum, and what it is off by at most."""
        xp = self.enclosure.graph.xp
        total = absolute = xp.doubles(xp.zeros(owner.rows))
        for term in terms:
            total, absolute = total + term, absolute + abs(term)
        return total, (len(terms) + 2) * DOUBLE_ROUNDOFF * absolute

    def _unit(self, value: int, index: Array, sign: Array) -> None:
        xp = self.enclosure.graph.xp
        unit = xp.zeros(index.shape[0], self.enclosure.graph.size(value))
        unit[xp.arange(index.shape[0]), index] = sign
        self._add(value, unit)

    def _add(self, value: int, part: Array) -> None:
        if value in self.start:
            part = self.start[value] + part
            self.met.append(value)
        self.start[value] = part
