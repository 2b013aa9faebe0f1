"""Neurons bounded as functions of all that they read, not of their input alone.

A neuron y = relu(w . z + c) reads many values z, each in a range of its own. The chord over the
range of w . z + c touches it only where all of z is at an end that the sign of w chooses; the
concave hull over the box of z lies on the function at every corner of that box, and is lower
nearly everywhere (Anderson et al. 2020; Tjandraatmadja et al. 2020). Its planes are many, but the
Lagrangian dual with a multiplier mu for each weight needs none of them (De Palma et al. 2021):

    min over the box of nu relu(w z + c) - mu z,  nu < 0,

is the lesser of two linear functions' least values. What multipliers are found gives one plane for
each neuron, y <= a . z + b, whose b is computed anew in float64; it is a cut (``cuts.py``).

All z are scaled to [-1, 1] here. Where bounds of the input s itself are tighter than the box of z,
gamma >= 0 adds them to both pieces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.bounds.cuts import Cuts
from verifier.bounds.optimise import Moments
from verifier.bounds.reduced import Reduced
from verifier.bounds.sure import SureNet
from verifier.records import dataclass
from verifier.tensors import Float, Int

RATE = 0.15
ENOUGH = 0.02
"""A bound above 0 by so much of what was lacking at first ends an ascent."""
LAST = 0.03
"""What steps are shrunk to in the end."""
MOST_EDGES = 500_000
"""Weights of a layer above which it is left to its chords."""
LEAST = 1e-9
"""A neuron whose coefficient is less than such a share of its layer's greatest has no plane."""
TINY = 1e-12
MEMORY = 0.99, TINY
"""Of Adam: what is kept of the mean square, and the least size of a gradient."""


@dataclass(eq=False)
class _Layer:
    """What some neurons read: their weights that are not 0, in lists padded to one length."""

    part: slice
    index: Int[np.ndarray, "neurons terms"]
    """Of the inputs, then of the neurons."""
    weight: Float[np.ndarray, "neurons terms"]
    bias: Float[np.ndarray, " neurons"]
    """The neuron's input where all it reads is at its middle."""
    matrix: Float[np.ndarray, "neurons values"] | None
    """All weights, where they are too many for lists: the latter are empty then."""

    @staticmethod
    def of(net: _Net, part: slice) -> _Layer:
        """The part's lists."""
        matrix = net.matrix[part] * net.radius
        used = matrix != 0
        length = max(1, int(used.sum(1).max(initial=0)))
        many = length * len(matrix) > MOST_EDGES
        if many:
            length = 0
        index = np.sort(np.argsort(~used, axis=1, kind="stable")[:, :length], axis=1)
        weight = np.take_along_axis(matrix, index, 1)
        middle = net.bias[part] + net.matrix[part] @ net.middle
        return _Layer(part, index, weight, middle, matrix if many else None)

    def reads(self, given: Float[np.ndarray, " values"]) -> tuple[np.ndarray, np.ndarray]:
        """What the neurons are given, scaled, and what they make of it."""
        each = given[self.index]
        if self.matrix is not None:
            return each, self.bias + self.matrix @ given
        return each, self.bias + np.einsum("ij,ij->i", self.weight, each)

    def passes(self, mu: np.ndarray, line: np.ndarray, count: int) -> Float[np.ndarray, " values"]:
        """What multipliers of the weights, or else of the inputs, add to what is read."""
        if self.matrix is not None:
            return (line @ self.matrix).astype(np.float64)
        return np.bincount(self.index.ravel(), mu.ravel(), count)


@dataclass(eq=False)
class _Net:
    """A reduced network's arrays, in NumPy."""

    matrix: Float[np.ndarray, "neurons values"]
    bias: Float[np.ndarray, " neurons"]
    lower: Float[np.ndarray, " neurons"]
    upper: Float[np.ndarray, " neurons"]
    leak: Float[np.ndarray, " neurons"]
    middle: Float[np.ndarray, " values"]
    radius: Float[np.ndarray, " values"]
    """Of the box of all that neurons read."""

    def __post_init__(self) -> None:
        self.scale = np.where(self.radius > 0, self.radius, 1).astype(self.radius.dtype)

    @staticmethod
    def of(net: Reduced) -> _Net:
        """In the network's precision."""
        numbers = net.xp.numpy
        lower, upper, leak = (numbers(x) for x in (net.lower, net.upper, net.leak))
        ends = [np.maximum(s, leak * s) for s in (lower, upper)]
        zeros = np.zeros(net.inputs, lower.dtype)
        return _Net(
            np.concatenate([numbers(net.weights), numbers(net.links)], 1),
            numbers(net.bias),
            lower,
            upper,
            leak,
            np.concatenate([zeros, (ends[0] + ends[1]) / 2]),
            np.concatenate([zeros + 1, (ends[1] - ends[0]) / 2]),
        )


