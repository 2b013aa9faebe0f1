"""Bound neurons as functions of all that they read, where a search over neurons lasts.

Planes of the hulls of neurons' functions (``bounds/hulls.py``) close most of the gap that chords
leave in layers that read few values, convolutions' above all: many clauses need no split then. What
is left open is searched with the planes as cuts.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from verifier.bounds.columns import Patterns
from verifier.bounds.cuts import CutNet, Cuts
from verifier.bounds.hulls import HullAscent, HullNet, Planes, weights_of_hulls
from verifier.bounds.paired import PairedNet
from verifier.bounds.pairs import Pairs
from verifier.bounds.reduced import Reduced
from verifier.bounds.sure import SureNet
from verifier.bounds.sweep import Ascent, sweep_in_parts
from verifier.certify import Mark
from verifier.records import dataclass
from verifier.search.neuron_round import PAIR_STEPS
from verifier.search.neuron_split import NeuronProblem, Paired
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.search.workers import Workers
from verifier.settings import DeadlinePassed, Spread
from verifier.tensors import Array, Bool, Float, Int
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

STEPS, FEWEST = 100, 30
"""Of an ascent, and how many must be affordable."""
NEAR = 0.25
"""An ascent that took the bound so near to 0 goes on for twice as many."""
SHARE = 0.1
"""Of the time that is left, for all ascents together."""
AT_ROOT = 20
"""Steps with the planes as cuts."""
STEP_SECONDS = 2e-8
"""Counted seconds of a step for each weight: measured."""
TRIED, MUCH = 64, 0.5
"""Of so many open subproblems cuts must close such a share for the search to go on with them."""
FOLLOWED = 6.0
"""Counted seconds in which such a search must halve the share of its tree that is open."""
HELD_BYTES = 1_200_000_000
"""What the planes of all clauses may take."""
SEARCHED = 3
"""Of the clauses that are left open, so many have their planes in the search."""
HULLED = "neurons were bounded as functions of all that they read: no certificate holds that yet"


@dataclass(frozen=True, eq=False)
class Rest:
    """What hulls left open: the clauses with their nodes, and where their search goes on."""

    begin: Begin
    clauses: tuple[Array, Array]
    mark: Mark
    """Where the nodes were made."""
    hulled: list[Hulled]
    """What may help on."""
    root_margin: float
    """The worst bound of a clause at the root, without that."""

    @property
    def closed(self) -> list[Hulled]:
        """The clauses that are proved."""
        return [one for one in self.hulled if one.least > 0]

    @property
    def open(self) -> list[Hulled]:
        """The others that have planes."""
        return [one for one in self.hulled if one.least <= 0]

    def is_closed(self, clause: np.ndarray) -> Bool[np.ndarray, " batch"]:
        """Which of some clauses are proved."""
        return np.isin(clause, [one.clause for one in self.closed])


@dataclass(frozen=True, eq=False)
class Hulled:
    """A clause, its planes, and what these prove at the root."""

    clause: int
    planes: Planes
    cuts: Cuts
    least: float
    """Above 0: proved in float64. Before that is tried: what single neurons' lines find."""


def try_hulls(
    tree: NeuronTree,
    begun: tuple[NeuronProblem, Begin],
    clauses: tuple[Array, Array],
    mark: Mark,
    patience: float,
) -> Violated | Unknown | Rest | None:
    """Search for so many counted seconds; then close what clauses the hulls close at the root.

    ``mark``: where the clauses' nodes were made. What is left goes on where it was, or anew if
    some are closed.
    """
    problem, begin = begun
    found = tree.run(problem, begin, tree.context.for_certificates(patience))
    if not isinstance(found, Paused):
        return found
    steps = problem.bounds.split_steps
    rest = Rest(found.again(steps), clauses, mark, [], found.root_margin)
    try:
        hulled = _at_root(tree, problem, clauses[0])
        if not hulled:
            return rest
        rest = replace(rest, hulled=hulled)
        log.info("hulls close %d of %d clauses", len(rest.closed), len(hulled))
        tree.slack = min([tree.slack, *(one.least for one in rest.closed)])
        worst = min(one.least for one in hulled)
        if len(hulled) < len(clauses[0]) or worst < float(found.open.margin.min()):
            followed = _follow(tree, problem, found, rest)
            if not isinstance(followed, Paused):
                return followed
            rest = replace(rest, begin=followed.again(steps))
            if not rest.closed:
                return rest
    except DeadlinePassed:
        return found.late
    # The root is better now than what the splits have come to, or some clauses are closed.
    return _anew(tree, problem, rest)


