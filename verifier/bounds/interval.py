"""Interval arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.bounds.enclosure import Enclosure
from verifier.graph import Graph
from verifier.sets import Box


def interval(
    graph: Graph,
    region: Box,
    inherited: Mapping[int, Box] | None = None,
    *,
    single: bool = False,
) -> Enclosure:
    """Boxes of all values by interval arithmetic (Gowal et al. 2018), rounding included.

    They are cut with the ``inherited`` ones. ``single``: what float32 adds is charged, too.
    """
    enclosure = Enclosure.over(graph, region, single=single)
    for _ in graph.nodes:
        enclosure.step(inherited)
    return enclosure