@dataclass(eq=False)
class _Moving:
    """Some multipliers, and Adam's memory of them."""

    now: np.ndarray
    scale: np.ndarray
    """How large their steps are."""
    least: float = -np.inf

    def __post_init__(self) -> None:
        self.moments = Moments(np.zeros_like(self.now), np.zeros_like(self.now))

    def move(self, gradient: np.ndarray, step: int, rate: float) -> None:
        """A step up the gradient."""
        move = self.moments.move(gradient, step, rate, MEMORY)
        move *= self.scale
        self.now += move
        if self.least > -np.inf:
            np.maximum(self.now, self.least, out=self.now)


@dataclass(eq=False)
class _Multipliers:
    """Of one layer."""

    line: _Moving
    """m: of the input of neurons that are bounded below."""
    edges: _Moving
    """mu."""
    gamma: tuple[_Moving, _Moving]
    """Of the bounds of the input, from below and from above."""


@dataclass(frozen=True, eq=False)
class Planes:
    """Slopes a of some neurons' planes y <= a . z + b, and with what these are used."""

    neuron: Int[np.ndarray, " cuts"]
    slope: Float[np.ndarray, "cuts values"]
    gamma: Float[np.ndarray, "cuts 2"]
    weight: Float[np.ndarray, " cuts"]
    """-nu: what the plane's multiplier is at best."""
    tilt: Float[np.ndarray, " neurons"]
    """The slopes of lower lines that go with that."""

    def cuts(self, sure: SureNet) -> Cuts:
        """The planes as cuts, y - a . z - b <= 0, in float64.

        The function's pieces are leak s and s. With s = w . z + c, where s >= l and s <= u,

            leak s <= (leak + gamma_0) s - gamma_0 l,    s <= (1 - gamma_1) s + gamma_1 u,

        so b is the greater of what these are less a . z at most, over the box of z.
        """
        net, k = sure.net, self.neuron
        numbers = net.xp.numpy
        whole, error, most = _Net.of(net), numbers(sure.error)[k], numbers(sure.most)
        slope, gamma = self.slope, self.gamma.astype(np.float64).clip(min=0)
        steep = whole.leak[k] + gamma[:, 0], 1 - gamma[:, 1]
        moved = -gamma[:, 0] * whole.lower[k], gamma[:, 1] * whole.upper[k]
        reach = np.concatenate([np.ones(net.inputs), most])
        pieces, size = list[np.ndarray](), np.zeros(len(k))
        each, sloped = abs(whole.matrix) @ reach, abs(slope) @ reach
        for factor, constant in zip(steep, moved, strict=True):
            form = factor[:, None] * whole.matrix[k]
            form -= slope
            at_middle = factor * whole.bias[k] + constant + form @ whole.middle
            pieces.append(at_middle + abs(form) @ whole.radius)
            size += abs(factor) * (each[k] + abs(whole.bias[k])) + abs(constant) + sloped
        # The neuron's equation is off by its error, its output is then, too.
        off = 1.01 * (error * (3 + gamma.sum(1)) + 4 * sure.share * (size + most[k]))
        bias = -np.maximum(*pieces) - off
        links = -slope[:, net.inputs :]
        links[np.arange(len(k)), k] += 1.0
        rounding = 1.01 * sure.share * (sloped + most[k] + abs(bias)) + net.xp.tiny
        arrays = links, -slope[:, : net.inputs], bias, rounding, self.weight
        return Cuts(*(net.xp.floats(net.xp.doubles(part)) for part in arrays))


def weights_of_hulls(net: Reduced) -> int:
    """How many weights have multipliers."""
    used = net.xp.numpy(net.weights) != 0, net.xp.numpy(net.links) != 0
    each = used[0].sum(1) + used[1].sum(1)
    sizes = (int(each[part].max(initial=0)) * len(each[part]) for part in net.layers)
    return sum(size for size in sizes if size <= MOST_EDGES)


