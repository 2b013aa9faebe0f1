"""Which rows a point should descend on to become unsafe."""

from __future__ import annotations

from dataclasses import dataclass, field

from verifier.attack.target import Target
from verifier.tensors import Array, Float, Int

SOFTNESS = 0.1
"""The temperature of the smooth loss, in units of a row's usual magnitude."""
MEMORY = 0.9
"""How much of a row's running magnitude stays from one step to the next."""


@dataclass
class Loss:
    """Row weights whose gradient lowers a clause of each point's own.

    Two losses for a clause, to be alternated: *sharp*, max_s g_s, and *smooth*,
    sum_s softplus(g_s / tau), which works on all unmet rows at once. Rows are compared in units of
    their running mean magnitude. (Over clauses there is no loss: each point aims at one of them.)
    """

    target: Target
    scale: Array | None = field(default=None)

    def observe(self, g: Float[Array, "batch rows"]) -> None:
        """Take note of the rows' magnitudes."""
        xp = self.target.graph.xp
        usable = xp.function("isfinite", g)
        size = xp.where(usable, abs(g), xp.zeros(1)).sum(0)
        count = xp.floats(usable).sum(0)
        mean = size / xp.where(count > 0, count, xp.full((1,), 1.0))
        mean = xp.where(mean > xp.tiny, mean, xp.full((1,), 1.0))
        self.scale = mean if self.scale is None else MEMORY * self.scale + (1 - MEMORY) * mean

    def weights(
        self, g: Float[Array, "batch rows"], clause: Int[Array, " batch"], *, sharp: bool
    ) -> Float[Array, "batch rows"]:
        """d loss / d g, up to a positive factor for each point."""
        xp, target = self.target.graph.xp, self.target
        member = clause[:, None] == target.clause[None, :]
        if target.members.shape[1] == 1:
            return xp.floats(member)
        if self.scale is None:
            self.observe(g)
        relative = g / self.scale
        if sharp:
            inside = xp.where(member, relative, xp.full((1,), -float("inf")))
            return xp.floats(member & (inside >= xp.amax(inside, 1)[:, None]))
        return xp.where(member, xp.function("sigmoid", relative / SOFTNESS), xp.zeros(1))

    def seeds(self, weights: Float[Array, "batch rows"]) -> dict[int, Array]:
        """The weights as seeds of ``backward``: on the output, and on the input if rows read it."""
        target = self.target
        seeds = {target.graph.output: weights @ target.output_coefficients}
        if target.input_coefficients is not None:
            direct = weights @ target.input_coefficients
            known = seeds.get(0)
            seeds[0] = direct if known is None else known + direct
        return seeds
