"""The root of a search over neurons in a network with products: rows choose McCormick's planes."""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds import Enclosure, HiddenOptimiser, Objective, crown
from verifier.bounds.crown import unstable_mask
from verifier.bounds.optimise import Rows, optimise
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array, Bool, Float, Int

UNRECORDED = "planes of products were chosen row by row, which certificates do not hold"

MOST_FIRST_WORK = 30_000_000_000
"""Multiply-adds of rows of hidden neurons, above which those inside funnels get none at first."""
MOST_HIDDEN_WORK = 100_000_000_000
"""Multiply-adds of the root's optimised rows of hidden neurons, above which they stay away."""


@dataclass(frozen=True, eq=False)
class ProductRoot:
    """What choosing planes at the root gave."""

    enclosure: Enclosure
    clauses: Int[Array, " open"]
    """The clauses that are still open."""
    tilts: dict[int, Float[Array, "rows _"]]
    """The tilts that were found for each of the property's rows."""


def has_products(enclosure: Enclosure) -> bool:
    """Are there products whose planes rows could choose?"""
    bent = enclosure.bent()
    return any(bent.relaxations[v] is not r for v, r in enclosure.relaxations.items())


def product_root(
    plain: Enclosure,
    objective: Objective,
    thresholds: Float[Array, " rows"],
    clauses: Int[Array, " open"],
    settings: BoundSettings,
) -> ProductRoot:
    """Choose planes for the property's rows; if that is not enough, for hidden neurons too."""
    settings = replace(settings, learning_rate=settings.product_rate)
    found = _optimised(plain, objective, thresholds, clauses, settings)
    if not found.clauses.shape[0]:
        return found
    if hidden_work(plain, settings.hidden_steps) > MOST_HIDDEN_WORK:
        return found
    graph = plain.graph
    inherited = {v: plain.boxes[v] for v in graph.relaxed_inputs}
    optimiser = HiddenOptimiser(settings.hidden_steps, bend=True)
    region = plain.boxes[0]
    tight = crown(graph, region, settings, inherited, optimiser=optimiser).enclosure
    return _optimised(tight, objective, thresholds, found.clauses, settings)


def first_rows(graph: Graph) -> dict[int, Array] | None:
    """The values whose neurons are bounded by rows at first; None: all.

    Where that is much work, not those inside funnels: there are many, and a few numbers tell nearly
    as much.
    """
    xp, rows = graph.xp, 2 * sum(graph.size(v) for v in graph.bounded_by_rows)
    if rows * graph.work <= MOST_FIRST_WORK:
        return None
    values = set(graph.bounded_by_rows) - graph.inside_funnels
    return {v: xp.bools(xp.full((1, 1), 1.0)) for v in values}


def left_out(enclosure: Enclosure) -> int:
    """About how many multiply-adds the rows take that were left out at first."""
    graph = enclosure.graph
    if first_rows(graph) is None:
        return 0
    inside = set(graph.bounded_by_rows) & graph.inside_funnels
    return 2 * graph.work * sum(int(unstable_mask(enclosure, v).sum()) for v in inside)


def hidden_work(enclosure: Enclosure, steps: int) -> int:
    """About how many multiply-adds rows of all unstable neurons take, with so many steps each."""
    graph = enclosure.graph
    rows = sum(int(unstable_mask(enclosure, v).sum()) for v in graph.bounded_by_rows)
    return 2 * 2 * steps * rows * graph.work


def _optimised(
    enclosure: Enclosure,
    objective: Objective,
    thresholds: Float[Array, " rows"],
    clauses: Int[Array, " open"],
    settings: BoundSettings,
) -> ProductRoot:
    xp, bent = enclosure.graph.xp, enclosure.bent()
    open_clause = xp.bools(xp.zeros(objective.clauses))
    open_clause[clauses] = True
    row = xp.nonzero(open_clause[objective.clause] & (thresholds > -float("inf")))[0]
    owner = Owner.equal(1, row.shape[0], xp)
    start, error = objective.start(row, bent, owner)
    rows = Rows(start, -thresholds[row] - error, owner)
    found = optimise(bent, rows, settings.product_steps, settings)
    tilts = {}
    for value, tilt in found.tilts.items():
        whole = bent.relaxations[value].middle_tilt()
        assert whole is not None
        tilts[value] = xp.repeat(whole[:1], objective.size)
        tilts[value][row] = tilt
    still = _refuted(objective, row, found.least)
    return ProductRoot(bent, xp.nonzero(open_clause & ~still)[0], tilts)


def _refuted(
    objective: Objective, row: Int[Array, " some"], least: Float[Array, " some"]
) -> Bool[Array, " clauses"]:
    """Which clauses have a row that is above 0."""
    xp = objective.xp
    whole = xp.doubles(xp.zeros(1, objective.size)) - float("inf")
    whole[0, row] = least
    return objective.best_of_clauses(whole)[0] > 0