def _anew(tree: NeuronTree, problem: NeuronProblem, rest: Rest) -> Violated | Unknown | Rest | None:
    """Begin anew with the clauses that the hulls leave open, and with the planes as cuts."""
    clauses, xp = rest.clauses, problem.root.graph.xp
    tree.tree.restart(rest.mark)
    tree.tree.lacking = HULLED
    gone = rest.is_closed(xp.numpy(clauses[0]))
    done, others = (xp.ints(np.flatnonzero(some)) for some in (gone, ~gone))
    tree.tree.close(clauses[1][done])
    tree.closed += done.shape[0]
    if others.shape[0] == 0:
        return None
    some, steps = (clauses[0][others], clauses[1][others]), problem.bounds.objective_steps
    mark = tree.tree.mark()
    found = tree.run(with_cuts(problem, rest.open), Begin(problem.roots(*some), steps), FOLLOWED)
    if not isinstance(found, Paused):
        return found
    return Rest(found.again(problem.bounds.split_steps), some, mark, rest.open, rest.root_margin)


def _follow(
    tree: NeuronTree, problem: NeuronProblem, found: Paused, known: Rest
) -> Violated | Unknown | Paused | None:
    """Go on from what is open with the planes as cuts, where they close much of that at once."""
    if found.exhausted:
        return found
    made = with_cuts(problem, known.open)
    gone = known.is_closed(problem.xp.numpy(found.open.clause))
    done, rest = (problem.xp.ints(np.flatnonzero(some)) for some in (gone, ~gone))
    left = replace(found, open=found.open[rest])
    if len(left.open) and would_close(made, left, tree.workers) < MUCH:
        return found
    # What is proved of a clause at the root is proved of all its subproblems.
    tree.tree.close(found.open.node[done])
    tree.closed += len(done)
    tree.tree.lacking = HULLED
    if len(left.open) == 0:
        return None
    return tree.run(made, left.again(problem.bounds.split_steps), FOLLOWED)


def would_close(made: NeuronProblem, found: Paused, workers: Workers) -> float:
    """The share of some of what is open that pairs or cuts would close at once."""
    count = len(found.open)
    if made.paired is None or count == 0:
        return 0.0
    some = np.linspace(0, count - 1, min(count, TRIED)).astype(np.int64)
    batch = found.open[made.xp.ints(some)]
    patterns = batch.patterns(made.members[batch.clause])
    swept, _ = made.paired.tried(patterns, PAIR_STEPS, made.bounds, workers, batch.clause)
    closed = float(swept.proved.sum()) / len(batch)
    log.info("pairs or cuts would close %.2f of what is open", closed)
    return closed


def with_cuts(problem: NeuronProblem, hulled: list[Hulled]) -> NeuronProblem:
    """The problem with the planes of some clauses as cuts, beside the pairs that it has."""
    hulled = [one for one in hulled if len(one.planes.neuron)]
    net, sure = problem.reduced, problem.sure
    if not hulled or net is None or sure is None:
        return problem
    hulled = sorted(hulled, key=lambda one: one.least)[:SEARCHED]
    fast, xp = net.xp, sure.net.xp
    cuts = xp.joined([one.cuts for one in hulled])
    neuron = np.concatenate([one.planes.neuron for one in hulled])
    start, first = np.zeros((problem.members.shape[0], len(neuron))), 0
    for one in hulled:
        last = first + len(one.planes.neuron)
        start[one.clause, first:last] = one.planes.weight
        first = last
    before = problem.paired or _unpaired(net, sure)
    quick = CutNet.of_paired(before.net, cuts.on(fast, xp))
    assert isinstance(before.sure.net, PairedNet)
    certain = replace(before.sure, net=CutNet.of_paired(before.sure.net, cuts))
    begin = fast.floats(fast.doubles(start)), fast.ints(neuron)
    return replace(problem, paired=Paired(quick, certain, begin))


