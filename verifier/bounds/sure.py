"""Bounds of a reduced network that hold for the network: one sweep in double precision.

The reduced form says what each unstable neuron reads, s = P x + L y + c, but for rounding. Swept
with all rounding charged, a row and its negation say how far off that is over the region: e. Then
for any multipliers m of these equations, and nu = Q + m L, whatever they were computed with,

    row >= sum_j min (nu_j y_j - m_j s_j) - |R + m P|_1 + m c + d - |m| e

where y_j = relu(s_j) over the neuron's box is least at its ends or at 0 (Lagrangian duality); of
two neurons that are a pair, the sum of both terms is least at a point of ``pairs.py``. What nu and
the sums are off by in float64 is a small share of the terms' sizes, which is charged, too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from verifier.bounds.back import DOUBLE_ROUNDOFF
from verifier.bounds.columns import Patterns
from verifier.bounds.cuts import STEPS, CutColumns, CutNet, columns_of
from verifier.bounds.optimise import TILT_STEPS
from verifier.bounds.paired import PairedColumns, PairedNet
from verifier.bounds.reduced import Reduced, Reducer, SureRows, Tail
from verifier.bounds.sure_rows import sure_layers
from verifier.bounds.sweep import equal_parts
from verifier.records import dataclass
from verifier.settings import Spread
from verifier.tensors import Array, Float, Int, gamma

EXTRA_TERMS = 40
"""Roundings besides those of sums over inputs, neurons and rows."""


@dataclass(frozen=True, eq=False)
class SureNet:
    """A reduced network in float64, and how far its equations may be off over the region."""

    net: Reduced
    error: Float[Array, " neurons"]
    """What a multiplier of 1 costs: that of the neuron's equation, and of sums that it is in."""
    row_error: Float[Array, " rows"]
    most: Float[Array, " neurons"]
    """The greatest magnitude of each neuron's input, and so of its output."""
    share: float
    """What sums err by at most, as a share of the size of their terms."""

    @staticmethod
    def of(reducer: Reducer, rows: SureRows | None, width: int = 1) -> SureNet | None:
        """That of all layers so far, for sums of so many rows.

        None where float64 is not at hand, or numbers overflow.
        """
        xp = reducer.enclosure.graph.xp
        if rows is None or xp.dtype != "float64":
            return None
        layers = sure_layers(reducer)
        net = reducer.in_double([layer.tail for layer in layers]).net(rows.tail)
        if not net.finite:
            return None
        region = reducer.enclosure.boxes[0]
        reach = region.magnitude(xp)[0] + (region.upper - region.lower)[0]
        most = xp.maximum(abs(net.lower), abs(net.upper))
        terms = net.inputs + net.neurons + 2 * width + EXTRA_TERMS
        unit = 2 * gamma(terms, DOUBLE_ROUNDOFF)

        def cost(tail: Tail) -> Array:
            links = abs(tail.links) @ most[: tail.links.shape[1]]
            return abs(tail.weights) @ reach + abs(tail.bias) + links

        errors = [xp.zeros(0)]
        for value, layer in zip(reducer.layers, layers, strict=True):
            if value not in reducer.costs:
                reducer.costs[value] = cost(layer.tail)
            errors.append(layer.error + unit * reducer.costs[value])
        error = xp.cat(errors, 0) + unit * most + xp.tiny
        row_error = rows.error + unit * cost(rows.tail) + xp.tiny
        return SureNet(net, error, row_error, most, unit)

    @cached_property
    def with_neurons(self) -> SureNet:
        """The same with all neurons' inputs as rows, after its own."""
        xp = self.net.xp
        both = xp.cat([self.row_error, self.error], 0)
        return replace(self, net=self.net.with_neurons, row_error=both)

    def ending_in(self, first: Array, second: Array, sign: Array) -> SureNet:
        """The same with the rows s_first + sign s_second, sums of neurons' inputs."""
        return replace(
            self,
            net=sums_of_neurons(self.net, first, second, sign),
            row_error=1.02 * (self.error[first] + self.error[second]),
        )

    def least(self, patterns: Patterns, spread: Spread) -> Float[Array, " batch"]:
        """What multipliers prove, slopes of free neurons in 255ths as in certificates."""
        count = patterns.rows.shape[0]
        self.net.expect(count)

        def part(some: slice) -> Array:
            return self._least(patterns[some])

        return self.net.xp.cat(spread.map(part, equal_parts(self.net, count, spread)), 0)

    def _least(self, patterns: Patterns) -> Float[Array, " batch"]:
        net, xp = self.net, self.net.xp
        patterns = _in_double(patterns, net)
        state = columns_of(net, patterns)
        bounded = state.back()
        nu, multiplier, made = bounded.passed, bounded.multiplier, bounded.rows_in
        low, high = self._boxes(patterns)
        leak = net.leak[:, None]
        ends = [nu * xp.maximum(s, leak * s) - multiplier * s for s in (low, high)]
        inner = xp.minimum(ends[0], ends[1])
        inner = xp.where((low < 0) & (high > 0), inner.clip(max=0), inner)
        error = self.error @ abs(multiplier) + self.share * (self.most @ abs(nu))
        constant = bounded.offset
        if isinstance(state, PairedColumns):
            pairs, size = state.pairs, abs(nu) + abs(multiplier)
            inner[pairs.both] = 0.0
            constant = constant + state.least.sum(0)
            error = error + pairs.off @ (size[pairs.first] + size[pairs.second])
        if isinstance(state, CutColumns):
            # Sums over the cuts are longer than those that the share is for.
            more = 2 * gamma(state.kappa.shape[0] + EXTRA_TERMS, DOUBLE_ROUNDOFF) / self.share
            error = error + (1 + more) * (state.cut_by.error @ state.kappa)
        total = constant + net.ones @ inner + net.bias @ multiplier
        total = total - net.input_ones @ abs(made)
        error = error + (abs(patterns.weight) * self.row_error[patterns.rows]).sum(1)
        least = total - 1.01 * error - xp.tiny
        nothing = xp.full((1,), -float("inf"))
        return xp.where(xp.function("isfinite", least), least, nothing)

    def _boxes(self, patterns: Patterns) -> tuple[Array, Array]:
        """The boxes of neurons' inputs, split ones cut to their sides: as columns."""
        net, xp, sides = self.net, self.net.xp, patterns.sides
        phase = xp.turned(patterns.phase)
        low, high = net.lower[:, None] + phase * 0, net.upper[:, None] + phase * 0
        if sides is not None:
            low, high = xp.turned(sides.lower), xp.turned(sides.upper)
        low = xp.where(phase > 0, low.clip(min=0), low)
        return low, xp.where(phase < 0, high.clip(max=0), high)


