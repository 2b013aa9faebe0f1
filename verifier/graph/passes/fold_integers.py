"""Compute what depends on fixed whole numbers only, where that is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families import Affine, Rearrange
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.rewrite import rewrite
from verifier.tensors import numpy_backend

LARGEST = 2.0**40
"""Whole numbers up to this, and sums of a few of them, are exact in float64."""


def fold_integers(graph: Graph) -> Graph:
    """The same function; values that are whole numbers whatever the input are constants.

    An interval around a constant, however narrow, is ambiguous where a function jumps at it.
    """
    known: list[np.ndarray | None] = [None]
    changes: list[Node | int] = []
    for node in graph.nodes:
        inputs = [known[i] for i in node.inputs]
        value = _value(node, inputs)
        known.append(value)
        changes.append(_changed(node, inputs, value, graph))
    return graph if all(x is None for x in known) else rewrite(graph, changes)


def _value(node: Node, inputs: list[np.ndarray | None]) -> np.ndarray | None:
    """The constant whole numbers that a node computes, or None."""
    operator = node.operator
    if isinstance(operator, Rearrange) and operator.kept is not None and not operator.kept.any():
        fill = np.zeros(operator.size) if operator.bias is None else operator.bias
        return fill if _whole(fill) else None
    given = [x for x in inputs if x is not None]
    if len(given) < len(inputs) or not operator.keeps_integers:
        return None
    placed = operator.on(numpy_backend("float64"))
    result = placed.evaluate(*(x[None] for x in given))[0]
    return result if _whole(result) else None


def _whole(x: np.ndarray) -> bool:
    return bool(((x == np.round(x)) & (abs(x) < LARGEST)).all())


def _changed(
    node: Node, inputs: list[np.ndarray | None], value: np.ndarray | None, graph: Graph
) -> Node:
    if value is not None:
        nothing = np.full(len(value), -1)
        constant = Rearrange.of(nothing, graph.input_size, value)
        return Node(node.name, constant, (0,))
    operator = node.operator
    smaller = (
        operator.given(inputs)
        if isinstance(operator, Affine) and any(x is not None for x in inputs)
        else None
    )
    if smaller is None:
        return node
    rest = tuple(i for i, x in zip(node.inputs, inputs, strict=True) if x is None)
    return replace(node, operator=smaller, inputs=rest)
