"""Data movement that reads one part only of values put together reads that part itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families import Affine, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.rewrite import rewrite
from verifier.tensors import distinct


def bypass(graph: Graph) -> Graph:
    """The same function, exactly; what reads a part depends on less than before."""
    nodes = list[Node]()
    for node in graph.nodes:
        nodes.append(node)
        while (further := _past(nodes, nodes[-1])) is not None:
            nodes[-1] = further
    return rewrite(graph, nodes)


def _past(nodes: list[Node], node: Node) -> Node | None:
    """The node with what is before the value that it reads in place of that, where that will do."""
    operator, source = node.operator, node.inputs[0]
    if not isinstance(operator, Rearrange) or operator.kept is not None or source == 0:
        return None
    before = nodes[source - 1]
    if not isinstance(before.operator, Affine) or len(before.inputs) < 2:
        return None
    needed = distinct(operator.index)
    part = before.operator.part(needed)
    if part is None or not isinstance(part.operator, Affine) or not part.operator.is_identity:
        return None
    which = next(i for i, read in enumerate(part.inputs) if len(read))
    place = np.searchsorted(part.index, operator.index)
    moved = Rearrange.of(part.inputs[which][place], before.operator.sizes[which])
    return replace(node, operator=moved, inputs=(before.inputs[which],))
