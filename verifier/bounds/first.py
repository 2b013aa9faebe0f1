"""Which cheap bounds to compute before CROWN, or in its place, from sizes alone."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.bounds.crown import CrownResult, HiddenOptimiser, HiddenRows, tighten, unstable_mask
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.forward import ForwardPush, forward, free_inputs
from verifier.bounds.tiles import Tiler
from verifier.graph import Graph
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Bool

NEURONS_PER_INPUT = 24
"""Forward bounds take two points per input through the network, CROWN up to two rows per neuron
that may be unstable: measured, forward bounds pay for themselves from about this ratio on."""
FORM_ARRAYS = 4
"""The forms of one region may take as many times the memory of one array of rows."""


def forward_pays(graph: Graph, settings: BoundSettings, inputs: int) -> bool:
    """Do forward bounds over so many inputs cost less than what they are likely to save CROWN?

    What counts are the neurons whose boxes CROWN would tighten: those beyond the first layer. Where
    even one region's forms do not fit, they do not pay.
    """
    tightened = (v for v in graph.relaxed_inputs if not graph.affine_of_input[v])
    neurons = sum(graph.size(v) for v in tightened)
    fits = inputs <= FORM_ARRAYS * settings.rows_at_once(graph, graph.xp)
    return fits and neurons >= NEURONS_PER_INPUT * inputs


def first_bounds(
    graph: Graph,
    region: Box,
    settings: BoundSettings,
    inherited: Mapping[int, Box] | None = None,
) -> dict[int, Box] | None:
    """Boxes of all values by forward bounds, to hand on to CROWN; None where they would not pay.

    They are cut with the inherited boxes, and computed for so many regions at once as fit.
    """
    xp = graph.xp
    inputs = free_inputs(region)
    if not forward_pays(graph, settings, inputs):
        return None
    batch = region.lower.shape[0]
    chunk = max(1, settings.rows_at_once(graph, xp) // inputs)
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


def by_forms(graph: Graph, region: Box, inherited: Mapping[int, Box] | None = None) -> CrownResult:
    """What CROWN gives, with forward bounds in place of its rows."""
    push = ForwardPush(Enclosure.over(graph, region), keep=True)
    result = CrownResult(push.run(inherited))
    xp, size = graph.xp, graph.input_size
    radius = region.radius
    wide = radius > 0
    one = xp.full((1,), 1.0)
    inverse = xp.where(wide, one / xp.where(wide, radius, one), xp.zeros(1))
    for value, influence in push.influence.items():
        batch, neuron = xp.nonzero(unstable_mask(result.enclosure, value))
        if batch.shape[0] == 0:
            continue
        moved = influence[batch, :, neuron]
        if push.place is not None:
            whole = xp.zeros(batch.shape[0], size)
            whole[xp.arange(batch.shape[0])[:, None], push.place[batch]] = moved
            moved = whole
        result.hidden.append(HiddenRows(value, batch, neuron, moved * inverse[batch]))
    return result


def crown_some(
    graph: Graph,
    region: Box,
    settings: BoundSettings,
    inherited: Mapping[int, Box],
    wanted: Mapping[int, Bool[Array, "batch n"]],
    tiler: Tiler | None = None,
) -> CrownResult:
    """Value by value forward bounds, and rows for the unstable ones of the wanted neurons.

    What rows gain at one value makes the forward bounds, and the rows, of the next ones tighter.
    """
    push, tiles = ForwardPush(Enclosure.over(graph, region)), HiddenOptimiser(0, tiler=tiler)
    result = CrownResult(push.enclosure)
    for _ in graph.nodes:
        value = push.step(inherited)
        if value not in wanted or value not in graph.bounded_by_rows:
            continue
        mask = unstable_mask(push.enclosure, value) & wanted[value]
        rows = tighten(push.enclosure, value, mask, settings, tiles)
        if rows is not None:
            result.hidden.append(rows)
    return result
