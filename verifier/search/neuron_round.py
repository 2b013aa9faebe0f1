"""One round of the search over neurons: bound a batch, close what is proved, choose next splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifier.bounds import Enclosure
from verifier.bounds.optimise import TILT_STEPS, Optimised, optimise, project
from verifier.bounds.reduced import Reduced
from verifier.bounds.sweep import (
    SLACK,
    Ascent,
    Swept,
    gaps,
    sweep_in_parts,
    sweep_patterns,
)
from verifier.certify import Chosen
from verifier.families import Planes
from verifier.records import dataclass
from verifier.search.neuron_split import NeuronProblem
from verifier.search.program import Multipliers, Program
from verifier.search.propagate import Implied
from verifier.search.refresh import Refresher
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers, sealed_at_once
from verifier.tensors import Array, Backend, Bool, Float, Int

SCALES = (255.0, 252.0, 240.0, 192.0, 128.0)
"""Scales that put fractions of small denominators on the grid of slopes."""

PAIR_STEPS = 6
"""Sweeps of a second try with neurons in pairs."""
WEAK = 0.02
"""Below this share of the margin, the costs of all relaxations do not explain it."""


@dataclass(eq=False)
class NeuronRound:
    """What one round found out about a batch."""

    open: SignPatterns
    exhausted: SignPatterns
    """Open, though no relaxation costs anything any more: a linear program comes next."""
    closed: Int[Array, " closed"]
    chosen: Sequence[Chosen]
    """The multipliers that closed them."""
    candidates: Float[Array, "points n"]
    slack: float = float("inf")
    """The least bound, rounding included, of what was closed."""

    @property
    def worst_margin(self) -> float:
        """The least margin of what is open; +inf: nothing is."""
        return float(self.open.margin.min()) if len(self.open) else float("inf")


def bound_neurons(
    problem: NeuronProblem, batch: SignPatterns, steps: int, workers: Workers
) -> NeuronRound:
    """Optimise the bounds of a batch, close what is proved, and choose the next splits."""
    if problem.reduced is not None:
        return _bound_reduced(problem, problem.reduced, batch, (steps, workers))
    return _bound_graph(problem, batch, steps)


def _bound_reduced(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns, effort: tuple[int, Workers]
) -> NeuronRound:
    """Sweep the reduced network in single precision; what it closes is sealed on the graph."""
    xp, fast, count = problem.root.graph.xp, net.xp, len(batch)
    batch, found = _swept(problem, net, batch, effort)
    empty = fast.bools(fast.zeros(count))
    if problem.refreshing is not None:
        batch, found, empty = _refreshed(problem, net, (batch, found), effort)
    margin, proved = batch.margin, fast.nonzero((found.proved > 0) & ~empty)[0]
    least, records = seal_patterns(problem, batch[proved], effort[1])
    sealed = least > 0
    # What single precision takes for closed, but the seal does not, stays open.
    margin = fast.where(margin > 0, margin * 0, margin)
    closed = fast.copy(empty)
    closed[proved] = fast.bools(sealed)
    batch, paired = in_pairs(problem, replace(batch, margin=margin), closed, effort[1])
    slack = min(paired, float(xp.numpy(least[sealed]).min(initial=np.inf)))
    return sorted_out(problem, (batch, found), closed, records, slack)


def sorted_out(
    problem: NeuronProblem,
    swept: tuple[SignPatterns, Swept],
    closed: Bool[Array, " batch"],
    records: Sequence[Chosen],
    slack: float,
) -> NeuronRound:
    """A round from what its sweeps found, and from what is closed by it."""
    fast, xp, (batch, found) = problem.xp, problem.root.graph.xp, swept
    promising = ~closed & (found.margin <= SLACK * (1 + abs(found.least)))
    corner = found.corner[fast.nonzero(promising)[0]]
    low, high = problem.root.boxes[0].lower, problem.root.boxes[0].upper
    points = xp.where(xp.floats(corner) > 0, high, low)
    keep, stuck = (
        fast.nonzero(~closed & side)[0] for side in (batch.branch >= 0, batch.branch < 0)
    )
    done = batch.node[fast.nonzero(closed)[0]]
    return NeuronRound(batch[keep], batch[stuck], done, records, points, slack)


def in_pairs(
    problem: NeuronProblem, batch: SignPatterns, closed: Array, workers: Workers
) -> tuple[SignPatterns, float]:
    """A second try of what is open, with neurons in pairs; and the least bound of what it closes.

    Multipliers of pairs are not handed on: a split that changes a pair leaves them far from good.
    """
    fast, left = problem.xp, problem.xp.nonzero(~closed)[0]
    if problem.paired is None or left.shape[0] == 0:
        return batch, float("inf")
    some = batch[left]
    patterns = some.patterns(problem.members[some.clause])
    patterns = replace(patterns, tilt=fast.cat([patterns.tilt, patterns.tilt * 0], 1))
    found, least = problem.paired.tried(patterns, PAIR_STEPS, problem.bounds, workers)
    sealed = fast.bools(least > 0)
    done = left[fast.nonzero(found.proved > 0)[0]]
    closed[done] = sealed
    margin = fast.copy(batch.margin)
    margin[left] = raised(margin[left], fast.astype_double(found.least), fast).clip(max=0)
    xp = problem.root.graph.xp
    return replace(batch, margin=margin), float(xp.numpy(least[least > 0]).min(initial=np.inf))


def _refreshed(
    problem: NeuronProblem,
    net: Reduced,
    known: tuple[SignPatterns, Swept],
    effort: tuple[int, Workers],
) -> tuple[SignPatterns, Swept, Bool[Array, " batch"]]:
    """A batch whose open part has tighter boxes and was swept again; which has no point left."""
    fast, (batch, found), how = net.xp, known, problem.refreshing
    assert how is not None
    left, done = (fast.nonzero(side)[0] for side in (found.proved == 0, found.proved > 0))
    if left.shape[0] == 0:
        return batch, found, fast.bools(fast.zeros(len(batch)))
    some, empty = Refresher(problem, net, how, effort[1]).run(batch[left], found.passed[left])
    some, again = _swept(problem, net, some, (problem.bounds.split_steps, effort[1]))
    none = fast.bools(fast.zeros(done.shape[0]))
    return (
        SignPatterns.cat([batch[done], some], fast),
        Swept.cat([found[done], again], fast),
        fast.cat([none, empty], 0),
    )


def propose(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns, effort: tuple[int, Workers]
) -> tuple[SignPatterns, SignPatterns]:
    """What single precision takes for closed, to be sealed, and what it leaves open."""
    batch, found = _swept(problem, net, batch, effort)
    closed = found.proved > 0
    return batch[net.xp.nonzero(closed)[0]], batch[net.xp.nonzero(~closed)[0]]


def _swept(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns, effort: tuple[int, Workers]
) -> tuple[SignPatterns, Swept]:
    """A batch with the multipliers, margins and next splits that sweeps give it."""
    implied = None
    if problem.propagator is not None:
        implied = problem.propagator.run(problem.members[batch.clause], batch.phase, effort[1])
        batch = _programmed(problem, net, batch, (implied, effort[1]))
    fast, found = net.xp, _sweep(problem, net, batch, effort)
    margin = raised(batch.margin, fast.astype_double(found.least), fast)
    batch = replace(batch, tilts=found.tilt[:, None], weight=found.weight, margin=margin)
    branch = branch_reduced(problem, net, batch, found.passed)
    if implied is not None:
        urgency = implied.urgency * fast.floats(batch.phase == 0)
        branch = fast.where(fast.amax(urgency, 1) > 0, urgency.argmax(1), branch)
    return replace(batch, branch=branch), found


def _programmed(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns, how: tuple[Implied, Workers]
) -> SignPatterns:
    """The batch with the multipliers of linear programs where propagation refutes a pattern."""
    fast, refuted = net.xp, net.xp.nonzero(how[0].refuted)[0]
    if refuted.shape[0] == 0:
        return batch
    assert problem.propagator is not None
    rows = fast.numpy(problem.members[batch.clause[refuted]])
    given = fast.numpy(problem.propagator.given)
    phase = fast.numpy(batch.phase[refuted])

    programs = {tuple(some): Program.of(net, some, given) for some in np.unique(rows, axis=0)}

    def solve(i: int) -> Multipliers | None:
        problem.bounds.check_time()
        return programs[tuple(rows[i])].solve(phase[i])

    solved = how[1].map(solve, range(rows.shape[0]))
    known = [i for i, found in enumerate(solved) if found is not None]
    if not known:
        return batch
    place, tilts, weight = refuted[fast.ints(known)], fast.copy(batch.tilts), batch.weight
    made = [found for found in solved if found is not None]
    tilts[place, 0] = fast.floats(np.stack([found.tilt for found in made]))
    weight = fast.copy(weight)
    weight[place] = fast.floats(np.stack([found.weight for found in made]))
    batch = replace(batch, tilts=tilts, weight=weight)
    tilts[place, 0] = _rounded(problem, net, batch[place])
    return replace(batch, tilts=tilts)


def _rounded(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns
) -> Float[Array, "batch neurons"]:
    """Slopes on the grid that proofs have, that of several scales that loses least.

    Where an output is a sum of ReLUs, a factor on all slopes is as good as one on its weight, and
    the slopes of logic are small fractions.
    """
    fast, tilt = net.xp, batch.tilts[:, 0]
    rows, free = problem.members[batch.clause], batch.phase == 0
    best, least = tilt, fast.full((len(batch),), -float("inf"))
    for scale in SCALES:
        on_grid = fast.function("round", tilt * scale) / TILT_STEPS
        tried = fast.where(free, on_grid, tilt)
        patterns = replace(batch.patterns(rows), tilt=tried)
        value = sweep_patterns(net, patterns, Ascent(1, 0.0, 1.0)).least
        best = fast.where((value > least)[:, None], tried, best)
        least = fast.maximum(least, value)
    return best


def _sweep(
    problem: NeuronProblem, net: Reduced, batch: SignPatterns, effort: tuple[int, Workers]
) -> Swept:
    """The clauses' sums of rows, raised by some steps."""
    bounds, rows = problem.bounds, problem.members[batch.clause]
    patterns = batch.patterns(rows)
    ascent = Ascent(effort[0], bounds.split_rate, bounds.learning_rate_decay, points=True)
    return sweep_in_parts(net, patterns, ascent, effort[1])


