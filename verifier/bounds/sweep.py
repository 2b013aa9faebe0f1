"""Alpha and beta of many sign patterns at once, on a reduced network.

The same closed-form gradient ascent as in ``optimise``, in the working precision of the reduced
form and without rounding errors: what it finds is a proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import fields

from verifier.bounds.columns import Bounded, Columns, Patterns, chords, rows_at
from verifier.bounds.cuts import columns_of
from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.settings import Spread
from verifier.tensors import Array, Backend, Float, Int

SLACK = 2.0**-19
"""A bound counts as positive here above so much of the size of its terms: about what single
precision may be off by."""
SAMPLE, DOUBTFUL = 16, 4.0
"""Rough bounds are taken to be off by so many times as much as these are before the first step."""
ASSURED = 3
"""After each so many steps bounds that may be proofs are made sure of."""
LEAST_ROUGH = 4
"""Of fewer steps none is rough: the first and the last are not."""
SWEPT_NUMBERS = 375_000
"""Numbers of the largest array that is swept at once on a CPU: it stays in the cache of a core."""
SPREAD_WORK = 10_000_000
"""From so many multiply-adds of a sweep on there is a part for each thread."""
SPEED, NEURON, INPUT, CALL = 40e9, 15e-9, 3e-9, 8e-4
"""Of a core: multiply-adds per second in products, seconds for each neuron and each input of a
pattern, and for what a step takes however small its arrays: measured, on AVX-512."""
ON_GPU = 50.0
"""So many times faster is a GPU, about."""
CROWDED = 0.75
"""Once so few of the rows are left open, the others are dropped from the arrays."""


@dataclass(frozen=True, eq=False)
class Swept:
    """What the sweeps found: of the proof where a row is proved, else of the last sweep."""

    least: Float[Array, " batch"]
    """The best bound."""
    tilt: Float[Array, "batch tilts"]
    weight: Float[Array, "batch width"]
    passed: Float[Array, "batch neurons"]
    """The rows' coefficients on the neurons' outputs (nu)."""
    margin: Float[Array, " batch"]
    """The greatest of an open pattern's rows at the minimiser, run through the network, where
    points are asked for; +inf elsewhere."""
    corner: Float[Array, "batch n"]
    """The minimiser, in [-1, 1]^n, where that margin is about 0 or less; else 0."""
    proved: Float[Array, " batch"]
    """1 where the bound is above the slack of single precision."""

    def __getitem__(self, index: Array) -> Swept:
        return Swept(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Swept], xp: Backend) -> Swept:
        """All rows of several results."""
        return xp.joined(parts)


def gaps(
    net: Reduced, patterns: Patterns, passed: Float[Array, "batch neurons"]
) -> tuple[Float[Array, "batch neurons"], Float[Array, "batch neurons"]]:
    """What free neurons' chords cost rows with such coefficients, and their lower lines at most."""
    xp, sides = net.xp, patterns.sides
    free = xp.floats(patterns.phase == 0)
    kink = net.kink if sides is None else xp.minimum(sides.upper, -sides.lower)
    _, offset = chords(xp, sides, (net.leak, net.chord, net.offset))
    return -passed.clip(max=0) * offset * free, passed.clip(min=0) * kink * free


def values_at(
    net: Reduced, rows: Int[Array, "batch width"], corner: Float[Array, "batch n"]
) -> Float[Array, "batch width"]:
    """Some rows of the network at points of the box."""
    return net.xp.turned(rows_at(net, rows, net.xp.turned(corner)))


@dataclass(frozen=True)
class Ascent:
    """How rows are raised: so many evaluations, and the size of Adam's steps.

    With ``last``, the multipliers that come back are those of the proof, or else the last ones, not
    the best: what a few steps from one pattern to the next could not gain yet must add up. With
    ``points``, minimisers come back where they may violate the property.
    """

    steps: int
    rate: float
    decay: float
    last: bool = True
    points: bool = False


