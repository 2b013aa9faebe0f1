"""Sweeps of a reduced network some of whose neurons are bounded in pairs (``pairs.py``).

A neuron of a pair has two multipliers: alpha or beta, as all have, and a number of any sign that is
added to what these make of its coefficient. A pattern's tilts are all of the first kind, then all
of the second.
"""

from __future__ import annotations

from dataclasses import field, fields

from verifier.bounds.columns import Bounded, Columns
from verifier.bounds.pairs import Fixed, Pairs
from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int

SLOPES, NUMBERS = 0.1, 0.01
"""Steps of both multipliers of pairs, as shares of what those of other neurons are: the terms of
pairs have sharp ridges, and a few large steps would lose more than they gain."""


@dataclass(frozen=True, eq=False)
class PairedNet(Reduced):
    """A reduced network with pairs of neurons."""

    pairs: Pairs

    @staticmethod
    def of_net(net: Reduced, pairs: Pairs) -> PairedNet:
        """A network, and pairs of its neurons in its precision."""
        return PairedNet(**{f.name: getattr(net, f.name) for f in fields(net)}, pairs=pairs)


@dataclass(eq=False)
class PairedColumns(Columns):
    """The patterns at work."""

    fixed: Fixed = field(init=False)
    least: Float[Array, "pairs batch"] = field(init=False)
    """The terms of pairs in the last sweep."""
    read: Float[Array, "neurons batch"] = field(init=False)
    """What neurons of pairs read where the terms of the last sweep are least; 0 for others."""

    def __post_init__(self) -> None:
        xp, endless = self.net.xp, float("inf")
        any_sign = self.zero[self.net.neurons :] + endless
        self.zero = xp.cat([self.zero[: self.net.neurons], -any_sign], 0)
        self.limit = xp.cat([self.limit, any_sign], 0)
        self.fixed = self.pairs.fixed(-self.lines.cut)

    @property
    def pairs(self) -> Pairs:
        """The network's."""
        assert isinstance(self.net, PairedNet)
        return self.net.pairs

    def keep(self, index: Int[Array, " some"]) -> None:
        """Drop the other patterns."""
        super().keep(index)
        self.fixed = self.pairs.fixed(-self.lines.cut)

    @property
    def alpha(self) -> Float[Array, "neurons batch"]:
        """Of the free neurons; those that are split have beta there."""
        return self.tilt[: self.net.neurons]

    def cuts(self) -> Float[Array, "neurons batch"]:
        """What is added to the multipliers, whatever the coefficients are."""
        count = self.net.neurons
        return self.lines.cut * self.alpha + self.tilt[count : 2 * count]

    def terms(
        self,
        passed: Float[Array, "neurons batch"],
        multiplier: Float[Array, "neurons batch"],
        lines: tuple[Array, Array],
    ) -> Float[Array, " batch"]:
        """What all neurons cost; notes the pairs' terms, and where they are least."""
        xp, pairs, (slope, shift) = self.net.xp, self.pairs, lines
        self.least, x, y = pairs.least(passed, multiplier, self.fixed)
        shift[pairs.both] = 0.0
        total = self.net.ones @ (passed * shift) + self.least.sum(0)
        read, leak = xp.cat([x, y], 0), self.net.leak[pairs.both][:, None]
        shift[pairs.both] = xp.maximum(read, leak * read) - slope[pairs.both] * read
        self.read = passed * 0
        self.read[pairs.both] = read
        return total

    def rescale(self, bounded: Bounded) -> None:
        """Multipliers of splits and of pairs move in units of their layer's coefficients."""
        super().rescale(bounded)
        count, mask = self.net.neurons, self.pairs.mask[:, None]
        self.scale[:count] *= 1 - mask + SLOPES * mask
        for part in self.net.layers:
            both = slice(count + part.start, count + part.stop)
            self.scale[both] = NUMBERS * abs(bounded.passed[part]).mean(0)

    def of_tilts(
        self, multiplier: Float[Array, "neurons batch"], at: tuple[Array, Array, Array]
    ) -> Float[Array, "tilts batch"]:
        """d(bound)/d(tilt): what the network gives a neuron to read, less what its term wants."""
        wanted = at[0] - self.read
        return self.net.xp.cat([multiplier * wanted, self.pairs.mask[:, None] * wanted], 0)
