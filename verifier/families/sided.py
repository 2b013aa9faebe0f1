"""A relaxation over a box whose ends are constraints, too, with a multiplier for each row."""

from __future__ import annotations

from verifier.families.relaxation import Relaxation
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.tensors import Array, Backend, Float


@dataclass(frozen=True, eq=False)
class Sided(Relaxation):
    """nu phi(x) >= A x + c, and gamma (x - upper) <= 0 for gamma >= 0, gamma (x - lower) <= 0 else.

    The tilts are those of the relaxation within, if it has any, and then one gamma for each input,
    in units of ``scale``: beta of beta-CROWN (Wang et al. 2021) at any point. ``scale`` is 0 where
    there is none.
    """

    xp: Backend
    inner: Relaxation
    box: Box
    scale: Float[Array, "batch n"]
    noise: Float[Array, "batch n"]
    """What a unit of |gamma| loses by rounding."""

    @property
    def _inner(self) -> Array | None:
        return self.inner.middle_tilt()

    @property
    def bounded_tilts(self) -> int:
        middle = self._inner
        return 0 if middle is None else middle.shape[1]

    def middle_tilt(self) -> Float[Array, "batch t"]:
        middle, none = self._inner, self.scale * 0
        return none if middle is None else self.xp.cat([middle + none, none], 1)

    def _parts(self, tilt: Array, owner: Owner) -> tuple[Array | None, Array]:
        """The tilts of the relaxation within, and gamma."""
        place = self.bounded_tilts
        gamma = tilt[:, place:] * owner.spread(self.scale)
        return (tilt[:, :place] if place else None), gamma

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows t"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        if tilt is None:
            return self.inner.pull_back(rows, owner, None)
        xp = self.xp
        inside, gamma = self._parts(tilt, owner)
        (slope,), constant = self.inner.pull_back(rows, owner, inside)
        low, high = owner.spread(self.box.lower), owner.spread(self.box.upper)
        # Where there is no multiplier, an infinite end does not matter.
        end = xp.where(gamma == 0, xp.zeros(1), xp.where(gamma > 0, high, low))
        constant = constant - xp.row_dot(gamma, end)
        constant = constant - xp.row_dot(abs(gamma), owner.spread(self.noise))
        return (slope + gamma,), constant

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows t"] | None,
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows m"]:
        inside = None if tilt is None else self._parts(tilt, owner)[0]
        return self.inner.push_forward(rows, owner, inside, inputs)

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows t"],
        inputs: tuple[Float[Array, "rows n"], ...],
    ) -> Float[Array, "rows t"]:
        xp, (x,) = self.xp, inputs
        inside, gamma = self._parts(tilt, owner)
        below = (x - owner.spread(self.box.lower)).clip(max=0)
        above = (x - owner.spread(self.box.upper)).clip(min=0)
        # At 0 only what leaves the box has a derivative.
        still = below + above
        turn = xp.where(gamma > 0, x - owner.spread(self.box.upper), still)
        turn = xp.where(gamma < 0, x - owner.spread(self.box.lower), turn)
        turn = turn * owner.spread(self.scale)
        if inside is None:
            return turn
        return xp.cat([self.inner.steer(rows, owner, inside, inputs), turn], 1)

    def take(self, index: Array) -> Sided:
        box = Box(self.box.lower[index], self.box.upper[index])
        return Sided(self.xp, self.inner.take(index), box, self.scale[index], self.noise[index])
