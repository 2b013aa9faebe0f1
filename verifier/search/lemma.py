"""Bounds of single neurons by complete searches over the part of the network that they see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds import Enclosure, Objective, Tiler
from verifier.bounds.reduced import Reducer, is_reducible
from verifier.bounds.root import refine_root
from verifier.certify import ProofTree
from verifier.records import dataclass
from verifier.search.neuron_round import propose, seal_patterns
from verifier.search.neuron_split import NeuronProblem, split_neurons
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import ONE_BY_ONE, BoundSettings, SearchSettings
from verifier.tensors import Backend

PROVED = float("inf")
STEPS = 5
"""Of the slope optimisation for a subproblem: there are few at a time, and many in all."""


@dataclass(frozen=True)
class Effort:
    """What a search for one neuron may take."""

    subproblems: int
    """So many at most."""
    refined: bool = False
    """Whether the neurons before it optimise their own bounds first."""


@dataclass(frozen=True, eq=False)
class Lemmas:
    """Proves that neurons of a network are at least, or at most, so much."""

    enclosure: Enclosure
    """Of batch 1."""
    tiler: Tiler
    bounds: BoundSettings
    settings: SearchSettings

    def prove(self, value: int, asked: tuple[int, float], least: float, effort: Effort) -> float:
        """Is ``sign * neuron`` more than ``least`` in all of the region? +inf: it is.

        ``asked`` is (neuron, sign). Else what is known without a split: the margin, at most 0. So
        it is where more would be needed than the effort allows.
        """
        neuron, sign = asked
        fine, fast = self.enclosure.graph.xp, self.tiler.xp
        root, other = (
            self.tiler.tile(self.enclosure, value, np.array([neuron]), xp).enclosure
            for xp in (fine, fast)
        )
        if not is_reducible(root):
            return -PROVED
        problem = self._problem(root, sign, least)
        # What is searched is only a proposal: single precision will do, whose sweeps cost less.
        if effort.refined:
            how = self.tiler.xp, ONE_BY_ONE
            reducer = refine_root(other.graph, self.bounds, other, None, how)
            root, other = _narrowed(root, reducer.enclosure), reducer.enclosure
            problem = self._problem(root, sign, least)
        else:
            reducer = self._reducer(other)
        quick = self._problem(other, sign, least, reducer)
        if _same_neurons(problem, quick):
            problem = replace(problem, reduced=quick.reduced)
        else:
            problem = self._problem(root, sign, least, self._reducer(root))
        return self._search(problem, effort.subproblems)

    def _reducer(self, root: Enclosure) -> Reducer:
        # A search for one number has one thread.
        reducer = Reducer.of(root, self.tiler.xp, replace(self.bounds, spread=ONE_BY_ONE))
        for v in root.graph.nonlinear:
            reducer.add(v)
        return reducer

    def _problem(
        self, root: Enclosure, sign: float, least: float, reducer: Reducer | None = None
    ) -> NeuronProblem:
        """To show that ``sign`` times the root's output is more than so much."""
        xp = root.graph.xp
        objective = Objective.of(np.full((1, 1), sign), None, np.zeros(1, dtype=np.int64), xp)
        thresholds = xp.doubles(xp.zeros(1)) + least
        return NeuronProblem.of(root, objective, thresholds, (self.bounds, self.settings), reducer)

    def _search(self, problem: NeuronProblem, most: int) -> float:
        """Is the problem's one row positive everywhere? As ``prove`` says it."""
        xp, net, margin = problem.root.graph.xp, problem.reduced, 0.0
        if net is None:
            return -PROVED
        tree, none = ProofTree(xp, 1), xp.ints(xp.zeros(1))
        batch, steps, done = problem.roots(none, none), self.bounds.objective_steps, 0
        alone, closed = Workers(xp), list[SignPatterns]()
        while len(batch):
            self.bounds.check_time()
            done += len(batch)
            proved, left = propose(problem, net, batch, (steps, alone))
            closed.append(proved)
            if done == 1 and len(left):
                margin = min(0.0, float(left.margin[0]))
            if done > most or bool((left.branch < 0).any()):
                return margin
            batch, steps = split_neurons(problem, left, tree), STEPS
        # Sealed all at once: many small sweeps of the graph cost more than the search.
        sealed, _ = seal_patterns(problem, SignPatterns.cat(closed, problem.xp), alone)
        return PROVED if bool((sealed > 0).all()) else margin


def _narrowed(root: Enclosure, other: Enclosure) -> Enclosure:
    """The same network with boxes that are known of what its nonlinear operators read.

    ``other`` is of the same nodes, perhaps with an input that is offsets.
    """
    graph, known = root.graph, dict[int, Box]()
    for v in graph.relaxed_inputs:
        box = other.boxes[v]
        known[v] = Box(graph.xp.floats(box.lower), graph.xp.floats(box.upper))
    return Enclosure.within(graph, root.boxes[0], known, single=root.single)


def representable(x: float, xp: Backend) -> float:
    """The number of the working precision that is nearest to one: what boxes can hold."""
    return float(xp.numpy(xp.floats(np.array([x])))[0])


def _same_neurons(one: NeuronProblem, other: NeuronProblem) -> bool:
    """Are the same neurons unstable in both?"""
    return np.array_equal(one.columns, other.columns)
