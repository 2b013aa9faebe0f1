"""Axis-aligned boxes."""

from __future__ import annotations

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Bool, Float


@dataclass(frozen=True, eq=False)
class Box:
    """{x : lower <= x <= upper}, one box per batch entry.

    Law: every reachable value lies inside. A bound may be infinite where nothing better is known;
    NaN never counts as a bound: methods that meet one must fail to prove anything.
    """

    lower: Float[Array, "batch n"]
    upper: Float[Array, "batch n"]

    def intersect(self, other: Box, xp: Backend) -> Box:
        """The common part; where rounding made it empty, the two bounds meet in one point."""
        lower = xp.maximum(self.lower, other.lower)
        upper = xp.minimum(self.upper, other.upper)
        return Box(lower, upper)

    @property
    def center(self) -> Float[Array, "batch n"]:
        """Halfway between the bounds; halved first, since their sum may be too large a number."""
        return self.lower / 2 + self.upper / 2

    @property
    def radius(self) -> Float[Array, "batch n"]:
        """Half of the width."""
        return self.upper / 2 - self.lower / 2

    def magnitude(self, xp: Backend) -> Float[Array, "batch n"]:
        """max |x| over the box."""
        return xp.maximum(abs(self.lower), abs(self.upper))

    def __getitem__(self, index: Array) -> Box:
        """The boxes of some batch entries."""
        return Box(self.lower[index], self.upper[index])

    def elements(self, index: Array) -> Box:
        """The bounds of some elements."""
        return Box(self.lower[:, index], self.upper[:, index])

    def empty(self) -> Bool[Array, " batch"]:
        """Which boxes hold no point."""
        return (self.lower > self.upper).any(-1)
