"""Neurons whose sign decides a jump, settled by searches of their own.

Where a property counts what lies on which side of a jump, no line through the jump is of use: what
matters is which neurons are on one side for certain. Each of them depends on a part of the network,
often a small one, and a search over that part's signs is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial

import numpy as np

from verifier.bounds import Enclosure, Tiler
from verifier.bounds.crown import unstable_mask
from verifier.families import Nonlinear
from verifier.records import dataclass
from verifier.search.lemma import PROVED, Effort, Lemmas, representable
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import Array

log = logging.getLogger(__name__)

EFFORTS = (Effort(1500), Effort(3000, paired=True))
"""What a neuron may take, at first and once all others have had their turn."""
SLIGHT = 1e-6
"""How far from the jump a neuron must be, as a share of its magnitude."""
SETTLED_AT_ONCE = 32
"""After so many searches the property is looked at again."""


@dataclass(eq=False)
class Settler:
    """Settles the neurons before jumps, the ones that lack least first."""

    enclosure: Enclosure
    """Of batch 1; its boxes become smaller."""
    tiler: Tiler
    bounds: BoundSettings
    settings: SearchSettings
    workers: Workers
    settled: int = 0
    """How many neurons were."""
    margins: dict[tuple[int, int], float] = field(default_factory=dict[tuple[int, int], float])
    """What was known of a (value, neuron) before any split, when it was last tried."""

    def run(self, point: Array, enough: Callable[[], bool]) -> bool:
        """Settle neurons until it is ``enough``; was it?

        ``point`` ([1, n]) is in the region: a neuron can only be settled on the side where it is
        there.
        """
        values = self.enclosure.graph.values(point)
        for effort in EFFORTS:
            for value, neurons in self._waiting():
                here = self.enclosure.graph.xp.numpy(values[value])[0]
                asked = [(int(n), 1.0 if here[n] > 0 else -1.0) for n in neurons]
                if self._settle(value, asked, effort, enough):
                    return True
        return False

    def _settle(
        self,
        value: int,
        asked: Sequence[tuple[int, float]],
        effort: Effort,
        enough: Callable[[], bool],
    ) -> bool:
        """Settle neurons until it is enough, or none of a group is: those after it lack more."""
        for start in range(0, len(asked), SETTLED_AT_ONCE):
            some = asked[start : start + SETTLED_AT_ONCE]
            found = self.workers.apart(partial(self._least, value, effort), some)
            for (neuron, _), (_, margin) in zip(some, found, strict=True):
                self.margins[value, neuron] = margin
            count = self._narrow(value, some, [least for least, _ in found])
            self.settled += count
            if not count or enough():
                return count > 0
        return False

    def _waiting(self) -> list[tuple[int, np.ndarray]]:
        """The values that jumping operators read, and their unstable neurons, easiest first.

        Those that were tried by what they lacked, before all others.
        """
        graph, xp = self.enclosure.graph, self.enclosure.graph.xp
        result = []
        for value in graph.relaxed_inputs:
            if not any(_jumps(graph.node(v).operator) for v in graph.consumers[value]):
                continue
            if any(_jumps(graph.node(v).operator) for v in graph.ancestors[value] - {0}):
                continue
            box = self.enclosure.boxes[value]
            lower, upper = xp.numpy(box.lower)[0], xp.numpy(box.upper)[0]
            neurons = np.flatnonzero(xp.numpy(unstable_mask(self.enclosure, value))[0])
            lack = np.minimum(-lower, upper)[neurons]
            margin = np.array([self.margins.get((value, int(n)), -PROVED) for n in neurons])
            result.append((value, neurons[np.lexsort((lack, -margin))]))
        return result

    def _least(self, value: int, effort: Effort, asked: tuple[int, float]) -> tuple[float, float]:
        """A positive lower bound of ``sign * neuron``, or 0, by at most so much effort.

        And what a proof of it lacks without a split.
        """
        xp = self.enclosure.graph.xp
        size = float(self.enclosure.boxes[value].magnitude(xp)[0, asked[0]])
        least = representable(SLIGHT * size, xp)
        lemmas = Lemmas(self.enclosure, self.tiler, self.bounds, self.settings)
        margin = lemmas.prove(value, asked, least, effort) if least > 0 else -PROVED
        return (least if margin > 0 else 0.0), margin

    def _narrow(
        self, value: int, asked: Sequence[tuple[int, float]], least: Sequence[float]
    ) -> int:
        """Cut the boxes of the settled ones; how many they are."""
        box = self.enclosure.boxes[value]
        xp = self.enclosure.graph.xp
        lower, upper = xp.copy(box.lower), xp.copy(box.upper)
        for (neuron, sign), bound in zip(asked, least, strict=True):
            if bound > 0 and sign > 0:
                lower[0, neuron] = max(bound, float(lower[0, neuron]))
            elif bound > 0:
                upper[0, neuron] = min(-bound, float(upper[0, neuron]))
        self.enclosure.boxes[value] = Box(lower, upper)
        return sum(bound > 0 for bound in least)


def _jumps(operator: object) -> bool:
    return isinstance(operator, Nonlinear) and operator.stepped