def seal_patterns(
    problem: NeuronProblem, batch: SignPatterns, workers: Workers
) -> tuple[Float[Array, " batch"], list[Chosen]]:
    """What bounds subproblems for certain, and the multipliers of those that this closes.

    On the graph, as a checker will, or where nothing is recorded on the reduced network.
    """
    graph = problem.root.graph
    xp = graph.xp
    if not problem.recorded and problem.sure is not None and len(batch):
        patterns = batch.patterns(problem.members[batch.clause])
        patterns = replace(patterns, weight=patterns.weight.clip(min=0))
        return xp.astype_double(problem.sure.least(patterns, workers)), []
    each = sealed_at_once(graph, len(batch), workers)

    def seal(start: int) -> tuple[Array, list[Chosen]]:
        part = batch[start : start + each]
        enclosure = problem.enclosure(part)
        rows = problem.sums(part, enclosure)
        tilts = problem.expand(part, enclosure, rows)
        tilts = {value: project(enclosure, value, tilt) for value, tilt in tilts.items()}
        found = optimise(enclosure, rows, 1, problem.bounds, tilts)
        done = xp.nonzero(found.least > 0)[0]
        tilts = {value: tilt[done] for value, tilt in found.tilts.items()}
        return found.least, problem.choices(part[done], problem.of_neurons(tilts, done.shape[0]))

    if len(batch) == 0:
        return xp.doubles(xp.zeros(0)), []
    parts = workers.map(seal, range(0, len(batch), each))
    return xp.cat([least for least, _ in parts], 0), [c for _, chosen in parts for c in chosen]


