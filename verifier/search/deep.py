"""Search over neurons of several layers: hidden ones get searches of their own where it lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from verifier.bounds import Enclosure
from verifier.certify import Tightened
from verifier.graph import Graph
from verifier.search.deepen import Deepener, Hopeless, hidden_unstable
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

Recorder = Callable[[int, Enclosure, Callable[[Tightened], object]], HiddenRecorder]
"""What records the bounds of hidden neurons: for a case, its root, and who is told."""
PATIENCE = 1.5
"""Counted seconds of a search before neurons are bounded better."""
PARTS = 256, 2048
"""In how many parts hidden neurons are bounded at most, at first and if that does not do."""
WORTH_IT, BETTER = 0.95, 0.8
"""The worst margin must get nearer to 0 by this factor, or the search goes on as it was; and by
this one, or no more is tried."""
DEEPENING, LATEST = 0.35, 0.5
"""The share of the time left that these may take: as it is counted, and by the clock."""


def has_hidden(graph: Graph) -> bool:
    """Is there a hidden layer whose neurons may be worth searches of their own?"""
    return any(not graph.affine_of_input[v] for v in graph.relaxed_inputs)


def search_deep(
    tree: NeuronTree, problem: NeuronProblem, rest: Rest, recorder: Recorder
) -> Violated | Unknown | None:
    """Go on with a search that lasts."""
    settings, patience = problem.bounds, PATIENCE
    for parts in PARTS:
        found = tree.run(with_cuts(problem, rest.hulled), rest.begin, patience)
        if not isinstance(found, Paused):
            return found
        patience, rest = 2 * patience, rest.after(found, settings.split_steps)
        tightened = list[Tightened]()
        try:
            deeper = _deepened(tree, problem, parts, (recorder, tightened))
            worst = _worst(tree, deeper, rest.clauses, rest.root_margin)
        except DeadlinePassed:
            return found.late
        except Hopeless:
            break
        if worst <= rest.root_margin * WORTH_IT:
            break
        # The proof begins anew, from what bounds the neurons now.
        tree.tree.restart(rest.mark, tightened)
        problem = deeper
        begin = Begin(problem.roots(*rest.clauses), settings.objective_steps)
        better = worst > rest.root_margin * BETTER
        again = try_hulls(tree, (problem, begin), rest.clauses, rest.mark)
        if not isinstance(again, Rest):
            return again
        rest = again
        if not better:
            break
    return to_the_end(tree, problem, rest)


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
    parts: int,
    record: tuple[Recorder, list[Tightened]],
) -> NeuronProblem:
    """The problem anew, with hidden neurons bounded by searches of their own."""
    context, hidden = tree.context, hidden_unstable(problem.root)
    budget = DEEPENING * max(0.0, context.allowed - context.spent)
    latest = time.monotonic() + LATEST * max(0.0, context.left)
    recorder = record[0](tree.case, problem.root, record[1].append)
    limits = problem.bounds, (budget, latest), parts
    deepener = Deepener(tree.workers, *limits, hidden, recorder, parts == PARTS[0])
    try:
        return deepener.deeper(problem)
    finally:
        context.spent += deepener.spent
