"""Narrow the few numbers that products and curves see behind a network's ReLUs.

A network of ReLUs that then computes products and curves of a few numbers, the fringe, is bad at
being split at its ReLUs: the curves lose most, however many signs are known. What the curves are
asked for depends on the boxes of the fringe only. Each of its numbers is bounded by searches of its
own over the signs that it depends on, which are complete, and linear in it; then the tail of the
network, by itself a small network with the fringe for its input, may prove the property.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from verifier.bounds import Enclosure, Objective, Tiler, crown
from verifier.graph import Graph
from verifier.graph.passes import Severed, sever
from verifier.records import dataclass
from verifier.search.lemma import Effort, Lemmas, representable
from verifier.search.product_root import product_root
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import BoundSettings, DeadlinePassed, SearchSettings
from verifier.tensors import Array, Float, Int

log = logging.getLogger(__name__)

MOST_NUMBERS = 32
"""Of a wider fringe every number is a small part."""
MOST_SUBPROBLEMS = (300, 1000, 4000)
"""How many the search for a bound may take, in each round."""
SHARES = (0.5, 0.25, 0.1)
"""By what share of the way to what the number is at a point its bound is to move, at best."""


@dataclass(eq=False)
class Fringe:
    """The numbers between a network's ReLUs and what reads them."""

    enclosure: Enclosure
    """Of the whole network, of batch 1; the boxes of the fringe become smaller."""
    severed: Severed
    tiler: Tiler
    bounds: BoundSettings
    settings: SearchSettings
    workers: Workers
    narrowed: int = 0
    """How many bounds became better."""

    @staticmethod
    def of(
        graph: Graph,
        enclosure: Enclosure,
        tiler: Tiler,
        settings: tuple[BoundSettings, SearchSettings],
        workers: Workers,
    ) -> Fringe | None:
        """Of a network (on no backend) and what is known of it; None where it has no narrow one."""
        severed = sever(graph)
        if severed is None or severed.tail.input_size > MOST_NUMBERS:
            return None
        return Fringe(enclosure, severed, tiler, *settings, workers)

    def run(
        self,
        objective: Objective,
        thresholds: Float[Array, " rows"],
        clauses: Int[Array, " open"],
        until: float,
    ) -> Int[Array, " left"]:
        """Those of some clauses that stay open, when bounds gain no more or at a time."""
        self.bounds = replace(self.bounds, deadline=min(self.bounds.deadline, until))
        point = self.enclosure.boxes[0].center
        here = self.enclosure.graph.values(point)
        try:
            clauses = self._behind(objective, thresholds, clauses)
            for most in MOST_SUBPROBLEMS:
                while clauses.shape[0] and self._narrow(here, most):
                    clauses = self._behind(objective, thresholds, clauses)
        except DeadlinePassed:
            pass
        return clauses

    def _behind(
        self, objective: Objective, thresholds: Float[Array, " rows"], clauses: Array
    ) -> Array:
        """Those of some clauses that the tail leaves open over the boxes of its inputs."""
        xp = self.enclosure.graph.xp
        boxes = [self.enclosure.boxes[v] for v in self.severed.fringe]
        box = Box(xp.cat([b.lower for b in boxes], 1), xp.cat([b.upper for b in boxes], 1))
        tail = crown(self.severed.tail.on(xp), box, self.bounds).enclosure
        left = product_root(tail, objective, thresholds, clauses, self.bounds).clauses
        log.info("%d clauses left behind a fringe, %d better", len(left), self.narrowed)
        return left

    def _narrow(self, here: list[Array], most: int) -> int:
        """Look for better bounds of all numbers on both sides; how many there are."""
        graph, before = self.enclosure.graph, self.narrowed
        for value in self.severed.fringe:
            if graph.affine_of_input[value]:
                continue  # interval arithmetic is exact
            asked = [(n, sign) for n in range(graph.size(value)) for sign in (1.0, -1.0)]
            least = self.workers.apart(partial(self._better, value, here[value], most), asked)
            box, xp = self.enclosure.boxes[value], graph.xp
            lower, upper = xp.copy(box.lower), xp.copy(box.upper)
            for (neuron, sign), bound in zip(asked, least, strict=True):
                if bound is not None:
                    self.narrowed += 1
                    side, end = (lower, bound) if sign > 0 else (upper, -bound)
                    side[0, neuron] = end
            self.enclosure.boxes[value] = Box(lower, upper)
        return self.narrowed - before

    def _better(self, value: int, here: Array, most: int, asked: tuple[int, float]) -> float | None:
        """A better lower bound of ``sign * neuron``, if a search finds one."""
        (neuron, sign), box = asked, self.enclosure.boxes[value]
        lemmas = Lemmas(self.enclosure, self.tiler, self.bounds, self.settings)
        end = float(box.lower[0, neuron]) if sign > 0 else -float(box.upper[0, neuron])
        way = sign * float(here[0, neuron]) - end
        for share in SHARES:
            least = representable(end + share * way, self.enclosure.graph.xp)
            try:
                if least > end and lemmas.prove(value, asked, least, Effort(most)) > 0:
                    return least
            except DeadlinePassed:
                break
        return None
