"""The tree of sign patterns of one case: split what is open until nothing is."""

from __future__ import annotations

import time
from dataclasses import field, replace

import numpy as np

from verifier.attack import Target
from verifier.certify import ProofTree
from verifier.records import dataclass
from verifier.search.context import Context
from verifier.search.frontier import Frontier, Lanes
from verifier.search.hull_round import bound_subproblems
from verifier.search.hunt import FIRST_HUNT, HUNT_SECONDS, Hunt
from verifier.search.leaf import finish
from verifier.search.neuron_round import NeuronRound
from verifier.search.neuron_split import NeuronProblem, split_neurons
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.settings import DeadlinePassed
from verifier.tensors import Array, Backend
from verifier.verdict import Reason, Unknown, Violated

HUNT_SHARE = 0.1
ROUND_SHARE = 0.25
"""The share of the time left that a round may take."""
SLOWER, SHORT = 4.0, 1.5
"""So many times what was counted a turn may take by the clock; one of fewer seconds, as if it were
of so many: a busy machine must not end it elsewhere than an idle one."""
PROGRAM = 0.01
"""Counted seconds of a linear program."""
HALF_DONE = 0.5
"""A search goes on that has cut the share of the tree that is open so far in its time."""


Open = Frontier[SignPatterns] | Lanes[SignPatterns]
"""What is open in a search."""


@dataclass(frozen=True, eq=False)
class Begin:
    """What is open when a search begins."""

    open: SignPatterns | Open
    """Its search has what is open of one before from there on."""
    steps: int
    """Of the first round."""
    exhausted: tuple[float, ...] = ()
    """The margins of leaves that nothing can be done about."""
    clauses: int | None = None
    """How many trees there are; None: as many as subproblems that are open."""
    root_margin: float = -float("inf")
    """The worst margin of the clauses, before any split, if some were made."""


@dataclass(frozen=True, eq=False)
class Paused:
    """A search that closed too little in its time."""

    open: Open
    exhausted: tuple[float, ...]
    root_margin: float
    """The worst margin of the clauses, before any split."""
    share: float
    """The share of the tree that is open."""
    clauses: int
    spent: float
    """Counted seconds."""

    def again(self, steps: int) -> Begin:
        """Where the search goes on."""
        return Begin(self.open, steps, self.exhausted, self.clauses, self.root_margin)

    def some(self, count: int, xp: Backend) -> SignPatterns:
        """At most so many of what is open, from all over it."""
        chunks = sorted(self.open.chunks(), key=lambda chunk: float(chunk.margin[0]))
        place = np.linspace(0, len(self.open) - 1, min(count, len(self.open))).astype(np.int64)
        parts, first = list[SignPatterns](), 0
        for chunk in chunks:
            inside = place[(place >= first) & (place < first + len(chunk))] - first
            first += len(chunk)
            if len(inside):
                parts.append(chunk[xp.ints(inside)])
        return SignPatterns.cat(parts, xp)

    @property
    def late(self) -> Unknown:
        """What is known when the time is up."""
        worst = min([self.open.worst_margin, *self.exhausted])
        return Unknown(Reason.OUT_OF_TIME, worst, len(self.open) + len(self.exhausted))


def decided(found: Violated | Unknown | Paused | None) -> Violated | Unknown | None:
    """The result of a search that had no reason to pause."""
    assert not isinstance(found, Paused)
    return found


@dataclass(frozen=True, eq=False)
class _Finished:
    """What linear programs left open: margins of leaves without free neurons, and the others."""

    margins: list[float]
    free: SignPatterns
    out_of_time: bool


