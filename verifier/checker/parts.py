"""Bounds of neurons in parts of a node's region: in each, some neurons before are on one side of 0.

The parts of one bound are the leaves of a binary tree in preorder, lower sides first, and each says
how many of its splits were not met before it. Any numbers give whole trees, so that nothing of the
region can be missing but at the very end of the list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.checker.arithmetic import Ints
from verifier.checker.errors import Rejected


@dataclass(frozen=True, eq=False)
class Parts:
    """Of each hidden record its part of the region."""

    first: Ints
    """bool [records]: does a bound begin here? Its other parts follow."""
    start: Ints
    """int64 [records + 1]: where its splits start in ``column`` and ``upper``"""
    column: Ints
    """int64 [entries]: the columns of the neurons that are split"""
    upper: Ints
    """bool [entries]: is it the side of numbers >= 0?"""


def read_parts(arrays: dict[str, Ints]) -> Parts:
    """Follow the trees of all hidden records.

    Raises:
        Rejected: a tree has no end, or the numbers do not fit each other.
    """
    further, count = arrays["hidden_splits"], len(arrays["hidden_node"])
    if further.sum(dtype=np.int64) != len(arrays["hidden_column"]):
        raise Rejected("hidden_column: its length must be the sum of hidden_splits")
    parts = _follow(further, arrays["hidden_column"].astype(np.int64), len(arrays["hidden_beta"]))
    owner = np.maximum.accumulate(np.where(parts.first, np.arange(count), 0))
    alike = "hidden_node", "hidden_atom", "hidden_neuron", "hidden_sign", "hidden_round"
    for name in alike:
        if (arrays[name] != arrays[name][owner]).any():
            raise Rejected(f"{name}: the parts of one bound are about several neurons")
    return parts


def _follow(further: Ints, columns: Ints, most: int) -> Parts:
    first, start = np.zeros(len(further), dtype=bool), np.zeros(len(further) + 1, dtype=np.int64)
    path, entries, stop = list[int](), np.zeros(most, dtype=np.int64), 0
    ends = np.cumsum(further, dtype=np.int64).tolist()
    # A split is twice its column, and 1 more on the upper side.
    for record, (end, count) in enumerate(zip(ends, further.tolist(), strict=True)):
        first[record] = not path
        path += (2 * columns[end - count : end]).tolist()
        begin, stop = stop, stop + len(path)
        if stop > most:
            break
        entries[begin:stop], start[record + 1] = path, stop
        while path and path[-1] % 2:
            path.pop()
        if path:
            path[-1] += 1
    if stop != most:
        raise Rejected("hidden_beta: need a number for each split of each part")
    if path:
        raise Rejected("hidden_splits: the last bound lacks parts")
    return Parts(first, start, entries // 2, entries % 2 > 0)
