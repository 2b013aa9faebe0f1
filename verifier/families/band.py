"""Relaxations with one linear function below and above, a distance apart."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

from verifier.families.relaxation import Relaxation
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Backend, Float


@dataclass(frozen=True, eq=False)
class Band(Relaxation):
    """|phi(x) - L x - offset| <= radius + noise, with a linear L of its own for each batch entry.

    Law: ``<nu, L x> == <adjoint(nu), x>``; ``noise`` bounds, per unit of |nu|, the rounding of all
    that a row computes here, ``underflow`` what is lost below the least normal number.
    """

    xp: Backend
    terms: int
    """gamma_terms bounds the rounding of the sums of L x and of nu L."""
    offset: Float[Array, "batch m"]
    radius: Float[Array, "batch m"]
    noise: Float[Array, "batch m"]
    underflow: Float[Array, " batch"]

    @abstractmethod
    def adjoint(
        self, rows: Float[Array, "batch k m"], which: Array | None
    ) -> tuple[Float[Array, "batch k _"], ...]:
        """nu -> nu L for k rows of each batch entry; ``which``: the entries, None: all."""

    @abstractmethod
    def linear(
        self, inputs: tuple[Float[Array, "batch k _"], ...], which: Array | None
    ) -> Float[Array, "batch k m"]:
        """L x for k points of each batch entry."""

    @abstractmethod
    def absolute(self, inputs: tuple[Float[Array, "batch k _"], ...]) -> Float[Array, "batch k m"]:
        """|L| x for k points of each batch entry."""

    def take(self, index: Array) -> Self:
        return self.taken(index)

    def taken(self, index: Array, **own: Any) -> Self:
        """Some batch entries; ``own`` are those of a subclass's fields."""
        return replace(
            self,
            offset=self.offset[index],
            radius=self.radius[index],
            noise=self.noise[index],
            underflow=self.underflow[index],
            **own,
        )

    def _grouped(self, rows: Float[Array, "rows m"], owner: Owner) -> tuple[Array, Array | None]:
        """Rows by batch entry, [batch k m], and the entries: all rows have as many, or k is 1."""
        if owner.batch == 1:
            return rows[None], None
        if owner.index is None:
            return rows[:, None], None
        return rows[:, None], owner.index

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp = self.xp
        grouped, which = self._grouped(rows, owner)
        parts = self.adjoint(grouped, which)
        flat = tuple(x.reshape(rows.shape[0], x.shape[2]) for x in parts)
        constant = xp.row_dot(rows, owner.spread(self.offset))
        constant = constant - xp.row_dot(abs(rows), owner.spread(self.radius + self.noise))
        return flat, constant - owner.spread(self.underflow)

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows _"], ...],
    ) -> Float[Array, "rows m"]:
        xp, which = self.xp, None
        grouped = []
        for x in inputs:
            part, which = self._grouped(x, owner)
            grouped.append(part)
        line = self.linear(tuple(grouped), which).reshape(rows.shape)
        radius = owner.spread(self.radius)
        return line + owner.spread(self.offset) - xp.where(rows >= 0, radius, -radius)


@dataclass(frozen=True, eq=False)
class Level(Band):
    """L = 0: nothing but a box around the values."""

    sizes: tuple[int, ...]

    def adjoint(
        self, rows: Float[Array, "batch k m"], which: Array | None
    ) -> tuple[Float[Array, "batch k _"], ...]:
        return tuple(self.xp.zeros(*rows.shape[:2], size) for size in self.sizes)

    def linear(
        self, inputs: tuple[Float[Array, "batch k _"], ...], which: Array | None
    ) -> Float[Array, "batch k m"]:
        return self.xp.zeros(*inputs[0].shape[:2], self.offset.shape[1])

    def absolute(self, inputs: tuple[Float[Array, "batch k _"], ...]) -> Float[Array, "batch k m"]:
        return self.linear(inputs, None)
