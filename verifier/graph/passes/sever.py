"""A network in two: affine operators and ReLUs, and what other functions make of a few numbers."""

from __future__ import annotations

import numpy as np

from verifier.families import Affine, Elementwise, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.records import dataclass


@dataclass(frozen=True, eq=False)
class Severed:
    """Where a network is cut, and what is behind the cut as a network of its own."""

    fringe: tuple[int, ...]
    """The values before the cut that are read behind it, ascending."""
    tail: Graph
    """Its input is these values, one after the other."""


def sever(graph: Graph) -> Severed | None:
    """Cut a network before the first operators that are neither affine nor ReLUs.

    None where its output is before the cut. Requires: no backend yet.
    """
    before = [True]
    for node in graph.nodes:
        operator = node.operator
        plain = isinstance(operator, Affine) or (
            isinstance(operator, Elementwise) and operator.tilted
        )
        before.append(plain and all(before[i] for i in node.inputs))
    if before[graph.output]:
        return None
    fringe = _fringe(graph, before)
    # What only moves numbers of the fringe about is behind it.
    while moved := [v for v in fringe if v and _moves(graph.node(v)) in fringe]:
        for v in moved:
            before[v] = False
        fringe = _fringe(graph, before)
    behind = [v for v in range(len(before)) if not before[v]]
    total = sum(graph.size(v) for v in fringe)
    nodes, numbers, start = list[Node](), dict[int, int](), 0
    for v in fringe:
        stop = start + graph.size(v)
        nodes.append(Node(f"fringe {v}", Rearrange.of(np.arange(start, stop), total), (0,)))
        numbers[v], start = len(nodes), stop
    for v in behind:
        node = graph.node(v)
        inputs = tuple(numbers[i] for i in node.inputs)
        nodes.append(Node(node.name, node.operator, inputs))
        numbers[v] = len(nodes)
    return Severed(tuple(fringe), Graph(total, tuple(nodes), numbers[graph.output]))


def _fringe(graph: Graph, before: list[bool]) -> list[int]:
    """The values before the cut that are read behind it."""
    read = {i for v, node in enumerate(graph.nodes, start=1) if not before[v] for i in node.inputs}
    return sorted(i for i in read if before[i])


def _moves(node: Node) -> int:
    """The value whose elements a node gives in another order; -1: it is no such node."""
    operator = node.operator
    return node.inputs[0] if isinstance(operator, Rearrange) and operator.kept is None else -1
