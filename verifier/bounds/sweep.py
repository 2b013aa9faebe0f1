"""Alpha and beta of many sign patterns at once, on a reduced network.

The same closed-form gradient ascent as in ``optimise``, in the working precision of the reduced
form and without rounding errors: what it finds is a proposal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from verifier.bounds.optimise import ADAM_FLOOR, ADAM_MEAN, ADAM_SQUARE
from verifier.bounds.reduced import Reduced
from verifier.tensors import Array, Backend, Float, Int

SLACK = 2.0**-19
"""A bound counts as positive here above so much of the size of its terms: about what single
precision may be off by."""
SWEPT_BYTES = 1_500_000
"""Bytes of the largest array that is swept at once on a CPU: it stays in the cache of a core."""
WEIGHT_RATE = 0.5
"""Steps of the rows' weights, in units of those of slopes."""
CROWDED = 0.75
"""Once so few of the rows are left open, the others are dropped from the arrays."""


Spread = Callable[[Callable[[int], "Swept"], range], list["Swept"]]
"""Maps a function over the starts of parts, on several threads perhaps."""


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
    beta of a split one. ``weight`` >= 0 sums to 1: where all rows are to be at most 0, any such
    sum of them that is above 0 is a proof.
    """

    rows: Int[Array, "batch width"]
    weight: Float[Array, "batch width"]
    phase: Float[Array, "batch neurons"]
    tilt: Float[Array, "batch neurons"]
    sides: Sides | None = None
    """None: those of the whole region."""
    unit: Float[Array, " batch"] | None = None
    """Where given, the first row's weight stays what it is; the others are any numbers >= 0, which
    move in steps of this unit."""

    def __getitem__(self, index: Array | slice) -> Patterns:
        parts = [getattr(self, f.name) for f in fields(self)]
        return Patterns(*(None if part is None else part[index] for part in parts))


@dataclass(frozen=True, eq=False)
class Swept:
    """What the sweeps found: of the proof where a row is proved, else of the last sweep."""

    least: Float[Array, " batch"]
    """The best bound."""
    tilt: Float[Array, "batch neurons"]
    weight: Float[Array, "batch width"]
    passed: Float[Array, "batch neurons"]
    """The rows' coefficients on the neurons' outputs (nu)."""
    margin: Float[Array, " batch"]
    """The greatest of the pattern's rows at the minimiser, run through the network."""
    corner: Float[Array, "batch n"]
    """The minimiser, in [-1, 1]^n."""
    proved: Float[Array, " batch"]
    """1 where the bound is above the slack of single precision."""

    def __getitem__(self, index: Array) -> Swept:
        return Swept(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Swept], xp: Backend) -> Swept:
        """All rows of several results."""
        if len(parts) == 1:
            return parts[0]
        names = [f.name for f in fields(Swept)]
        return Swept(*(xp.cat([getattr(p, name) for p in parts], 0) for name in names))


@dataclass(frozen=True, eq=False)
class _Lines:
    """The relaxations of a batch: nu- above + nu+ below + beta, and the offsets above."""

    above: Float[Array, "batch neurons"]
    offset: Float[Array, "batch neurons"]
    untilted: Float[Array, "batch neurons"]
    gain: Float[Array, "batch neurons"]
    cut: Float[Array, "batch neurons"]

    def __getitem__(self, index: Array) -> _Lines:
        return _Lines(*(getattr(self, f.name)[index] for f in fields(self)))


def _lines(net: Reduced, patterns: Patterns) -> _Lines:
    xp, phase, sides = net.xp, patterns.phase, patterns.sides
    free, active = xp.floats(phase == 0), xp.floats(phase > 0)
    stable = active + net.leak * (1 - active)
    chord, offset = net.chord, net.offset
    if sides is not None:
        width = (sides.upper - sides.lower).clip(min=xp.tiny)
        chord = ((sides.upper - net.leak * sides.lower) / width).clip(min=0, max=1)
        offset = sides.upper * (1 - chord)
    return _Lines(
        stable + free * (chord - stable),
        offset * free,
        stable + free * (net.leak - stable),
        free * (1 - net.leak),
        -phase,
    )


def gaps(
    net: Reduced, patterns: Patterns, passed: Float[Array, "batch neurons"]
) -> tuple[Float[Array, "batch neurons"], Float[Array, "batch neurons"]]:
    """What free neurons' chords cost rows with such coefficients, and their lower lines at most."""
    xp, sides = net.xp, patterns.sides
    free = xp.floats(patterns.phase == 0)
    kink = net.kink if sides is None else xp.minimum(sides.upper, -sides.lower)
    chords = -passed.clip(max=0) * _lines(net, patterns).offset
    return chords, passed.clip(min=0) * kink * free


@dataclass(eq=False)
class _Sweep:
    """One value and what its gradient needs."""

    least: Array
    size: Array
    passed: Array
    rows_in: Array
    lower: Array
    """The lower lines' slopes."""