@dataclass(eq=False)
class HullNet:
    """A reduced network as ascents read it: made once for all of them."""

    net: _Net
    inputs: int
    layers: list[_Layer]
    chord: Float[np.ndarray, " neurons"]

    @staticmethod
    def of(net: Reduced) -> HullNet:
        """In the network's precision."""
        arrays = _Net.of(net)
        layers = [_Layer.of(arrays, part) for part in net.layers]
        return HullNet(arrays, net.inputs, layers, net.xp.numpy(net.chord))


class HullAscent:
    """Raises the bound of one row of a reduced network."""

    def __init__(
        self,
        whole: HullNet,
        row: tuple[Float[np.ndarray, " values"], float],
        tilt: Float[np.ndarray, " neurons"],
    ) -> None:
        """``row``: coefficients and a constant; ``tilt``: slopes of lower lines to begin with."""
        self.net, self.count, self.layers = whole.net, whole.inputs, whole.layers
        self.row, self.constant = row
        self.moving = self._begin(whole.chord, tilt)
        self.best, self.found, self.tilt = -np.inf, list[_Piece](), tilt
        self.taken, self.lacking = 0, 0.0
        """How far below 0 the first bound is."""

    def _begin(self, chord: np.ndarray, tilt: np.ndarray) -> list[_Multipliers]:
        """The multipliers of single neurons' lines."""
        net, nu = self.net, self.row[self.count :].copy()
        found = list[_Multipliers]()
        for layer in reversed(self.layers):
            part = layer.part
            below = net.leak[part] + (1 - net.leak[part]) * tilt[part]
            m = nu[part] * np.where(nu[part] < 0, chord[part], below)
            nu += m @ net.matrix[part, self.count :]
            size = np.full(len(m), abs(nu[part]).mean() + TINY, dtype=m.dtype)
            gamma = [np.maximum(0, net.leak[part] * nu[part] - m), np.maximum(0, m - nu[part])]
            found.append(
                _Multipliers(
                    _Moving(m, size),
                    _Moving(m[:, None] * layer.weight, size[:, None] * abs(layer.weight)),
                    (_Moving(gamma[0], size, 0.0), _Moving(gamma[1], size, 0.0)),
                )
            )
        return found[::-1]

    def run(self, steps: int, check: Callable[[], object]) -> float:
        """The best bound of some steps; ``check`` may end it by an exception."""
        for step in range(1, steps + 1):
            check()
            self.taken += 1
            self._step(step, RATE * LAST ** ((step - 1) / max(1, steps - 1)))
            self.lacking = self.lacking or abs(self.best)
            if self.best > ENOUGH * self.lacking:
                break
        return self.best

    @property
    def planes(self) -> Planes:
        """Those of the best bound."""
        parts, tilt = [piece.planes(self.net) for piece in self.found], self.tilt.copy()
        if not parts:
            none = np.zeros((0, len(self.row)))
            return Planes(np.zeros(0, dtype=np.int64), none, none[:, :2], none.sum(1), tilt)
        for piece in self.found:
            piece.note_slopes(self.net.leak, tilt)
        neuron, slope, gamma, weight = (np.concatenate(same) for same in zip(*parts, strict=True))
        return Planes(neuron, slope, gamma, weight, tilt)

    def _step(self, step: int, rate: float) -> None:
        net, count = self.net, self.count
        total, value = self.row.astype(np.float64), self.constant
        pieces = list[_Piece]()
        for layer, moving in zip(reversed(self.layers), reversed(self.moving), strict=True):
            piece = _Piece.of(net, layer, moving, total[count:][layer.part])
            pieces.append(piece)
            # Middles of what is read are taken out of the neurons' inputs.
            made = layer.passes(piece.mu, moving.line.now, len(total)) / net.scale
            total += made
            value += piece.least.sum() - made @ net.middle
        value -= abs(total[:count]).sum()
        if value > self.best:
            self.best, self.found = float(value), pieces
        outputs = np.empty(len(total), dtype=net.matrix.dtype)
        outputs[:count] = -np.sign(total[:count])
        for piece in pieces:
            outputs[count:][piece.layer.part] = piece.output
        outputs -= net.middle
        outputs /= net.scale
        for piece, moving in zip(pieces, reversed(self.moving), strict=True):
            piece.climb(moving, outputs, step, rate)


