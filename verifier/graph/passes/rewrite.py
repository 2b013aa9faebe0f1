"""What every pass ends with: put the new nodes in order and drop those that nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from verifier.graph.graph import Graph, Node


def rewrite(graph: Graph, changes: Sequence[Node | int]) -> Graph:
    """The graph with ``changes[i]`` in place of ``nodes[i]``.

    A change is a node, or the number of the value that stands for the node's. All numbers are the
    old graph's. Requires: no backend yet; changes read earlier values only. Ensures: every node of
    the result is read by another one, or is the output.
    """
    stands = [0]
    for place, change in enumerate(changes, start=1):
        stands.append(place if isinstance(change, Node) else stands[change])
    output = stands[graph.output]
    live = {output}
    for place in range(len(changes), 0, -1):
        change = changes[place - 1]
        if place in live and isinstance(change, Node):
            live.update(stands[i] for i in change.inputs)
    numbers, nodes = {0: 0}, []
    for place, change in enumerate(changes, start=1):
        if place in live and isinstance(change, Node):
            inputs = tuple(numbers[stands[i]] for i in change.inputs)
            nodes.append(replace(change, inputs=inputs))
            numbers[place] = len(nodes)
    return Graph(graph.input_size, tuple(nodes), numbers[output])
