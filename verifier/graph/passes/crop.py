"""The part of a network that some elements of one value depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families import Part, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.records import dataclass
from verifier.tensors import distinct


@dataclass(frozen=True, eq=False)
class Crop:
    """A smaller network, and where its values come from."""

    graph: Graph
    """Its output is the elements that were asked for, its input those that they depend on."""
    numbers: dict[int, int]
    """For values of the larger network the number of the one that holds elements of it."""
    places: dict[int, np.ndarray]
    """And which elements: int64, ascending. For the input, too."""


def crop(graph: Graph, value: int, index: np.ndarray) -> Crop:
    """What computes the elements ``index`` (ascending, at least one) of a value.

    Operators that know how (``Operator.part``) compute only what is needed; others stay whole.
    Requires: no backend yet.
    """
    wanted: dict[int, list[np.ndarray]] = {value: [np.asarray(index, dtype=np.int64)]}
    parts: dict[int, Part] = {}
    for v in range(value, 0, -1):
        if v not in wanted:
            continue
        need = _union(wanted[v])
        node = graph.node(v)
        part = _part(node, need)
        parts[v] = part
        for i, needed in zip(node.inputs, part.inputs, strict=True):
            if len(needed):
                wanted.setdefault(i, []).append(needed)
    inputs = _union(wanted.get(0, [np.zeros(1, dtype=np.int64)]))
    builder = _Cropped(graph, [], {0: 0}, {0: inputs})
    for v in sorted(parts):
        builder.add(v, parts[v])
    output = builder.taking(value, np.asarray(index))
    return Crop(Graph(len(inputs), tuple(builder.nodes), output), builder.numbers, builder.places)


def _part(node: Node, need: np.ndarray) -> Part:
    operator = node.operator
    part = operator.part(need) if len(need) < operator.size else None
    if part is not None:
        return part
    whole = tuple(np.arange(n) for n in operator.sizes)
    return Part(operator, np.arange(operator.size), whole)


def _union(indices: list[np.ndarray]) -> np.ndarray:
    return indices[0] if len(indices) == 1 else distinct(np.concatenate(indices))


@dataclass(eq=False)
class _Cropped:
    """The smaller network under construction."""

    graph: Graph
    nodes: list[Node]
    numbers: dict[int, int]
    places: dict[int, np.ndarray]

    def add(self, value: int, part: Part) -> None:
        node = self.graph.node(value)
        inputs = tuple(
            self.taking(i, needed)
            for i, needed in zip(node.inputs, part.inputs, strict=True)
            if len(needed)
        )
        self.nodes.append(replace(node, operator=part.operator, inputs=inputs))
        self.numbers[value], self.places[value] = len(self.nodes), part.index

    def taking(self, value: int, index: np.ndarray) -> int:
        """The number of the value that holds just these elements."""
        have, number = self.places[value], self.numbers[value]
        if np.array_equal(have, index):
            return number
        operator = Rearrange.of(np.searchsorted(have, index), len(have))
        self.nodes.append(Node("part", operator, (number,)))
        return len(self.nodes)
