"""Arrays of pieces: piece i of `values` is values[start[i] : start[i + 1]]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def starts_of(sizes: Integers) -> Integers:
    """Where pieces of these sizes start, and where the last one ends: int64 [pieces + 1]."""
    start = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=start[1:])
    return start


def reduce_pieces(
    function: np.ufunc, values: np.ndarray, start: Integers, *, empty: float | bool
) -> np.ndarray:
    """Reduce the last axis piece by piece; an empty piece gives `empty`."""
    sizes = np.diff(start)
    if len(sizes) and sizes.min() == sizes.max() == 1:
        return values.copy()
    result = np.full((*values.shape[:-1], len(sizes)), empty, dtype=values.dtype)
    filled = sizes > 0
    if filled.any():
        result[..., filled] = function.reduceat(values, start[:-1][filled], axis=-1)
    return result


def gather_pieces(start: Integers, pieces: Integers) -> tuple[Integers, Integers]:
    """The elements of some pieces, one piece after the other.

    Returns:
        For each element, its position in `pieces` and its index in `values`.
    """
    first = start[pieces]
    sizes = start[pieces + 1] - first
    position = np.repeat(np.arange(len(pieces)), sizes)
    skipped = np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    return position, np.arange(len(position)) + skipped
