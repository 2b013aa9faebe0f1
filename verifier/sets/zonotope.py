"""Zonotopes with a box around each point."""

from __future__ import annotations

from functools import cached_property

from verifier.records import dataclass
from verifier.sets.box import Box
from verifier.tensors import Array, Backend, Bool, Float, Int, gamma


@dataclass(frozen=True, eq=False)
class Zonotope:
    """{center + sum_k e_k generators_k + t : |e_k| <= 1, |t_i| <= tail_i}, one per batch entry.

    Zonotopes of several values of one network share the symbols e_k; one with fewer generators has
    zeros for the rest. Law: for each input there are symbols, the same for all values, with which
    every value is inside.
    """

    center: Float[Array, "batch n"]
    generators: Float[Array, "batch g n"]
    tail: Float[Array, "batch n"]

    @property
    def count(self) -> int:
        """The number of generators."""
        return self.generators.shape[1]

    @cached_property
    def radius(self) -> Float[Array, "batch n"]:
        """How far the values go from the center, up to the rounding of ``count`` sums."""
        return abs(self.generators).sum(1) + self.tail

    @property
    def size(self) -> Float[Array, "batch n"]:
        """The greatest magnitude in it, up to rounding."""
        return abs(self.center) + self.radius

    def box(self, xp: Backend) -> Box:
        """The least box around it, rounded outward."""
        rounding = 2 * gamma(self.count + 8, xp.unit_roundoff)
        radius = self.radius + rounding * self.size + xp.tiny
        return Box(self.center - radius, self.center + radius)

    def padded(self, count: int, xp: Backend) -> Zonotope:
        """With zeros for the generators up to ``count``."""
        batch, missing, size = self.center.shape[0], count - self.count, self.center.shape[1]
        if missing == 0:
            return self
        zeros = xp.zeros(batch, missing, size)
        return Zonotope(self.center, xp.cat([self.generators, zeros], 1), self.tail)

    def promoted(
        self, where: Bool[Array, "batch n"], count: int, first: int, xp: Backend
    ) -> Zonotope:
        """The largest ``count`` tails there become generators, numbered from ``first`` on.

        Exact: a tail is a symbol that nothing else shares yet.
        """
        batch, size = self.tail.shape
        amount = xp.where(where, self.tail, xp.zeros(1))
        order = xp.argsort(-amount, 1)[:, :count]
        entry, slot = xp.arange(batch)[:, None], xp.arange(count)[None, :]
        fresh, left = xp.zeros(batch, count, size), xp.copy(amount)
        fresh[entry, slot, order] = xp.take_along(amount, order, 1)
        left[entry, order] = 0.0
        wide = self.padded(first, xp)
        tail = xp.where(where, left, self.tail)
        return Zonotope(self.center, xp.cat([wide.generators, fresh], 1), tail)

    def keeping(self, order: Int[Array, "batch k"], xp: Backend) -> Zonotope:
        """Only the generators ``order`` (each batch entry has its own); the rest join the tail."""
        batch, count = self.center.shape[0], self.count
        dropped = xp.full((batch, count), 1.0)
        dropped[xp.arange(batch)[:, None], order] = 0.0
        rest = (abs(self.generators) * dropped[:, :, None]).sum(1)
        rest = rest * (1 + 4 * gamma(count + 4, xp.unit_roundoff))
        kept = xp.take_along(self.generators, order[:, :, None], 1)
        tail = self.tail + rest
        return Zonotope(self.center, kept, tail + 2 * xp.unit_roundoff * tail)

    def columns(self, index: Int[Array, "batch m"], xp: Backend) -> Zonotope:
        """The neurons ``index`` (different for each batch entry)."""
        return Zonotope(
            xp.take_along(self.center, index, 1),
            xp.take_along(self.generators, index[:, None, :], 2),
            xp.take_along(self.tail, index, 1),
        )
