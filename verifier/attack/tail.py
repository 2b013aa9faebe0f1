"""Networks without an end that only keeps the order of the outputs, such as a final Softmax.

Where a property compares outputs with each other, it says the same about the values before such an
end; and these have slopes where the outputs are flat. This is for attacks, which prove nothing:
that an end keeps the order is tried out at some points only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.graph import Graph
from verifier.spec import UnsafeRows

POINTS = 16
SCALE = 3.0
"""The spread of the points: less than what flattens an exponential function."""


def compares(rows: UnsafeRows, bounds: np.ndarray) -> bool:
    """Does every row say y_i <= y_j, for some two outputs, or never hold?"""
    c = rows.output_coefficients
    two = ((c != 0).sum(1) == 2) & (c.sum(1) == 0)
    zero = (bounds == 0) | np.isneginf(bounds)
    return rows.input_coefficients is None and bool(two.all() and zero.all())


def without_tail(graph: Graph, seed: int = 0) -> Graph:
    """The graph up to the earliest value from which on the order of the outputs stays."""
    for value in _necks(graph):
        if _keeps_order(_tail(graph, value), seed):
            return replace(graph, nodes=graph.nodes[:value], output=value)
    return graph


def _necks(graph: Graph) -> list[int]:
    """Values of the output's length that everything from the input to the output goes through."""
    needed = sorted(graph.ancestors[graph.output] - {0})
    necks = []
    # Going back, the earliest value that the nodes passed so far read.
    earliest = graph.output
    for value in reversed(needed):
        if value != graph.output and earliest >= value and graph.size(value) == graph.output_size:
            necks.append(value)
        earliest = min(earliest, *graph.node(value).inputs)
    return necks[::-1]


def _tail(graph: Graph, value: int) -> Graph:
    """From a value to the output; values that the output does not need stay out."""
    needed = sorted(i for i in graph.ancestors[graph.output] if i > value)
    numbers = {value: 0, **{old: new for new, old in enumerate(needed, start=1)}}
    nodes = tuple(
        replace(graph.node(old), inputs=tuple(numbers[i] for i in graph.node(old).inputs))
        for old in needed
    )
    return replace(graph, input_size=graph.size(value), nodes=nodes, output=len(nodes))


def _keeps_order(tail: Graph, seed: int) -> bool:
    xp = tail.xp
    points = SCALE * np.random.default_rng(seed).standard_normal((POINTS, tail.input_size))
    outputs = xp.numpy(tail.evaluate(xp.floats(points)))
    order = np.argsort(points, axis=1)
    steps = np.diff(np.take_along_axis(outputs, order, axis=1), axis=1)
    return bool((steps > 0).all())
