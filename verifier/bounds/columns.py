"""Sweeps of a reduced network back and forth, for many sign patterns: a column for each of them.

A layer's part of an array, or a few elements of it, are whole rows then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Self

import numpy as np

from verifier.bounds.optimise import Moments
from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

WEIGHT_RATE = 0.5
"""Steps of the rows' weights, in units of those of slopes."""


@dataclass(frozen=True, eq=False)
class Sides:
    """The boxes of all neurons' inputs, pattern by pattern."""

    lower: Float[Array, "batch neurons"]
    upper: Float[Array, "batch neurons"]

    def __getitem__(self, index: Array | slice) -> Sides:
        return Sides(self.lower[index], self.upper[index])


@dataclass(frozen=True, eq=False)
class Patterns:
    """Sign patterns, and for each a sum of rows to bound under it.

    ``phase`` is +1 (at least 0), -1 (at most 0) or 0 (free); ``tilt`` is alpha of a free neuron and
    beta of a split one; those of pairs follow (``paired.py``). ``weight`` >= 0 sums to 1: where all
    rows are to be at most 0, any such sum of them that is above 0 is a proof.
    """

    rows: Int[Array, "batch width"]
    weight: Float[Array, "batch width"]
    phase: Float[Array, "batch neurons"]
    tilt: Float[Array, "batch tilts"]
    sides: Sides | None = None
    """None: those of the whole region."""
    unit: Float[Array, " batch"] | None = None
    """Where given, the first row's weight stays what it is; the others are any numbers >= 0, which
    move in steps of this unit."""

    def __getitem__(self, index: Array | slice) -> Patterns:
        parts = [getattr(self, f.name) for f in fields(self)]
        return Patterns(*(None if part is None else part[index] for part in parts))


