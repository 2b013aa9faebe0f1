"""Sweeps of a reduced network with linear cuts: what all its points satisfy, with multipliers.

A cut says C y + A x + b <= 0 of the neurons' outputs and the input. With a multiplier kappa >= 0,
what it says is added to the row that is bounded (Zhang et al. 2022, GCP-CROWN). A pattern's tilts
are those of ``paired.py``, then the multipliers of the cuts.
"""

from __future__ import annotations

from dataclasses import field, fields
from functools import cached_property

from verifier.bounds.columns import Bounded, Columns, Patterns
from verifier.bounds.paired import PairedColumns, PairedNet
from verifier.bounds.products import Product, Rough
from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float

STEPS, MOST_STEPS = 64, 255
"""Multipliers in proofs are whole numbers up to the latter of so many parts of a unit."""
LEAST_STEP = 1e-37
"""Multipliers of smaller parts are 0."""
MULTIPLIERS = 0.7
"""Steps of the multipliers, as shares of their units and of steps of slopes."""


@dataclass(frozen=True, eq=False)
class Cuts:
    """Rows that are at most 0 wherever the network can be."""

    links: Float[Array, "cuts neurons"]
    inputs: Float[Array, "cuts n"]
    bias: Float[Array, " cuts"]
    error: Float[Array, " cuts"]
    """What a multiplier of 1 costs for rounding in float64."""
    unit: Float[Array, " cuts"]
    """How large multipliers may well be."""

    def in_steps(self, kappa: Float[Array, "batch cuts"]) -> Float[Array, "batch cuts"]:
        """The nearest multipliers that proofs can hold, as whole numbers."""
        step = self.unit / STEPS
        whole = (kappa / step.clip(min=LEAST_STEP)).clip(0, MOST_STEPS).round()
        return whole * (step >= LEAST_STEP)

    def on(self, xp: Backend, source: Backend) -> Cuts:
        """The same in another precision."""
        arrays = (source.numpy(getattr(self, f.name)) for f in fields(self))
        return Cuts(*(xp.floats(xp.doubles(part)) for part in arrays))


@dataclass(frozen=True, eq=False)
class CutLinks:
    """Products with the matrices of cuts."""

    to_neurons: Product
    to_inputs: Product
    of_neurons: Product
    of_inputs: Product

    @staticmethod
    def of(cuts: Cuts) -> CutLinks:
        """Plain ones."""
        matrices = (cuts.links.T, cuts.inputs.T, cuts.links, cuts.inputs)
        return CutLinks(*map(Product, matrices))

    def rough(self, xp: Backend) -> CutLinks:
        """About the same, to 8 bits where these are faster."""
        return CutLinks(*(Rough.of_product(getattr(self, f.name), xp) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class CutNet(PairedNet):
    """A reduced network with pairs of neurons (or none), and cuts."""

    cuts: Cuts

    def cut_links(self, *, rough: bool) -> CutLinks:
        """The products, or what does for proposals where that is much faster."""
        return self._rough if rough and self.bands.is_rough else self._plain

    @cached_property
    def _plain(self) -> CutLinks:
        return CutLinks.of(self.cuts)

    @cached_property
    def _rough(self) -> CutLinks:
        return self._plain.rough(self.xp)

    @staticmethod
    def of_paired(net: PairedNet, cuts: Cuts) -> CutNet:
        """A network, and cuts in its precision."""
        return CutNet(**{f.name: getattr(net, f.name) for f in fields(net)}, cuts=cuts)


def columns_of(net: Reduced, patterns: Patterns) -> Columns:
    """Patterns at work on a network with cuts, with pairs, or without."""
    if isinstance(net, CutNet):
        return CutColumns.of(net, patterns)
    kind = PairedColumns if isinstance(net, PairedNet) else Columns
    return kind.of(net, patterns)


@dataclass(eq=False)
class CutColumns(PairedColumns):
    """The patterns at work."""

    first: int = field(init=False)
    """Where the multipliers of cuts begin."""

    def __post_init__(self) -> None:
        self.first = 2 * self.net.neurons
        super().__post_init__()
        # They are at least 0, unlike those of pairs.
        self.zero[self.first :] = 0.0

    @property
    def cut_net(self) -> CutNet:
        """The network."""
        assert isinstance(self.net, CutNet)
        return self.net

    @property
    def cut_by(self) -> Cuts:
        """The network's cuts."""
        return self.cut_net.cuts

    @property
    def kappa(self) -> Float[Array, "cuts batch"]:
        """The multipliers of the cuts."""
        return self.tilt[self.first :]

    def start(self) -> tuple[Array, Array, Array]:
        """The sums of rows, and what the cuts add."""
        (links, inputs, bias), kappa = super().start(), self.kappa
        by = self.cut_net.cut_links(rough=self.rough)
        return (
            links + by.to_neurons(kappa),
            inputs + by.to_inputs(kappa),
            bias + self.cut_by.bias @ kappa,
        )

    def rescale(self, bounded: Bounded) -> None:
        """Multipliers of cuts move in units of their own."""
        super().rescale(bounded)
        self.scale[self.first :] = MULTIPLIERS * self.cut_by.unit[:, None]

    def of_tilts(
        self, multiplier: Array, at: tuple[Array, Array, Array]
    ) -> Float[Array, "tilts batch"]:
        """d(bound)/d(tilt): of a cut's multiplier, the cut at the minimiser."""
        by, (_, value, corner) = self.cut_net.cut_links(rough=True), at
        arriving = by.of_neurons(value)
        arriving += by.of_inputs(corner)
        arriving += self.cut_by.bias[:, None]
        return self.net.xp.cat([super().of_tilts(multiplier, at), arriving], 0)
