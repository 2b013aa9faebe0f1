"""Sweeps of a reduced network with linear cuts: what all its points satisfy, with multipliers.

A cut says C y + A x + b <= 0 of the neurons' outputs and the input. With a multiplier kappa >= 0,
what it says is added to the row that is bounded (Zhang et al. 2022, GCP-CROWN). A pattern's tilts
are those of ``paired.py``, then the multipliers of the cuts.
"""

from __future__ import annotations

from dataclasses import field, fields

import numpy as np

from verifier.bounds.bands import Bands
from verifier.bounds.columns import Bounded, Columns, Patterns
from verifier.bounds.paired import PairedColumns, PairedNet
from verifier.bounds.products import Product, Rough
from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

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

    def in_groups(self, bands: Bands, neuron: Int[np.ndarray, " cuts"]) -> CutLinks:
        """In the groups of the network's products, where these pay.

        ``neuron``: whose function each cut is about, which reads what that does.
        """
        neurons, inputs = bands.parts
        of_neuron = np.zeros(bands.links.shape[0], dtype=np.int64)
        for i, part in enumerate(neurons):
            of_neuron[part] = i
        cuts = [np.flatnonzero(of_neuron[neuron] == i) for i in range(len(neurons))]
        parts = (neurons, inputs, cuts, cuts)
        products = (getattr(self, f.name) for f in fields(self))
        made = (
            Product.in_parts(p.matrix, bands.xp, of) for p, of in zip(products, parts, strict=True)
        )
        return CutLinks(*made)

    def rough(self, xp: Backend) -> CutLinks:
        """About the same, to 8 bits where these are faster."""
        return CutLinks(*(Rough.of_product(getattr(self, f.name), xp) for f in fields(self)))


@dataclass(eq=False)
class CutBands:
    """The products with the matrices of a network's cuts: as the network's own ones are made."""

    bands: Bands
    neuron: Int[np.ndarray, " cuts"]
    """Whose function each cut is about."""
    plain: CutLinks
    rough: CutLinks | None = None
    grouped: bool = False

    def follow(self) -> None:
        """Have the products that the network has; not to be called by several threads at once."""
        if self.bands.grouped and not self.grouped:
            self.grouped, self.rough = True, None
            self.plain = self.plain.in_groups(self.bands, self.neuron)
        if self.bands.is_rough and self.rough is None:
            self.rough = self.plain.rough(self.bands.xp)

    def links_of(self, *, rough: bool) -> CutLinks:
        """The products, or what does for proposals where that is much faster."""
        return self.rough if rough and self.rough is not None else self.plain


@dataclass(frozen=True, eq=False)
class CutNet(PairedNet):
    """A reduced network with pairs of neurons (or none), and cuts."""

    cuts: Cuts
    products: CutBands

    @staticmethod
    def of_paired(net: PairedNet, cuts: Cuts, neuron: Int[np.ndarray, " cuts"]) -> CutNet:
        """A network, and cuts in its precision; ``neuron``: whose function each is about."""
        before = {f.name: getattr(net, f.name) for f in fields(net)}
        products = CutBands(net.bands, neuron, CutLinks.of(cuts))
        return CutNet(**before, cuts=cuts, products=products)

    def expect(self, sweeps: int) -> None:
        """Have the products that suit so many more sweeps."""
        super().expect(sweeps)
        self.products.follow()


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
        by = self.cut_net.products.links_of(rough=self.rough)
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
        by, (_, value, corner) = self.cut_net.products.links_of(rough=True), at
        arriving = by.of_neurons(value)
        arriving += by.of_inputs(corner)
        arriving += self.cut_by.bias[:, None]
        return self.net.xp.cat([super().of_tilts(multiplier, at), arriving], 0)