def chords(
    xp: Backend, sides: Sides | None, lines: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Slopes and offsets of free neurons' upper lines; ``lines``: leak, and these at the root."""
    leak, chord, offset = lines
    if sides is None:
        return chord, offset
    width = (sides.upper - sides.lower).clip(min=xp.tiny)
    chord = ((sides.upper - leak * sides.lower) / width).clip(min=0, max=1)
    return chord, sides.upper * (1 - chord)


@dataclass(frozen=True, eq=False)
class Lines:
    """The relaxations: nu- above + nu+ below + cut * tilt, below = above + rise + gain * tilt."""

    above: Float[Array, "neurons batch"]
    offset: Float[Array, "neurons batch"]
    rise: Float[Array, "neurons batch"]
    gain: Float[Array, "neurons batch"]
    cut: Float[Array, "neurons batch"]
    limit: Float[Array, "neurons batch"]
    """How large a tilt may be."""

    @staticmethod
    def of(net: Reduced, patterns: Patterns) -> Lines:
        """Of some patterns."""
        xp, phase, sides = net.xp, net.xp.turned(patterns.phase), patterns.sides
        if sides is not None:
            sides = Sides(xp.turned(sides.lower), xp.turned(sides.upper))
        leak, chord, offset = (x[:, None] for x in (net.leak, net.chord, net.offset))
        free, active = xp.floats(phase == 0), xp.floats(phase > 0)
        chord, offset = chords(xp, sides, (leak, chord, offset))
        stable = active + leak * (1 - active)
        above = stable + free * (chord - stable)
        below = stable + free * (leak - stable)
        limit = xp.where(phase == 0, xp.full((1,), 1.0), xp.full((1,), float("inf")))
        return Lines(above, offset * free, below - above, free * (1 - leak), -phase, limit)


@dataclass(frozen=True, eq=False)
class Ends:
    """The rows that sums are made of: the first where its weight is fixed, and others."""

    links: Float[Array, "neurons batch"] | None
    inputs: Float[Array, "n batch"] | None
    bias: Float[Array, " batch"] | None
    """The fixed row, times its weight."""
    net: Reduced
    distinct: Int[Array, " rows"]
    """The other rows, each of them once."""
    place: Int[Array, "others batch"]

    @staticmethod
    def of(net: Reduced, patterns: Patterns) -> Ends:
        """Of some patterns."""
        xp, rows = net.xp, patterns.rows
        fixed = int(patterns.unit is not None or rows.shape[1] == 1)
        others = _distinct(rows[:, fixed:], xp)
        if not fixed:
            return Ends(None, None, None, net, *others)
        first, weight = rows[:, 0], patterns.weight[:, 0]
        links, inputs = net.rows_as_columns
        return Ends(
            xp.columns(links, first) * weight,
            xp.columns(inputs, first) * weight,
            net.row_bias[first] * weight,
            net,
            *others,
        )

    def of_columns(self, index: Int[Array, " some"]) -> Ends:
        """Those of some columns."""
        xp = self.net.xp
        names = ("links", "inputs", "bias", "place")
        return replace(self, **{n: _of_columns(getattr(self, n), index, xp) for n in names})

    def start(self, weight: Float[Array, "others batch"]) -> tuple[Array, Array, Array]:
        """Sums of rows: their coefficients on neurons and on the input, and constants."""
        net, xp, batch = self.net, self.net.xp, weight.shape[1]
        if self.links is not None and weight.shape[0] == 0:
            assert self.inputs is not None
            assert self.bias is not None
            return xp.copy(self.links), self.inputs, xp.copy(self.bias)
        mixed = xp.zeros(self.distinct.shape[0], batch)
        for k in range(weight.shape[0]):
            mixed[self.place[k], xp.arange(batch)] += weight[k]
        links = net.row_links[self.distinct].T @ mixed
        inputs = net.row_weights[self.distinct].T @ mixed
        bias = net.row_bias[self.distinct] @ mixed
        if self.links is None:
            return links, inputs, bias
        return links + self.links, inputs + self.inputs, bias + self.bias

    def arrive(
        self, value: Float[Array, "neurons batch"], corner: Float[Array, "n batch"]
    ) -> Float[Array, "others batch"]:
        """The rows that are not fixed, at neurons' outputs and points."""
        return _arriving(self.net, (self.distinct, self.place), value, corner)


def _distinct(rows: Int[Array, "batch width"], xp: Backend) -> tuple[Array, Array]:
    """Each row once, and the place of all among these: [width, batch]."""
    distinct, place = np.unique(xp.numpy(rows), return_inverse=True)
    return xp.ints(distinct), xp.turned(xp.ints(place.reshape(tuple(rows.shape))))


def _arriving(
    net: Reduced, which: tuple[Array, Array], value: Array, corner: Array
) -> Float[Array, "width batch"]:
    some, place = which
    every = net.row_links[some] @ value + net.row_weights[some] @ corner
    return net.xp.take_along(every + net.row_bias[some][:, None], place, 0)


def rows_at(
    net: Reduced, rows: Int[Array, "batch width"], corner: Float[Array, "n batch"]
) -> Float[Array, "width batch"]:
    """Some rows of the network at points of the box."""
    leak = net.leak[:, None]

    def neurons(part: slice, s: Array) -> Array:
        return s.clip(min=0) + leak[part] * s.clip(max=0)

    _, value = pushed(net, corner, neurons)
    return _arriving(net, _distinct(rows, net.xp), value, corner)


def _of_columns(x: Array | None, index: Array, xp: Backend) -> Array | None:
    if x is None:
        return None
    return x[index] if x.ndim == 1 else xp.columns(x, index)


@dataclass(eq=False)
class Bounded:
    """One value and what its gradient needs."""

    least: Float[Array, " batch"]
    size: Float[Array, " batch"]
    """That of its terms."""
    passed: Float[Array, "neurons batch"]
    rows_in: Float[Array, "n batch"]
    lines: tuple[Array, Array, Array]
    """1 where a lower line was chosen, and the chosen lines' slopes and offsets: as ``passed``."""
    multiplier: Float[Array, "neurons batch"]
    """The coefficients on the neurons' inputs."""
    offset: Float[Array, " batch"]
    """The constants of the sums of rows."""


@dataclass(eq=False)
class Columns:
    """The patterns at work, and the optimiser's memory."""

    net: Reduced
    place: Int[Array, " batch"]
    """Their places in the result."""
    ends: Ends
    lines: Lines
    tilt: Float[Array, "tilts batch"]
    weight: Float[Array, "others batch"]
    unit: Float[Array, " batch"] | None
    scale: Float[Array, "tilts batch"]
    zero: Float[Array, "tilts batch"]
    limit: Float[Array, "some batch"]
    of_tilt: Moments
    of_weight: Moments
    rough: bool = field(default=False, init=False)
    """May sums be off by as much as bfloat16 is?"""

    @classmethod
    def of(cls, net: Reduced, patterns: Patterns) -> Self:
        """Of some patterns."""
        xp, count = net.xp, patterns.rows.shape[0]
        tilt, ends = xp.turned(patterns.tilt), Ends.of(net, patterns)
        weight = xp.turned(patterns.weight[:, patterns.weight.shape[1] - ends.place.shape[0] :])
        lines = Lines.of(net, patterns)
        return cls(
            net,
            xp.arange(count),
            ends,
            lines,
            tilt,
            weight,
            patterns.unit,
            tilt * 0 + 1,
            tilt * 0,
            lines.limit,
            Moments(tilt * 0, tilt * 0),
            Moments(weight * 0, weight * 0),
        )

    def keep(self, index: Int[Array, " some"]) -> None:
        """Drop the other patterns."""
        xp = self.net.xp
        self.ends = self.ends.of_columns(index)
        for name in ("place", "tilt", "weight", "unit", "scale", "zero", "limit"):
            setattr(self, name, _of_columns(getattr(self, name), index, xp))
        for name in ("lines", "of_tilt", "of_weight"):
            parts = getattr(self, name)
            some = {f.name: _of_columns(getattr(parts, f.name), index, xp) for f in fields(parts)}
            setattr(self, name, replace(parts, **some))

    def back(self) -> Bounded:
        """The bounds that the multipliers give."""
        net, lines = self.net, self.lines
        links = net.bands.links_of(rough=self.rough)
        slope = lines.gain * self.alpha
        slope += lines.rise
        multiplier = self.cuts()
        positive = net.xp.empty(*multiplier.shape)
        pending, rows_in, constant = self.start()
        for part, product in zip(reversed(net.layers), reversed(links.back), strict=True):
            nu = pending[part]
            positive[part] = nu > 0
            slope[part] *= positive[part]
            slope[part] += lines.above[part]
            multiplier[part] += nu * slope[part]
            if product is not None:
                pending[: part.start] += product(multiplier[part])
        offset, shift = constant + 0, lines.offset * positive
        shift = lines.offset - shift
        made = links.to_inputs(multiplier)
        made += rows_in
        constant += self.terms(pending, multiplier, (slope, shift)) + net.bias @ multiplier
        reach = net.input_ones @ abs(made)
        size = abs(constant) + reach
        chosen = (positive, slope, shift)
        return Bounded(constant - reach, size, pending, made, chosen, multiplier, offset)

    def start(self) -> tuple[Array, Array, Array]:
        """The sums of rows that are swept: as ``Ends.start``."""
        return self.ends.start(self.weight)

    @property
    def alpha(self) -> Float[Array, "neurons batch"]:
        """Of the free neurons; those that are split have beta there."""
        return self.tilt

    def cuts(self) -> Float[Array, "neurons batch"]:
        """What is added to the multipliers, whatever the coefficients are."""
        return self.lines.cut * self.tilt

    def terms(
        self,
        passed: Float[Array, "neurons batch"],
        multiplier: Float[Array, "neurons batch"],
        lines: tuple[Array, Array],
    ) -> Float[Array, " batch"]:
        """What all neurons cost: ``lines`` are slopes and offsets."""
        return self.net.ones @ (passed * lines[1])

    def rescale(self, bounded: Bounded) -> None:
        """Multipliers of splits move in units of the row's mean coefficient on their layer."""
        for part in self.net.layers:
            size = abs(bounded.passed[part]).mean(0)
            split = self.net.xp.floats(self.lines.limit[part] > 1)
            self.scale[part] = split * size + (1 - split)

    def climb(
        self, bounded: Bounded, corner: Float[Array, "n batch"], step: int, rate: float
    ) -> None:
        """Move the multipliers by Adam, up the gradient of the bound."""
        xp = self.net.xp
        of_tilt, of_weight = self.gradients(bounded, corner)
        move = self.of_tilt.move(of_tilt, step, rate)
        move *= self.scale
        move += self.tilt
        # A new array: what was noted of the old one stays.
        self.tilt = xp.minimum(xp.maximum(move, self.zero), self.limit)
        if of_weight is not None:
            self._weigh(of_weight, step, WEIGHT_RATE * rate)

    def gradients(
        self, bounded: Bounded, corner: Float[Array, "n batch"]
    ) -> tuple[Float[Array, "tilts batch"], Float[Array, "others batch"] | None]:
        """d(bound)/d(tilt) and d(bound)/d(weight).

        The minimiser is pushed through the lines that the rows chose; what arrives at a row is its
        weight's derivative.
        """
        positive, slope, shift = bounded.lines

        def chosen(part: slice, s: Array) -> Array:
            value = s * slope[part]
            value += shift[part]
            return value

        source, value = pushed(self.net, corner, chosen, rough=True)
        gradient = bounded.passed * positive
        gradient *= self.lines.gain
        gradient += self.lines.cut
        gradient = self.of_tilts(gradient, (source, value, corner))
        if self.weight.shape[0] == 0:
            return gradient, None
        return gradient, self.ends.arrive(value, corner)

    def of_tilts(
        self, multiplier: Float[Array, "neurons batch"], at: tuple[Array, Array, Array]
    ) -> Float[Array, "tilts batch"]:
        """d(bound)/d(tilt) from d(multiplier)/d(tilt).

        ``at``: what the neurons read, what they put out, and the minimiser.
        """
        multiplier *= at[0]
        return multiplier

    def _weigh(self, gradient: Array, step: int, rate: float) -> None:
        xp = self.net.xp
        if self.unit is not None:
            move = self.of_weight.move(gradient * self.unit, step, rate)
            self.weight = (self.weight + move * self.unit).clip(min=0)
            return
        weight = (self.weight + self.of_weight.move(gradient, step, rate)).clip(min=0)
        total = weight.sum(0)[None]
        some = total > 0
        self.weight = xp.where(some, weight / xp.where(some, total, total + 1), self.weight)


def pushed(
    net: Reduced,
    corner: Float[Array, "n batch"],
    outputs: Callable[[slice, Array], Array],
    *,
    rough: bool = False,
) -> tuple[Float[Array, "neurons batch"], Float[Array, "neurons batch"]]:
    """Inputs and outputs of all neurons at points of the box, each layer through ``outputs``."""
    links = net.bands.links_of(rough=rough)
    source = links.of_inputs(corner)
    source += net.bias[:, None]
    value = net.xp.empty(*source.shape)
    for part, product in zip(net.layers, links.onward, strict=True):
        if product is not None:
            source[part] += product(value[: part.start])
        value[part] = outputs(part, source[part])
    return source, value
