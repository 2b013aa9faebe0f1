"""What the signs of a subproblem imply: bounds pushed to and fro through the rows of the network.

The property's rows, at most 0, and every neuron's own row, on the side of 0 that is known, bound
the values in them once those of the others are bounded (feasibility-based bound tightening, Belotti
et al. 2009). Where a network computes logic this is unit propagation. What is found here proposes
signs that need no splits, and subproblems that a linear program should close; nothing rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.settings import ONE_BY_ONE, Spread
from verifier.tensors import Array, Backend, Bool, Float, Int

MOST_TERMS = 10_000
"""Elements of a network's matrices above which nothing is propagated: programs would take long."""
ELEMENTS = 2_000_000
"""Elements of the rows that are looked at together."""
ROUNDS = 30
ROUNDING = 1e-6
"""By how much of its terms' size a row may be off by rounding."""
TOLERANCE = 1e-4
"""How far rows may be violated, for rounding."""
PROGRESS = 1e-3
"""A round must shrink some box by so much of its width, summed over all, for another to follow."""
WORTH = 0.1
"""The share of the neurons whose signs the property alone must imply for it to pay."""
URGENT = 2.5
"""A row that takes one variable more to be violated counts so many times less.

2 is the chance that random values violate it: best where formulas come from decision trees, whose
first variable is in all clauses; up to 5 is best for formulas of short random clauses. With 5,
trees of the former have 34 times as many leaves.
"""
BOTH = 1024.0
"""How much more a neuron counts that matters on both sides than on one."""


@dataclass(frozen=True, eq=False)
class Implied:
    """What a batch of sign patterns implies."""

    sign: Float[Array, "batch neurons"]
    """+1: the neuron is at least 0; -1: at most 0; 0: either."""
    refuted: Bool[Array, " batch"]
    urgency: Float[Array, "batch neurons"]
    """How much splitting the neuron would do; 0 where that is a detour.

    Of an open pattern: how close it brings rows to being violated, on both sides, where the sign is
    not implied. Of a refuted one: how near the middle of the chain of implications its sign is.
    """

    @staticmethod
    def cat(parts: Sequence[Implied], xp: Backend) -> Implied:
        """All rows of several results."""
        return xp.joined(parts)


@dataclass(eq=False)
class _Boxes:
    """Boxes of all variables (inputs, then outputs of neurons), and of the neurons' inputs."""

    low: Float[Array, "batch variables"]
    high: Float[Array, "batch variables"]
    lower: Float[Array, "batch neurons"]
    upper: Float[Array, "batch neurons"]
    empty: Bool[Array, " batch"]

    def cut(self, above: Array, below: Array, xp: Backend) -> None:
        """Keep what is at most ``above`` and at least ``below`` of the variables."""
        high, low = xp.minimum(self.high, above), xp.maximum(self.low, below)
        self.low, self.high = self._ordered(low, high, xp)

    def cut_inputs(self, above: Array, below: Array, xp: Backend) -> None:
        """The same of the neurons' inputs."""
        upper, lower = xp.minimum(self.upper, above), xp.maximum(self.lower, below)
        self.lower, self.upper = self._ordered(lower, upper, xp)

    def _ordered(self, low: Array, high: Array, xp: Backend) -> tuple[Array, Array]:
        """Note which boxes are empty; ends that passed each other, if only by rounding, meet."""
        slack = TOLERANCE * (1 + xp.maximum(abs(low), abs(high)))
        self.empty = self.empty | (low > high + slack).any(1)
        crossed, middle = low > high, low / 2 + high / 2
        return xp.where(crossed, middle, low), xp.where(crossed, middle, high)

    @property
    def width(self) -> Float[Array, "batch _"]:
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class _Ends:
    """What the terms of the neurons' rows are at least and at most, and their sums."""

    coefficient: Float[Array, "neurons terms"]
    least: Float[Array, "batch neurons terms"]
    most: Float[Array, "batch neurons terms"]
    low: Float[Array, "batch neurons"]
    high: Float[Array, "batch neurons"]


