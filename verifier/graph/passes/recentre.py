"""A network in offsets of its input from a point, as far as it is affine.

What rounding may cost a row grows with the size of the values that it passes. Over a small box far
from 0, values are large and differ little: their offsets from a point of the box are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

import numpy as np

from verifier.families import Affine
from verifier.graph.graph import Graph
from verifier.records import dataclass
from verifier.tensors import numpy_backend

LEAST, LEAST_MAGNITUDE = 1e-30, 1e-13
"""Constants below the first count as 0: a share of the second, which is charged, is more."""


@dataclass(frozen=True, eq=False)
class Recentred:
    """The same nodes, but some values are offsets now: what an affine operator reads of the input.

    The operators that end such a part have, in place of their bias, what they compute at the point.
    """

    graph: Graph
    centers: Mapping[int, np.ndarray] = field(default_factory=dict[int, np.ndarray])
    """For each value that is an offset, what it is an offset from (``[n]``)."""


def recentre(graph: Graph, point: np.ndarray, unit_roundoff: float) -> Recentred:
    """The network around a point (``[n]``), for bounds in a precision of this roundoff.

    Not in a finer one: the centres are computed in float64, and what they may be off by is charged
    in that precision, as a share of the new biases' magnitudes.
    """
    offsets, xp = _offsets(graph), numpy_backend("float64")
    if 0 not in offsets:
        return Recentred(graph)
    nodes, off = list(graph.nodes), 4 * 2.0**-53 / unit_roundoff
    centers, sizes, terms = {0: np.asarray(point)[None]}, {0: abs(np.asarray(point))[None]}, {0: 1}
    for value, node in enumerate(graph.nodes, start=1):
        if not any(i in offsets for i in node.inputs):
            continue
        assert isinstance(node.operator, Affine)
        here = node.operator.on(xp)
        zeros = [np.zeros((1, graph.size(i))) for i in node.inputs]
        read = list(zip(node.inputs, zeros, strict=True))
        center = here.evaluate(*(centers.get(i, zero) for i, zero in read))
        size = here.magnitude(*(sizes.get(i, zero) for i, zero in read))
        count = node.operator.terms + 4 + sum(terms.get(i, 0) for i in node.inputs)
        bias = magnitude = None
        if value in offsets:
            centers[value], sizes[value], terms[value] = center, size, count
        else:
            magnitude = np.maximum(abs(center) + off * count * size, LEAST_MAGNITUDE)[0]
            bias = np.where(abs(center) < LEAST, 0.0, center)[0]
        operator = replace(node.operator, bias=bias, bias_magnitude=magnitude)
        nodes[value - 1] = replace(node, operator=operator)
    made = replace(graph, nodes=tuple(nodes))
    return Recentred(made, {value: center[0] for value, center in centers.items()})


def _offsets(graph: Graph) -> set[int]:
    """The values that can be offsets: affine in the input, and read by what can do with that."""
    found = {0}
    for value, node in enumerate(graph.nodes, start=1):
        if isinstance(node.operator, Affine) and found.issuperset(node.inputs):
            found.add(value)
    while True:
        kept = {v for v in found if _is_one(graph, v, found)}
        if kept == found:
            return found
        found = kept


def _is_one(graph: Graph, value: int, offsets: set[int]) -> bool:
    if value == graph.output or (value and not offsets.issuperset(graph.node(value).inputs)):
        return False
    for reader in graph.consumers[value]:
        operator = graph.node(reader).operator
        if not isinstance(operator, Affine):
            return False
        if reader not in offsets and not operator.takes_bias:
            return False
    return True
