"""Which rows a point should descend on to become unsafe."""

from __future__ import annotations

from verifier.attack.target import Target
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int

SOFTNESS = 0.1
"""The temperature of the smooth loss, in units of a row's usual magnitude."""
MEMORY = 0.9
"""How much of a row's running magnitude stays from one step to the next."""


@dataclass
class Loss:
    """The smooth loss of a clause, sum_s softplus(g_s / tau): it works on all unmet rows at once.

    Rows are compared in units of their running mean magnitude. It is alternated with the sharp one,
    max_s g_s (`Target.sharp`). Over clauses there is no loss: each point aims at one of them.
    """

    target: Target
    scale: Array | None = None

    def observe(self, g: Float[Array, "batch rows"]) -> Float[Array, "batch rows"]:
        """The rows in units of their magnitudes, of which note is taken."""
        xp = self.target.graph.xp
        usable = xp.function("isfinite", g)
        size = xp.where(usable, abs(g), xp.zeros(1)).sum(0)
        count = xp.floats(usable).sum(0)
        mean = size / xp.where(count > 0, count, xp.full((1,), 1.0))
        mean = xp.where(mean > xp.tiny, mean, xp.full((1,), 1.0))
        self.scale = mean if self.scale is None else MEMORY * self.scale + (1 - MEMORY) * mean
        return g / self.scale

    def smooth(
        self, relative: Float[Array, "batch rows"], clause: Int[Array, " batch"]
    ) -> Float[Array, "batch rows"]:
        """d loss / d g for rows in units of their magnitudes, up to a factor for each row."""
        xp, target = self.target.graph.xp, self.target
        member = clause[:, None] == target.clause[None, :]
        if target.members.shape[1] == 1:
            return xp.floats(member)
        return xp.where(member, xp.function("sigmoid", relative / SOFTNESS), xp.zeros(1))
