"""A network over its free inputs only, the others being fixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families import Rearrange
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.simplify import simplify


def restrict_inputs(graph: Graph, free: np.ndarray, fixed: np.ndarray) -> Graph:
    """The graph whose input vector is ``x[free]``, the other inputs being ``fixed`` (``[n]``).

    An embedding puts the free inputs among the fixed ones; operators that can absorb it do. Each
    fixed number may be off by one relative rounding, as decimals read into float64 are.

    Raises:
        ValueError: no input is free.
    """
    free = np.asarray(free, dtype=bool)
    if free.all():
        return graph
    if not free.any():
        message = "no input is free; leave at least one, as a point"
        raise ValueError(message)
    index = np.full(len(free), -1)
    index[free] = np.arange(int(free.sum()))
    embedding = Rearrange.of(index, int(free.sum()), np.where(free, 0.0, fixed))
    embedding = replace(embedding, terms=embedding.terms + 1)
    nodes = [Node("free inputs", embedding, (0,))]
    nodes += [replace(n, inputs=tuple(i + 1 for i in n.inputs)) for n in graph.nodes]
    return simplify(Graph(int(free.sum()), tuple(nodes), graph.output + 1))