def sums_of_neurons(
    net: Reduced, first: Int[Array, " rows"], second: Int[Array, " rows"], sign: Array
) -> Reduced:
    """A network with the rows s_first + sign s_second."""
    column = sign[:, None]
    return replace(
        net,
        row_weights=net.weights[first] + column * net.weights[second],
        row_links=net.links[first] + column * net.links[second],
        row_bias=net.bias[first] + sign * net.bias[second],
    )


def _in_double(patterns: Patterns, net: Reduced) -> Patterns:
    """The same in the network's precision, with multipliers that certificates can hold.

    Those of pairs are in none, and lose much by small steps: where there are some, only signs are
    seen to.
    """
    xp = net.xp
    phase, count = xp.floats(patterns.phase), patterns.phase.shape[1]
    tilt, others = (xp.floats(patterns.tilt[:, x]) for x in (slice(count), slice(count, None)))
    tilt = tilt.clip(min=0)
    others = xp.cat([others[:, :count], others[:, count:].clip(min=0)], 1)
    slope = tilt.clip(max=1)
    if not isinstance(net, PairedNet) or not net.pairs.first.shape[0]:
        slope = xp.function("round", slope * TILT_STEPS) / TILT_STEPS
        if isinstance(net, CutNet):
            kappa = net.cuts.in_steps(others[:, count:]) * (net.cuts.unit / STEPS)
            others = xp.cat([others[:, :count], kappa], 1)
    sides = patterns.sides
    if sides is not None:
        sides = replace(sides, lower=xp.floats(sides.lower), upper=xp.floats(sides.upper))
    return replace(
        patterns,
        weight=xp.floats(patterns.weight),
        phase=phase,
        tilt=xp.cat([xp.where(phase == 0, slope, tilt), others], 1),
        sides=sides,
        unit=None if patterns.unit is None else xp.floats(patterns.unit),
    )
