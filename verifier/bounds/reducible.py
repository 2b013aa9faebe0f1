"""Which networks are reduced to their unstable neurons."""

from __future__ import annotations

from verifier.bounds.enclosure import Enclosure
from verifier.families import Planes

REDUCED_WORK, ALONE = 16, 64
"""A sweep may take as many times the multiply-adds of the network's own, and where there is one
layer of neurons: products of matrices run so much faster than many small operations."""
SMALL_WORK = 1_000_000
"""So many multiply-adds are always worth it: below, what counts is the number of operations."""
REDUCED_BYTES = 1_000_000_000
"""And so much memory."""


def is_reducible(root: Enclosure) -> bool:
    """Can the root's network be reduced, and does it pay?

    Every nonlinear node must have the relaxation of a ReLU, and a value of its own to read.
    """
    graph, neurons, sources = root.graph, 0, set[int]()
    for value in graph.ancestors[graph.output]:
        planes = root.relaxations.get(value)
        if planes is None:
            continue
        source = graph.node(value).inputs[0]
        if not isinstance(planes, Planes) or len(planes.below) > 1 or planes.gain is None:
            return False
        if source in sources:
            return False
        sources.add(source)
        neurons += int((planes.gain[0] > 0).sum())
    each, rate = (0, ALONE) if len(sources) == 1 else (neurons // 2, REDUCED_WORK)
    work, limit = neurons * (graph.input_size + each), max(SMALL_WORK, rate * graph.work)
    return 0 < work <= limit and 8 * (work + neurons * (neurons // 2 - each)) <= REDUCED_BYTES
