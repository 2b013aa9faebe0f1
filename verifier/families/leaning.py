"""A fan of sound lines on each side of an elementwise function, between which rows choose."""

from __future__ import annotations

from verifier.families.relaxation import Planes, Relaxation
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Float

WEIGHED = 4
"""How many roundings of a line's size its weighing with a neighbour comes to, with room."""


@dataclass(frozen=True, eq=False)
class Fan:
    """Lines on one side, by the place of the box that they are best for, from left to right."""

    slope: Float[Array, "batch m lines"]
    offset: Float[Array, "batch m lines"]

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return self.slope.shape[2]

    def take(self, index: Array) -> Fan:
        """Those of some batch entries."""
        return Fan(self.slope[index], self.offset[index])


@dataclass(frozen=True, eq=False)
class Leaning(Relaxation):
    """nu phi(x) >= nu (s x + c): a tilt t chooses the line t of the way along a fan.

    Between two lines it is their mean with weights 1 - w and w, which is as sound as they are, and
    where both pass through one corner of the envelope is a line that supports it there, too. The
    fan is that of lines below for nu >= 0, of lines above for nu < 0. The middle line of each is
    the plain one.
    """

    plain: Planes
    below: Fan
    above: Fan
    noise: Float[Array, "batch m"]
    """As that of the plain lines, for the steepest one, and for weighing two."""

    def middle_tilt(self) -> Float[Array, "batch m"]:
        return self.noise * 0 + 0.5

    def _ends(self, rows: Array, owner: Owner, tilt: Array) -> tuple[Array, tuple[Array, ...]]:
        """How far each row is between two lines, and these: slopes and offsets, left and right."""
        xp, last = self.plain.xp, self.below.lines - 1
        place = tilt.clip(min=0, max=1) * last
        first = xp.function("floor", place).clip(max=last - 1)
        positive, parts = rows >= 0, list[Array]()
        for name in ("slope", "offset"):
            low, high = (owner.spread(getattr(fan, name)) for fan in (self.below, self.above))
            for shift in range(2):
                part = rows * 0
                for line in range(last):
                    chosen = xp.where(positive, low[:, :, line + shift], high[:, :, line + shift])
                    part = xp.where(first == line, chosen, part)
                parts.append(part)
        return place - first, tuple(parts)

    def _line(self, rows: Array, owner: Owner, tilt: Array) -> tuple[Array, Array]:
        share, (slope, next_slope, offset, next_offset) = self._ends(rows, owner, tilt)
        return (
            (1 - share) * slope + share * next_slope,
            (1 - share) * offset + share * next_offset,
        )

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        if tilt is None:
            return self.plain.pull_back(rows, owner, None)
        xp = self.plain.xp
        slope, offset = self._line(rows, owner, tilt)
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
        slope, offset = self._line(rows, owner, tilt)
        return slope * inputs[0] + offset

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        _, (slope, next_slope, offset, next_offset) = self._ends(rows, owner, tilt)
        turn = (next_slope - slope) * inputs[0] + next_offset - offset
        return rows * turn * (self.below.lines - 1)

    def take(self, index: Array) -> Leaning:
        below, above = self.below.take(index), self.above.take(index)
        return Leaning(self.plain.take(index), below, above, self.noise[index])
