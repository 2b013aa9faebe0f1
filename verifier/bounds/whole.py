"""Interval arithmetic that is exact on whole numbers: comparisons of classes need that."""

from __future__ import annotations

from verifier.bounds.enclosure import Enclosure
from verifier.families import Affine
from verifier.graph import Graph
from verifier.sets import Box
from verifier.tensors import Array, Bool

LARGEST = 2.0**20
"""Sums of a few whole numbers up to this are exact, even in float32."""
MOST_TERMS = 8


def whole_interval(graph: Graph, region: Box) -> Enclosure:
    """Boxes of all values by interval arithmetic, rounding included.

    Where an operator only moves and adds up, and all that it adds up are single small whole
    numbers, its result is exact: no rounding is allowed for.
    """
    enclosure = Enclosure.over(graph, region)
    for node in graph.nodes:
        value = enclosure.step()
        operator = node.operator
        if isinstance(operator, Affine) and operator.moves and operator.terms <= MOST_TERMS:
            boxes = [enclosure.boxes[i] for i in node.inputs]
            enclosure.boxes[value] = _exactly(operator, boxes, enclosure.boxes[value])
    return enclosure


def _exactly(operator: Affine, boxes: list[Box], box: Box) -> Box:
    xp = operator.xp
    others = [xp.where(_whole(b, operator), xp.zeros(1), xp.full((1,), 1.0)) for b in boxes]
    exact = operator.absolute(*others) == 0
    kept = [xp.where(o == 0, b.lower, xp.zeros(1)) for o, b in zip(others, boxes, strict=True)]
    point = operator.evaluate(*kept)
    return Box(xp.where(exact, point, box.lower), xp.where(exact, point, box.upper))


def _whole(box: Box, operator: Affine) -> Bool[Array, "batch n"]:
    """Which entries are one small whole number."""
    round_off = operator.xp.function("floor", box.lower) == box.lower
    return round_off & (box.lower == box.upper) & (abs(box.lower) <= LARGEST)
