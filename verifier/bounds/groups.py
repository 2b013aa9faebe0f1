"""Which rows of hidden neurons are swept together: chunks of them, or tiles of neighbours."""

from __future__ import annotations

import numpy as np

from verifier.bounds.back import LowerForm, Trace
from verifier.bounds.offsets import Offsets
from verifier.bounds.optimise import Optimised
from verifier.bounds.tiles import Tiler
from verifier.graph.passes import Crop
from verifier.records import dataclass
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float, Int, distinct

SMALL_TILE_WORK = 200_000_000
"""What a tile of a few rows costs by itself, in multiply-adds: its crop is made for these alone."""


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that are swept together."""

    rows: Int[Array, " some"]
    tile: tuple[np.ndarray, Crop] | None = None
    """The neurons (ascending), and what computes them without biases."""

    def of(
        self, which: tuple[Array, Array, Array]
    ) -> tuple[Int[Array, " some"], Int[Array, " some"], Float[Array, " some"]]:
        """Its part of (batch, neuron, sign)."""
        batch, neuron, sign = which
        return batch[self.rows], neuron[self.rows], sign[self.rows]


def in_chunks(count: int, chunk: int, xp: Backend) -> list[Group]:
    """So many rows, in their order."""
    every = xp.arange(count)
    return [Group(every[start : start + chunk]) for start in range(0, count, chunk)]


def by_tiles(
    tiler: Tiler | None, value: int, neuron: Int[Array, " rows"], xp: Backend
) -> list[Group]:
    """Rows by the tile that their neurons are in; none where tiles do not pay."""
    if tiler is None:
        return []
    numbers, groups = xp.numpy(neuron), list[Group]()
    neurons = distinct(numbers)
    # What a tile costs by itself is shared by the rows of all batch entries.
    each = SMALL_TILE_WORK * len(neurons) // max(1, len(numbers))
    tiles = tiler.tiles(value, neurons, each) or []
    for tile in tiles if len(tiles) > 1 else ():
        rows = np.flatnonzero(np.isin(numbers, tile))
        groups.append(Group(xp.ints(rows), (tile, tiler.crop_of_offsets(value, tile))))
    return groups


def bound_group(
    offsets: Offsets,
    value: int,
    group: Group,
    which: tuple[Array, Array, Array],
    settings: BoundSettings,
) -> Optimised:
    """Lower bounds of the ``sign * neuron`` of a group, over offsets, and their forms."""
    asked = group.of(which)
    if group.tile is None:
        least, coefficients = offsets.bound(value, asked)
    else:
        least, coefficients = offsets.bound_tile(value, group.tile, asked, settings)
    return Optimised(least, {}, LowerForm(coefficients, least), Trace())
