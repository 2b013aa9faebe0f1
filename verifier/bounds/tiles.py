"""Rows of a value's neurons by tiles: each over the part of the network that it depends on.

A neuron of a convolutional network sees a window of the layers before it. Back-substituting a tile
of neighbours over the crop of the network that they see costs a fraction of a sweep over all of it,
and the crop is a network like any other: nothing about its bounds is special.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from verifier.bounds.enclosure import Enclosure
from verifier.bounds.offsets import Offsets, bound_units, less, moved
from verifier.families import Nonlinear
from verifier.graph import Graph
from verifier.graph.passes import Crop, Recentred, crop, recentre
from verifier.records import dataclass
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float, single_precision

WIDTHS = (2, 4, 8, 16)
"""How many cells of a grid a tile may be wide."""
TILE_WORK = 20_000_000
"""What a tile costs by itself, in multiply-adds."""
LEAST_WORK = 2_000_000_000
"""Below so many multiply-adds for all rows of a value, tiles are not thought about."""


@dataclass(eq=False)
class Tiler:
    """Cuts values of a network into tiles."""

    graph: Graph
    """On no backend."""
    xp: Backend
    """What tiles are swept in: single precision, whose convolutions are several times as fast."""

    recentred: Recentred | None = None
    """The network around the middle of a region, where rounding counts for less."""

    spared: int = 0
    """The multiply-adds that whole sweeps would have taken more, so far."""

    @staticmethod
    def of(graph: Graph, xp: Backend) -> Tiler | None:
        """For a search on a backend; None where single precision cannot hold some constants."""
        if not all(node.operator.fits_single for node in graph.nodes):
            return None
        return Tiler(graph, single_precision(xp))

    def move(self, region: Box, *, single: bool) -> None:
        """Cut tiles from the network around a region's middle from now on.

        Not where bounds are to hold for its float32 execution (``single``): that does not compute
        offsets, and errs by a share of the values themselves.
        """
        self.recentred = None
        if single:
            return
        middle = self.xp.numpy(region.center)[0]
        found = recentre(self.graph, middle, self.xp.unit_roundoff)
        if all(node.operator.fits_single for node in found.graph.nodes):
            self.recentred = found

    @cached_property
    def positions(self) -> list[np.ndarray | None]:
        """Where the elements of each value lie in space."""
        result: list[np.ndarray | None] = [None]
        for node in self.graph.nodes:
            result.append(node.operator.layout(*(result[i] for i in node.inputs)))
        return result

    @cached_property
    def work(self) -> list[int]:
        """For each value the multiply-adds of all that it is computed from."""
        works = [0, *(node.operator.work for node in self.graph.nodes)]
        return [sum(works[a] for a in above) for above in self.graph.ancestors]

    @cached_property
    def behind_jumps(self) -> list[bool]:
        """For each value: does all that it depends on pass an operator that jumps?

        Lines through a jump are so loose that rows gain nothing over intervals.
        """
        result = [False]
        for node in self.graph.nodes:
            jumps = isinstance(node.operator, Nonlinear) and node.operator.stepped
            result.append(jumps or all(result[i] for i in node.inputs))
        return result

    def tiles(
        self, value: int, neurons: np.ndarray, each: int | None = None
    ) -> list[np.ndarray] | None:
        """Some neurons of a value (ascending) in tiles; None where it is little work anyway.

        ``each``: what a tile costs by itself, in multiply-adds; None: ``TILE_WORK``.
        """
        cells, whole = self.positions[value], len(neurons) * self.work[value]
        if cells is None or whole < LEAST_WORK:
            return None
        if self.behind_jumps[value]:
            return []
        plans = [[neurons], *(_blocks(neurons, cells[neurons] // width) for width in WIDTHS)]
        each = TILE_WORK if each is None else each
        costs = [self._cost(value, tiles) + len(tiles) * each for tiles in plans]
        best = int(np.argmin(costs))
        self.spared += whole - costs[best]
        return plans[best]

    def _cost(self, value: int, tiles: list[np.ndarray]) -> int:
        """About the multiply-adds of the rows of all tiles, judged by the largest one."""
        largest = max(tiles, key=len)
        rows = sum(len(tile) for tile in tiles)
        return rows * self.crop(value, largest).graph.work

    def crop(self, value: int, neurons: np.ndarray) -> Crop:
        """What computes some neurons of a value."""
        return crop(self.graph, value, neurons)

    def crop_of_offsets(self, value: int, neurons: np.ndarray) -> Crop:
        """What computes some neurons of a value as offsets from a point."""
        return crop(self.graph.without_biases, value, neurons)

    def tile(self, enclosure: Enclosure, value: int, neurons: np.ndarray, xp: Backend) -> Tile:
        """Some neurons of a value with the boxes that an enclosure (of batch 1) has.

        Around the middle only in single precision: what centres may be off by is charged in that.
        """
        if self.recentred is None or xp.unit_roundoff < self.xp.unit_roundoff:
            return Tile.of(enclosure, self.crop(value, neurons), xp.ints(neurons), xp, {})
        part = crop(self.recentred.graph, value, neurons)
        return Tile.of(enclosure, part, xp.ints(neurons), xp, self.recentred.centers)

    def tile_of_offsets(self, offsets: Offsets, value: int, neurons: np.ndarray) -> Tile:
        """The same as offsets from a point, in single precision; they must reach the value."""
        xp = offsets.source.graph.xp
        part = self.crop_of_offsets(value, neurons)
        index = xp.ints(neurons)
        center = offsets.centers[value][0, index]
        return Tile(index, offsets.part(part), center)


def _blocks(neurons: np.ndarray, block: np.ndarray) -> list[np.ndarray]:
    """Neurons by the block that they lie in."""
    # One number for each block: sorting rows as such takes seconds of a large network.
    block = block - block.min(0)
    which = np.ravel_multi_index(tuple(block.T), tuple(block.max(0) + 1))
    _, which = np.unique(which, return_inverse=True)
    order = np.argsort(which, kind="stable")
    return np.split(neurons[order], np.cumsum(np.bincount(which))[:-1])


@dataclass(frozen=True, eq=False)
class Tile:
    """Some neurons of a value, and the enclosure of what they depend on."""

    neurons: Array
    enclosure: Enclosure
    center: Float[Array, " neurons"] | None = None
    """What the enclosure has of them, is offsets from this."""

    @staticmethod
    def of(
        enclosure: Enclosure,
        part: Crop,
        neurons: Array,
        xp: Backend,
        centers: Mapping[int, np.ndarray],
    ) -> Tile:
        """From the boxes that an enclosure (of batch 1) has for the whole network.

        ``centers``: for the values that are offsets in the part, from what.
        """
        graph, known = part.graph.on(xp), dict[int, Box]()
        for v, number in part.numbers.items():
            if v and v in centers:
                continue  # affine in the input: its box is found again
            fine = enclosure.graph.xp
            box = enclosure.boxes[v].elements(fine.ints(part.places[v]))
            if v in centers:
                box = less(box, fine.doubles(centers[v][part.places[v]]), fine)
            known[number] = Box(*xp.outward_cast(box.lower, box.upper))
        return Tile(neurons, Enclosure.within(graph, known[0], known, single=enclosure.single))

    def least(self, index: Array, sign: Array, settings: BoundSettings) -> Array:
        """Lower bounds of ``sign * neuron`` for some of the tile's neurons."""
        settings.check_time()
        e, xp = self.enclosure, self.enclosure.graph.xp
        parts, chunk = [], settings.rows_at_once(e.graph, xp)
        for start in range(0, index.shape[0], chunk):
            some = index[start : start + chunk]
            which = xp.ints(some * 0), some, sign[start : start + chunk]
            parts.append(bound_units(e, e.graph.output, which)[0])
        least = parts[0] if len(parts) == 1 else xp.cat(parts, 0)
        return least if self.center is None else moved(least, sign * self.center[index])
