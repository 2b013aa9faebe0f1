"""Products with a reduced network's matrices that pass by what is 0 in them.

Where a network is convolutional a neuron reads what is near it. Neurons and inputs are placed so
that those that read one another are near (spectral co-clustering, Dhillon 2001); what a product
makes is halved along these places, again and again, as long as that costs less; each group then
reads only what some of it needs. Groups of about one size are one batched product of small dense
matrices. Where that does not pay the product is dense.

Vectors are columns here, one for each pattern: to gather some of their elements is to copy whole
rows of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property
from typing import TypeVar

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Bool, Float, Int, RoughProduct

READ, MADE = 6, 8
"""What gathering an element and writing one cost, in multiply-adds: measured, for 122 columns."""
GROUP, BUCKET = 150, 1500
"""What one product of a batch costs besides, and a batch."""
LEAST = 4
"""Groups of fewer than twice so many elements are not halved."""
SMALL = 16_384
"""Matrices of fewer elements are multiplied as they are."""
PAYS = 0.8
"""Groups are used where they cost at most so much of the dense product."""
LOCAL = 0.15
"""Layers are placed by what they read where that is at most such a share of all."""
VECTORS, TURNS, EACH = 4, 15, 5
"""Coordinates of a place; steps of subspace iteration, and how many before each projection."""
FASTER, AT_ONCE = 10, 4
"""So many times as fast are products of bfloat16, measured with AMX; and so many times as many
columns are swept at once then: the matrices take longer to read than the arrays."""
LONG, LONG_IN_TORCH = 100_000_000_000, 2_000_000_000
"""Multiply-adds that are to come before there are such products: NumPy's need torch's import."""
WORTH = 2000
"""Groups are looked for before so many sweeps: they cost about as much as some hundred."""


N = TypeVar("N", int, np.ndarray)


def _price(made: N, read: N, each: int = READ) -> N:
    """What a group costs besides calls; ``each``: for an element that is gathered, 0 if none is."""
    return read * (each + made) + MADE * made


@dataclass(frozen=True, eq=False)
class _Bucket:
    """Groups of one size."""

    index: Int[Array, " gathered"] | None
    """What they read, one group after another; None: each reads all."""
    weights: Float[Array, "groups made read"]

    @property
    def work(self) -> int:
        """Multiply-adds for a column, and what else takes as long."""
        groups, made, read = self.weights.shape
        return groups * _price(made, read, 0 if self.index is None else READ)


@dataclass(frozen=True, eq=False)
class Product:
    """``matrix @ x`` for columns x."""

    matrix: Float[Array, "made read"]
    buckets: tuple[_Bucket, ...] = ()
    """None: the product is dense."""
    place: Int[Array, " made"] | None = None
    """Where the buckets' results are that make up the product's."""
    xp: Backend | None = None
    groups: Sequence[_Group] = ()

    @property
    def work(self) -> int:
        """Multiply-adds for a column, and what else takes as long."""
        if self.xp is None:
            return self.matrix.shape[0] * self.matrix.shape[1]
        return sum(bucket.work for bucket in self.buckets)

    def __call__(self, x: Float[Array, "read batch"]) -> Float[Array, "made batch"]:
        xp, batch = self.xp, x.shape[1]
        if xp is None:
            return self.matrix @ x
        made = xp.empty(sum(b.weights.shape[0] * b.weights.shape[1] for b in self.buckets), batch)
        start = 0
        for bucket in self.buckets:
            groups, rows, _ = bucket.weights.shape
            read = x[None]
            if bucket.index is not None:
                read = xp.rows(x, bucket.index).reshape(groups, -1, batch)
            stop = start + groups * rows
            xp.product_into(bucket.weights, read, made[start:stop].reshape(groups, rows, batch))
            start = stop
        return xp.rows(made, self.place)

    @staticmethod
    def of(
        matrix: Float[Array, "made read"],
        xp: Backend,
        places: Float[np.ndarray, "made coordinates"],
        kinds: Sequence[slice],
    ) -> Product:
        """In groups where that pays; ``kinds``: ranges that no group is to mix."""
        plain, values = Product(matrix), xp.numpy(matrix)
        mask = values != 0
        if matrix.shape[0] * matrix.shape[1] < SMALL:
            return plain
        some = mask.any(1)
        groups, cost = list[_Group](), 0.0
        for kind in kinds:
            made = np.flatnonzero(some[kind]) + kind.start
            if len(made):
                halved = _Halving(mask.shape[1], places).run(mask[made], made)
                groups, cost = groups + halved[1], cost + halved[0]
        if not groups or cost > PAYS * mask.size:
            return plain
        if not some.all():
            # All that is 0 is one element, made with the first group.
            groups[0] = _Group(np.append(groups[0].made, np.flatnonzero(~some)[0]), groups[0].read)
        return _bucketed(plain, values, groups, xp)


@dataclass(frozen=True, eq=False)
class Rough(Product):
    """About the same to 8 bits, several times as fast."""

    product: RoughProduct | None = None

    @staticmethod
    def of_product(product: Product, xp: Backend) -> Product:
        """What is not worth it stays as it is."""
        size = product.matrix.shape[0] * product.matrix.shape[1]
        if size < SMALL or product.work * FASTER <= size:
            return product
        rough = xp.rough_product(product.matrix)
        return product if rough is None else Rough(product.matrix, product=rough)

    @property
    def work(self) -> int:
        """As if multiply-adds were as fast as those of single precision."""
        return self.matrix.shape[0] * self.matrix.shape[1] // FASTER

    def __call__(self, x: Float[Array, "read batch"]) -> Float[Array, "made batch"]:
        assert self.product is not None
        return self.product(x)


@dataclass(frozen=True, eq=False)
class _Group:
    made: Int[np.ndarray, " made"]
    read: Int[np.ndarray, " read"]


@dataclass(frozen=True, eq=False)
class _Halving:
    """Elements in groups, by the cheapest way to halve them along their places."""

    total: int
    places: Float[np.ndarray, "all coordinates"]

    def run(
        self, mask: Bool[np.ndarray, "made read"], made: Int[np.ndarray, " made"]
    ) -> tuple[float, list[_Group]]:
        """The cost and the groups; ``mask``: what the elements ``made`` read."""
        return self._run(mask, made, np.arange(self.total))

    def _run(
        self, mask: np.ndarray, made: np.ndarray, columns: np.ndarray
    ) -> tuple[float, list[_Group]]:
        used = np.flatnonzero(mask.any(0))
        mask, columns, count = mask[:, used], columns[used], len(made)
        gathered, whole = _price(count, len(columns)), _price(count, self.total, 0)
        read = columns if gathered < whole else np.arange(self.total)
        cost = min(gathered, whole) + GROUP
        one = float(cost), [_Group(made, read)]
        if count < 2 * LEAST:
            return one
        places = self.places[made]
        longest = np.ptp(places, axis=0).argmax()
        order, half = np.argsort(places[:, longest], kind="stable"), count // 2
        first, second = (
            self._run(mask[side], made[side], columns) for side in (order[:half], order[half:])
        )
        both = first[0] + second[0]
        return (both, first[1] + second[1]) if both < cost else one


def _bucketed(plain: Product, values: np.ndarray, groups: Sequence[_Group], xp: Backend) -> Product:
    """Groups as few batches, padded to one size each: the cheapest cuts of the groups by size."""
    rows, total = values.shape
    whole = [group.made for group in groups if len(group.read) == total]
    rest = sorted(
        (group for group in groups if len(group.read) < total),
        key=lambda group: (len(group.made), len(group.read)),
    )
    place, start, buckets = np.zeros(rows, dtype=np.int64), 0, list[_Bucket]()
    if whole:
        made = np.concatenate(whole)
        buckets.append(_Bucket(None, xp.floats(values[made][None])))
        place[made], start = np.arange(len(made)), len(made)
    for part in _cuts(rest):
        most = max(len(group.made) for group in part), max(len(group.read) for group in part)
        index = np.zeros((len(part), most[1]), dtype=np.int64)
        weights = np.zeros((len(part), *most))
        for i, group in enumerate(part):
            index[i, : len(group.read)] = group.read
            weights[i, : len(group.made), : len(group.read)] = values[
                np.ix_(group.made, group.read)
            ]
            place[group.made] = start + np.arange(len(group.made))
            start += most[0]
        buckets.append(_Bucket(xp.ints(index.reshape(-1)), xp.floats(weights)))
    none = np.flatnonzero(~(values != 0).any(1))
    if len(none):
        place[none] = place[none[0]]
    return Product(plain.matrix, tuple(buckets), xp.ints(place), xp, groups)


def _cuts(groups: list[_Group]) -> list[list[_Group]]:
    """Groups in an order of size, cut so that padding and batches cost least."""
    made, read = (np.array([len(getattr(g, n)) for g in groups]) for n in ("made", "read"))
    best, back = np.zeros(len(groups) + 1), np.zeros(len(groups) + 1, dtype=int)
    for stop in range(1, len(groups) + 1):
        most_made = np.maximum.accumulate(made[:stop][::-1])[::-1]
        most_read = np.maximum.accumulate(read[:stop][::-1])[::-1]
        each = _price(most_made, most_read)
        cost = best[:stop] + np.arange(stop, 0, -1) * each + BUCKET
        back[stop], best[stop] = cost.argmin(), cost.min()
    parts, stop = list[list[_Group]](), len(groups)
    while stop:
        parts.append(groups[back[stop] : stop])
        stop = back[stop]
    return parts[::-1]


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
            return _bucketed(other, values, product.groups, xp)

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
        if like is not None and like.grouped:
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
