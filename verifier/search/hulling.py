"""Bound neurons as functions of all that they read, where a search over neurons lasts.

Planes of the hulls of neurons' functions (``bounds/hulls.py``) close most of the gap that chords
leave in layers that read few values, convolutions' above all: many clauses need no split then. What
is left open is searched with the planes as cuts.
"""

from __future__ import annotations

import logging
from dataclasses import field, replace

import numpy as np

from verifier.bounds.columns import Patterns
from verifier.bounds.cuts import CutNet, Cuts
from verifier.bounds.hulls import HullAscent, HullNet, Planes, weights_of_hulls
from verifier.bounds.paired import PairedNet
from verifier.bounds.pairs import Pairs
from verifier.bounds.reduced import Reduced
from verifier.bounds.sweep import Ascent, sweep_in_parts
from verifier.certify import Chosen, Hulls, Mark
from verifier.records import dataclass
from verifier.search.hull_record import choices, on_record, recordable
from verifier.search.hull_round import bound_subproblems, wide
from verifier.search.neuron_round import PAIR_STEPS
from verifier.search.neuron_split import NeuronProblem, Paired
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.settings import DeadlinePassed, Spread
from verifier.tensors import Array, Float
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

STEPS, FEWEST = 100, 30
"""Of an ascent, and how many must be affordable."""
NEAR = 0.25
"""An ascent that took the bound so near to 0 goes on for twice as many."""
SHARE = 0.2
"""Of the time that is left, for all ascents together."""
AT_ROOT = 20
"""Steps with the planes as cuts."""
STEP_SECONDS = 2e-8
"""Counted seconds of a step for each weight: measured."""
TRIED = 64
"""Of so many open subproblems it is looked what share pairs or cuts would close."""
FIRST, FIRST_SHARE = 0.05, 0.1
"""Counted seconds of a search before there are hulls: at least, and as a share of theirs."""
LATER = 1.5
"""Where certificates have no place for the planes: at least."""
WORTH = 0.2
"""A search begins anew with planes that take such a share off what its clauses lack."""
PILOTS, PROMISING = 2, 0.07
"""So many clauses go first; the others follow where planes take such a share off what they lack."""
FOLLOWED, SHALLOW = 6.0, 0.4
"""Counted seconds in which such a search must halve the share of its tree that is open; and where
there is one layer, for which boxes in subproblems may be far better (``race``)."""
HELD_BYTES = 2_400_000_000
"""What the planes of all clauses may take, in both precisions."""
HULLED = "not recorded: neurons were bounded as functions of all that they read"


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
    spent: float
    """Counted seconds of searches since then."""

    @staticmethod
    def of(found: Paused, clauses: tuple[Array, Array], mark: Mark, steps: int) -> Rest:
        """What the first search of some clauses left open."""
        return Rest(found.again(steps), clauses, mark, [], found.root_margin, found.spent)

    def after(self, found: Paused, steps: int) -> Rest:
        """What another search of that left open, which goes on with so many steps."""
        return replace(self, begin=found.again(steps), spent=self.spent + found.spent)

    @property
    def closed(self) -> list[Hulled]:
        """The clauses that are proved."""
        return [one for one in self.hulled if one.least > 0]

    @property
    def open(self) -> list[Hulled]:
        """The others that have planes."""
        return [one for one in self.hulled if one.least <= 0]


@dataclass(frozen=True, eq=False)
class Hulled:
    """A clause, its planes, and what these prove at the root."""

    clause: int
    planes: Planes
    cuts: Cuts
    before: float
    """What single neurons' lines prove."""
    least: float = -float("inf")
    """Above 0: proved in float64."""
    record: Hulls | None = None
    """The planes as proofs hold them."""
    chosen: list[Chosen] = field(default_factory=list[Chosen])
    """What closes the clause."""
    start: tuple[Array, Array] | None = None
    """Multipliers to begin with: tilts [1, tilts] and weights [1, width]."""


