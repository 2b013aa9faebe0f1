"""Gradients at points: vector-Jacobian products over a graph, from the families' own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verifier.families import Affine, Nonlinear, Operator
from verifier.graph import Graph
from verifier.tensors import Array, Float


def backward(
    graph: Graph, values: Sequence[Array], seeds: Mapping[int, Array]
) -> Float[Array, "batch n"]:
    """The gradient of ``sum_v <seeds[v], value v>`` by the input: reverse accumulation.

    ``values`` are those of ``graph.values(x)``; a seed is ``[batch, size of its value]``. Where
    several nodes read a value, their shares are summed (Griewank and Walther 2008, chapter 3). At a
    kink it is some one-sided derivative; jumps count as ramps.
    """
    gradients = dict(seeds)
    for place in range(len(graph.nodes), 0, -1):
        gradient = gradients.pop(place, None)
        if gradient is None:
            continue
        node = graph.node(place)
        inputs = tuple(values[i] for i in node.inputs)
        for source, part in zip(
            node.inputs, _pull_back(node.operator, inputs, gradient), strict=True
        ):
            known = gradients.get(source)
            gradients[source] = part if known is None else known + part
    gradient = gradients.get(0)
    return values[0] * 0 if gradient is None else gradient


def _pull_back(operator: Operator, inputs: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    """The gradient by each of the operator's inputs, from the one by its output."""
    if isinstance(operator, Affine):
        return operator.adjoint(gradient)
    if not isinstance(operator, Nonlinear):
        message = f"{type(operator).__name__} belongs to no family with derivatives"
        raise TypeError(message)
    return operator.guide(gradient, *inputs)


def points_at_once(graph: Graph) -> int:
    """How many points a step should carry: as many as keep the device busy, as few as fit.

    Depends on the network and the kind of device, never on a clock, so that runs can be repeated.
    """
    total = sum(graph.size(i) for i in range(len(graph.nodes) + 1))
    numbers, least, most = (
        (2_000_000, 4, 512) if graph.xp.device == "cpu" else (1 << 28, 32, 1 << 14)
    )
    return min(max(numbers // total, least), most)
