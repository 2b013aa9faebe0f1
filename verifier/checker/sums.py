"""Sums of a property's rows with weights >= 0: what a certificate has bounded in its nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.proof import MIX, Proof


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums, each of rows of one clause; a row alone is a sum too."""

    batch: Ints
    """int64 [sums]: the node of each, by its place in the batch"""
    record: Ints | None
    """int64 [sums]: the record with the slopes of each, if they have any"""
    plane: Ints
    """bool [sums]: is it a row alone, no mix, and the first such of its node?"""
    start: Ints
    """int64 [sums + 1]: where the entries of each start; each has at least one"""
    row: Ints
    """int64 [entries], ascending in each sum"""
    weight: Floats
    """[entries], above 0"""

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def first(self) -> Ints:
        """The first row of each sum."""
        return self.row[self.start[:-1]]

    @property
    def terms(self) -> int:
        """The most entries of a sum."""
        counts: list[int] = np.diff(self.start).tolist()
        return max(counts, default=1)

    def total(self, x: Floats) -> Floats:
        """The sums of weights times x, where x [entries, ...] belongs to the rows."""
        weight = self.weight.reshape(-1, *[1] * (x.ndim - 1))
        return np.add.reduceat(weight * x, self.start[:-1], axis=0)

    def parts(self, most: int) -> Iterator[Sums]:
        """The same in parts of at most so many entries, or of one sum."""
        begin, starts = 0, list[int](self.start.tolist())
        while begin < len(self):
            room = bisect_right(starts, starts[begin] + most) - 1
            end = max(begin + 1, room)
            some, start = slice(begin, end), self.start[begin : end + 1]
            entries = slice(int(start[0]), int(start[-1]))
            yield Sums(
                self.batch[some],
                None if self.record is None else self.record[some],
                self.plane[some],
                start - start[0],
                self.row[entries],
                self.weight[entries],
            )
            begin = end


def single(batch: Ints, row: Ints, arithmetic: Arithmetic) -> Sums:
    """Each row alone; no two of a node are the same."""
    ones = np.ones(len(row))
    return Sums(batch, None, ones > 0, np.arange(len(row) + 1), row, arithmetic.numbers(ones))


def recorded(proof: Proof, nodes: Ints, clause: Ints, arithmetic: Arithmetic) -> Sums:
    """The rows and mixes in the records of nodes; ``clause`` [rows] is the clause of each row.

    Of a mix remain the rows of the clause of its first row; a row that it lists twice counts once.
    """
    batch, record = proof.entries("row", nodes)
    place, entry = proof.entries("mix", record)
    place = np.concatenate([np.arange(len(record)), place])
    row = np.concatenate([proof["row"][record], proof["mix_row"][entry]]).astype(np.int64)
    weight = np.concatenate([np.ones(len(record)), proof["mix_weight"][entry]])
    known = np.flatnonzero((row < len(clause)) & (weight > 0))
    key, once = np.unique(place[known] * len(clause) + row[known], return_index=True)
    place, row = np.divmod(key, len(clause))
    weight = weight[known][once]
    some, start, count = np.unique(place, return_index=True, return_counts=True)
    same = clause[row] == np.repeat(clause[row[start]], count)
    place, row, weight = place[same], row[same], weight[same]
    _, start, count = np.unique(place, return_index=True, return_counts=True)
    alone = np.flatnonzero(proof["row"][record[some]] != MIX)
    _, once = np.unique(batch[some][alone] * len(clause) + row[start[alone]], return_index=True)
    plane = np.zeros(len(some), dtype=bool)
    plane[alone[once]] = True
    starts = np.append(start, len(row))
    return Sums(batch[some], record[some], plane, starts, row, arithmetic.numbers(weight))