def sweep_in_parts(net: Reduced, patterns: Patterns, ascent: Ascent, spread: Spread) -> Swept:
    """All patterns, in equal parts that stay in the cache; ``spread`` maps over them."""
    count = patterns.rows.shape[0]
    net.expect(count * ascent.steps)

    def part(some: slice) -> Swept:
        return sweep_patterns(net, patterns[some], ascent)

    return Swept.cat(spread.map(part, equal_parts(net, count, spread)), net.xp)


def counted_seconds(net: Reduced, effort: tuple[int, int], spread: Spread) -> float:
    """About how long (patterns, steps) take: counted, not measured, and so always the same."""
    count, steps = effort
    each = pattern_seconds(net.bands.links_of(rough=True).work, net.neurons, net.inputs)
    if net.xp.device != "cpu":
        return steps * (CALL + count * each / ON_GPU)
    parts = len(equal_parts(net, count, spread))
    return steps * (parts * CALL + count * each) / min(parts, spread.count)


def pattern_seconds(work: int, neurons: int, inputs: int) -> float:
    """About how long a step takes a core for each pattern, besides ``CALL``."""
    return work / SPEED + NEURON * neurons + INPUT * inputs


def equal_parts(net: Reduced, count: int, spread: Spread) -> list[slice]:
    """So many patterns in parts that stay in the cache, as many for each thread."""
    parts = 1
    if net.xp.device == "cpu":
        at_once = SWEPT_NUMBERS * net.bands.at_once
        parts = -(-count // max(1, at_once // max(net.inputs, net.neurons)))
        if count * net.work >= SPREAD_WORK:
            parts = -(-parts // spread.count) * spread.count
    parts = max(1, min(parts, count))
    return [slice(k * count // parts, (k + 1) * count // parts) for k in range(parts)]


@dataclass(eq=False)
class _Best:
    """What is to be handed on of the patterns at work."""

    least: Float[Array, " batch"]
    tilt: Float[Array, "tilts batch"]
    weight: Float[Array, "others batch"]
    passed: Float[Array, "neurons batch"]

    def note(self, state: Columns, bounded: Bounded, *, last: bool) -> Array:
        """Take over the last sweep, or what is better of it; returns where it is."""
        xp = state.net.xp
        better = bounded.least > self.least
        now = (state.tilt, state.weight, bounded.passed)
        if last or bool(better.all()):
            self.tilt, self.weight, self.passed = now
            self.least = xp.maximum(self.least, bounded.least)
            return better
        self.least = xp.where(better, bounded.least, self.least)
        before = (self.tilt, self.weight, self.passed)
        self.tilt, self.weight, self.passed = (
            xp.where(better, new, old) for new, old in zip(now, before, strict=True)
        )
        return better

    def of_columns(self, index: Int[Array, " some"], xp: Backend) -> _Best:
        """Of some patterns."""
        if index.shape[0] == self.least.shape[0]:
            return self
        arrays = (self.tilt, self.weight, self.passed)
        return _Best(self.least[index], *(xp.columns(x, index) for x in arrays))

    def put(self, found: Swept, place: Int[Array, " batch"], xp: Backend) -> None:
        """Write this down."""
        first = found.weight.shape[1] - self.weight.shape[0]
        found.least[place] = self.least
        found.tilt[place] = xp.turned(self.tilt)
        found.passed[place] = xp.turned(self.passed)
        if self.weight.shape[0]:
            found.weight[place, first:] = xp.turned(self.weight)


def sweep_patterns(net: Reduced, patterns: Patterns, ascent: Ascent) -> Swept:
    """Raise the bounds of all patterns; each ends once it is proved."""
    xp, count = net.xp, patterns.rows.shape[0]
    least, infinity = xp.full((count,), -float("inf")), float("inf")
    found = Swept(
        least,
        xp.copy(patterns.tilt),
        xp.copy(patterns.weight),
        xp.zeros(count, net.neurons),
        xp.full((count,), infinity),
        xp.zeros(count, net.inputs if ascent.points else 0),
        xp.zeros(count),
    )
    state = columns_of(net, patterns)
    none = xp.zeros(net.neurons, count)
    best = _Best(xp.copy(least), state.tilt, state.weight, none)
    left = xp.arange(count)
    bounded, doubt = _begun(state, ascent)
    for step in range(1, ascent.steps + 1):
        better = best.note(state, bounded, last=ascent.last)
        proved = bounded.least > SLACK * bounded.size
        if not ascent.last:
            proved = proved & better
        done, left = left[proved[left]], left[~proved[left]]
        if done.shape[0]:
            best.of_columns(done, xp).put(found, state.place[done], xp)
            found.proved[state.place[done]] = 1.0
        if left.shape[0] == 0 or step == ascent.steps:
            break
        corner = -xp.function("sign", bounded.rows_in)
        if step == 1:
            state.rescale(bounded)
        state.climb(bounded, corner, step, ascent.rate * ascent.decay ** (step - 1))
        if left.shape[0] <= CROWDED * state.place.shape[0]:
            state.keep(left)
            best, left = best.of_columns(left, xp), xp.arange(left.shape[0])
        assured = step % ASSURED == 0 or step + 1 == ascent.steps
        bounded = _went_on(state, doubt, assured=assured)
    if left.shape[0]:
        best.of_columns(left, xp).put(found, state.place[left], xp)
        if ascent.points:
            _point(found, patterns, net, (state.place[left], xp.columns(bounded.rows_in, left)))
    return found


def _begun(state: Columns, ascent: Ascent) -> tuple[Bounded, float | None]:
    """The bounds that patterns begin with, and how far off rough products make them.

    None: nothing is to be rough.
    """
    net, xp = state.net, state.net.xp
    if not net.bands.is_rough or ascent.steps < LEAST_ROUGH or not state.place.shape[0]:
        return state.back(), None
    state.rough = True
    bounded = state.back()
    nearest = xp.argsort(-bounded.least)[:SAMPLE]
    off = abs(_exactly(state, bounded, nearest))
    doubt = DOUBTFUL * float(off[off < float("inf")].sum() / off.shape[0])
    _assure(state, bounded, doubt)
    return bounded, doubt


def _went_on(state: Columns, doubt: float | None, *, assured: bool) -> Bounded:
    """The bounds after a step; ``doubt`` as above."""
    bounded = state.back()
    if doubt is not None and assured:
        _assure(state, bounded, doubt)
    elif doubt is not None:
        bounded.least = bounded.least.clip(max=0)
    return bounded


def _assure(state: Columns, bounded: Bounded, doubt: float) -> None:
    """Have bounds that may be proofs without rough products; no others are above 0."""
    near = state.net.xp.nonzero(~(bounded.least <= -doubt))[0]
    if near.shape[0]:
        _exactly(state, bounded, near)


def _exactly(state: Columns, bounded: Bounded, index: Int[Array, " some"]) -> Array:
    """Have some columns' bounds without rough products; returns by how much these are less."""
    some = copy(state)
    some.keep(index)
    some.rough = False
    exact, before = some.back(), bounded.least[index]
    bounded.least[index], bounded.size[index] = exact.least, exact.size
    return before - exact.least


def _point(found: Swept, patterns: Patterns, net: Reduced, last: tuple[Array, Array]) -> None:
    """Note the minimisers of open patterns that may violate the property."""
    xp, (place, rows_in) = net.xp, last
    corner = -xp.function("sign", rows_in)
    margin = xp.amax(rows_at(net, patterns.rows[place], corner), 0)
    found.margin[place] = margin
    some = xp.nonzero(margin <= SLACK * (1 + abs(found.least[place])))[0]
    found.corner[place[some]] = xp.turned(xp.columns(corner, some))
