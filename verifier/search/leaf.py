"""Leaves whose every sign is fixed: the network is affine there, and a linear program decides.

The program's duals are the best multipliers: they go through the same rigorous back-substitution as
all others, so that the solver is never trusted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds import DOUBLE_ROUNDOFF, Enclosure, LowerForm, back_substitute
from verifier.bounds.crown import unit_rows
from verifier.bounds.optimise import Rows
from verifier.certify import Chosen
from verifier.records import dataclass
from verifier.search.neuron_split import NeuronProblem
from verifier.search.sign_patterns import SignPatterns
from verifier.sets import Owner
from verifier.tensors import Array, Float, gamma


@dataclass(frozen=True, eq=False)
class Leaf:
    """What is known of a leaf: its rigorous bound, and the point that the program found."""

    margin: float
    point: Float[np.ndarray, " n"] | None
    chosen: Chosen | None = None
    """The multipliers that give the margin."""


def finish(problem: NeuronProblem, pattern: SignPatterns) -> Leaf:
    """Bound one leaf (a batch of 1) by a linear program over its inputs.

    Minimises t with row_s(x) <= t for the clause's rows, and every neuron on its side of 0.
    """
    from scipy.optimize import linprog

    xp = problem.root.graph.xp
    enclosure = problem.enclosure(pattern)
    rows = problem.rows(pattern, enclosure)
    objective = _form(enclosure, rows)
    signs = _sign_forms(problem, enclosure, pattern)
    size, count = objective.coefficients.shape[1], objective.coefficients.shape[0]
    planes = np.concatenate([xp.numpy(f.coefficients) for f in (objective, *signs)])
    offsets = np.concatenate([xp.numpy(f.constant) for f in (objective, *signs)])
    # Rows come as row(x) <= t; sign forms are of -sign * neuron <= 0.
    slack = np.zeros((len(planes), 1))
    slack[:count] = -1.0
    region = enclosure.boxes[0]
    bounds = [*zip(xp.numpy(region.lower)[0], xp.numpy(region.upper)[0], strict=True), (None, None)]
    cost = np.append(np.zeros(size), 1.0)
    system = np.hstack([planes, slack]).astype(np.float64)
    answer = linprog(cost, A_ub=system, b_ub=-offsets, bounds=bounds, method="highs")
    if answer.x is None or answer.ineqlin is None or answer.status != 0:
        margin, duals = _infeasible(problem, pattern, enclosure, rows)
        return Leaf(margin, None, _choice(problem, pattern, duals))
    marginals = np.maximum(-answer.ineqlin.marginals, 0.0)
    duals = marginals[:count], marginals[count:]
    margin = _bound(problem, enclosure, (rows, *duals))
    return Leaf(margin, answer.x[:size], _choice(problem, pattern, duals))


def _choice(
    problem: NeuronProblem, pattern: SignPatterns, duals: tuple[np.ndarray, np.ndarray]
) -> Chosen | None:
    """The multipliers of the weighted rows, as the proof tree records them."""
    weights, betas = duals
    total = weights.sum()
    if not total > 0:
        return None
    xp = problem.root.graph.xp
    chosen = problem.choice(pattern, _tilts(problem, betas / total), np.array([-1]))
    rows = xp.numpy(problem.members[pattern.clause[0]])
    return replace(chosen, weights=(rows, weights / total))


def _tilts(problem: NeuronProblem, betas: np.ndarray) -> dict[int, Array]:
    """Multipliers of all splittable neurons, as a tilt of each layer: [1, n]."""
    xp, tilts, place = problem.root.graph.xp, {}, 0
    for layer in problem.layers:
        stop = place + layer.index.shape[0]
        tilt = xp.zeros(1, problem.root.graph.size(layer.value))
        tilt[0, layer.index] = xp.floats(betas[place:stop])
        tilts[layer.value] = tilt
        place = stop
    return tilts


def _form(enclosure: Enclosure, rows: Rows, tilts: dict[int, Array] | None = None) -> LowerForm:
    form = back_substitute(enclosure, rows.start, rows.owner, tilts)
    return LowerForm(form.coefficients, form.constant + rows.constant)


def _sign_forms(
    problem: NeuronProblem, enclosure: Enclosure, pattern: SignPatterns
) -> list[LowerForm]:
    """For every split neuron, in order, the form of -sign * neuron (exact but for rounding)."""
    xp, start, forms = problem.root.graph.xp, 0, []
    for layer in problem.layers:
        stop = start + layer.index.shape[0]
        phase = pattern.phase[0, start:stop]
        start = stop
        owners = xp.ints(xp.zeros(layer.index.shape[0]))
        forms.append(
            _form(enclosure, unit_rows(enclosure, layer.source, (owners, layer.index, -phase)))
        )
    return forms


def _bound(
    problem: NeuronProblem,
    enclosure: Enclosure,
    duals: tuple[Rows, np.ndarray, np.ndarray],
) -> float:
    """The rigorous bound of the rows' combination with the program's multipliers."""
    xp = problem.root.graph.xp
    rows, weights, betas = duals
    total = weights.sum()
    if not total > 0:
        return -float("inf")
    weight = xp.floats(weights / total)
    start = {v: (weight[:, None] * r).sum(0)[None, :] for v, r in rows.start.items()}
    constant = (xp.astype_double(weight) * rows.constant).sum(0)[None]
    constant = constant - _rounding(enclosure, rows, weight)
    joint = Rows(start, constant, Owner.equal(1, 1, xp))
    form = _form(enclosure, joint, _tilts(problem, betas / total))
    return float(form.least(enclosure.boxes[0], joint.owner, enclosure)[0])


def _rounding(
    enclosure: Enclosure, rows: Rows, weight: Float[Array, " rows"]
) -> Float[Array, " 1"]:
    """What the sums of weighted rows may be off by: they can cancel."""
    xp = enclosure.graph.xp
    terms = rows.owner.rows + 2
    cost = (xp.astype_double(weight) * abs(rows.constant)).sum(0)[None]
    cost = 2 * gamma(terms, DOUBLE_ROUNDOFF) * cost
    for value, part in rows.start.items():
        most = 2 * gamma(terms, xp.unit_roundoff) * enclosure.boxes[value].magnitude(xp)
        cost = cost + xp.row_dot((weight[:, None] * abs(part)).sum(0)[None, :], most)
    return cost


def _infeasible(
    problem: NeuronProblem, pattern: SignPatterns, enclosure: Enclosure, rows: Rows
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """The program has no point: its signs contradict each other. Scale a Farkas ray until it shows.

    Minimise the greatest violation of the signs instead; its multipliers, large enough, beat any
    row.
    """
    from scipy.optimize import linprog

    xp = problem.root.graph.xp
    signs = _sign_forms(problem, enclosure, pattern)
    planes = np.concatenate([xp.numpy(f.coefficients) for f in signs]).astype(np.float64)
    offsets = np.concatenate([xp.numpy(f.constant) for f in signs])
    region = enclosure.boxes[0]
    bounds = [*zip(xp.numpy(region.lower)[0], xp.numpy(region.upper)[0], strict=True), (None, None)]
    cost = np.append(np.zeros(planes.shape[1]), 1.0)
    system = np.hstack([planes, -np.ones((len(planes), 1))])
    answer = linprog(cost, A_ub=system, b_ub=-offsets, bounds=bounds, method="highs")
    if answer.x is None or answer.status != 0 or not answer.fun > 0:
        return -float("inf"), (np.zeros(1), np.zeros(1))
    ray = np.maximum(-answer.ineqlin.marginals, 0.0)
    weights = np.zeros(rows.owner.rows)
    weights[0] = 1.0
    plain = _bound(problem, enclosure, (rows, weights, ray * 0))
    factor = 2.0 * (1.0 + abs(plain)) / answer.fun
    return _bound(problem, enclosure, (rows, weights, ray * factor)), (weights, ray * factor)
