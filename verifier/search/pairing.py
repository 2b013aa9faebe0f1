"""Go on with neurons bounded in pairs, where a search over neurons lasts.

Neighbours in a layer read much the same inputs: what they can be together is far less than what
each can be. Where their terms are bounded over octagons (``bounds/pairs.py``), margins at the root
of convolutional networks lose half, and trees most of their nodes.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from verifier.bounds.columns import Columns, Patterns
from verifier.bounds.paired import PairedNet
from verifier.bounds.pairs import Octagon, Pairs, matched
from verifier.bounds.reduced import Reduced
from verifier.bounds.sure import SureNet, sums_of_neurons
from verifier.bounds.sweep import Ascent, gaps, sweep_in_parts
from verifier.search.hulling import Rest, with_cuts, would_close
from verifier.search.neuron_split import NeuronProblem, Paired
from verifier.search.neuron_tree import NeuronTree, Paused, decided
from verifier.search.workers import Workers
from verifier.settings import DeadlinePassed, Spread
from verifier.tensors import Array, Float, Int
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

UNTIL, LEAST = 3.0, 0.7
"""Counted seconds that a search goes on for without pairs, whose proofs can be certified: since it
began, and at least."""
PROMISING = 0.1
"""Pairs must close such a share of what is open at once."""
MOST = 400
"""So many pairs at most."""
OF_LOWER = 0.3
"""What a lower line costs at most counts so much beside what a chord costs."""
STEPS = 5
"""Of the slope optimisation for the sums and differences of a pair."""
PAIRED = "neurons were bounded in pairs, which certificates do not hold"


def to_the_end(tree: NeuronTree, problem: NeuronProblem, rest: Rest) -> Violated | Unknown | None:
    """Go on with a search of some clauses; where it lasts, with pairs if they close enough.

    And with the planes of hulls as cuts, where there are some.
    """
    steps = problem.bounds.split_steps
    known = with_cuts(problem, rest.hulled)
    patience = max(LEAST, UNTIL - rest.spent)
    found = tree.run(known, rest.begin, tree.context.for_certificates(patience))
    if not isinstance(found, Paused):
        return found
    try:
        made = paired(problem, rest.clauses[0], tree.workers)
        made = made and with_cuts(made, rest.hulled)
        if made is None or would_close(made, found, tree.workers) < PROMISING:
            return decided(tree.run(known, found.again(steps)))
    except DeadlinePassed:
        return found.late
    tree.tree.lacking = PAIRED
    return decided(tree.run(made, found.again(steps)))


def paired(
    problem: NeuronProblem,
    clauses: Int[Array, " clauses"],
    workers: Workers,
    effort: tuple[int, int] = (MOST, STEPS),
) -> NeuronProblem | None:
    """The same problem with pairs of neurons; None where there are none, or no rigorous sweep.

    ``effort``: so many pairs at most, and steps for the bounds of each.
    """
    net, sure = problem.reduced, problem.sure
    if net is None or sure is None or problem.refreshing is not None:
        return None
    weight = _weights(problem, net, clauses, workers)
    neurons = _matched(net, weight, effort[0])
    if len(neurons[0]) == 0:
        return None
    problem.bounds.check_time()
    climb = effort[1], problem.bounds.learning_rate, problem.bounds.learning_rate_decay
    octagon = bounded_sums(net, sure, neurons, climb, workers)
    xp = sure.net.xp
    pairs = Pairs.of(octagon, neurons, xp.numpy(sure.net.leak), xp)
    log.info("%d pairs of %d neurons", len(neurons[0]), net.neurons)
    with_pairs = replace(sure, net=PairedNet.of_net(sure.net, pairs))
    return replace(problem, paired=Paired(PairedNet.of_net(net, pairs.on(net.xp)), with_pairs))


def _weights(
    problem: NeuronProblem, net: Reduced, clauses: Int[Array, " clauses"], workers: Workers
) -> Float[np.ndarray, " neurons"]:
    """What neurons' relaxations cost the clauses at the root, as shares of what these lack."""
    fast, bounds = net.xp, problem.bounds
    roots = problem.roots(clauses, clauses)
    patterns = roots.patterns(problem.members[clauses])
    ascent = Ascent(bounds.objective_steps, bounds.split_rate, bounds.learning_rate_decay)
    found = sweep_in_parts(net, patterns, ascent, workers)
    chords, lower = gaps(net, patterns, found.passed)
    open_ = fast.nonzero(found.least < 0)[0]
    cost = (chords + OF_LOWER * lower)[open_] / abs(found.least[open_])[:, None]
    return fast.numpy(cost.sum(0)).astype(np.float64)


def _matched(
    net: Reduced, weight: Float[np.ndarray, " neurons"], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within layers, of neurons whose forms of the input are alike; the costliest ones."""
    fast, count, every = net.xp, net.neurons, net.with_neurons
    rows = (fast.arange(count) + net.row_bias.shape[0])[:, None]
    one, tilt = fast.full((count, 1), 1.0), fast.zeros(count, count) + net.tilt
    forms = Columns.of(every, Patterns(rows, one, tilt * 0, tilt)).back().rows_in
    forms = fast.numpy(forms)
    forms = forms / np.maximum(np.sqrt((forms**2).sum(0)), np.finfo(np.float32).tiny)
    first, second, score = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for part in net.layers:
        mine = forms[:, part]
        alike = mine.T @ mine
        one, two = matched(alike, weight[part])
        first.append(one + part.start)
        second.append(two + part.start)
        score.append(abs(alike[one, two]) * np.minimum(weight[part][one], weight[part][two]))
    order = np.argsort(-np.concatenate(score), kind="stable")[:most]
    return np.concatenate(first)[order], np.concatenate(second)[order]


def bounded_sums(
    net: Reduced,
    sure: SureNet,
    neurons: tuple[np.ndarray, np.ndarray],
    climb: tuple[int, float, float],
    spread: Spread,
) -> Octagon:
    """What pairs of neurons are in: bounds of their sums and differences by optimised slopes.

    The slopes are found on ``net``, with so many steps, at a rate and its decay; the bounds hold.
    """
    fast, xp, count = net.xp, sure.net.xp, len(neurons[0])
    # Rows are sums and differences; their negations come with a weight of -1.
    sign = np.repeat([1.0, -1.0], count)
    first, second = (np.tile(part, 2) for part in neurons)
    swept = sums_of_neurons(net, fast.ints(first), fast.ints(second), fast.floats(sign))
    rows = fast.arange(2 * count)[:, None]
    tilt = fast.zeros(4 * count, net.neurons) + net.tilt
    one = fast.full((2 * count, 1), 1.0)
    patterns = Patterns(fast.cat([rows, rows], 0), fast.cat([one, -one], 0), tilt * 0, tilt)
    found = sweep_in_parts(swept, patterns, Ascent(*climb, last=False), spread)
    ending = sure.ending_in(xp.ints(first), xp.ints(second), xp.floats(xp.doubles(sign)))
    least = xp.numpy(ending.least(replace(patterns, tilt=found.tilt), spread))
    low, high = least[: 2 * count], -least[2 * count :]
    boxes = xp.numpy(sure.net.lower), xp.numpy(sure.net.upper)
    sides = [(boxes[0][part], boxes[1][part]) for part in neurons]
    sums, differences = (low[:count], high[:count]), (low[count:], high[count:])
    return Octagon(sides[0], sides[1], sums, differences)
