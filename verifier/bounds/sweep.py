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
CROWDED = 0.75
"""Once so few of the rows are left open, the others are dropped from the arrays."""


Spread = Callable[[Callable[[int], "Swept"], range], list["Swept"]]
"""Maps a function over the starts of parts, on several threads perhaps."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Rows to bound under sign patterns: ``width`` rows for each, one after another.

    ``phase`` is +1 (at least 0), -1 (at most 0) or 0 (free); ``tilt`` is alpha of a free neuron and
    beta of a split one.
    """

    row: Int[Array, " batch"]
    phase: Float[Array, "batch neurons"]
    tilt: Float[Array, "batch neurons"]


@dataclass(frozen=True, eq=False)
class Swept:
    """What the sweeps found: of the proof where a row is proved, else of the last sweep."""

    least: Float[Array, " batch"]
    """The best bound."""
    tilt: Float[Array, "batch neurons"]
    passed: Float[Array, "batch neurons"]
    """The rows' coefficients on the neurons' outputs (nu)."""
    margin: Float[Array, " batch"]
    """The row's value at its minimiser, run through the network."""
    corner: Float[Array, "batch n"]
    """The minimiser, in [-1, 1]^n."""
    proved: Float[Array, " batch"]
    """1 where the bound is above the slack of single precision."""

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


def _lines(net: Reduced, phase: Float[Array, "batch neurons"]) -> _Lines:
    xp = net.xp
    free, active = xp.floats(phase == 0), xp.floats(phase > 0)
    stable = active + net.leak * (1 - active)
    return _Lines(
        stable + free * (net.chord - stable),
        net.offset * free,
        stable + free * (net.leak - stable),
        free * (1 - net.leak),
        -phase,
    )


@dataclass(eq=False)
class _Sweep:
    """One value and what its gradient needs."""

    least: Array
    size: Array
    passed: Array
    rows_in: Array
    lower: Array
    """The lower lines' slopes."""


def _backward(net: Reduced, row: Array, lines: _Lines, tilt: Array) -> _Sweep:
    xp = net.xp
    lower = lines.gain * tilt
    lower += lines.untilted
    split = lines.cut * tilt
    pending = xp.copy(net.row_links[row])
    multiplier = pending * 0
    constant = xp.copy(net.row_bias[row])
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
    rows_in += net.row_weights[row]
    constant += multiplier @ net.bias
    reach = abs(rows_in).sum(1)
    return _Sweep(constant - reach, abs(constant) + reach, pending, rows_in, lower)


def _forward(net: Reduced, lines: _Lines, sweep: _Sweep, corner: Array) -> Array:
    """d(bound)/d(tilt): the minimiser pushed through the lines that the rows chose."""
    xp = net.xp
    source = corner @ net.weights.T
    source += net.bias
    value = source * 0
    for part in net.layers:
        if part.start:
            source[:, part] += value[:, : part.start] @ net.links[part, : part.start].T
        s, up = source[:, part], lines.above[:, part]
        low = sweep.lower[:, part]
        positive = xp.floats(sweep.passed[:, part] > 0)
        line = up * s + lines.offset[:, part]
        value[:, part] = line + positive * (low * s - line)
    gradient = sweep.passed.clip(min=0) * lines.gain
    gradient += lines.cut
    gradient *= source
    return gradient


def value_at(net: Reduced, row: Array, corner: Float[Array, "batch n"]) -> Float[Array, " batch"]:
    """Some rows of the network at points of the box."""
    source = corner @ net.weights.T
    source += net.bias
    value = source * 0
    for part in net.layers:
        if part.start:
            source[:, part] += value[:, : part.start] @ net.links[part, : part.start].T
        s = source[:, part]
        value[:, part] = s.clip(min=0) + net.leak[part] * s.clip(max=0)
    total = net.row_bias[row] + (value * net.row_links[row]).sum(1)
    return total + (corner * net.row_weights[row]).sum(1)


@dataclass(eq=False)
class _State:
    """The rows at work: their places in the result, and the optimiser's memory."""

    xp: Backend
    place: Array
    row: Array
    lines: _Lines
    tilt: Array
    limit: Array
    scale: Array
    mean: Array
    square: Array

    def keep(self, index: Array) -> None:
        """Drop the other rows."""
        for f in fields(self)[1:]:
            setattr(self, f.name, getattr(self, f.name)[index])


@dataclass(frozen=True)
class Ascent:
    """How rows are raised: so many evaluations, the size of Adam's steps, rows of a pattern.

    With ``last``, the multipliers that come back are those of the proof, or else the last ones, not
    the best: what a few steps from one pattern to the next could not gain yet must add up.
    """

    steps: int
    rate: float
    decay: float
    width: int = 1
    last: bool = True


