"""Which input to bisect: the one whose halving removes most of the relaxation's error."""

from __future__ import annotations

from verifier.bounds import Correlation, CrownResult, Enclosure, ObjectiveBounds
from verifier.families import Affine, Correlated, Elementwise, Nonlinear, Planes
from verifier.sets import Box
from verifier.tensors import Array, Backend, Float


def gap_smear(crown: CrownResult, objective: ObjectiveBounds) -> Float[Array, "batch n"]:
    """A score for each input of each box; the greatest is to be split.

    score_i = (u_i - l_i) sum over unstable neurons j of sensitivity_j |d neuron_j / d x_i|: halving
    input i shrinks neuron j's half-width by about half of |d neuron_j / d x_i| (u_i - l_i), and
    with it the error that the objective's rows pay for relaxing the neuron. By contrast
    |coefficient| x width ranks inputs in which the network may be linear already.
    """
    enclosure = crown.enclosure
    graph, xp = enclosure.graph, enclosure.graph.xp
    region = enclosure.boxes[0]
    weights = _weights(crown, objective)
    score = region.lower * 0
    for rows in crown.hidden:
        if rows.value not in weights:
            continue
        weight = weights[rows.value][rows.batch, rows.neuron]
        influence = weight[:, None] * rows.influence
        score = score + xp.segment_sum(influence, rows.batch, enclosure.batch)
    for made in crown.correlations:
        if made.value in objective.trace.rows:
            score = score + _of_difference(made, objective, enclosure)
    for value, weight in weights.items():
        if value == 0:
            score = score + weight
        elif graph.affine_of_input[value]:
            operator = graph.node(value).operator
            assert isinstance(operator, Affine)
            score = score + _through_first(operator, weight)
    return score * (region.upper - region.lower)


def _of_difference(
    made: Correlation, objective: ObjectiveBounds, enclosure: Enclosure
) -> Float[Array, "batch n"]:
    """What the planes of correlated factors cost the rows, for each input that moves them."""
    xp, batch, rows = enclosure.graph.xp, enclosure.batch, objective.trace.rows[made.value]
    weight = xp.segment_sum((made.sign * rows).clip(min=0), objective.batch, batch)
    each = (weight[made.batch, made.index] * made.steep)[:, None] * made.influence
    return xp.segment_sum(each, made.batch, batch)


def costs(crown: CrownResult, objective: ObjectiveBounds) -> dict[int, Float[Array, "batch n"]]:
    """About what the rows pay for relaxing each neuron, for each value that nonlinear nodes read.

    Where a node does not reach the rows, there is nothing to pay.
    """
    enclosure = crown.enclosure
    weights, result = _weights(crown, objective), {}
    for value in enclosure.graph.relaxed_inputs:
        box = enclosure.boxes[value]
        width = box.upper - box.lower
        result[value] = weights[value] * width if value in weights else width * 0
    return result


def _through_first(operator: Affine, weight: Float[Array, "batch m"]) -> Float[Array, "batch n"]:
    """weight . |M| for the first affine operator, whose neurons have no rows of their own."""
    xp = operator.xp
    jacobian = abs(operator.unit_rows(xp.arange(operator.size))[0])
    return weight @ jacobian


def _weights(crown: CrownResult, objective: ObjectiveBounds) -> dict[int, Array]:
    """For each value read by a nonlinear node: sensitivity of its neurons, [batch n]."""
    enclosure = crown.enclosure
    graph, xp = enclosure.graph, enclosure.graph.xp
    total: dict[int, Array] = {}
    for value, rows in objective.trace.rows.items():
        node = graph.node(value)
        up = xp.segment_sum(rows.clip(min=0), objective.batch, enclosure.batch)
        down = xp.segment_sum((-rows).clip(min=0), objective.batch, enclosure.batch)
        assert isinstance(node.operator, Nonlinear)
        boxes = [enclosure.boxes[i] for i in node.inputs]
        operator, planes = node.operator, enclosure.relaxations[value]
        if isinstance(operator, Elementwise) and not operator.tilted and isinstance(planes, Planes):
            parts = (_of_curve(planes, up + down, boxes[0], xp),)
        else:
            if isinstance(planes, Correlated):
                none = xp.zeros(1)
                up = xp.where(planes.ratios[0] > 0, none, up)
                down = xp.where(planes.ratios[1] > 0, none, down)
            parts = operator.sensitivity(up, down, *boxes)
        for i, part in zip(node.inputs, parts, strict=True):
            total[i] = total[i] + part if i in total else part
    for value in reversed(graph.nonlinear):
        # Elementwise outputs have no rows of their own: they are as wide as what they read.
        planes, weight = enclosure.relaxations[value], total.get(value)
        if weight is None or value in graph.bounded_by_rows or not isinstance(planes, Planes):
            continue
        (source,) = graph.node(value).inputs
        part = weight * xp.maximum(abs(planes.below[0]), abs(planes.above[0]))
        total[source] = total[source] + part if source in total else part
    return total


def _of_curve(
    planes: Planes, weight: Float[Array, "batch m"], box: Box, xp: Backend
) -> Float[Array, "batch m"]:
    """The planes of a smooth function are apart by G ~ r^2 in the middle: dG / dr = 2 G / r."""
    middle, half = box.center, box.radius
    apart = (planes.above[0] - planes.below[0]) * middle + planes.upper_offset - planes.lower_offset
    steep = 2 * apart.clip(min=0) / xp.where(half > 0, half, xp.full((1,), 1.0))
    return weight * xp.where(half > 0, steep, xp.zeros(1))
