"""Products with matrices that are mostly 0, in groups, or to 8 bits.

What a product makes is halved along places, again and again, as long as that costs less; each group
then reads only what some of it needs. Groups of about one size are one batched product of small
dense matrices. Where that does not pay the product is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
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
FASTER = 10
"""So many times as fast are products of bfloat16, in such multiply-adds: measured, with AMX."""


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
    groups: Sequence[Group] = ()

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
            groups, rows, reads = bucket.weights.shape
            read = x[None]
            if bucket.index is not None:
                read = xp.rows(x, bucket.index).reshape(groups, reads, batch)
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
        mask = xp.numpy(matrix) != 0
        if mask.size < SMALL:
            return Product(matrix)
        some = mask.any(1)
        groups, cost = list[Group](), 0.0
        for kind in kinds:
            made = np.flatnonzero(some[kind]) + kind.start
            if len(made):
                halved = _Halving(mask.shape[1], places).run(mask[made], made)
                groups, cost = groups + halved[1], cost + halved[0]
        return _in_groups(matrix, xp, groups, cost)

    @staticmethod
    def in_parts(
        matrix: Float[Array, "made read"], xp: Backend, parts: Sequence[np.ndarray]
    ) -> Product:
        """In given groups of what is made, where these pay."""
        mask = xp.numpy(matrix) != 0
        if mask.size < SMALL:
            return Product(matrix)
        some, total = mask.any(1), mask.shape[1]
        used = [made[some[made]] for made in parts if some[made].any()]
        found = [_together(mask[made], made, np.arange(total), total) for made in used]
        cost = sum((cost for cost, _ in found), 0.0)
        return _in_groups(matrix, xp, [group for _, group in found], cost)


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
class Group:
    made: Int[np.ndarray, " made"]
    read: Int[np.ndarray, " read"]


@dataclass(frozen=True, eq=False)
class _Halving:
    """Elements in groups, by the cheapest way to halve them along their places."""

    total: int
    places: Float[np.ndarray, "all coordinates"]

    def run(
        self, mask: Bool[np.ndarray, "made read"], made: Int[np.ndarray, " made"]
    ) -> tuple[float, list[Group]]:
        """The cost and the groups; ``mask``: what the elements ``made`` read."""
        return self._run(mask, made, np.arange(self.total))

    def _run(
        self, mask: np.ndarray, made: np.ndarray, columns: np.ndarray
    ) -> tuple[float, list[Group]]:
        used, count = mask.any(0), len(made)
        cost, group = _together(mask, made, columns, self.total)
        one = cost, [group]
        mask, columns = mask[:, used], columns[used]
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


def _together(
    mask: Bool[np.ndarray, "made read"],
    made: Int[np.ndarray, " made"],
    columns: Int[np.ndarray, " read"],
    total: int,
) -> tuple[float, Group]:
    """Some elements as one group, and its cost; ``mask``: which of the ``columns`` they read.

    There are ``total`` columns in all.
    """
    read = columns[mask.any(0)]
    gathered, whole = _price(len(made), len(read)), _price(len(made), total, 0)
    read = read if gathered < whole else np.arange(total)
    return float(min(gathered, whole) + GROUP), Group(made, read)


def _in_groups(
    matrix: Float[Array, "made read"], xp: Backend, groups: list[Group], cost: float
) -> Product:
    """A product in groups where these pay."""
    plain, values = Product(matrix), xp.numpy(matrix)
    if not groups or cost > PAYS * values.size:
        return plain
    nothing = np.flatnonzero(~(values != 0).any(1))
    if len(nothing) and not any(nothing[0] in group.made for group in groups):
        # All that is 0 is one element, made with the first group.
        groups = [Group(np.append(groups[0].made, nothing[0]), groups[0].read), *groups[1:]]
    return bucketed(plain, values, groups, xp)


def bucketed(plain: Product, values: np.ndarray, groups: Sequence[Group], xp: Backend) -> Product:
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


def _cuts(groups: list[Group]) -> list[list[Group]]:
    """Groups in an order of size, cut so that padding and batches cost least."""
    made, read = (np.array([len(getattr(g, n)) for g in groups]) for n in ("made", "read"))
    best, back = np.zeros(len(groups) + 1), np.zeros(len(groups) + 1, dtype=int)
    for stop in range(1, len(groups) + 1):
        most_made = np.maximum.accumulate(made[:stop][::-1])[::-1]
        most_read = np.maximum.accumulate(read[:stop][::-1])[::-1]
        each = _price(most_made, most_read)
        cost = best[:stop] + np.arange(stop, 0, -1) * each + BUCKET
        back[stop], best[stop] = cost.argmin(), cost.min()
    parts, stop = list[list[Group]](), len(groups)
    while stop:
        parts.append(groups[back[stop] : stop])
        stop = back[stop]
    return parts[::-1]