def try_hulls(
    tree: NeuronTree,
    begun: tuple[NeuronProblem, Begin],
    clauses: tuple[Array, Array],
    mark: Mark,
) -> Violated | Unknown | Rest | None:
    """Search for a share of what hulls take; then close what clauses these close at the root.

    ``mark``: where the clauses' nodes were made. What is left begins anew with the planes as cuts,
    if they are worth that.
    """
    problem, begin = begun
    each = STEP_SECONDS * (0 if problem.reduced is None else weights_of_hulls(problem.reduced))
    patience = max(FIRST, FIRST_SHARE * each * STEPS * len(clauses[0]))
    if not recordable(problem):
        patience = tree.context.for_certificates(max(LATER, patience))
    found = tree.run(problem, begin, patience)
    if not isinstance(found, Paused):
        return found
    rest = Rest.of(found, clauses, mark, problem.bounds.split_steps)
    try:
        rest = replace(rest, hulled=_at_root(tree, problem, clauses, each))
    except DeadlinePassed:
        return found.late
    log.info("hulls close %d of %d clauses", len(rest.closed), len(rest.hulled))
    if not rest.hulled or _taken_off(rest.hulled) < WORTH:
        return replace(rest, hulled=[])
    tree.slack = min([tree.slack, *(one.least for one in rest.closed)])
    return _anew(tree, problem, rest)


def _anew(tree: NeuronTree, problem: NeuronProblem, rest: Rest) -> Violated | Unknown | Rest | None:
    """Begin anew with the clauses that the hulls leave open, and with the planes as cuts."""
    clauses, xp = rest.clauses, problem.root.graph.xp
    tree.tree.restart(rest.mark)
    gone = np.isin(xp.numpy(clauses[0]), [one.clause for one in rest.closed])
    done, others = (xp.ints(np.flatnonzero(some)) for some in (gone, ~gone))
    tree.tree.close(clauses[1][done])
    tree.closed += done.shape[0]
    for one in rest.hulled:
        if one.record is None:
            tree.tree.lacking = HULLED
        for chosen in one.chosen:
            tree.tree.choose(chosen)
    if others.shape[0] == 0:
        return None
    some, steps = (clauses[0][others], clauses[1][others]), problem.bounds.objective_steps
    mark = tree.tree.mark()
    roots = _started(problem, problem.roots(*some), rest.open)
    patience = FOLLOWED if len(problem.layers) > 1 else SHALLOW
    found = tree.run(with_cuts(problem, rest.open), Begin(roots, steps), patience)
    if not isinstance(found, Paused):
        return found
    rest = replace(rest, clauses=some, mark=mark, hulled=rest.open, spent=0.0)
    return rest.after(found, problem.bounds.split_steps)


def _started(problem: NeuronProblem, roots: SignPatterns, hulled: list[Hulled]) -> SignPatterns:
    """Subproblems with the multipliers that clauses came to with their planes."""
    xp, known = problem.xp, {one.clause: one.start for one in hulled if one.start is not None}
    most = max((tilt.shape[1] for tilt, _ in known.values()), default=problem.neurons)
    tilts, weight = xp.copy(wide(roots.tilts[:, 0], most, problem)), xp.copy(roots.weight)
    for i, clause in enumerate(xp.numpy(roots.clause).tolist()):
        if clause in known:
            tilt, weights = known[clause]
            tilts[i], weight[i] = wide(tilt, most, problem)[0], weights[0]
    return replace(roots, tilts=tilts[:, None], weight=weight)


def would_close(made: NeuronProblem, found: Paused, workers: Workers) -> float:
    """The share of some of what is open that pairs or cuts would close at once."""
    if len(found.open) == 0:
        return 0.0
    batch = found.some(TRIED, made.xp)
    result = bound_subproblems(made, batch, PAIR_STEPS, workers)
    share = result.closed.shape[0] / len(batch)
    log.info("pairs or cuts would close %.2f of what is open", share)
    return share


def with_cuts(problem: NeuronProblem, hulled: list[Hulled]) -> NeuronProblem:
    """The problem with each clause's planes as cuts, beside the pairs that it has."""
    if not hulled:
        return problem
    before, made = problem.paired or _unpaired(problem), dict[int, Paired]()
    certain, fast = before.sure.net, before.net.xp
    assert isinstance(certain, PairedNet)
    for one in hulled:
        neuron = one.planes.neuron
        quick = CutNet.of_paired(before.net, one.cuts.on(fast, certain.xp), neuron)
        sure = replace(before.sure, net=CutNet.of_paired(certain, one.cuts, neuron))
        record = None if problem.paired is not None else one.record
        made[one.clause] = Paired(quick, sure, fast.ints(neuron), record)
    return replace(problem, hulled=made)


def _unpaired(problem: NeuronProblem) -> Paired:
    """No pairs at all."""
    net, sure = problem.reduced, problem.sure
    assert net is not None
    assert sure is not None
    none = Pairs.none(net.neurons, sure.net.xp)
    certain = replace(sure, net=PairedNet.of_net(sure.net, none))
    return Paired(PairedNet.of_net(net, none.on(net.xp)), certain)


