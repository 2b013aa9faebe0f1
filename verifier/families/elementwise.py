"""Elementwise operators: y_i = phi(x_i)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields, replace

import numpy as np

from verifier.families.nonlinear import Nonlinear
from verifier.families.operator import Part
from verifier.families.relaxation import Planes
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Bool, Float, gamma


def times_finite(slope: Array, x: Array, xp: Backend) -> Array:
    """``slope x``, which is 0 for a slope of 0 even where x is infinite."""
    flat = slope == 0
    return xp.where(flat, xp.zeros(1), slope * xp.where(flat, xp.zeros(1), x))


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Nonlinear):
    """y_i = phi(x_i), the same phi for every i (with elementwise constants, perhaps).

    A relaxation is a slope below and a slope above; *any* slopes are sound, since the offsets are
    the exact extrema of phi(x) - slope x over the box (``gap``), lowered and raised by their
    rounding errors.
    """

    def part(self, index: np.ndarray) -> Part | None:
        """Some of the elements, where there are no constants for each one."""
        constants = (getattr(self, field.name) for field in fields(self))
        if any(isinstance(x, np.ndarray) and x.shape[-1] != 1 for x in constants):
            return None
        count = len(index)
        return Part(replace(self, sizes=(count,), size=count), index, (index,))

    @abstractmethod
    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        """phi'(x); at a kink any one-sided derivative."""

    @abstractmethod
    def slopes(self, box: Box) -> tuple[Array, Array]:
        """Slopes (below, above) that make a tight pair of lines over the box."""

    @abstractmethod
    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        """(least, greatest) value of phi(x) - slope x over the box, rounding included."""

    @abstractmethod
    def split_point(self, box: Box) -> Array:
        """Where to split each neuron's box so that its two halves relax better."""

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return box.upper > box.lower

    def partials(self, *inputs: Float[Array, "batch n"]) -> tuple[tuple[Array, Array | None], ...]:
        return ((self.derivative(inputs[0]), None),)

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        weight = positive + negative
        return (self.xp.where(self.unstable(0, boxes[0]), weight, weight * 0),)

    def relax(self, *boxes: Box) -> Planes:
        (box,) = boxes
        below, above = self.slopes(box)
        return self.planes(box, below, above)

    def planes(self, box: Box, below: Array, above: Array) -> Planes:
        """The planes with these slopes and the best sound offsets."""
        least, _ = self.gap(below, box)
        _, greatest = self.gap(above, box)
        magnitude = box.magnitude(self.xp)
        noise = 16 * self.xp.least_normal + self.rounding * (
            times_finite(abs(below) + abs(above), magnitude, self.xp) + abs(least) + abs(greatest)
        )
        return Planes(self.xp, (below,), (above,), least, greatest, noise)

    @property
    def rounding(self) -> float:
        """gamma_n for everything that a row adds up at this node (see ``Planes.noise``)."""
        return gamma(min(self.size, self.xp.dot_terms) + 16, self.xp.unit_roundoff)