def branch_reduced(
    problem: NeuronProblem,
    net: Reduced,
    batch: SignPatterns,
    passed: Float[Array, "batch neurons"],
) -> Int[Array, " batch"]:
    """The free neuron whose chord costs the chosen row most: -nu- times its offset.

    Where all chords together cost next to nothing beside the margin, the signs fixed so far have
    cut the row off from the neurons before them, and only a contradiction between signs can close
    the subproblem: then the neuron that is furthest from affine, and matters most to later ones.
    """
    fast = net.xp
    free = fast.floats(batch.phase == 0)
    score, other = gaps(net, batch.patterns(problem.members[batch.clause]), passed)
    least = fast.floats(abs(batch.margin))
    weak = ((score + other).sum(1) < WEAK * least)[:, None]
    if problem.width > 1:
        # The sum of rows that is bounded now is not the only one.
        score = fast.where(fast.amax(score, 1)[:, None] > 0, score, net.cost * free)
    score = fast.where(fast.amax(score, 1)[:, None] > 0, score, other)
    score = fast.where(weak, free * net.reach, score)
    choice = score.argmax(1)
    return fast.where(fast.amax(score, 1) > 0, choice, choice * 0 - 1)


def _bound_graph(problem: NeuronProblem, batch: SignPatterns, steps: int) -> NeuronRound:
    """The same on the graph itself."""
    xp = problem.root.graph.xp
    enclosure = problem.enclosure(batch)
    rows = problem.rows(batch, enclosure)
    tilts = problem.expand(batch, enclosure, rows)
    found = optimise(enclosure, rows, steps, problem.bounds, tilts)
    best, margin = best_rows(found, problem.width, batch.margin, xp)
    chosen = xp.arange(len(batch)) * problem.width + best
    branch = _branch(problem, batch, enclosure, found, chosen)
    batch = replace(batch, tilts=problem.pack(found.tilts, batch), margin=margin, branch=branch)
    still = ~(margin > 0)
    low, high = problem.root.boxes[0].lower, problem.root.boxes[0].upper
    points = xp.where(found.form.coefficients[chosen] > 0, low, high)
    keep, stuck = xp.nonzero(still & (branch >= 0))[0], xp.nonzero(still & (branch < 0))[0]
    done = xp.nonzero(~still)[0]
    tilts = {value: tilt[chosen[done]] for value, tilt in found.tilts.items()}
    row = xp.numpy(problem.members[batch.clause, best][done])
    return NeuronRound(
        batch[keep],
        batch[stuck],
        batch.node[done],
        [problem.choice(batch[done], tilts, row)],
        points[xp.nonzero(still)[0]],
    )