@dataclass(eq=False)
class _Piece:
    """A layer's terms under its multipliers, and where they are least."""

    layer: _Layer
    nu: Float[np.ndarray, " neurons"]
    hull: np.ndarray
    """Which neurons are bounded by their hulls."""
    mu: Float[np.ndarray, "neurons terms"]
    least: Float[np.ndarray, " neurons"]
    read: Float[np.ndarray, " neurons"]
    """The inputs where the terms are least."""
    corner: Float[np.ndarray, "neurons terms"]
    upper: np.ndarray
    """Where that is the piece above 0."""
    output: Float[np.ndarray, " neurons"]
    bounds: tuple[np.ndarray, np.ndarray]
    """Of the inputs."""
    gamma: Float[np.ndarray, "neurons 2"]
    line: Float[np.ndarray, " neurons"]

    @staticmethod
    def of(net: _Net, layer: _Layer, moving: _Multipliers, nu: np.ndarray) -> _Piece:
        part, weight = layer.part, layer.weight
        nu = nu.astype(weight.dtype)
        lower, upper, leak = net.lower[part], net.upper[part], net.leak[part]
        hull, m = (nu < 0) & (layer.matrix is None), moving.line.now
        mu = np.where(hull[:, None], moving.edges.now, m[:, None] * weight)
        gamma = moving.gamma[0].now, moving.gamma[1].now
        slopes = leak * nu - gamma[0], nu + gamma[1]
        losses = [abs(mu - s[:, None] * weight).sum(1) for s in slopes]
        pieces = (
            slopes[0] * layer.bias - losses[0] + gamma[0] * lower,
            slopes[1] * layer.bias - losses[1] - gamma[1] * upper,
        )
        above = pieces[1] < pieces[0]
        corner = np.sign(mu - np.where(above, slopes[1], slopes[0])[:, None] * weight)
        # The others: least at an end of the range of their input, or at 0.
        ends = nu * np.maximum(lower, leak * lower) - m * lower, nu * upper - m * upper
        end = np.where(ends[1] < ends[0], upper, lower)
        zero = np.minimum(*ends) > 0
        single = np.where(zero, 0, np.minimum(*ends)) + m * layer.bias
        read = layer.bias + np.einsum("ij,ij->i", weight, corner)
        output = np.where(above, read, leak * read)
        ended = np.where(zero, 0, end)
        return _Piece(
            layer,
            nu,
            hull,
            mu,
            np.where(hull, np.minimum(*pieces), single).astype(np.float64),
            np.where(hull, read, ended),
            corner,
            above,
            np.where(hull, output, np.maximum(ended, leak * ended)),
            (lower, upper),
            np.stack(gamma, 1),
            m.copy(),
        )

    def note_slopes(self, leaks: np.ndarray, tilt: np.ndarray) -> None:
        """The slopes of lower lines that the multipliers of inputs come to."""
        part, above = self.layer.part, self.nu > 0
        slope = self.line / np.where(above, self.nu, 1)
        leak = leaks[part]
        slope = (slope - leak) / np.where(leak < 1, 1 - leak, 1)
        tilt[part] = np.where(above, slope.clip(0, 1), tilt[part])

    def planes(self, net: _Net) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Those of the neurons that are bounded by their hulls: as the fields of ``Planes``."""
        layer, used = self.layer, self.nu < -LEAST * abs(self.nu).max(initial=0)
        some = np.flatnonzero(self.hull & used & np.isfinite(self.mu).all(1))
        weight = -self.nu[some].astype(np.float64)
        slope = np.zeros((len(some), len(net.radius)))
        index = layer.index[some]
        made = -self.mu[some] / (net.scale[index] * weight[:, None])
        np.put_along_axis(slope, index, made, 1)
        return some + layer.part.start, slope, self.gamma[some] / weight[:, None], weight

    def climb(self, moving: _Multipliers, given: np.ndarray, step: int, rate: float) -> None:
        """``given``: what the network gives neurons to read, scaled."""
        each, read = self.layer.reads(given)
        hull = self.hull.astype(each.dtype)
        moving.line.move((read - self.read) * (1 - hull), step, rate)
        each -= self.corner
        each *= hull[:, None]
        moving.edges.move(each, step, rate)
        self._climb_gamma(moving, hull, step, rate)

    def _climb_gamma(self, moving: _Multipliers, hull: np.ndarray, step: int, rate: float) -> None:
        above, (lower, upper) = self.upper, self.bounds
        moving.gamma[0].move((lower - self.read) * hull * ~above, step, rate)
        moving.gamma[1].move((self.read - upper) * hull * above, step, rate)
