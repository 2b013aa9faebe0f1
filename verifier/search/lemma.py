"""Bounds of single neurons by complete searches over the part of the network that they see."""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np

from verifier.bounds import Enclosure, Objective, Tiler
from verifier.bounds.reduced import Reducer
from verifier.bounds.reducible import is_reducible
from verifier.certify import ProofTree
from verifier.records import dataclass
from verifier.search.neuron_round import in_pairs, propose, seal_patterns
from verifier.search.neuron_split import NeuronProblem, split_neurons
from verifier.search.pairing import paired
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.settings import ONE_BY_ONE, BoundSettings, SearchSettings
from verifier.tensors import Backend

PROVED = float("inf")
STEPS = 5
"""Of the slope optimisation for a subproblem: there are few at a time, and many in all."""
LOOK_BACK, FAR_TOO_MANY = 3, 4
"""Rounds that a forecast is made from, and by what it must be over the limit: it is rough."""
PAIRS, SUM_STEPS = 200, 1
"""So many pairs at most, and steps for the bounds of each: one of many searches has little time."""


@dataclass(frozen=True)
class Effort:
    """What a search for one neuron may take."""

    subproblems: int
    """So many at most."""
    paired: bool = False
    """Whether what is open is tried again with neurons bounded in pairs."""


@dataclass(eq=False)
class Forecast:
    """Tells early that a search by rounds will not end within what it may take.

    The worst margin of what is open shrinks by about as much each round, and what is open grows by
    about the same factor.
    """

    most: int
    """Subproblems."""
    rounds: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """What each round left open lacks at most, and how many subproblems that is."""

    def hopeless(self, lacking: float, count: int) -> bool:
        """After one more round: would the search take more than ``FAR_TOO_MANY`` times its most?

        The round left so many subproblems open, of which one lacks so much.
        """
        self.rounds.append((lacking, count))
        if len(self.rounds) <= LOOK_BACK:
            return False
        before, few = self.rounds[-1 - LOOK_BACK]
        gain, growth = before - lacking, max(1.0, (count / few) ** (1 / LOOK_BACK))
        to_go = lacking * LOOK_BACK / gain if gain > 0 else float("inf")
        return count * growth ** min(to_go, 99.0) > FAR_TOO_MANY * self.most


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
        neurons, xp = np.array([asked[0]]), self.enclosure.graph.xp
        root = self.tiler.tile(self.enclosure, value, neurons, xp).enclosure
        if not is_reducible(root):
            return -PROVED
        if effort.paired:
            problem = self._paired(root, asked[1], least)
        else:
            other = self.tiler.tile(self.enclosure, value, neurons, self.tiler.xp).enclosure
            problem = self._proposed(root, other, asked[1], least)
        return self._search(problem, effort.subproblems)

    def _proposed(
        self, root: Enclosure, other: Enclosure, sign: float, least: float
    ) -> NeuronProblem:
        """Searched on ``other``, in single precision, which costs less: it is only a proposal."""
        problem = self._problem(root, sign, least)
        quick = self._problem(other, sign, least, self._reducer(other))
        if _same_neurons(problem, quick):
            return replace(problem, reduced=quick.reduced)
        return self._problem(root, sign, least, self._reducer(root))

    def _paired(self, root: Enclosure, sign: float, least: float) -> NeuronProblem:
        """With neurons in pairs, if there are any."""
        problem, xp = self._problem(root, sign, least, self._reducer(root)), root.graph.xp
        made = paired(problem, xp.ints(xp.zeros(1)), Workers(xp), (PAIRS, SUM_STEPS))
        return problem if made is None else made

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
        xp, fast, net, margin = problem.root.graph.xp, problem.xp, problem.reduced, 0.0
        if net is None:
            return -PROVED
        tree, none = ProofTree(xp, 1), xp.ints(xp.zeros(1))
        batch, steps, done = problem.roots(none, none), self.bounds.objective_steps, 0
        forecast = Forecast(most)
        alone, closed = Workers(xp), list[SignPatterns]()
        while True:
            self.bounds.check_time()
            done += len(batch)
            proved, left = propose(problem, net, batch, (steps, alone))
            closed.append(proved)
            if problem.paired is not None:
                sealed = fast.bools(fast.zeros(len(left)))
                left, _ = in_pairs(problem, left, sealed, alone)
                left = left[fast.nonzero(~sealed)[0]]
            if len(left) == 0:
                break
            worst = float(left.margin.min())
            if done == 1:
                margin = min(0.0, worst)
            if done > most or bool((left.branch < 0).any()) or forecast.hopeless(-worst, len(left)):
                return margin
            batch, steps = split_neurons(problem, left, tree), STEPS
        # Sealed all at once: many small sweeps of the graph cost more than the search.
        least, _ = seal_patterns(problem, SignPatterns.cat(closed, fast), alone)
        return PROVED if bool((least > 0).all()) else margin


def representable(x: float, xp: Backend) -> float:
    """The number of the working precision that is nearest to one: what boxes can hold."""
    return float(xp.numpy(xp.floats(np.array([x])))[0])


def _same_neurons(one: NeuronProblem, other: NeuronProblem) -> bool:
    """Are the same neurons unstable in both?"""
    return np.array_equal(one.columns, other.columns)
