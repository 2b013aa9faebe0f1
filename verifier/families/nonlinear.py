"""What elementwise, bilinear and maximum operators have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from verifier.families.operator import Operator
from verifier.families.relaxation import Relaxation
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Nonlinear(Operator):
    """An operator that methods must relax; it needs a box for each of its inputs."""

    tilted: ClassVar[bool] = False
    """Is it a ReLU at heart: a kink at 0, with a slope that an optimiser may tilt?"""

    @property
    def stepped(self) -> bool:
        """Does the function jump, so that lines around it are far apart however small a box is?"""
        return False

    @property
    def contracts(self) -> bool:
        """Is |f(x) - f(y)| <= f(|x - y|), and is f computed without any rounding?"""
        return False

    @abstractmethod
    def interval(self, *boxes: Box) -> Box:
        """A box around the image of the boxes, rounding included."""

    @abstractmethod
    def relax(self, *boxes: Box) -> Relaxation:
        """Sound linear bounds over the boxes."""

    def bend(self, relaxation: Relaxation, *boxes: Box) -> Relaxation:
        """A relaxation of the boxes, with more planes for each row to choose from if there are."""
        return relaxation

    @abstractmethod
    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        """Where a tighter box of input ``which`` would give a tighter relaxation."""

    def partials(self, *inputs: Float[Array, "batch n"]) -> tuple[tuple[Array, Array | None], ...]:
        """For each input the derivatives d y_j / d x_k, and which k.

        Derivatives are [batch m]; the index k of each output j is [batch m], None where k = j. At a
        kink any one-sided value. Used by ``gradient`` only.
        """
        raise NotImplementedError

    def gradient(
        self, rows: Float[Array, "batch m"], *inputs: Float[Array, "batch _"]
    ) -> tuple[Float[Array, "batch _"], ...]:
        """The gradient of ``rows . phi`` by each input, at points; used by attacks only."""
        parts = []
        for size, (derivative, index) in zip(self.sizes, self.partials(*inputs), strict=True):
            part = rows * derivative
            parts.append(part if index is None else self.xp.scatter_rows(part, index, size))
        return tuple(parts)

    def guide(
        self, rows: Float[Array, "batch m"], *inputs: Float[Array, "batch _"]
    ) -> tuple[Float[Array, "batch _"], ...]:
        """Where an attack should go for ``rows . phi``: the gradient, or a stand-in at jumps."""
        return self.gradient(rows, *inputs)

    @abstractmethod
    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        """For each input, how fast the relaxation's error falls as the input's half-width shrinks.

        ``positive`` and ``negative`` are the absolute coefficients of the rows on the output, by
        sign. A heuristic for branching (gap-smear): nothing rests on it.
        """