def _mixed(rows: Array, weight: Array, of_rows: Array) -> Array:
    """Sums of rows of a matrix, or of a vector."""
    if rows.shape[1] == 1:
        return of_rows[rows[:, 0]]
    total = of_rows[rows[:, 0]] * 0
    for k in range(rows.shape[1]):
        part = weight[:, k] if of_rows.ndim == 1 else weight[:, k, None]
        total += part * of_rows[rows[:, k]]
    return total


def _backward(net: Reduced, patterns: Patterns, lines: _Lines) -> _Sweep:
    xp, rows, weight = net.xp, patterns.rows, patterns.weight
    lower = lines.gain * patterns.tilt
    lower += lines.untilted
    split = lines.cut * patterns.tilt
    pending = xp.copy(_mixed(rows, weight, net.row_links))
    multiplier = pending * 0
    constant = xp.copy(_mixed(rows, weight, net.row_bias))
    for part in reversed(net.layers):
        nu = pending[:, part]
        above = nu.clip(max=0)
        constant += (above * lines.offset[:, part]).sum(1)
        step = above * lines.above[:, part]
        step += nu.clip(min=0) * lower[:, part]
        step += split[:, part]
        if part.start:
            pending[:, : part.start] += step @ net.links[part, : part.start]
        multiplier[:, part] = step
    rows_in = multiplier @ net.weights
    rows_in += _mixed(rows, weight, net.row_weights)
    constant += multiplier @ net.bias
    reach = abs(rows_in).sum(1)
    return _Sweep(constant - reach, abs(constant) + reach, pending, rows_in, lower)


def _pushed(
    net: Reduced, corner: Array, outputs: Callable[[slice, Array], Array]
) -> tuple[Array, Array]:
    """Inputs and outputs of all neurons at points of the box, each layer through ``outputs``."""
    source = corner @ net.weights.T
    source += net.bias
    value = source * 0
    for part in net.layers:
        if part.start:
            source[:, part] += value[:, : part.start] @ net.links[part, : part.start].T
        value[:, part] = outputs(part, source[:, part])
    return source, value


def _forward(
    net: Reduced, patterns: Patterns, lines: _Lines, sweep: _Sweep, corner: Array
) -> tuple[Array, Array]:
    """d(bound)/d(tilt) and d(bound)/d(weight).

    The minimiser is pushed through the lines that the rows chose; what arrives at a row is its
    weight's derivative.
    """
    xp = net.xp

    def chosen(part: slice, s: Array) -> Array:
        positive = xp.floats(sweep.passed[:, part] > 0)
        line = lines.above[:, part] * s + lines.offset[:, part]
        return line + positive * (sweep.lower[:, part] * s - line)

    source, value = _pushed(net, corner, chosen)
    gradient = sweep.passed.clip(min=0) * lines.gain
    gradient += lines.cut
    gradient *= source
    if patterns.rows.shape[1] == 1:
        return gradient, patterns.weight * 0
    return gradient, _at_rows(net, patterns.rows, value, corner)


def _at_rows(net: Reduced, rows: Array, value: Array, corner: Array) -> Array:
    """Rows [batch, width] of the values that arrive at them."""
    columns = []
    for k in range(rows.shape[1]):
        row = rows[:, k]
        total = net.row_bias[row] + (value * net.row_links[row]).sum(1)
        columns.append((total + (corner * net.row_weights[row]).sum(1))[:, None])
    return net.xp.cat(columns, 1)


def values_at(
    net: Reduced, rows: Int[Array, "batch width"], corner: Float[Array, "batch n"]
) -> Float[Array, "batch width"]:
    """Some rows of the network at points of the box."""

    def neurons(part: slice, s: Array) -> Array:
        return s.clip(min=0) + net.leak[part] * s.clip(max=0)

    _, value = _pushed(net, corner, neurons)
    return _at_rows(net, rows, value, corner)


