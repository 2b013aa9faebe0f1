"""The network as an immutable graph of operators on flat vectors."""

from __future__ import annotations

from dataclasses import field, replace
from functools import cached_property

from verifier.families import Affine, Elementwise, Nonlinear, Operator
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, single_precision

LARGE_CONVOLUTIONS = 10_000_000
"""Multiply-adds of a network with convolutions from which on torch beats NumPy."""
FUNNEL_RATIO, FUNNEL_NODES = 4, 16
"""A funnel is so many times wider inside than at its ends, and has at most so many nodes."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operator; its value has the number of its place in the graph, the input being 0."""

    name: str
    operator: Operator
    inputs: tuple[int, ...]
    tensor: str = ""
    """The ONNX tensor that it computes; empty where no tensor of the file is just that."""


@dataclass(frozen=True)
class Funnel:
    """Where a value comes from by way of larger ones."""

    source: int
    inside: frozenset[int]
    """The values between the source and the end."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in evaluation order: ``nodes[i]`` computes value i + 1; value 0 is the input vector.

    Every value is a flat vector of static length and depends on the input: constants live in
    operators. Several inputs of a network are slices of value 0, several outputs are one
    concatenated value. Checked when made: inputs come earlier, and lengths fit.
    """

    input_size: int
    nodes: tuple[Node, ...]
    output: int
    backend: Backend | None = None
    source: Graph | None = field(default=None, init=False)
    """The same on no backend, where this one is on one as it was put there."""

    def __post_init__(self) -> None:
        for place, node in enumerate(self.nodes, start=1):
            lengths = tuple(self.size(i) for i in node.inputs if i < place)
            if lengths != node.operator.sizes:
                message = (
                    f"node {node.name!r} takes values of lengths {node.operator.sizes}, "
                    f"but is given {node.inputs} of lengths {lengths}"
                )
                raise ValueError(message)
        if not 0 <= self.output <= len(self.nodes):
            message = f"output {self.output} is no value of a graph of {len(self.nodes)} nodes"
            raise ValueError(message)

    def size(self, value: int) -> int:
        """The length of a value."""
        return self.input_size if value == 0 else self.nodes[value - 1].operator.size

    def node(self, value: int) -> Node:
        """The node that computes a value: the input has none."""
        if value < 1:
            message = f"value {value} has no node: it is not computed"
            raise IndexError(message)
        return self.nodes[value - 1]

    @property
    def output_size(self) -> int:
        """The length of the output."""
        return self.size(self.output)

    @property
    def xp(self) -> Backend:
        """The backend that the constants are on."""
        if self.backend is None:
            message = "the graph is on no backend yet: call on()"
            raise ValueError(message)
        return self.backend

    def on(self, backend: Backend) -> Graph:
        """The same graph with its constants on a backend."""
        nodes = tuple(replace(node, operator=node.operator.on(backend)) for node in self.nodes)
        made = replace(self, nodes=nodes, backend=backend)
        if self.backend is None:
            object.__setattr__(made, "source", self)
        return made

    @cached_property
    def without_biases(self) -> Graph:
        """The same without the biases of affine operators."""
        nodes = []
        for node in self.nodes:
            operator = node.operator
            if isinstance(operator, Affine):
                operator = replace(operator, bias=None, bias_magnitude=None)
            nodes.append(replace(node, operator=operator))
        return replace(self, nodes=tuple(nodes))

    @cached_property
    def linear_in_single(self) -> Graph | None:
        """The same in float32 without biases; None: it is not known."""
        if self.source is None or not all(n.operator.fits_single for n in self.source.nodes):
            return None
        return self.source.without_biases.on(single_precision(self.xp))

    def evaluate(self, x: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        """The network's outputs at points."""
        return self.values(x)[self.output]

    def values(self, x: Float[Array, "batch n"]) -> list[Array]:
        """All values at points, by number."""
        values = [x]
        for node in self.nodes:
            values.append(node.operator.evaluate(*(values[i] for i in node.inputs)))
        return values

    @cached_property
    def work(self) -> int:
        """About how many multiply-adds one evaluation at a point takes."""
        return max(1, sum(node.operator.work for node in self.nodes))

    @property
    def wants_torch(self) -> bool:
        """Is the network so large, and of such operators, that torch is worth its start-up?"""
        convolves = any(node.operator.convolves for node in self.nodes)
        return convolves and self.work > LARGE_CONVOLUTIONS

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For each value the values computed from it."""
        users: list[list[int]] = [[] for _ in range(len(self.nodes) + 1)]
        for place, node in enumerate(self.nodes, start=1):
            for i in dict.fromkeys(node.inputs):
                users[i].append(place)
        return tuple(tuple(u) for u in users)

    @cached_property
    def nonlinear(self) -> tuple[int, ...]:
        """The values computed by nonlinear operators, in order."""
        return tuple(
            i for i, n in enumerate(self.nodes, start=1) if isinstance(n.operator, Nonlinear)
        )

    @cached_property
    def relaxed_inputs(self) -> tuple[int, ...]:
        """The values that nonlinear operators read, in order: the ones that need tight boxes."""
        return tuple(sorted({i for v in self.nonlinear for i in self.node(v).inputs}))

    @cached_property
    def bounded_by_rows(self) -> tuple[int, ...]:
        """The values that nonlinear operators read and whose boxes rows may make tighter.

        Interval arithmetic is exact where one affine operator is all there is; and through an
        elementwise operator, of a box that rows have made tight: a line below phi is no higher at
        the box's ends than phi is somewhere in it.
        """
        return tuple(
            v
            for v in self.relaxed_inputs
            if not self.affine_of_input[v] and not isinstance(self.node(v).operator, Elementwise)
        )

    @cached_property
    def funnels(self) -> dict[int, Funnel]:
        """Nonlinear values that are computed from one much smaller value by way of large ones.

        A softmax of k numbers, say, by way of their k (k - 1) differences. What lies between is
        read by nothing else, and what a nonlinear operator makes there of one number goes into one
        number at the end only.
        """
        found, sources = dict[int, Funnel](), set[int]()
        for value in reversed(self.nonlinear):
            funnel = self._funnel(value)
            if funnel is not None and funnel.source not in sources:
                found[value] = funnel
                sources.add(funnel.source)
        return found

    @cached_property
    def inside_funnels(self) -> frozenset[int]:
        """The values between the ends of funnels."""
        return frozenset().union(*(funnel.inside for funnel in self.funnels.values()))

    def _funnel(self, value: int) -> Funnel | None:
        inside, edge, widest = {value}, set(self.node(value).inputs), 0
        for _ in range(FUNNEL_NODES):
            source = max(edge)
            ends = max(1, self.size(source), self.size(value))
            if len(edge) == 1 and widest >= FUNNEL_RATIO * ends:
                return Funnel(source, frozenset(inside - {value})) if self._apart(inside) else None
            if source == 0 or not inside.issuperset(self.consumers[source]):
                return None
            inside.add(source)
            widest = max(widest, self.size(source))
            edge = (edge - {source}) | set(self.node(source).inputs)
        return None

    def _apart(self, inside: set[int]) -> bool:
        """Do the paths of what nonlinear operators compute inside meet in one number only?"""
        curved = {v for v in inside if isinstance(self.node(v).operator, Nonlinear)}
        for value in inside:
            operator = self.node(value).operator
            if isinstance(operator, Affine):
                if not operator.disjoint and curved & self.ancestors[value]:
                    return False
            elif not isinstance(operator, Elementwise):
                return False
        return True

    @cached_property
    def ancestors(self) -> tuple[frozenset[int], ...]:
        """For each value all values that it is computed from, itself included."""
        result = [frozenset({0})]
        for node in self.nodes:
            result.append(frozenset({len(result)}).union(*(result[i] for i in node.inputs)))
        return tuple(result)

    @cached_property
    def affine_of_input(self) -> tuple[bool, ...]:
        """For each value: is it the input, or one affine operator away from it?

        Interval arithmetic is exact on these, up to rounding.
        """
        nodes = (isinstance(n.operator, Affine) and n.inputs == (0,) for n in self.nodes)
        return (True, *nodes)
