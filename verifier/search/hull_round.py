"""One round of a search over neurons some of whose clauses have planes of hulls as cuts.

Subproblems of these hand on the multipliers of their planes: their tilts are as wide as those of
the clause with most planes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.search.hull_record import choices
from verifier.search.neuron_round import (
    NeuronRound,
    bound_neurons,
    branch_reduced,
    raised,
    sorted_out,
)
from verifier.search.neuron_split import NeuronProblem, Paired
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers
from verifier.tensors import Array, distinct


def bound_subproblems(
    problem: NeuronProblem, batch: SignPatterns, steps: int, workers: Workers
) -> NeuronRound:
    """As ``bound_neurons``, with the planes of the clauses that have some."""
    if not problem.hulled:
        return bound_neurons(problem, batch, steps, workers)
    fast, clause = problem.xp, problem.xp.numpy(batch.clause)
    own = np.where(np.isin(clause, list(problem.hulled)), clause, -1)
    rounds = list[NeuronRound]()
    for each in distinct(own).tolist():
        some = batch[fast.ints(np.flatnonzero(own == each))]
        made = problem.hulled.get(each)
        if made is None:
            plain = replace(some, tilts=some.tilts[:, :, : problem.neurons])
            rounds.append(bound_neurons(problem, plain, steps, workers))
        else:
            rounds.append(_bound_hulled(problem, made, some, (steps, workers)))
    return _joined(rounds, batch.tilts.shape[2], problem)


def _bound_hulled(
    problem: NeuronProblem, made: Paired, batch: SignPatterns, effort: tuple[int, Workers]
) -> NeuronRound:
    """Subproblems of one clause, with its planes."""
    fast, net, (steps, workers) = problem.xp, problem.reduced, effort
    assert net is not None
    assert made.neuron is not None
    width = 2 * net.neurons + made.neuron.shape[0]
    patterns = batch.patterns(problem.members[batch.clause])
    patterns = replace(patterns, tilt=patterns.tilt[:, :width])
    found, least = made.tried(patterns, steps, problem.bounds, workers)
    proved = fast.nonzero(found.proved > 0)[0]
    sealed = fast.bools(least > 0)
    closed = fast.bools(fast.zeros(len(batch)))
    closed[proved] = sealed
    margin = raised(batch.margin, fast.astype_double(found.least), fast)
    batch = replace(
        batch,
        tilts=wide(found.tilt, batch.tilts.shape[2], problem)[:, None],
        weight=found.weight,
        margin=fast.where(margin > 0, margin * 0, margin),
    )
    # What a chord would cost, were there no plane.
    passed = fast.copy(found.passed)
    passed[:, made.neuron] -= found.tilt[:, 2 * net.neurons :]
    batch = replace(batch, branch=branch_reduced(problem, net, batch, passed))
    proved = proved[fast.nonzero(sealed)[0]]
    records = choices(problem, made, batch[proved], found[proved])
    slack = float(problem.root.graph.xp.numpy(least[least > 0]).min(initial=np.inf))
    return sorted_out(problem, (batch, found), closed, records, slack)


def wide(tilt: Array, width: int, problem: NeuronProblem) -> Array:
    """Tilts with more zeros."""
    if tilt.shape[1] == width:
        return tilt
    return problem.xp.cat([tilt, problem.xp.zeros(tilt.shape[0], width - tilt.shape[1])], 1)


def _joined(rounds: list[NeuronRound], width: int, problem: NeuronProblem) -> NeuronRound:
    """All that several rounds found out."""
    fast, xp = problem.xp, problem.root.graph.xp

    def joined(parts: list[SignPatterns]) -> SignPatterns:
        parts = [
            replace(part, tilts=wide(part.tilts[:, 0], width, problem)[:, None]) for part in parts
        ]
        return SignPatterns.cat(parts, fast)

    return NeuronRound(
        joined([one.open for one in rounds]),
        joined([one.exhausted for one in rounds]),
        fast.cat([one.closed for one in rounds], 0),
        [chosen for one in rounds for chosen in one.chosen],
        xp.cat([one.candidates for one in rounds], 0),
        min(one.slack for one in rounds),
    )