@dataclass(eq=False)
class _State:
    """The patterns at work: their places in the result, and the optimiser's memory."""

    place: Array
    patterns: Patterns
    lines: _Lines
    limit: Array
    scale: Array
    mean: Array
    square: Array

    def keep(self, index: Array) -> None:
        """Drop the other patterns."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name)[index])


@dataclass(frozen=True)
class Ascent:
    """How rows are raised: so many evaluations, and the size of Adam's steps.

    With ``last``, the multipliers that come back are those of the proof, or else the last ones, not
    the best: what a few steps from one pattern to the next could not gain yet must add up.
    """

    steps: int
    rate: float
    decay: float
    last: bool = True


def sweep_in_parts(net: Reduced, patterns: Patterns, ascent: Ascent, spread: Spread) -> Swept:
    """All patterns, in parts that stay in the cache; ``spread`` maps over them."""
    count, each = patterns.rows.shape[0], patterns.rows.shape[0]
    if net.xp.device == "cpu":
        each = max(1, SWEPT_BYTES // (4 * max(net.inputs, net.neurons)))

    def part(start: int) -> Swept:
        return sweep_patterns(net, patterns[start : start + each], ascent)

    return Swept.cat(spread(part, range(0, count, each)), net.xp)


def sweep_patterns(net: Reduced, patterns: Patterns, ascent: Ascent) -> Swept:
    """Raise the bounds of all patterns; each ends once it is proved."""
    xp, count = net.xp, patterns.rows.shape[0]
    found = Swept(
        xp.full((count,), -float("inf")),
        xp.copy(patterns.tilt),
        xp.copy(patterns.weight),
        xp.zeros(count, net.neurons),
        xp.zeros(count),
        xp.zeros(count, net.inputs),
        xp.zeros(count),
    )
    state, left = _begin(net, patterns), xp.arange(count)
    for step in range(1, ascent.steps + 1):
        sweep = _backward(net, state.patterns, state.lines)
        corner = -xp.function("sign", sweep.rows_in)
        _remember(found, state, (sweep, corner), left, xp, last=ascent.last)
        if step == ascent.steps:
            break
        if step == 1:
            _rescale(net, state, sweep)
        left = xp.nonzero(found.proved[state.place] == 0)[0]
        if left.shape[0] == 0:
            break
        gradients = _forward(net, state.patterns, state.lines, sweep, corner)
        _adam(state, gradients, step, ascent, xp)
        if left.shape[0] <= CROWDED * state.place.shape[0]:
            state.keep(left)
            left = xp.arange(left.shape[0])
    return replace(found, margin=xp.amax(values_at(net, patterns.rows, found.corner), 1))


def _begin(net: Reduced, patterns: Patterns) -> _State:
    xp, count = net.xp, patterns.rows.shape[0]
    tilt, weight = xp.copy(patterns.tilt), xp.copy(patterns.weight)
    columns = net.neurons + weight.shape[1]
    return _State(
        xp.arange(count),
        replace(patterns, weight=weight, tilt=tilt),
        _lines(net, patterns),
        xp.where(patterns.phase == 0, xp.full((1,), 1.0), xp.full((1,), float("inf"))),
        xp.full((count, net.neurons), 1.0),
        xp.zeros(count, columns),
        xp.zeros(count, columns),
    )


def _rescale(net: Reduced, state: _State, sweep: _Sweep) -> None:
    """Multipliers of splits move in units of the row's mean coefficient on their layer."""
    split = state.limit > 1
    for part in net.layers:
        size = abs(sweep.passed[:, part]).mean(1)[:, None]
        state.scale[:, part] = net.xp.where(split[:, part], size, state.scale[:, part])


def _remember(
    found: Swept,
    state: _State,
    result: tuple[_Sweep, Array],
    index: Array,
    xp: Backend,
    *,
    last: bool,
) -> None:
    """Note what the last sweep gave to the patterns ``index``, which are still open."""
    sweep, corner = result
    if not last:
        better = sweep.least[index] > found.least[state.place[index]]
        index = index[better]
    place, least = state.place[index], sweep.least[index]
    found.least[place] = xp.maximum(found.least[place], least)
    found.tilt[place] = state.patterns.tilt[index]
    found.weight[place] = state.patterns.weight[index]
    found.passed[place] = sweep.passed[index]
    found.corner[place] = corner[index]
    found.proved[place] = xp.floats(least > SLACK * sweep.size[index])


def _adam(
    state: _State, gradients: tuple[Array, Array], step: int, ascent: Ascent, xp: Backend
) -> None:
    rate = ascent.rate * ascent.decay ** (step - 1)
    patterns, neurons = state.patterns, state.limit.shape[1]
    of_weights = gradients[1] if patterns.unit is None else gradients[1] * patterns.unit[:, None]
    gradient = xp.cat([gradients[0] * state.scale, of_weights], 1)
    state.mean *= ADAM_MEAN
    state.mean += (1 - ADAM_MEAN) * gradient
    gradient *= gradient
    state.square *= ADAM_SQUARE
    state.square += (1 - ADAM_SQUARE) * gradient
    first, second = 1 - ADAM_MEAN**step, (1 - ADAM_SQUARE**step) ** 0.5
    size = state.square**0.5
    size += ADAM_FLOOR * second
    move = state.mean / size
    move *= rate * second / first
    tilt = patterns.tilt
    tilt += move[:, :neurons] * state.scale
    tilt = tilt.clip(min=0)
    tilt -= (tilt - state.limit).clip(min=0)
    weight, unit = patterns.weight, patterns.unit
    if unit is not None:
        others = weight[:, 1:] + WEIGHT_RATE * move[:, neurons + 1 :] * unit[:, None]
        weight = xp.cat([weight[:, :1], others.clip(min=0)], 1)
    elif weight.shape[1] > 1:
        weight = (weight + WEIGHT_RATE * move[:, neurons:]).clip(min=0)
        total = weight.sum(1)[:, None]
        weight = xp.where(
            total > 0, weight / xp.where(total > 0, total, total + 1), patterns.weight
        )
    state.patterns = replace(patterns, tilt=tilt, weight=weight)
