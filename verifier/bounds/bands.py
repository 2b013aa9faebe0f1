"""Products with a reduced network's matrices that pass by what is 0 in them.

Where a network is convolutional a neuron reads what is near it. Neurons and inputs are placed so
that those that read one another are near (spectral co-clustering, Dhillon 2001): ``products.py``
halves what a product makes along these places. Long searches have products to 8 bits as well, where
these are faster.

Vectors are columns here, one for each pattern: to gather some of their elements is to copy whole
rows of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property

import numpy as np

from verifier.bounds.products import Product, Rough, bucketed
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float

LOCAL = 0.15
"""Layers are placed by what they read where that is at most such a share of all."""
VECTORS, TURNS, EACH = 4, 15, 5
"""Coordinates of a place; steps of subspace iteration, and how many before each projection."""
AT_ONCE = 4
"""So many times as many columns are swept at once where products are rough: the matrices take
longer to read than the arrays."""
LONG, LONG_IN_TORCH = 100_000_000_000, 2_000_000_000
"""Multiply-adds that are to come before there are such products: NumPy's need torch's import."""
WORTH = 2000
"""Groups are looked for before so many sweeps: they cost about as much as some hundred."""


@dataclass(frozen=True, eq=False)
class Links:
    """Products with all matrices of a reduced network, layer by layer."""

    of_inputs: Product
    """weights: from the input to all neurons."""
    to_inputs: Product
    onward: tuple[Product | None, ...]
    """From the neurons before each layer to its own; None: it reads none of them."""
    back: tuple[Product | None, ...]

    def rough(self, xp: Backend) -> Links:
        """About the same products, to 8 bits where these are faster."""
        return self._each(lambda product, _: Rough.of_product(product, xp), self)

    def likewise(self, plain: Links, xp: Backend) -> Links:
        """Products in other precision, in the groups that these have."""

        def of(product: Product, other: Product) -> Product:
            values = xp.numpy(other.matrix)
            # What is too small for one precision is not 0 in the other.
            same = ((values != 0) == (xp.numpy(product.matrix) != 0)).all()
            if not product.groups or not same:
                return other
            return bucketed(other, values, product.groups, xp)

        return self._each(of, plain)

    def _each(self, of: Callable[[Product, Product], Product], others: Links) -> Links:
        def both(one: Product | None, other: Product | None) -> Product | None:
            return other if one is None or other is None else of(one, other)

        return Links(
            of(self.of_inputs, others.of_inputs),
            of(self.to_inputs, others.to_inputs),
            tuple(map(both, self.onward, others.onward)),
            tuple(map(both, self.back, others.back)),
        )

    @cached_property
    def work(self) -> int:
        """Multiply-adds of a sweep back and forth for a column, and what else takes as long."""
        products = (self.of_inputs, self.to_inputs, *self.onward, *self.back)
        return sum(product.work for product in products if product is not None)


@dataclass(eq=False)
class Bands:
    """The products of a reduced network: dense ones at first, in groups once that pays."""

    xp: Backend
    layers: tuple[slice, ...]
    weights: Float[Array, "neurons n"]
    links: Float[Array, "neurons neurons"]
    sweeps: int = 0
    grouped: bool = False
    like: Bands | None = None
    """Those of the same network in another precision."""
    _kept: list[Links] = field(default_factory=list[Links])
    _rough: list[Links] = field(default_factory=list[Links])

    def expect(self, sweeps: int) -> None:
        """So many sweeps are to come; not to be called by several threads at once."""
        self.sweeps += sweeps
        if not self.grouped and self.sweeps >= WORTH and self.xp.device == "cpu":
            self.grouped = True
            self._group()
        least = LONG_IN_TORCH if self.xp.name == "torch" else LONG
        if not self._rough and self.sweeps * self.links_now.work >= least:
            self._rough = [self.links_now.rough(self.xp)]

    def _group(self) -> None:
        """Have products in groups: those of the same network where it has them."""
        like, self.like = self.like, None
        if like is not None and like.grouped and like.layers == self.layers:
            self._kept, self._rough = [like.links_now.likewise(self.links_now, self.xp)], []
            return
        places = self._places
        if places is not None:
            self._kept, self._rough = [self._of(places)], []

    @property
    def links_now(self) -> Links:
        """The products."""
        if not self._kept:
            self._kept = [self._of(None)]
        return self._kept[0]

    def links_of(self, *, rough: bool) -> Links:
        """The products, or what does for proposals where that is much faster."""
        return self._rough[0] if rough and self._rough else self.links_now

    @property
    def is_rough(self) -> bool:
        """Are there products that will do for proposals only?"""
        return bool(self._rough) and self._rough[0].work < self.links_now.work

    @property
    def at_once(self) -> int:
        """So many times as many columns as usual are to be swept at once."""
        return AT_ONCE if self.is_rough else 1

    @property
    def parts(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The neurons, and the inputs, in the groups that products make them in."""
        links = self.links_now
        products = (links.of_inputs, links.to_inputs)
        neurons, inputs = (
            _partition([group.made for group in product.groups], product.matrix.shape[0])
            for product in products
        )
        return neurons, inputs

    def _of(self, places: Float[np.ndarray, "nodes coordinates"] | None) -> Links:
        inputs = self.weights.shape[1]

        def product(matrix: Array, start: int, kinds: Sequence[slice], shift: int = 0) -> Product:
            if places is None:
                return Product(matrix)
            kinds = [slice(k.start - shift, k.stop - shift) for k in kinds]
            stop = start + matrix.shape[0]
            return Product.of(matrix, self.xp, places[start:stop], kinds)

        onward, back = list[Product | None](), list[Product | None]()
        for k, part in enumerate(self.layers):
            links = self.links[part, : part.start]
            if part.start == 0 or not bool((links != 0).any()):
                onward.append(None)
                back.append(None)
                continue
            onward.append(product(links, inputs + part.start, [part], part.start))
            back.append(product(links.T, inputs, self.layers[:k]))
        return Links(
            product(self.weights, inputs, self.layers),
            product(self.weights.T, 0, [slice(0, inputs)]),
            tuple(onward),
            tuple(back),
        )

    @cached_property
    def _places(self) -> Float[np.ndarray, "nodes coordinates"] | None:
        """Inputs, then neurons: the nodes of a graph whose edges are what reads what, locally.

        The leading eigenvectors of its normalised adjacency matrix; None: nothing is local.
        """
        pairs = self._pairs()
        if pairs is None:
            return None
        count = self.weights.shape[1] + self.links.shape[0]
        one, other = (np.concatenate([pairs[i], pairs[1 - i]]) for i in (0, 1))
        order = np.argsort(one, kind="stable")
        one, other = one[order], other[order]
        nodes, starts = np.unique(one, return_index=True)
        degree = np.bincount(one, minlength=count).astype(np.float32)
        weight = (1 / np.sqrt(np.maximum(degree, 1)))[:, None]
        flat = np.sqrt(degree)[:, None] / np.sqrt(degree.sum())
        shape = (count, VECTORS)
        vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        for turn in range(TURNS):
            moved = np.zeros(shape, dtype=np.float32)
            moved[nodes] = np.add.reduceat((vectors * weight)[other], starts, axis=0)
            vectors = moved * weight
            vectors -= flat * (flat.T @ vectors)
            if turn % EACH == EACH - 1:
                vectors = np.linalg.qr(vectors)[0]
        return vectors * weight

    def _pairs(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Which neurons read which nodes, in layers that read few of them."""
        numpy, inputs = self.xp.numpy, self.weights.shape[1]
        rows, columns = list[np.ndarray](), list[np.ndarray]()
        for k, part in enumerate(self.layers):
            read = [(0, self.weights[part])]
            read += [(inputs + p.start, self.links[part, p]) for p in self.layers[:k]]
            for start, matrix in read:
                mask = numpy(matrix) != 0
                if 0 < mask.mean() <= LOCAL:
                    row, column = np.nonzero(mask)
                    rows.append(row + inputs + part.start)
                    columns.append(column + start)
        return (np.concatenate(rows), np.concatenate(columns)) if rows else None


def _partition(groups: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The groups, and what is in none of them as one."""
    rest = np.ones(count, dtype=bool)
    for group in groups:
        rest[group] = False
    return [*groups, np.flatnonzero(rest)] if rest.any() else groups
