"""Search over neurons of several layers: hidden ones get searches of their own where it lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import field

from verifier.bounds import Enclosure
from verifier.certify import Tightened
from verifier.certify.proof_tree import MOST_BYTES
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.search.deepen import Deepener, Hopeless, affordable, hidden_unstable
from verifier.search.hulling import Rest, try_hulls, with_cuts
from verifier.search.neuron_round import bound_neurons
from verifier.search.neuron_split import NeuronProblem
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.search.pairing import to_the_end
from verifier.search.record import HiddenRecorder
from verifier.settings import DeadlinePassed
from verifier.tensors import Array
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

Recorder = Callable[[tuple[int, int], Enclosure, Callable[[Tightened], object]], HiddenRecorder]
"""What records the bounds of hidden neurons: for a case and a turn, its root, and who is told."""
PATIENCE, EARLY = 1.5, 0.2
"""Counted seconds of a search before neurons are bounded better, and what share of these before a
trial."""
TRIAL = 0.7
"""Counted seconds of that."""
PARTS = 256, 2048
"""In how many parts hidden neurons are bounded at most, at first and if that does not do."""
WORTH_IT, BETTER = 0.95, 0.8
"""The worst margin must get nearer to 0 by this factor, or the search goes on as it was; and by
this one, or no more is tried."""
DEEPENING, LATEST = 0.35, 0.5
"""The share of the time left that these may take: as it is counted, and by the clock."""


@dataclass(eq=False)
class _Told:
    """What bounds hidden neurons, as long as there may be a certificate to hold it."""

    room: int
    """Bytes of slopes."""
    found: list[Tightened] = field(default_factory=list[Tightened])
    bytes: int = 0

    @property
    def too_much(self) -> bool:
        """Is there more than certificates hold? Then nothing of it is kept."""
        return self.bytes > self.room

    def append(self, one: Tightened) -> None:
        """One more."""
        self.bytes += one.bytes
        if self.too_much:
            self.found.clear()
        else:
            self.found.append(one)


def has_hidden(graph: Graph) -> bool:
    """Is there a hidden layer whose neurons may be worth searches of their own?"""
    return any(not graph.affine_of_input[v] for v in graph.relaxed_inputs)


def search_deep(
    tree: NeuronTree,
    begun: tuple[NeuronProblem, Begin],
    clauses: tuple[Array, Array],
    recorder: Recorder,
) -> Violated | Unknown | None:
    """Split some clauses (with their nodes), and bound neurons better where it lasts.

    Searches for hidden neurons gain most where these read all neurons before them, hulls where they
    read few: a trial tells, after a moment.
    """
    (problem, begin), mark, parts = begun, tree.tree.mark(), PARTS
    if parts and affordable(problem, TRIAL, tree.workers):
        found = tree.run(problem, begin, EARLY * PATIENCE)
        if not isinstance(found, Paused):
            return found
        rest = Rest.of(found, clauses, mark, problem.bounds.split_steps)
        begin = rest.begin
        try:
            deeper = _deeper(tree, problem, rest, (parts[0], TRIAL, recorder))
        except DeadlinePassed:
            return found.late
        except Hopeless:
            pass
        else:
            problem, begin, more = deeper or (problem, begin, False)
            parts = parts[1:] if more else ()
    rest = try_hulls(tree, (problem, begin), clauses, mark)
    return _go_on(tree, problem, rest, (parts, recorder)) if isinstance(rest, Rest) else rest


def _go_on(
    tree: NeuronTree, problem: NeuronProblem, rest: Rest, how: tuple[tuple[int, ...], Recorder]
) -> Violated | Unknown | None:
    """Go on with a search that lasts."""
    settings, patience = problem.bounds, 2 * PATIENCE
    for parts in how[0]:
        found = tree.run(with_cuts(problem, rest.hulled), rest.begin, patience)
        if not isinstance(found, Paused):
            return found
        patience, rest = 2 * patience, rest.after(found, settings.split_steps)
        try:
            trial = float("inf") if parts == PARTS[0] else None
            deeper = _deeper(tree, problem, rest, (parts, trial, how[1]))
        except DeadlinePassed:
            return found.late
        except Hopeless:
            break
        if deeper is None:
            break
        problem, begin, more = deeper
        again = try_hulls(tree, (problem, begin), rest.clauses, rest.mark)
        if not isinstance(again, Rest):
            return again
        rest = again
        if not more:
            break
    return to_the_end(tree, problem, rest)


def _deeper(
    tree: NeuronTree, problem: NeuronProblem, rest: Rest, how: tuple[int, float | None, Recorder]
) -> tuple[NeuronProblem, Begin, bool] | None:
    """The problem with hidden neurons bounded by searches of their own; None: that gains little.

    ``how``: in how many parts, and for how long at a trial, if it is one. Also where its proof
    begins anew, and whether more may be gained.

    Raises:
        DeadlinePassed: before all was bounded anew.
        Hopeless: that would not pay.
    """
    tightened, before = (
        _Told(MOST_BYTES - rest.mark.bytes - tree.tree.hidden_bytes),
        rest.root_margin,
    )
    deeper = _deepened(tree, problem, how[:2], (how[2], tightened))
    worst = _worst(tree, deeper, rest.clauses, before)
    if worst <= before * WORTH_IT:
        return None
    tree.tree.restart(rest.mark, tightened.found)
    if tightened.too_much:
        tree.tree.hidden_bytes += tightened.bytes
    begin = Begin(deeper.roots(*rest.clauses), problem.bounds.objective_steps)
    return deeper, begin, worst > before * BETTER


def _worst(
    tree: NeuronTree, problem: NeuronProblem, clauses: tuple[Array, Array], before: float
) -> float:
    """The worst bound of a clause with deeper bounds of hidden neurons; it was ``before``."""
    steps = problem.bounds.objective_steps
    result = bound_neurons(problem, problem.roots(*clauses), steps, tree.workers)
    worst = min(0.0, result.worst_margin)
    log.info("bounds of hidden neurons took the worst margin from %.4g to %.4g", before, worst)
    return worst


def _deepened(
    tree: NeuronTree,
    problem: NeuronProblem,
    how: tuple[int, float | None],
    record: tuple[Recorder, _Told],
) -> NeuronProblem:
    """The problem anew, with hidden neurons bounded by searches of their own."""
    context, hidden = tree.context, hidden_unstable(problem.root)
    budget = DEEPENING * max(0.0, context.allowed - context.spent)
    latest = time.monotonic() + LATEST * max(0.0, context.left)
    where = tree.case, tree.tree.next_turn(tree.case)
    recorder = record[0](where, problem.root, record[1].append)
    (parts, trial), limits = how, (problem.bounds, (budget, latest))
    deepener = Deepener(tree.workers, *limits, parts, hidden, recorder, trial)
    try:
        return deepener.deeper(problem)
    finally:
        context.spent += deepener.spent