def sweep_in_parts(net: Reduced, patterns: Patterns, ascent: Ascent, spread: Spread) -> Swept:
    """All rows of some patterns, in parts that stay in the cache; ``spread`` maps over them."""
    rows, width = patterns.row.shape[0], ascent.width
    each = rows
    if net.xp.device == "cpu":
        each = max(1, SWEPT_BYTES // (4 * max(net.inputs, net.neurons) * width)) * width

    def part(start: int) -> Swept:
        some = slice(start, start + each)
        arrays = (patterns.row[some], patterns.phase[some], patterns.tilt[some])
        return sweep_patterns(net, Patterns(*arrays), ascent)

    return Swept.cat(spread(part, range(0, rows, each)), net.xp)


def sweep_patterns(net: Reduced, patterns: Patterns, ascent: Ascent) -> Swept:
    """Raise the bounds of all rows; a pattern ends once a row is proved."""
    xp, rows = net.xp, patterns.row.shape[0]
    found = Swept(
        xp.full((rows,), -float("inf")),
        xp.copy(patterns.tilt),
        xp.zeros(rows, net.neurons),
        xp.zeros(rows),
        xp.zeros(rows, net.inputs),
        xp.zeros(rows),
    )
    state, left = _begin(net, patterns), xp.arange(rows)
    for step in range(1, ascent.steps + 1):
        sweep = _backward(net, state.row, state.lines, state.tilt)
        corner = -xp.function("sign", sweep.rows_in)
        _remember(found, state, (sweep, corner), left, last=ascent.last)
        if step == ascent.steps:
            break
        if step == 1:
            _rescale(net, state, sweep)
        left = _still_open(found, state.place, ascent.width, xp)
        if left.shape[0] == 0:
            break
        gradient = _forward(net, state.lines, sweep, corner)
        _adam(state, gradient, step, ascent)
        if left.shape[0] <= CROWDED * state.place.shape[0]:
            state.keep(left)
            left = xp.arange(left.shape[0])
    return replace(found, margin=value_at(net, patterns.row, found.corner))


def _begin(net: Reduced, patterns: Patterns) -> _State:
    xp, rows = net.xp, patterns.row.shape[0]
    return _State(
        xp,
        xp.arange(rows),
        patterns.row,
        _lines(net, patterns.phase),
        xp.copy(patterns.tilt),
        xp.where(patterns.phase == 0, xp.full((1,), 1.0), xp.full((1,), float("inf"))),
        xp.full((rows, net.neurons), 1.0),
        xp.zeros(rows, net.neurons),
        xp.zeros(rows, net.neurons),
    )


def _rescale(net: Reduced, state: _State, sweep: _Sweep) -> None:
    """Multipliers of splits move in units of the row's mean coefficient on their layer."""
    split = state.limit > 1
    for part in net.layers:
        size = abs(sweep.passed[:, part]).mean(1)[:, None]
        state.scale[:, part] = net.xp.where(split[:, part], size, state.scale[:, part])


def _remember(
    found: Swept, state: _State, result: tuple[_Sweep, Array], index: Array, *, last: bool
) -> None:
    """Note what the last sweep gave to the rows ``index`` of patterns that are still open."""
    sweep, corner = result
    if not last:
        better = sweep.least[index] > found.least[state.place[index]]
        index = index[better]
    place = state.place[index]
    least = sweep.least[index]
    found.least[place] = state.xp.maximum(found.least[place], least)
    found.tilt[place] = state.tilt[index]
    found.passed[place] = sweep.passed[index]
    found.corner[place] = corner[index]
    found.proved[place] = state.xp.floats(least > SLACK * sweep.size[index])


def _adam(state: _State, gradient: Array, step: int, ascent: Ascent) -> None:
    rate = ascent.rate * ascent.decay ** (step - 1)
    gradient *= state.scale
    state.mean *= ADAM_MEAN
    state.mean += (1 - ADAM_MEAN) * gradient
    gradient *= gradient
    state.square *= ADAM_SQUARE
    state.square += (1 - ADAM_SQUARE) * gradient
    first, second = 1 - ADAM_MEAN**step, (1 - ADAM_SQUARE**step) ** 0.5
    size = state.square**0.5
    size += ADAM_FLOOR * second
    move = state.mean / size
    move *= state.scale
    move *= rate * second / first
    state.tilt += move
    state.tilt = state.tilt.clip(min=0)
    over = state.tilt - state.limit
    state.tilt -= over.clip(min=0)


def _still_open(found: Swept, place: Array, width: int, xp: Backend) -> Array:
    """Where in ``place`` the patterns stand none of whose rows is proved yet."""
    proved = xp.amax(found.proved[place].reshape(-1, width), 1)
    return xp.nonzero(xp.repeat(proved, width) == 0)[0]