def _at_root(
    tree: NeuronTree, problem: NeuronProblem, clauses: tuple[Array, Array], each: float
) -> list[Hulled]:
    """The planes of the clauses that are open at the root, and what they prove.

    ``each``: counted seconds of a step of an ascent.
    """
    net, context = problem.reduced, tree.context
    if net is None or problem.refreshing is not None:
        return []
    bounds, chosen = problem.bounds, problem.xp.numpy(clauses[0])
    budget = SHARE * max(0.0, context.allowed - context.spent)
    steps = int(min(STEPS, budget / max(each * len(chosen), 1e-9)))
    held = 12 * net.neurons * (net.inputs + net.neurons) * len(chosen)
    if steps < FEWEST or held > HELD_BYTES or each == 0:
        return []
    # Not before: to find what equations are off by takes long.
    sure = problem.sure
    if sure is None:
        return []
    roots = problem.roots(*clauses)
    patterns = roots.patterns(problem.members[clauses[0]])
    ascent = Ascent(bounds.objective_steps, bounds.split_rate, bounds.learning_rate_decay)
    found = sweep_in_parts(net, patterns, ascent, tree.workers)
    patterns = replace(patterns, tilt=found.tilt, weight=found.weight)
    whole, tilts = HullNet.of(net), net.xp.numpy(patterns.tilt)
    sums = [_sum_of_rows(net, patterns[i : i + 1]) for i in range(len(chosen))]

    def climb(i: int) -> tuple[Hulled, int]:
        ascent = HullAscent(whole, sums[i], tilts[i])
        if 0 > ascent.run(steps, bounds.check_time) > -NEAR * ascent.lacking:
            ascent.run(2 * steps, bounds.check_time)
        planes, record = on_record(problem, ascent.planes, tree.case)
        # The slopes are in the cuts from here on, and large.
        few = replace(planes, slope=planes.slope[:, :0].copy())
        one = Hulled(int(chosen[i]), few, planes.cuts(sure), float(found.least[i]), record=record)
        return one, ascent.taken

    # Those that lack most tell for all.
    made, order = list[Hulled](), np.argsort(net.xp.numpy(found.least), kind="stable").tolist()
    for part in (order[:PILOTS], order[PILOTS:]):
        for i, (one, taken) in zip(part, tree.workers.map(climb, part), strict=True):
            context.spent += each * taken
            if len(one.planes.neuron):
                some = slice(i, i + 1)
                batch = replace(roots[some], weight=found.weight[some])
                made.append(_tried(problem, one, batch, tree.workers))
        if _taken_off(made) < PROMISING:
            return []
    return sorted(made, key=lambda one: one.clause)


def _taken_off(hulled: list[Hulled]) -> float:
    """The share that planes take off what clauses lack."""
    lacking = sum(max(0.0, -one.before) for one in hulled)
    return 1 - sum(max(0.0, -one.least) for one in hulled) / lacking if lacking else 1.0


def _sum_of_rows(net: Reduced, pattern: Patterns) -> tuple[Float[np.ndarray, " values"], float]:
    """What a pattern's rows add up to: coefficients on inputs and neurons, and a constant."""
    numbers = net.xp.numpy
    rows, weight = numbers(pattern.rows)[0], numbers(pattern.weight)[0]
    arrays = (numbers(x)[rows] for x in (net.row_weights, net.row_links, net.row_bias))
    inputs, links, bias = (weight @ x for x in arrays)
    return np.concatenate([inputs, links]), float(bias)


def _tried(problem: NeuronProblem, hulled: Hulled, root: SignPatterns, spread: Spread) -> Hulled:
    """What the planes of a clause prove, for certain, or else find, at the root."""
    made = with_cuts(problem, [hulled]).hulled[hulled.clause]
    fast, planes = problem.xp, hulled.planes
    numbers = np.concatenate([planes.tilt, 0 * planes.tilt, planes.weight])
    tilt = fast.floats(fast.doubles(numbers))[None]
    pattern = replace(root.patterns(problem.members[root.clause]), tilt=tilt)
    found, sure = made.tried(pattern, AT_ROOT, problem.bounds, spread)
    least = float(found.least[0])
    # Only what float64 says is a proof.
    least, chosen = min(0.0, least) if np.isfinite(least) else -np.inf, list[Chosen]()
    if sure.shape[0] and float(sure[0]) > 0:
        least, chosen = float(sure[0]), choices(problem, made, root, found)
    log.info("hulls: clause %d from %.4g to %.4g", hulled.clause, hulled.before, least)
    return replace(hulled, least=least, chosen=chosen, start=(found.tilt, found.weight))
