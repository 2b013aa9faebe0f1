"""Lines of an S-shaped function that rows choose: tangents anywhere on its convex envelopes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields

from verifier.families.relaxation import Planes, Relaxation
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Float


class Touching(ABC):
    """A function whose tangents are wanted."""

    @abstractmethod
    def touching(self, x: Array) -> tuple[Array, Array, Array]:
        """phi, phi' and phi'' at some points."""


@dataclass(frozen=True, eq=False)
class Arc:
    """The points where lines on one side may touch the function, from ``start`` over ``length``.

    Where the length is 0, there is one line only: the slope and the offset given. Any tangent there
    is off by at most ``error`` in its offset.
    """

    start: Float[Array, "batch m"]
    length: Float[Array, "batch m"]
    slope: Float[Array, "batch m"]
    offset: Float[Array, "batch m"]
    error: Float[Array, "batch m"]

    def take(self, index: Array) -> Arc:
        """Those of some batch entries."""
        return Arc(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Tangents(Relaxation):
    """nu phi(x) >= nu (s x + c): a tilt of t chooses the tangent t of the way along an arc.

    The arc is that of lines below for nu >= 0, of lines above for nu < 0.
    """

    plain: Planes
    function: Touching
    below: Arc
    above: Arc
    tilt: Float[Array, "batch m"]
    """What stands for the plain lines, nearly."""
    noise: Float[Array, "batch m"]
    """As that of the plain lines."""

    def middle_tilt(self) -> Float[Array, "batch m"]:
        return self.tilt

    def _lines(self, rows: Array, owner: Owner, tilt: Array) -> tuple[Array, Array, Array, Array]:
        """For each row the slope and the offset, where it touches, and d slope / d tilt."""
        xp, positive = self.plain.xp, rows >= 0

        def pick(name: str) -> Array:
            low, high = (getattr(arc, name) for arc in (self.below, self.above))
            return xp.where(positive, owner.spread(low), owner.spread(high))

        length = pick("length")
        touch = pick("start") + tilt * length
        value, slope, bend = self.function.touching(touch)
        curved = length > 0
        one = xp.where(positive, xp.full((1,), 1.0), xp.full((1,), -1.0))
        offset = value - slope * touch - one * pick("error")
        slope = xp.where(curved, slope, pick("slope"))
        offset = xp.where(curved, offset, pick("offset"))
        return slope, offset, touch, bend * length

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        if tilt is None:
            return self.plain.pull_back(rows, owner, None)
        xp = self.plain.xp
        slope, offset, _, _ = self._lines(rows, owner, tilt)
        constant = xp.row_dot(rows, offset)
        constant = constant - xp.row_dot(abs(rows), owner.spread(self.noise))
        return (rows * slope,), constant

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        if tilt is None:
            return self.plain.push_forward(rows, owner, None, inputs)
        slope, offset, _, _ = self._lines(rows, owner, tilt)
        return slope * inputs[0] + offset

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        _, _, touch, turn = self._lines(rows, owner, tilt)
        return rows * turn * (inputs[0] - touch)

    def take(self, index: Array) -> Tangents:
        below, above = self.below.take(index), self.above.take(index)
        tilt, noise = self.tilt[index], self.noise[index]
        return Tangents(self.plain.take(index), self.function, below, above, tilt, noise)