def best_rows(
    found: Optimised, width: int, before: Float[Array, " batch"], xp: Backend
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """The best of each subproblem's ``width`` rows, and the margin by it or by what was known."""
    count = before.shape[0]
    least = found.least.reshape(count, width)
    best = least.argmax(1)
    return best, raised(before, least[xp.arange(count), best], xp)


def raised(
    margin: Float[Array, " batch"], least: Float[Array, " batch"], xp: Backend
) -> Float[Array, " batch"]:
    """Margins by what was known or by other bounds; one that is no number proves nothing."""
    best = xp.maximum(least, margin)
    return xp.where(xp.function("isnan", best), margin, best)


def _branch(
    problem: NeuronProblem,
    batch: SignPatterns,
    enclosure: Enclosure,
    found: Optimised,
    chosen: Int[Array, " batch"],
) -> Int[Array, " batch"]:
    """The free neuron whose relaxation costs the chosen row most: -nu- times the chord's offset.

    Where no chord costs anything, the neuron whose sign matters most otherwise: nu+ min(u, -l).
    """
    xp = problem.root.graph.xp
    if not problem.layers:
        return batch.branch
    first, second = [], []
    for layer in problem.layers:
        planes, box = enclosure.relaxations[layer.value], enclosure.boxes[layer.source]
        assert isinstance(planes, Planes)
        rows = found.trace.rows.get(layer.value)
        if rows is None:
            none = xp.zeros(len(batch), layer.index.shape[0]) - 1
            first.append(none)
            second.append(none)
            continue
        rows = rows[chosen][:, layer.index]
        chord = planes.upper_offset[:, layer.index]
        kink = xp.minimum(box.upper, -box.lower)[:, layer.index]
        first.append((-rows).clip(min=0) * chord)
        second.append(rows.clip(min=0) * kink)
    free = batch.phase == 0
    minus = xp.full((1,), -1.0)
    score = xp.where(free, xp.cat(first, 1), minus)
    other = xp.where(free, xp.cat(second, 1), minus)
    usual = (xp.amax(score, 1) > 0)[:, None]
    score = xp.where(usual, score, other)
    choice = score.argmax(1)
    return xp.where(xp.amax(score, 1) > 0, choice, choice * 0 - 1)
