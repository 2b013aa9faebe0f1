"""The parts of the region that searches for hidden neurons bound these in.

There may be hundreds of thousands, each with a sign and a multiplier for every neuron before. These
are only read where a part is split or sealed: they lie on the host, where what is split makes room
for what becomes of it, and are not copied when parts are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, fields

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

MOST_BYTES = 1_000_000_000
"""What the signs and multipliers of all parts of one value's neurons may take."""
BLOCK = 1024
"""So many parts get memory at once."""


@dataclass(eq=False)
class Store:
    """Signs and multipliers by number."""

    neurons: int
    _blocks: list[tuple[np.ndarray, np.ndarray]] = field(
        default_factory=list[tuple[np.ndarray, np.ndarray]]
    )
    _free: list[np.ndarray] = field(default_factory=list[np.ndarray])
    _used: int = 0

    @property
    def room(self) -> int:
        """How many more may be kept."""
        return max(0, MOST_BYTES // (5 * max(1, self.neurons)) - self._used)

    def put(
        self, phase: Float[np.ndarray, "parts neurons"], tilt: Float[np.ndarray, "parts neurons"]
    ) -> Int[np.ndarray, " parts"]:
        """Keep some; their numbers. The caller sees that there is room."""
        count = len(phase)
        free = np.concatenate([*self._free, np.zeros(0, dtype=np.int64)])
        while len(free) < count:
            shape = BLOCK, self.neurons
            fresh = len(self._blocks) * BLOCK + np.arange(BLOCK)
            self._blocks.append((np.empty(shape, np.int8), np.empty(shape, np.float32)))
            free = np.concatenate([free, fresh])
        place, self._free = free[:count], [free[count:]]
        self._used += count
        for (signs, tilts), inside, outside in self._where(place):
            signs[inside], tilts[inside] = phase[outside], tilt[outside]
        return place

    def take(
        self, place: Int[np.ndarray, " parts"]
    ) -> tuple[Float[np.ndarray, "parts neurons"], Float[np.ndarray, "parts neurons"]]:
        """The signs and multipliers of some."""
        shape = len(place), self.neurons
        phase, tilt = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for (signs, tilts), inside, outside in self._where(place):
            phase[outside], tilt[outside] = signs[inside], tilts[inside]
        return phase, tilt

    def drop(self, place: Int[np.ndarray, " parts"]) -> None:
        """Let others have the places of some."""
        self._free.append(place)
        self._used -= len(place)

    def _where(
        self, place: np.ndarray
    ) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]]:
        """The blocks that some are in: where they are in these, and which they are."""
        block = place // BLOCK
        for each in np.unique(block).tolist():
            outside = np.flatnonzero(block == each)
            yield self._blocks[each], place[outside] % BLOCK, outside


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of the region that rows are bounded in, sorted by row."""

    row: Int[Array, " parts"]
    place: Int[Array, " parts"]
    """Where their signs and multipliers are kept."""
    least: Float[Array, " parts"]
    branch: Int[Array, " parts"]
    gap: Float[Array, " parts"]
    """What the relaxation of the neuron to be split costs; 0: no split is of use."""

    def __len__(self) -> int:
        return self.row.shape[0]

    def __getitem__(self, index: Array | slice) -> Parts:
        return Parts(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Parts], xp: Backend) -> Parts:
        """All of several, sorted anew."""
        joined = xp.joined(parts)
        return joined[xp.argsort(joined.row)]

    def worst(self, count: int, xp: Backend) -> Float[Array, " rows"]:
        """The bound of each row."""
        return -xp.segment_max(-self.least[:, None], self.row, count)[:, 0]

    def taken(
        self, store: Store, xp: Backend
    ) -> tuple[Float[Array, "parts neurons"], Float[Array, "parts neurons"]]:
        """Their signs and multipliers."""
        phase, tilt = store.take(xp.numpy(self.place))
        return xp.floats(phase), xp.floats(tilt)

    def by_rows(self, most: int, xp: Backend) -> Iterator[Parts]:
        """About so many at once, all of a row together."""
        row, start = xp.numpy(self.row), 0
        while start < len(row):
            last = row[min(start + most, len(row)) - 1]
            stop = int(np.searchsorted(row, last, side="right"))
            yield self[start:stop]
            start = stop
