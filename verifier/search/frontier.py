"""The open subproblems of a search, in chunks that are never looked into until they are taken."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from verifier.search.subproblems import Subproblems
from verifier.tensors import Backend


@dataclass(eq=False)
class Frontier:
    """A priority queue of chunks: the least margin first, or the newest first once memory is short.

    Chunks are what one round pushes, sorted by margin and halved, so that order costs nothing per row.
    """

    xp: Backend
    memory_limit: int
    _heap: list[tuple[float, int]] = field(default_factory=list)
    _chunks: dict[int, Subproblems] = field(default_factory=dict)
    _serial: int = 0
    _rows: int = 0
    _bytes: int = 0

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

    def push(self, rows: Subproblems) -> None:
        """Add open rows."""
        if len(rows) == 0:
            return
        order = self.xp.argsort(rows.margin)
        rows = rows[order]
        middle = (len(rows) + 1) // 2
        for part in (rows[middle:], rows[:middle]):
            if len(part):
                self._add(part)

    def _add(self, chunk: Subproblems) -> None:
        self._serial += 1
        self._chunks[self._serial] = chunk
        heapq.heappush(self._heap, (float(chunk.margin[0]), self._serial))
        self._rows += len(chunk)
        self._bytes += len(chunk) * chunk.bytes_each

    def take(self, count: int) -> Subproblems:
        """Remove and give about ``count`` rows (at most; fewer if fewer are open)."""
        parts, total = [], 0
        while total < count and self._chunks:
            serial = self._next()
            chunk = self._chunks.pop(serial)
            self._rows -= len(chunk)
            self._bytes -= len(chunk) * chunk.bytes_each
            room = count - total
            if len(chunk) > room:
                self._add(chunk[room:])
                chunk = chunk[:room]
            parts.append(chunk)
            total += len(chunk)
        return Subproblems.cat(parts, self.xp)

    def _next(self) -> int:
        if self.crowded:
            return next(reversed(self._chunks))
        while True:
            _, serial = heapq.heappop(self._heap)
            if serial in self._chunks:
                return serial
