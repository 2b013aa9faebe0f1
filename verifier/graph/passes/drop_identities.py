"""Drop affine operators that give back their input."""

from __future__ import annotations

from verifier.families import Affine
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.rewrite import rewrite


def drop_identities(graph: Graph) -> Graph:
    """The same function, without operators whose ``is_identity`` is true and without dead nodes."""

    def change(node: Node) -> Node | int:
        operator = node.operator
        if isinstance(operator, Affine) and operator.is_identity:
            return node.inputs[0]
        return node

    return rewrite(graph, [change(node) for node in graph.nodes])
