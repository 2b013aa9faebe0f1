"""Which cheap bounds to compute before CROWN, from sizes alone."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.bounds.forward import forward
from verifier.graph import Graph
from verifier.sets import Box
from verifier.settings import BoundSettings

NEURONS_PER_INPUT = 24
"""Forward bounds take two points per input through the network, CROWN up to two rows per neuron
that may be unstable: measured, forward bounds pay for themselves from about this ratio on."""
FORM_ARRAYS = 4
"""The forms of one region may take as many times the memory of one array of rows."""


def forward_pays(graph: Graph, settings: BoundSettings) -> bool:
    """Do forward bounds of the graph cost less than what they are likely to save CROWN?

    What counts are the neurons whose boxes CROWN would tighten: those beyond the first layer. Where
    even one region's forms do not fit, they do not pay.
    """
    tightened = (v for v in graph.relaxed_inputs if not graph.affine_of_input[v])
    neurons = sum(graph.size(v) for v in tightened)
    fits = graph.input_size <= FORM_ARRAYS * settings.rows_at_once(graph, graph.xp)
    return fits and neurons >= NEURONS_PER_INPUT * graph.input_size


def first_bounds(
    graph: Graph,
    region: Box,
    settings: BoundSettings,
    inherited: Mapping[int, Box] | None = None,
) -> dict[int, Box] | None:
    """Boxes of all values by forward bounds, to hand on to CROWN; None where they would not pay.

    They are cut with the inherited boxes, and computed for so many regions at once as fit.
    """
    if not forward_pays(graph, settings):
        return None
    xp = graph.xp
    batch = region.lower.shape[0]
    chunk = max(1, settings.rows_at_once(graph, xp) // graph.input_size)
    parts = []
    for start in range(0, batch, chunk):
        some = slice(start, start + chunk)
        known = None if inherited is None else {v: b[some] for v, b in inherited.items()}
        parts.append(forward(graph, region[some], known).boxes)
    if len(parts) == 1:
        return dict(enumerate(parts[0]))
    boxes = {}
    for value in range(len(graph.nodes) + 1):
        lower = xp.cat([part[value].lower for part in parts], 0)
        boxes[value] = Box(lower, xp.cat([part[value].upper for part in parts], 0))
    return boxes
