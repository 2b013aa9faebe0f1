"""Which input to bisect: the one whose halving removes most of the relaxation's error."""

from __future__ import annotations

from verifier.bounds import CrownResult, ObjectiveBounds
from verifier.families import Affine, Nonlinear
from verifier.tensors import Array, Float


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
    for value, weight in weights.items():
        if value == 0:
            score = score + weight
        elif graph.affine_of_input[value]:
            operator = graph.node(value).operator
            assert isinstance(operator, Affine)
            score = score + _through_first(operator, weight)
    return score * (region.upper - region.lower)


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
        assert isinstance(node.operator, Nonlinear)
        up = xp.segment_sum(rows.clip(min=0), objective.batch, enclosure.batch)
        down = xp.segment_sum((-rows).clip(min=0), objective.batch, enclosure.batch)
        boxes = [enclosure.boxes[i] for i in node.inputs]
        parts = node.operator.sensitivity(up, down, *boxes)
        for i, part in zip(node.inputs, parts, strict=True):
            total[i] = total[i] + part if i in total else part
    return total