@dataclass(eq=False)
class NeuronTree:
    """The splitting of one case's clauses."""

    context: Context
    tree: ProofTree
    target: Target
    workers: Workers
    hunt: Hunt
    case: int
    closed: int = 0
    bounded: int = 0
    slack: float = float("inf")
    """The least bound of what was closed."""
    attacked: bool = False
    """Was there an attack after a round?"""
    _exhausted: list[float] = field(default_factory=list[float])

    def run(
        self, problem: NeuronProblem, begin: Begin, patience: float = float("inf")
    ) -> Violated | Unknown | Paused | None:
        """Split until nothing is open; None: all is proved.

        ``patience``: so many counted seconds at first, and as many more each time that the share of
        the tree that is open has been halved.
        """
        context, roots, steps = self.context, begin.clauses or len(begin.open), begin.steps
        self._exhausted, already = list(begin.exhausted), context.spent
        pause, root_margin = self._pause(patience), begin.root_margin
        frontier = _frontier(problem, context)
        if isinstance(begin.open, SignPatterns):
            frontier.push(begin.open)
        else:
            frontier.take_over(begin.open.moved())
        share = _open_share(frontier, roots)
        pace = 0.0
        while len(frontier):
            # Products get other sizes that pay while a search lasts.
            size = problem.batch_size()
            # No round may take much of what is left.
            most = ROUND_SHARE * max(context.left, 0.0) / pace if pace > 0 else size
            batch = frontier.take(max(1, int(min(size, most))))
            begun = time.monotonic()
            try:
                context.bounds.check_time()
                result = bound_subproblems(problem, batch, steps, self.workers)
            except DeadlinePassed:
                frontier.push(batch)
                return Unknown(Reason.OUT_OF_TIME, frontier.worst_margin, len(frontier))
            if self.bounded == 0 or steps != context.bounds.split_steps:
                root_margin = result.worst_margin
            context.spent += problem.seconds(len(batch), steps, self.workers)
            steps, pace = context.bounds.split_steps, (time.monotonic() - begun) / len(batch)
            found = self._record(problem, result, len(batch))
            found = found or self._go_on(problem, result, frontier)
            if found is None and len(frontier):
                found = self.attack()
            if found is not None:
                return found
            context.tell(len(frontier), self.closed, frontier.worst_margin)
            late = context.spent > pause[0] or time.monotonic() > pause[1]
            if late and len(frontier):
                before, share = share, _open_share(frontier, roots)
                if share > HALF_DONE * before:
                    spent, left = context.spent - already, tuple(self._exhausted)
                    return Paused(frontier, left, root_margin, share, roots, spent)
                pause = self._pause(patience)
        if self._exhausted:
            return Unknown(Reason.NO_SPLIT, min(self._exhausted), len(self._exhausted))
        return None

    def _pause(self, patience: float) -> tuple[float, float]:
        """When a turn ends: in counted seconds, and by the clock where that is far slower."""
        latest = time.monotonic() + SLOWER * max(patience, SHORT) + HUNT_SECONDS
        return self.context.spent + patience, latest

    def _record(self, problem: NeuronProblem, result: NeuronRound, count: int) -> Violated | None:
        """Write down what a round closed, and try the points that it found."""
        self.bounded += count
        self.tree.close(result.closed)
        for chosen in result.chosen:
            self.tree.choose(chosen)
        self.closed += result.closed.shape[0]
        self.slack = min(self.slack, result.slack)
        return self.examine(result.candidates, problem.thresholds)

    def _go_on(
        self, problem: NeuronProblem, result: NeuronRound, frontier: Open
    ) -> Violated | None:
        """Split what a round left open."""
        self.context.spent += PROGRAM * len(result.exhausted)
        leaves = self._finish(problem, result.exhausted)
        if isinstance(leaves, Violated):
            return leaves
        self._exhausted += leaves.margins
        if leaves.out_of_time:
            # The next look at the clock ends the search.
            frontier.push(leaves.free)
        elif len(leaves.free):
            frontier.push(split_neurons(problem, leaves.free, self.tree))
        if len(result.open):
            frontier.push(split_neurons(problem, result.open, self.tree))
        return None

    def examine(self, points: Array, thresholds: Array) -> Violated | None:
        """Run the network on the open rows' minimisers, and confirm the unsafe ones."""
        xp = self.context.graph.xp
        if points.shape[0] == 0:
            return None
        bounds = xp.floats(thresholds)[None, :] + xp.zeros(points.shape[0], 1)
        margins = self.target.margins(points, bounds)
        unsafe = xp.nonzero(margins <= 0)[0]
        if unsafe.shape[0] == 0:
            return None
        cases = np.full(unsafe.shape[0], self.case)
        return self.context.confirm(points[unsafe], margins[unsafe], cases)

    def _finish(self, problem: NeuronProblem, leaves: SignPatterns) -> Violated | _Finished:
        """Decide leaves by linear programs, one by one."""
        xp = self.context.graph.xp
        margins: list[float] = []
        free: list[SignPatterns] = []
        for i in range(len(leaves)):
            if self.context.left <= 0:
                rest = SignPatterns.cat([*free, leaves[i:]], xp)
                return _Finished(margins, rest, out_of_time=True)
            one = leaves[i : i + 1]
            leaf = finish(problem, one)
            if leaf.margin > 0:
                self.tree.close(one.node)
                if leaf.chosen is not None:
                    self.tree.choose(leaf.chosen)
                self.closed += 1
                continue
            if leaf.point is not None:
                point = xp.floats(leaf.point)[None, :]
                found = self.context.confirm(point, xp.zeros(1), np.array([self.case]))
                if found is not None:
                    return found
            if bool((one.phase == 0).any()):
                free.append(replace(one, branch=xp.floats(one.phase == 0).argmax(1)))
            else:
                margins.append(max(leaf.margin, float(one.margin[0])))
        rest = SignPatterns.cat(free, xp) if free else leaves[:0]
        return _Finished(margins, rest, out_of_time=False)

    def attack(self) -> Violated | None:
        """Go on with the attack, for its share of the time."""
        if not self.attacked:
            self.attacked = True
            return self.hunt.run(HUNT_SECONDS - FIRST_HUNT, steps=200)
        return self.hunt.go_on(HUNT_SHARE, HUNT_SECONDS)


def _frontier(problem: NeuronProblem, context: Context) -> Open:
    """Nothing open yet; clauses that have planes of their own are swept one at a time."""
    xp, hulled = context.graph.xp, list(problem.hulled)

    def make() -> Frontier[SignPatterns]:
        most = context.settings.frontier_bytes // (len(hulled) + 1)
        return Frontier(xp, most, SignPatterns.cat)

    def kind(rows: SignPatterns) -> Array:
        clause = xp.numpy(rows.clause)
        return np.where(np.isin(clause, hulled), clause, -1)

    return Lanes(make, kind, SignPatterns.cat) if hulled else make()


def _open_share(frontier: Open, roots: int) -> float:
    """The share of the tree that is open: the sum of 2^-depth (Knuth 1975)."""
    return sum(float((2.0**-some.depth).sum()) for some in frontier.chunks()) / roots
