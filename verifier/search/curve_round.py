"""One round of the search over cuts: bound a batch, close what is proved, choose next splits."""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds import Enclosure
from verifier.bounds.optimise import Optimised, Rows, optimise, project
from verifier.bounds.suppose import Supposing, planes_of
from verifier.families import Elementwise
from verifier.records import dataclass
from verifier.search.curve_split import CurveProblem, Cuts
from verifier.search.neuron_round import best_rows
from verifier.sets import Box, Owner
from verifier.tensors import Array, Float, Int

SAMPLES = 8
"""Points of a box at which a relaxation's gap is looked at."""


@dataclass(eq=False)
class CurveRound:
    """What one round found out about a batch."""

    open: Cuts
    closed: Cuts
    tilts: dict[int, Array]
    """The tilts that closed them."""
    row: Int[Array, " closed"]
    """The rows that did."""
    candidates: Float[Array, "points n"]


def bound_cuts(problem: CurveProblem, batch: Cuts, steps: int) -> CurveRound:
    """Optimise the bounds of a batch, close what is proved, and choose the next splits."""
    xp = problem.root.graph.xp
    enclosure = problem.enclosure(batch)
    rows = problem.rows(batch, enclosure)
    tilts = problem.expand(batch, enclosure, rows)
    found = optimise(enclosure, rows, steps, problem.bounds, tilts)
    best, margin = best_rows(found, problem.width, batch.margin, xp)
    chosen = xp.arange(len(batch)) * problem.width + best
    branch, point = _branch(problem, enclosure, found, chosen)
    packed = problem.pack(found.last, len(batch))
    batch = replace(batch, tilts=packed, margin=margin, branch=branch, point=point)
    still = ~(margin > 0)
    low, high = problem.root.boxes[0].lower, problem.root.boxes[0].upper
    points = xp.where(found.form.coefficients[chosen] > 0, low, high)
    done = xp.nonzero(~still)[0]
    return CurveRound(
        batch[xp.nonzero(still)[0]],
        batch[done],
        {value: tilt[chosen[done]] for value, tilt in found.tilts.items()},
        problem.objective.members[batch.clause, best][done],
        points[xp.nonzero(still)[0]],
    )


def _gap(operator: Elementwise, box: Box, rows: Array) -> Array:
    """How far the line of a row's side may be from the function, at most, by samples."""
    xp = operator.xp
    planes = operator.relax(box)
    above = xp.where(rows >= 0, planes.below[0], planes.above[0])
    offset = xp.where(rows >= 0, planes.lower_offset, planes.upper_offset)
    most = rows * 0
    for k in range(SAMPLES + 1):
        x = box.lower + (box.upper - box.lower) * (k / SAMPLES)
        most = xp.maximum(most, abs(operator.evaluate(x) - above * x - offset))
    return most


def _branch(
    problem: CurveProblem, enclosure: Enclosure, found: Optimised, chosen: Int[Array, " batch"]
) -> tuple[Array, Array]:
    """The neuron, and the point, where a split lessens the row's costs of relaxations most."""
    xp, graph = problem.root.graph.xp, problem.root.graph
    scores, points = [], []
    for layer in problem.layers:
        box, total = enclosure.boxes[layer.source], None
        half = graph.node(layer.readers[0]).operator
        assert isinstance(half, Elementwise)
        point = half.split_point(box)
        for value in layer.readers:
            operator, rows = graph.node(value).operator, found.trace.rows.get(value)
            assert isinstance(operator, Elementwise)
            if rows is None:
                continue
            rows = rows[chosen]
            whole = _gap(operator, box, rows)
            parts = _gap(operator, Box(box.lower, point), rows) + _gap(
                operator, Box(point, box.upper), rows
            )
            gain = abs(rows) * (whole - parts / 2)
            total = gain if total is None else total + gain
        size = box.upper - box.lower
        total = size * 0 if total is None else total
        inside = (box.lower < point) & (point < box.upper)
        scores.append(xp.where(inside, total, size * 0 - 1))
        points.append(point)
    score, point = xp.cat(scores, 1), xp.cat(points, 1)
    choice = score.argmax(1)
    every = xp.arange(choice.shape[0])
    return xp.where(xp.amax(score, 1) > 0, choice, choice * 0 - 1), point[every, choice]


def refine(problem: CurveProblem, one: Cuts, steps: int) -> Cuts | None:
    """The boxes of a subproblem where its clause is met; None: nowhere."""
    xp, graph = problem.root.graph.xp, problem.root.graph
    enclosure = problem.enclosure(one)
    rows = problem.rows(one, enclosure)
    tilts = problem.expand(one, enclosure, rows)
    tilts = {value: project(enclosure, value, tilt) for value, tilt in tilts.items()}
    if problem.width > 1:
        least = optimise(enclosure, rows, 1, problem.bounds, tilts).least
        best = xp.ints(least.argmax(0).reshape(1))
        rows = Rows(
            {value: part[best] for value, part in rows.start.items()},
            rows.constant[best],
            Owner.equal(1, 1, xp),
        )
        tilts = {value: tilt[best] for value, tilt in tilts.items()}
    planes = planes_of(enclosure, rows, tilts)
    supposing = Supposing(planes, steps, problem.bounds, problem.relaxer(one))
    known = {layer.source: problem.box(one, layer) for layer in problem.layers}
    found = supposing.tightened(graph, enclosure.boxes[0], known)
    if found is None:
        return None
    boxes = [found.boxes[layer.source] for layer in problem.layers]
    lower, upper = (
        xp.cat([side(box) for box in boxes], 1)
        for side in (lambda box: box.lower, lambda box: box.upper)
    )
    return replace(one, lower=lower, upper=upper, branch=one.branch * 0 - 1)
