"""A nonlinear operator between linear functions, over a batch of boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Backend, Float


class Relaxation(ABC):
    """Linear bounds of a nonlinear node over the boxes of a batch.

    For a row with coefficients nu on the node's output, ``pull_back`` gives multipliers A for its
    inputs and constants c with nu . phi(x) >= A . x + c on the box (the universal rule of the
    dual). The constant includes all rounding errors, so it holds for the computed A taken as exact
    numbers.
    """

    @abstractmethod
    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        """(A for each input, c in float64)."""

    @abstractmethod
    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        """The value of the line that ``pull_back`` chose, at the given inputs: d(bound)/d(nu)."""

    @abstractmethod
    def take(self, index: Array) -> Relaxation:
        """The relaxations of some batch entries."""

    def middle_tilt(self) -> Float[Array, "batch t"] | None:
        """The tilts that stand for the relaxation's own lines; None: it has no tilts."""
        return None

    @property
    def bounded_tilts(self) -> int | None:
        """How many tilts, the first ones, are in [0, 1]; the others are any numbers. None: all."""
        return None

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows t"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows t"]:
        """d(bound) / d(tilt), at what arrives at the inputs."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Planes(Relaxation):
    """A plane below and a plane above: below.x + lower_offset <= phi(x) <= above.x + upper_offset.

    ``noise`` bounds, per unit of |nu|, the rounding of everything computed from the planes (and the
    error of the affine node before, where that was folded in).

    With a ``tilt`` theta per row the slope of the first input becomes
    A = nu above + nu+ (below - above) + theta (gain nu+ + cut): theta is alpha where ``gain`` is
    set (an unstable neuron whose lower line turns about the origin) and beta, the multiplier of the
    split constraint, where ``cut`` is -1 (x >= 0) or +1 (x <= 0). Wang et al. 2021 (beta-CROWN),
    eq. 8.
    """

    xp: Backend
    below: tuple[Float[Array, "batch m"], ...]
    above: tuple[Float[Array, "batch m"], ...]
    lower_offset: Float[Array, "batch m"]
    upper_offset: Float[Array, "batch m"]
    noise: Float[Array, "batch m"]
    gain: Float[Array, "batch m"] | None = None
    cut: Float[Array, "batch m"] | None = None
    untilted: Float[Array, "batch m"] | None = None
    """The lower slope without its tilt (``below - default tilt * gain``)."""

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows m"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp = self.xp
        positive = rows.clip(min=0)
        below = self.below
        if tilt is not None and self.untilted is not None:
            below = (self.untilted, *self.below[1:])
        coefficients = []
        for low, high in zip(below, self.above, strict=True):
            slope = rows * owner.spread(high)
            slope += positive * owner.spread(low - high)
            coefficients.append(slope)
        if tilt is not None and self.gain is not None:
            lever = positive * owner.spread(self.gain)
            if self.cut is not None:
                lever += owner.spread(self.cut)
            coefficients[0] += lever * tilt
        # Sum nu+ low + nu- high - |nu| noise, with |nu| = 2 nu+ - nu and nu- = nu - nu+.
        constant = xp.row_dot(rows, owner.spread(self.upper_offset + self.noise))
        spread = owner.spread(self.lower_offset - self.upper_offset - 2 * self.noise)
        constant = constant + xp.row_dot(positive, spread)
        return tuple(coefficients), constant

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        xp = self.xp
        positive = rows >= 0
        total = xp.where(positive, owner.spread(self.lower_offset), owner.spread(self.upper_offset))
        for i, x in enumerate(inputs):
            below = owner.spread(self.below[i])
            if i == 0 and tilt is not None and self.gain is not None and self.untilted is not None:
                below = owner.spread(self.untilted) + owner.spread(self.gain) * tilt
            total = total + xp.where(positive, below, owner.spread(self.above[i])) * x
        return total

    def middle_tilt(self) -> Float[Array, "batch m"] | None:
        if self.gain is None or self.untilted is None:
            return None
        return self.xp.floats(self.below[0] > self.untilted)

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows m"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        return self.lever(rows, owner) * inputs[0]

    def lever(self, rows: Float[Array, "rows m"], owner: Owner) -> Float[Array, "rows m"]:
        """d A / d theta: what a step of the tilt adds to the coefficient of the input."""
        lever = rows.clip(min=0)
        if self.gain is not None:
            lever = lever * owner.spread(self.gain)
        return lever if self.cut is None else lever + owner.spread(self.cut)

    def take(self, index: Array) -> Planes:
        return self._each(lambda x: x[index])

    def elements(self, index: Array) -> Planes:
        """Those of some elements."""
        return self._each(lambda x: x[:, index])

    def _each(self, of: Callable[[Array], Array]) -> Planes:
        optional = (None if x is None else of(x) for x in (self.gain, self.cut, self.untilted))
        return Planes(
            self.xp,
            tuple(of(x) for x in self.below),
            tuple(of(x) for x in self.above),
            *(of(x) for x in (self.lower_offset, self.upper_offset, self.noise)),
            *optional,
        )
