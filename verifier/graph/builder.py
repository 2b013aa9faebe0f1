"""Make a graph node by node, as importers do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field, replace

import numpy as np

from verifier.families import Operator, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.records import dataclass


@dataclass(frozen=True)
class Value:
    """A value of the graph under construction, as an array of some shape.

    Reshaping makes another ``Value`` of the same number: shapes are views, and cost nothing.
    """

    number: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def reshape(self, shape: Sequence[int]) -> Value:
        """The same elements in C order under another shape of the same size."""
        shape = tuple(int(n) for n in shape)
        if math.prod(shape) != self.size:
            message = f"cannot view {self.size} elements of shape {self.shape} as {shape}"
            raise ValueError(message)
        return Value(self.number, shape)

    def table(self) -> np.ndarray:
        """The numbers 0..size-1 in the value's shape: move these, then rearrange."""
        return np.arange(self.size).reshape(self.shape)


@dataclass
class Builder:
    """Collects nodes; ``finish`` gives the graph."""

    input_size: int
    nodes: list[Node] = field(default_factory=list)
    odd: dict[int, np.ndarray] = field(default_factory=dict)
    """Of some values, by number, where they hold no numbers [size]: minus infinity where a mask
    hides an element, NaN where all of a softmax is hidden, else 0. Such an element of the graph has
    some number, which nothing may read but what knows better."""

    ordered: dict[int, tuple[Value, np.ndarray]] = field(
        default_factory=dict[int, tuple[Value, np.ndarray]]
    )
    """Of some values, by number, another value whose elements are in the same order within groups,
    ties included, and the group of each element: int64 [size]."""

    integers: dict[int, int] = field(default_factory=dict)
    """Of some values, by number, ONNX's number of the integer type that they are cast to; 0 where
    there are several."""

    def add(
        self,
        name: str,
        operator: Operator,
        inputs: Sequence[Value],
        shape: Sequence[int] | None = None,
    ) -> Value:
        """A node's value, of the given shape (default: the first input's)."""
        node = Node(name, operator, tuple(v.number for v in inputs))
        self.nodes.append(node)
        result = Value(len(self.nodes), (operator.size,))
        return result.reshape(inputs[0].shape if shape is None else shape)

    def label(self, value: Value, tensor: str) -> None:
        """Note which ONNX tensor a value is; the first name stays, where several are the same."""
        node = self.nodes[value.number - 1] if value.number else None
        if node is not None and not node.tensor:
            self.nodes[value.number - 1] = replace(node, tensor=tensor)

    def rearrange(
        self, name: str, value: Value, index: np.ndarray, fill: np.ndarray | None = None
    ) -> Value:
        """Elements of a value under a new shape.

        ``index`` holds element numbers, -1 where ``fill`` is.
        Nothing is added where the elements stay as they are.
        """
        flat = np.asarray(index).reshape(-1)
        if len(flat) == value.size and np.array_equal(flat, np.arange(value.size)):
            return value.reshape(index.shape)
        constant = None if fill is None else np.asarray(fill, dtype=np.float64).reshape(-1)
        operator = Rearrange.of(flat, value.size, constant)
        result = self.add(name, operator, [value], index.shape)
        if value.number in self.odd:
            marks = np.where(flat >= 0, self.odd[value.number][flat], 0.0)
            self.mark(result, marks.reshape(result.shape))
        return result

    def mark(self, value: Value, odd: np.ndarray) -> None:
        """Note where a value holds no numbers, if anywhere."""
        if odd.any():
            self.odd[value.number] = np.broadcast_to(odd, value.shape).reshape(-1)

    def marks(self, value: Value) -> np.ndarray:
        """Where a value holds no numbers, in its shape: see ``odd``."""
        flat = self.odd.get(value.number)
        return np.zeros(value.shape) if flat is None else flat.reshape(value.shape)

    def as_ordered(self, value: Value, groups: np.ndarray) -> tuple[Value, np.ndarray]:
        """What to compare instead of ``groups`` of a value's elements ([groups, members]).

        A simpler value in which the members of each group are in the same order, and their numbers
        there; the same where there is none.
        """
        number, table = value.number, groups
        while number:
            if number in self.ordered:
                source, group = self.ordered[number]
                if (group[table] == group[table[:, :1]]).all():
                    return source, table
                break
            node = self.nodes[number - 1]
            if not isinstance(node.operator, Rearrange) or node.operator.kept is not None:
                break
            number, table = node.inputs[0], node.operator.index[table]
        return value, groups

    def finish(self, output: Value) -> Graph:
        """The graph with this output."""
        return Graph(self.input_size, tuple(self.nodes), output.number)