@dataclass(frozen=True, eq=False)
class Propagator:
    """A reduced network's rows as lists of the variables in them, padded to one length."""

    net: Reduced
    index: Int[Array, "neurons terms"]
    coefficient: Float[Array, "neurons terms"]
    """0 where there is no such term."""
    place: Int[Array, "variables uses"]
    """Where each variable stands among all terms; one past the last where there is no such use.

    Variables after the last one that is in a term are left out.
    """
    given: Float[Array, " neurons"]
    """The signs that the property alone implies; 0: none."""

    @staticmethod
    def of(net: Reduced, rows: Int[Array, "batch width"]) -> Propagator | None:
        """A propagator for the clauses with some rows.

        None where the property alone implies little, and where the matrices have many entries.
        """
        xp, count = net.xp, net.inputs + net.neurons
        matrix = np.concatenate([xp.numpy(net.weights), xp.numpy(net.links)], 1)
        if np.count_nonzero(matrix) > MOST_TERMS:
            return None
        index, coefficient = _lists(matrix)
        row, place = np.nonzero(coefficient)
        uses = [(row * coefficient.shape[1] + place)[index[row, place] == v] for v in range(count)]
        padded = np.full((count, max(1, *(len(u) for u in uses))), coefficient.size)
        for variable, used in enumerate(uses):
            padded[variable, : len(used)] = used
        # The outputs of the last layer are in no neuron's row.
        padded = padded[: 1 + max((v for v, used in enumerate(uses) if len(used)), default=0)]
        none = xp.zeros(rows.shape[0], net.neurons)
        lists = xp.ints(index), xp.floats(coefficient), xp.ints(padded)
        result = Propagator(net, *lists, none[0])
        found = result.run(rows, none)
        share = xp.floats(found.sign != 0).sum(1) / max(1, net.neurons)
        pays = found.refuted | (share >= WORTH)
        same = (found.sign == found.sign[0]).all(0)
        return replace(result, given=found.sign[0] * same) if bool(pays.any()) else None

    def run(
        self,
        rows: Int[Array, "batch width"],
        phase: Float[Array, "batch neurons"],
        spread: Spread = ONE_BY_ONE,
    ) -> Implied:
        """What patterns imply whose ``rows`` are all to be at most 0."""
        xp = self.net.xp
        each = max(1, ELEMENTS // max(1, self.coefficient.shape[0] * self.coefficient.shape[1]))
        each = min(each, -(-rows.shape[0] // spread.count))

        def part(start: int) -> Implied:
            return self._part(rows[start : start + each], phase[start : start + each])

        return Implied.cat(spread.map(part, range(0, rows.shape[0], each)), xp)

    def _part(self, rows: Array, phase: Array) -> Implied:
        xp = self.net.xp
        boxes = self._start(phase)
        when = phase * 0
        for turn in range(1, ROUNDS + 1):
            before = boxes.width
            self._outputs(boxes)
            for k in range(rows.shape[1]):
                self._property(boxes, rows[:, k])
            self._neurons(boxes)
            sign = _signs(boxes, xp)
            when = xp.where((sign != 0) & (when == 0), when * 0 + turn, when)
            gained = (before - boxes.width) / (before + TOLERANCE)
            if not bool(((gained.sum(1) > PROGRESS) & ~boxes.empty).any()):
                break
        sign = _signs(boxes, xp)
        links = xp.floats((sign != 0) & (self.given == 0) & (phase == 0)) * when
        middle = (xp.amax(links, 1) / 2)[:, None]
        halving = xp.floats(links > 0) / (1 + abs(links - middle))
        urgency = self._urgency(boxes) * xp.floats(sign == 0)
        urgency = xp.where(boxes.empty[:, None], halving, urgency)
        return Implied(sign, boxes.empty, urgency)

    def _start(self, phase: Array) -> _Boxes:
        net, xp, count = self.net, self.net.xp, phase.shape[0]
        lower = xp.where(phase > 0, net.lower.clip(min=0), net.lower)
        upper = xp.where(phase < 0, net.upper.clip(max=0), net.upper)
        ones = xp.full((count, net.inputs), 1.0)
        low = xp.cat([-ones, lower.clip(min=0) + net.leak * lower.clip(max=0)], 1)
        high = xp.cat([ones, upper.clip(min=0) + net.leak * upper.clip(max=0)], 1)
        return _Boxes(low, high, lower, upper, phase.any(1) & False)

    def _outputs(self, boxes: _Boxes) -> None:
        """Between the inputs and the outputs of neurons."""
        net, xp, first = self.net, self.net.xp, self.net.inputs
        leaky = net.leak > 0
        slope = xp.where(leaky, net.leak, net.leak + 1)
        infinity = xp.full((1,), float("inf"))
        low, high = boxes.low[:, first:], boxes.high[:, first:]
        down = xp.where(leaky, high.clip(max=0) / slope, high * 0)
        above = xp.where(high > 0, high, down)
        # An output that is positive by rounding alone does not make a neuron positive.
        up = xp.where(leaky, (low - TOLERANCE).clip(max=0) / slope, -infinity)
        boxes.cut_inputs(above, xp.where(low > TOLERANCE, low, up), xp)
        ends = [s.clip(min=0) + net.leak * s.clip(max=0) for s in (boxes.lower, boxes.upper)]
        rest = boxes.low[:, :first], boxes.high[:, :first]
        boxes.cut(xp.cat([rest[1], ends[1]], 1), xp.cat([rest[0], ends[0]], 1), xp)

    def _property(self, boxes: _Boxes, row: Int[Array, " batch"]) -> None:
        """One of the property's rows, at most 0, bounds all variables in it."""
        xp = self.net.xp
        terms, constant = self._plane(boxes, row)
        least = xp.where(terms > 0, terms * boxes.low, terms * boxes.high)
        total = least.sum(1) + constant
        slack = TOLERANCE * (1 + abs(constant) + abs(least).sum(1))
        boxes.empty = boxes.empty | (total > slack)
        total = total - ROUNDING * (abs(constant) + abs(least).sum(1))
        # What cancels leaves coefficients that mean nothing.
        given = abs(self.net.row_weights[row]).sum(1) + abs(self.net.row_links[row]).sum(1)
        matters = abs(terms) > ROUNDING * given[:, None]
        rest = (least - total[:, None]) / xp.where(matters, terms, terms * 0 + 1)
        infinity = xp.full((1,), float("inf"))
        above = xp.where(matters & (terms > 0), rest, infinity)
        below = xp.where(matters & (terms < 0), rest, -infinity)
        boxes.cut(above, below, xp)

    def _plane(self, boxes: _Boxes, row: Int[Array, " batch"]) -> tuple[Array, Array]:
        """A row that is at least ``terms . variables + constant``.

        Neurons of known sign, and those whose outputs the row has with a minus, are replaced by
        their lines; the others stay.
        """
        net, xp = self.net, self.net.xp
        lower, upper = boxes.lower, boxes.upper
        active, inactive = lower >= 0, upper <= 0
        free = ~active & ~inactive
        width = xp.where(free, upper - lower, lower * 0 + 1)
        chord = (upper - net.leak * lower) / width
        offset = xp.floats(free) * (upper - chord * upper)
        known = xp.floats(active) + xp.floats(inactive & ~active) * net.leak
        links, multiplier = xp.copy(net.row_links[row]), lower * 0
        constant = xp.copy(net.row_bias[row])
        for part in reversed(net.layers):
            passed = links[:, part]
            below = passed.clip(max=0) * xp.floats(free[:, part])
            step = passed * known[:, part] + below * chord[:, part]
            constant = constant + (below * offset[:, part]).sum(1) + step @ net.bias[part]
            links[:, part] = passed.clip(min=0) * xp.floats(free[:, part])
            multiplier[:, part] = step
            if part.start:
                links[:, : part.start] += step @ net.links[part, : part.start]
        return xp.cat([net.row_weights[row] + multiplier @ net.weights, links], 1), constant

    def _ends(self, boxes: _Boxes) -> _Ends:
        net, c = self.net, self.coefficient
        low, high = boxes.low[:, self.index], boxes.high[:, self.index]
        least = net.xp.where(c > 0, c * low, c * high)
        most = net.xp.where(c > 0, c * high, c * low)
        return _Ends(c, least, most, least.sum(-1) + net.bias, most.sum(-1) + net.bias)

    def _neurons(self, boxes: _Boxes) -> None:
        """Every neuron's row bounds its input, and the other way round all variables in it."""
        xp, ends = self.net.xp, self._ends(boxes)
        c = ends.coefficient
        boxes.cut_inputs(ends.high, ends.low, xp)
        divisor = xp.where(c == 0, c + 1, c)
        slack = ROUNDING * xp.maximum(abs(ends.least), abs(ends.most)).sum(-1)
        least = ((boxes.lower - ends.high - slack)[:, :, None] + ends.most) / divisor
        most = ((boxes.upper - ends.low + slack)[:, :, None] + ends.least) / divisor
        infinity = xp.full((1,), float("inf"))
        above = xp.where(c > 0, most, xp.where(c < 0, least, infinity))
        below = xp.where(c > 0, least, xp.where(c < 0, most, -infinity))
        above = xp.amin(self._at_variables(above, float("inf")), 2)
        below = xp.amax(self._at_variables(below, -float("inf")), 2)
        rest = boxes.high[:, above.shape[1] :], boxes.low[:, above.shape[1] :]
        boxes.cut(xp.cat([above, rest[0]], 1), xp.cat([below, rest[1]], 1), xp)

    def _at_variables(self, terms: Array, missing: float) -> Float[Array, "batch variables uses"]:
        xp, count = self.net.xp, terms.shape[0]
        flat = terms.reshape(count, -1)
        return xp.cat([flat, xp.full((count, 1), missing)], 1)[:, self.place]

    def _urgency(self, boxes: _Boxes) -> Float[Array, "batch neurons"]:
        """How much splits matter: unsatisfied rows pull at their variables, neurons push them.

        A row pulls the harder the fewer variables like this one would violate it (the rule of
        Jeroslow and Wang 1990, for logic).
        """
        xp, ends = self.net.xp, self._ends(boxes)
        c, width = ends.coefficient, (ends.most - ends.least).clip(min=0)
        moving = xp.floats(width > TOLERANCE) * xp.floats(abs(c) > 0)
        each = xp.where(width > TOLERANCE, width, width * 0 + 1)
        up, down = c * 0, c * 0
        for missing, sided in (
            (boxes.upper - ends.low, ends.high > boxes.upper + TOLERANCE),
            (ends.high - boxes.lower, ends.low < boxes.lower - TOLERANCE),
        ):
            needed = (missing.clip(min=0)[:, :, None] / each).clip(max=30)
            pull = xp.function("exp", -needed * math.log(URGENT))
            pull = pull * moving * xp.floats(sided)[:, :, None]
            up, down = up + pull * xp.floats(c > 0), down + pull * xp.floats(c < 0)
            c = -c
        up, down = (self._at_variables(x, 0.0).sum(2)[:, self.index] for x in (up, down))
        share = abs(c) / (abs(c).sum(1)[:, None] + TOLERANCE)
        c = ends.coefficient
        plus = (share * xp.where(c > 0, up, down)).sum(2)
        minus = (share * xp.where(c > 0, down, up)).sum(2)
        return BOTH * plus * minus + plus + minus


def _signs(boxes: _Boxes, xp: Backend) -> Float[Array, "batch neurons"]:
    """+1, -1 or 0 by the boxes of the neurons' inputs."""
    one = xp.full((1,), 1.0)
    sign = xp.where(boxes.upper <= TOLERANCE, -one, 0 * one)
    return xp.where(boxes.lower >= -TOLERANCE, one, sign)


def _lists(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns of each row's entries that are not 0, and these, padded to one length."""
    used = matrix != 0
    length = max(1, int(used.sum(1).max(initial=0)))
    order = np.argsort(~used, axis=1, kind="stable")[:, :length]
    found = np.take_along_axis(matrix, order, 1)
    return np.where(found != 0, order, 0), found
