"""Neurons whose sign decides a jump, settled by searches of their own.

Where a property counts what lies on which side of a jump, no line through the jump is of use: what
matters is which neurons are on one side for certain. Each of them depends on a part of the network,
often a small one, and a search over that part's signs is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from verifier.bounds import Enclosure, Objective, Tiler
from verifier.bounds.crown import unstable_mask
from verifier.bounds.reduced import Reducer, is_reducible
from verifier.certify import ProofTree
from verifier.families import Nonlinear
from verifier.search.neuron_round import propose, seal_patterns
from verifier.search.neuron_split import NeuronProblem, split_neurons
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import Array

log = logging.getLogger(__name__)

MOST_SUBPROBLEMS = (300, 4000)
"""How many a neuron may take, at first and once all others have had their turn."""
STEPS = 5
"""Of the slope optimisation for a subproblem: there are few at a time, and many in all."""
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

    def run(self, point: Array, enough: Callable[[], bool]) -> bool:
        """Settle neurons until it is ``enough``; was it?

        ``point`` ([1, n]) is in the region: a neuron can only be settled on the side where it is
        there.
        """
        values = self.enclosure.graph.values(point)
        for most, value, some in self._groups():
            here = self.enclosure.graph.xp.numpy(values[value])[0]
            asked = [(n, 1.0 if here[n] > 0 else -1.0) for n in some]
            least = self.workers.map(partial(self._least, value, most), asked)
            count = self._narrow(value, asked, least)
            self.settled += count
            if count and enough():
                return True
        return False

    def _groups(self) -> Iterator[tuple[int, int, list[int]]]:
        """Limits of subproblems, and some neurons of a value that are to be settled within them."""
        for most in MOST_SUBPROBLEMS:
            for value, neurons in self._waiting():
                for start in range(0, len(neurons), SETTLED_AT_ONCE):
                    yield most, value, neurons[start : start + SETTLED_AT_ONCE].tolist()

    def _waiting(self) -> list[tuple[int, np.ndarray]]:
        """The values that jumping operators read, and their unstable neurons, easiest first."""
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
            result.append((value, neurons[np.argsort(lack, kind="stable")]))
        return result

    def _least(self, value: int, most: int, asked: tuple[int, float]) -> float:
        """A positive lower bound of ``sign * neuron``, or 0, by at most so many subproblems."""
        neuron, sign = asked
        fine, fast = self.enclosure.graph.xp, self.tiler.xp
        root, other = (
            self.tiler.tile(self.enclosure, value, np.array([neuron]), xp).enclosure
            for xp in (fine, fast)
        )
        if not is_reducible(root):
            return 0.0
        least = SLIGHT * float(root.boxes[root.graph.output].magnitude(fine)[0, 0])
        problem = self._problem(root, sign, least)
        # What is searched is only a proposal: single precision will do, whose sweeps cost less.
        quick = self._problem(other, sign, least, self._reducer(other))
        if _same_neurons(problem, quick):
            problem = replace(problem, reduced=quick.reduced)
        else:
            problem = self._problem(root, sign, least, self._reducer(root))
        return least if least > 0 and self._search(problem, most) else 0.0

    def _reducer(self, root: Enclosure) -> Reducer:
        reducer = Reducer.of(root, self.tiler.xp, self.bounds)
        for v in root.graph.nonlinear:
            reducer.add(v)
        return reducer

    def _problem(
        self, root: Enclosure, sign: float, least: float, reducer: Reducer | None = None
    ) -> NeuronProblem:
        """To show that ``sign`` times the root's output is at least so much."""
        xp = root.graph.xp
        objective = Objective.of(np.full((1, 1), sign), None, np.zeros(1, dtype=np.int64), xp)
        thresholds = xp.doubles(xp.full((1,), least))
        return NeuronProblem.of(root, objective, thresholds, (self.bounds, self.settings), reducer)

    def _search(self, problem: NeuronProblem, most: int) -> bool:
        """Is the problem's one row positive everywhere?"""
        xp, net = problem.root.graph.xp, problem.reduced
        if net is None:
            return False
        tree, none = ProofTree(xp, 1), xp.ints(xp.zeros(1))
        batch, steps, done = problem.roots(none, none), self.bounds.objective_steps, 0
        alone, closed = Workers(xp), list[SignPatterns]()
        while len(batch):
            self.bounds.check_time()
            done += len(batch)
            proved, left = propose(problem, net, batch, (steps, alone))
            closed.append(proved)
            if done > most or bool((left.branch < 0).any()):
                return False
            batch, steps = split_neurons(problem, left, tree), STEPS
        # Sealed all at once: many small sweeps of the graph cost more than the search.
        sealed, _ = seal_patterns(problem, SignPatterns.cat(closed, problem.xp), alone)
        return bool(sealed.all())

    def _narrow(
        self, value: int, asked: Sequence[tuple[int, float]], least: Sequence[float]
    ) -> int:
        """Cut the boxes of the settled ones; how many they are."""
        box = self.enclosure.boxes[value]
        xp = self.enclosure.graph.xp
        lower, upper = xp.copy(box.lower), xp.copy(box.upper)
        for (neuron, sign), bound in zip(asked, least, strict=True):
            if bound > 0 and sign > 0:
                lower[0, neuron] = bound
            elif bound > 0:
                upper[0, neuron] = -bound
        self.enclosure.boxes[value] = Box(lower, upper)
        return sum(bound > 0 for bound in least)


def _same_neurons(one: NeuronProblem, other: NeuronProblem) -> bool:
    """Are the same neurons unstable in both?"""
    return np.array_equal(one.columns, other.columns)


def _jumps(operator: object) -> bool:
    return isinstance(operator, Nonlinear) and operator.stepped
