"""Interval arithmetic."""

from __future__ import annotations

from verifier.bounds.enclosure import Enclosure
from verifier.graph import Graph
from verifier.sets import Box


def interval(graph: Graph, region: Box) -> Enclosure:
    """Boxes of all values by interval arithmetic (Gowal et al. 2018), rounding included."""
    enclosure = Enclosure.over(graph, region)
    for _ in graph.nodes:
        enclosure.step()
    return enclosure
