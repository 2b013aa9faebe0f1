"""Which subproblem each row belongs to."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Int


@dataclass(frozen=True, eq=False)
class Owner:
    """Rows of a batch, flattened: row r is an objective over subproblem ``index[r]`` (sorted).

    ``index`` is None where it need not be looked at: one subproblem owns every row, or each
    subproblem owns exactly one.
    """

    index: Int[Array, " rows"] | None
    batch: int
    rows: int

    @staticmethod
    def of(index: Int[Array, " rows"], batch: int) -> Owner:
        """Rows with the given owners."""
        return Owner(None if batch == 1 else index, batch, index.shape[0])

    @staticmethod
    def equal(batch: int, each: int, xp: Backend) -> Owner:
        """``each`` rows for every subproblem."""
        if batch == 1 or each == 1:
            return Owner(None, batch, batch * each)
        return Owner(xp.repeat(xp.arange(batch), each), batch, batch * each)

    def spread(self, x: Array) -> Array:
        """``[batch, ...]`` to something that broadcasts against ``[rows, ...]``."""
        if self.index is None:
            return x
        # The same as x[index], several times faster: owners are never out of range.
        if isinstance(x, np.ndarray):
            array = cast("np.ndarray[Any, np.dtype[Any]]", x)
            return array.take(self.index, 0, mode="clip")
        return x[self.index]

    def full_index(self, xp: Backend) -> Int[Array, " rows"]:
        """The owner of each row, spelled out."""
        if self.index is not None:
            return self.index
        if self.batch == 1:
            return xp.arange(self.rows) * 0
        return xp.arange(self.rows)

    def part(self, start: int, stop: int) -> Owner:
        """Some consecutive rows; the batch stays the same."""
        if self.index is not None:
            return Owner(self.index[start:stop], self.batch, stop - start)
        if self.batch == 1:
            return Owner(None, 1, stop - start)
        message = "one row per subproblem: take a part of the batch instead"
        raise ValueError(message)
