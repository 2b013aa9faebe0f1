"""Bounds of neurons in parts of the region: their order in certificates, and what they split."""

from __future__ import annotations

import numpy as np

from verifier.records import dataclass
from verifier.spec.ragged import Integers


@dataclass(frozen=True, eq=False)
class Parts:
    """Leaves of binary trees, one tree after the other in preorder, lower sides first."""

    further: Integers
    """[parts]: how many splits on the way to a part are not on the way to one before"""
    column: Integers
    """[splits]: these, value * 2^32 + neuron"""
    depth: Integers
    """[parts]: how many splits are on the way to it"""
    beta: np.ndarray
    """float32 [sum of depth]: added to the multipliers of the neurons that were split"""

    @staticmethod
    def whole(count: int) -> Parts:
        """So many bounds without parts."""
        none = np.zeros(count, dtype=np.int64)
        return Parts(none, none[:0], none, np.zeros(0, dtype=np.float32))

    @staticmethod
    def of(
        tree: Integers, phase: np.ndarray, column: Integers, beta: np.ndarray
    ) -> tuple[Integers, Parts]:
        """From the tree that each part is of and the sides of its neurons [parts, columns].

        ``phase``: 1, -1 or 0 as in ``SignPatterns``. Also the order in which the parts are given.
        """
        part, place = np.nonzero(phase)
        level, rank = _levels(tree, phase, part, place)
        order, number = np.argsort(rank), np.empty(len(rank), dtype=np.int64)
        number[order] = np.arange(len(order))
        entry = np.lexsort((level, number[part]))
        part, place, level = part[entry], place[entry], level[entry]
        # What remains of a part's way when its upper sides at the end are done with.
        rest = np.zeros(len(rank), dtype=np.int64)
        lower = phase[part, place] < 0
        np.maximum.at(rest, number[part[lower]], level[lower] + 1)
        met = np.concatenate([[0], rest[:-1]])
        depth = np.bincount(number[part], minlength=len(rank))
        new = level >= met[number[part]]
        return order, Parts(depth - met, column[place[new]], depth, beta[part, place])


def _levels(
    tree: Integers, phase: np.ndarray, part: Integers, place: Integers
) -> tuple[Integers, Integers]:
    """The depth of each split (part, column) in its tree, and the places of the parts in order.

    All parts below a node of a tree split one column that they have in common; any will do.
    """
    width, level = phase.shape[1], np.full(len(part), -1)
    group = np.unique(tree, return_inverse=True)[1].reshape(-1)
    for step in range(width):
        free = np.flatnonzero(level < 0)
        if not len(free):
            break
        codes, counts = np.unique(group[part[free]] * width + place[free], return_counts=True)
        common = codes[counts == np.bincount(group)[codes // width]]
        at, first = np.unique(common // width, return_index=True)
        chosen = np.full(group.max() + 1, -1)
        chosen[at] = common[first] % width
        taken = free[place[free] == chosen[group[part[free]]]]
        level[taken] = step
        upper = np.zeros(len(group), dtype=np.int64)
        upper[part[taken]] = phase[part[taken], place[taken]] > 0
        group = np.unique(2 * group + upper, return_inverse=True)[1].reshape(-1)
    return level, group
