"""The open subproblems of a search, in chunks that are never looked into until they are taken."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, distinct


@runtime_checkable
class Rows(Protocol):
    """A batch of open subproblems as a struct of arrays."""

    @property
    def margin(self) -> Any:
        """[batch], float64."""
        ...

    @property
    def bytes_each(self) -> int:
        """About how much memory a row takes."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Self: ...


R = TypeVar("R", bound=Rows)


@dataclass(eq=False)
class Frontier(Generic[R]):
    """A priority queue of chunks: the least margin first, or the newest first once memory is short.

    Chunks are what one round pushes, sorted by margin and halved, so that order costs nothing per
    row.
    """

    xp: Backend
    memory_limit: int
    cat: Callable[[Sequence[R], Backend], R]
    _heap: list[tuple[float, int]] = field(default_factory=list)
    _chunks: dict[int, R] = field(default_factory=dict)
    _serial: int = 0
    _rows: int = 0
    _bytes: int = 0
    _moved: bool = False

    def __len__(self) -> int:
        return self._rows

    @property
    def crowded(self) -> bool:
        """Is so much open that the newest (deepest) rows should go first?"""
        return self._bytes > self.memory_limit

    @property
    def worst_margin(self) -> float:
        """The least margin of an open row; +inf when nothing is open."""
        while self._heap and self._heap[0][1] not in self._chunks:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def push(self, rows: R) -> None:
        """Add open rows."""
        if len(rows) == 0:
            return
        rows = rows[self.xp.argsort(rows.margin)]
        middle = (len(rows) + 1) // 2
        for part in (rows[middle:], rows[:middle]):
            if len(part):
                self._add(part)

    def take_over(self, chunks: Iterable[R]) -> None:
        """Add chunks that are sorted already."""
        for chunk in chunks:
            self._add(chunk)

    def _add(self, chunk: R) -> None:
        self._serial += 1
        self._chunks[self._serial] = chunk
        heapq.heappush(self._heap, (float(chunk.margin[0]), self._serial))
        self._rows += len(chunk)
        self._bytes += len(chunk) * chunk.bytes_each

    def take(self, count: int) -> R:
        """Remove and give ``count`` rows, or all that are open (at least one must be)."""
        parts: list[R] = []
        total = 0
        while total < count and self._chunks:
            chunk = self._chunks.pop(self._next())
            self._rows -= len(chunk)
            self._bytes -= len(chunk) * chunk.bytes_each
            room = count - total
            if len(chunk) > room:
                self._add(chunk[room:])
                chunk = chunk[:room]
            parts.append(chunk)
            total += len(chunk)
        return self.cat(parts, self.xp)

    def clear(self) -> None:
        """Remove all rows."""
        self._heap, self._chunks = [], {}
        self._rows = self._bytes = 0

    def chunks(self) -> list[R]:
        """All rows, chunk by chunk."""
        return list(self._chunks.values())

    def moved(self) -> Iterator[R]:
        """Remove and give all rows, chunk by chunk; once, for good.

        Raises:
            AssertionError: they were moved before; that nothing is open would be no proof.
        """
        assert not self._moved
        self._moved = True
        while self._chunks:
            chunk = self._chunks.pop(next(iter(self._chunks)))
            self._rows -= len(chunk)
            self._bytes -= len(chunk) * chunk.bytes_each
            yield chunk

    def _next(self) -> int:
        if self.crowded:
            return next(reversed(self._chunks))
        while True:
            _, serial = heapq.heappop(self._heap)
            if serial in self._chunks:
                return serial


@dataclass(eq=False)
class Lanes(Generic[R]):
    """A frontier for each kind of rows: those that are taken together are of one kind."""

    make: Callable[[], Frontier[R]]
    kind: Callable[[R], Array]
    cat: Callable[[Sequence[R], Backend], R]
    _lanes: dict[int, Frontier[R]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def worst_margin(self) -> float:
        """The least margin of an open row; +inf when nothing is open."""
        return min((lane.worst_margin for lane in self._lanes.values()), default=float("inf"))

    def push(self, rows: R) -> None:
        """Add open rows."""
        for lane, some in self._by_kind(rows):
            lane.push(some)

    def take_over(self, chunks: Iterable[R]) -> None:
        """Add chunks that are sorted already."""
        for chunk in chunks:
            for lane, some in self._by_kind(chunk):
                lane.take_over([some])

    def _by_kind(self, rows: R) -> Iterator[tuple[Frontier[R], R]]:
        kinds = self.kind(rows)
        for each in distinct(kinds).tolist():
            lane = self._lanes.setdefault(each, self.make())
            yield lane, rows[lane.xp.ints(np.flatnonzero(kinds == each))]

    def take(self, count: int) -> R:
        """Remove and give at most ``count`` rows of the kind that has the least margin."""
        lanes = filter(len, self._lanes.values())
        return min(lanes, key=lambda lane: lane.worst_margin).take(count)

    def chunks(self) -> list[R]:
        """All rows, chunk by chunk."""
        return [chunk for lane in self._lanes.values() for chunk in lane.chunks()]

    def moved(self) -> Iterator[R]:
        """Remove and give all rows, chunk by chunk; once, for good, as of ``Frontier``."""
        for lane in self._lanes.values():
            yield from lane.moved()
