"""Merge chains of affine operators where one of them can absorb the other."""

from __future__ import annotations

from verifier.families import Affine, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.rewrite import rewrite

ORDINARY = 1e60
"""Products of two constants between 1 / this and this, and sums of such, are far from under- and
overflow in float64; a merged operator beyond is merged no further."""


def merge_affine(graph: Graph) -> Graph:
    """The same function, with pairs of affine operators merged until no pair can be.

    Which pairs can, and why the law of rounding still holds, is the operators' own knowledge
    (``absorb_next``, ``absorb_previous``). Operators with constants of extraordinary size are left
    alone: a product that underflows has no relative error bound. A value that others read too
    stays, except that data movement is absorbed by each of its readers on its own. Ensures: no more
    nodes than before.
    """
    while True:
        merged = _merge_once(graph)
        if len(merged.nodes) == len(graph.nodes):
            return merged
        graph = merged


def _merge_once(graph: Graph) -> Graph:
    nodes = list(graph.nodes)
    for place, node in enumerate(graph.nodes, start=1):
        source = node.inputs[0]
        if len(node.inputs) != 1 or source == 0:
            continue
        before = nodes[source - 1]
        alone = graph.consumers[source] == (place,) and source != graph.output
        operator = _merge(before, node, alone=alone)
        if operator is not None:
            nodes[place - 1] = Node(node.name, operator, before.inputs)
    return rewrite(graph, nodes)


def _merge(before: Node, node: Node, *, alone: bool) -> Affine | None:
    first, second = before.operator, node.operator
    if not isinstance(first, Affine) or not isinstance(second, Affine) or len(before.inputs) != 1:
        return None
    if not first.ordinary(ORDINARY) or not second.ordinary(ORDINARY):
        return None
    if isinstance(first, Rearrange):
        merged = second.absorb_previous(first)
        return merged or (first.absorb_next(second) if alone else None)
    if not alone:
        return None
    return first.absorb_next(second) or second.absorb_previous(first)