def _unpaired(net: Reduced, sure: SureNet) -> Paired:
    """No pairs at all."""
    none = Pairs.none(net.neurons, sure.net.xp)
    certain = replace(sure, net=PairedNet.of_net(sure.net, none))
    return Paired(PairedNet.of_net(net, none.on(net.xp)), certain)


def _at_root(
    tree: NeuronTree, problem: NeuronProblem, clauses: Int[Array, " clauses"]
) -> list[Hulled]:
    """The planes of the clauses that are open at the root, and what they prove."""
    net, sure, context = problem.reduced, problem.sure, tree.context
    if net is None or sure is None or problem.refreshing is not None:
        return []
    fast, bounds, chosen = net.xp, problem.bounds, problem.xp.numpy(clauses)
    each = STEP_SECONDS * weights_of_hulls(net)
    budget = SHARE * max(0.0, context.allowed - context.spent)
    steps = int(min(STEPS, budget / max(each * len(chosen), 1e-9)))
    held = 4 * net.neurons * (net.inputs + net.neurons) * len(chosen)
    if steps < FEWEST or held > HELD_BYTES or each == 0:
        return []
    roots = problem.roots(clauses, clauses)
    patterns = roots.patterns(problem.members[clauses])
    ascent = Ascent(bounds.objective_steps, bounds.split_rate, bounds.learning_rate_decay)
    found = sweep_in_parts(net, patterns, ascent, tree.workers)
    patterns = replace(patterns, tilt=found.tilt, weight=found.weight)
    whole = HullNet.of(net)
    sums = [_sum_of_rows(net, patterns[i : i + 1]) for i in range(len(chosen))]
    tilts = fast.numpy(patterns.tilt)

    def climb(i: int) -> tuple[Planes, Cuts, int]:
        ascent = HullAscent(whole, sums[i], tilts[i])
        if 0 > ascent.run(steps, bounds.check_time) > -NEAR * ascent.lacking:
            ascent.run(2 * steps, bounds.check_time)
        planes = ascent.planes
        # The slopes are in the cuts from here on, and large.
        few = replace(planes, slope=planes.slope[:, :0].copy())
        return few, planes.cuts(sure), ascent.taken

    made = list[Hulled]()
    for i, (planes, cuts, taken) in enumerate(tree.workers.map(climb, range(len(chosen)))):
        context.spent += each * taken
        if len(planes.neuron):
            one = Hulled(int(chosen[i]), planes, cuts, float(found.least[i]))
            made.append(_tried(problem, one, patterns[i : i + 1], tree.workers))
    return made


def _sum_of_rows(net: Reduced, pattern: Patterns) -> tuple[Float[np.ndarray, " values"], float]:
    """What a pattern's rows add up to: coefficients on inputs and neurons, and a constant."""
    numbers = net.xp.numpy
    rows, weight = numbers(pattern.rows)[0], numbers(pattern.weight)[0]
    arrays = (numbers(x)[rows] for x in (net.row_weights, net.row_links, net.row_bias))
    inputs, links, bias = (weight @ x for x in arrays)
    return np.concatenate([inputs, links]), float(bias)


def _tried(problem: NeuronProblem, hulled: Hulled, pattern: Patterns, spread: Spread) -> Hulled:
    """What the planes of a clause prove, for certain, or else find, at the root."""
    made = with_cuts(problem, [hulled]).paired
    assert made is not None
    clause, tilt = problem.xp.ints([hulled.clause]), problem.xp.floats(hulled.planes.tilt)
    pattern = replace(pattern, tilt=tilt[None])
    found, sure = made.tried(pattern, AT_ROOT, problem.bounds, spread, clause)
    least = float(found.least[0])
    # Only what float64 says is a proof.
    least = min(0.0, least) if np.isfinite(least) else -np.inf
    if sure.shape[0] and float(sure[0]) > 0:
        least = float(sure[0])
    log.info("hulls: clause %d from %.4g to %.4g", hulled.clause, hulled.least, least)
    return replace(hulled, least=least)
