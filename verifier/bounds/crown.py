"""CROWN: boxes of all values by back-substitution, only for neurons that are still unstable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

import numpy as np

from verifier.bounds.back import LowerForm, Route, Trace, UnitStart
from verifier.bounds.compose import compose
from verifier.bounds.correlate import Correlation, correlate
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.groups import Group, bound_group, by_tiles, in_chunks
from verifier.bounds.offsets import LEAST_WORK, Offsets, bound_units
from verifier.bounds.optimise import Optimised, optimise, unit_rows
from verifier.bounds.tiles import Tile, Tiler
from verifier.families import Elementwise, Nonlinear, Product
from verifier.graph import Graph, Node
from verifier.records import dataclass
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Bool, Float, Int

TILES_AT_ONCE = 64
"""After so many tiles the box is narrowed with what they gave."""
CHUNKS_APART = 8
"""So many chunks for each process that works on them."""
OPTIMISER_ARRAYS = 8
"""How many more arrays of rows the optimiser holds at once than a plain sweep does."""


@dataclass(frozen=True, eq=False)
class HiddenRows:
    """The linear forms found for the neurons of one value that stayed unstable.

    ``influence[r]`` is the mean of |coefficients| of neuron r's lower and upper forms: how much
    each input moves the neuron.
    """

    value: int
    batch: Int[Array, " rows"]
    neuron: Int[Array, " rows"]
    influence: Float[Array, "rows n"]


@dataclass(frozen=True, eq=False)
class HiddenOptimiser:
    """How hidden neurons optimise their slopes, and which of them.

    ``record`` is told which rows made a box smaller: where, value, (neuron, sign), and their tilts.
    """

    steps: int
    """0: they do not, and nothing is recorded."""
    record: Callable[[Enclosure, int, tuple[Array, Array], dict[int, Array]], object] = field(
        default=lambda *_: None
    )
    only: Mapping[int, Bool[Array, "batch n"]] | None = None
    """The neurons that get rows; None: all that are unstable."""
    bend: bool = False
    """Whether rows choose between the planes of products and curves, too."""
    tiler: Tiler | None = None
    """Cuts large values into tiles, where no steps are made; in ``crown``, of one batch entry."""

    def wanted(
        self, value: int, mask: Bool[Array, "batch n"], graph: Graph
    ) -> Bool[Array, "batch n"]:
        """Those of some neurons that get rows."""
        if self.only is None:
            return mask
        chosen = self.only.get(value)
        return graph.xp.bools(graph.xp.zeros(*mask.shape)) if chosen is None else mask & chosen


@dataclass(eq=False)
class CrownResult:
    """An enclosure, and the forms that made it."""

    enclosure: Enclosure
    hidden: list[HiddenRows] = field(default_factory=list)
    correlations: list[Correlation] = field(default_factory=list[Correlation])
    """The products whose planes came from how their factors move together."""


def crown(
    graph: Graph,
    region: Box,
    settings: BoundSettings,
    inherited: Mapping[int, Box] | None = None,
    *,
    keep_hidden: bool = False,
    optimiser: HiddenOptimiser | None = None,
) -> CrownResult:
    """Boxes of all values over a batch of regions, tightened by back-substitution where it helps.

    ``inherited`` are boxes known to be valid on these regions (a parent's). With an optimiser, each
    neuron that stays unstable optimises the slopes of the layers before it for its own bound.
    """

    def bound(enclosure: Enclosure, value: int) -> HiddenRows | None:
        mask = unstable_mask(enclosure, value)
        if optimiser is None:
            return tighten(enclosure, value, mask, settings, keep=keep_hidden)
        mask = optimiser.wanted(value, mask, graph)
        tiler = optimiser.tiler
        if tiler is not None and tighten_by_tiles(enclosure, value, mask, settings, tiler):
            return None
        steps = optimiser if optimiser.steps else None
        return tighten(enclosure, value, mask, settings, steps, keep=keep_hidden)

    start = Enclosure.over(graph, region, single=settings.single)
    result = _sweep(start, inherited, bound, settings)
    return result if keep_hidden else CrownResult(result.enclosure, [], result.correlations)


def _sweep(
    enclosure: Enclosure,
    inherited: Mapping[int, Box] | None,
    bound: Callable[[Enclosure, int], HiddenRows | None],
    settings: BoundSettings,
) -> CrownResult:
    """Value by value: interval arithmetic, a relaxation, and rows where they may help."""
    graph, result = enclosure.graph, CrownResult(enclosure)
    tight = set(graph.bounded_by_rows)
    for _ in graph.nodes:
        value = enclosure.step(inherited)
        if isinstance(graph.node(value).operator, Nonlinear):
            enclosure.relax(value)
            compose(enclosure, value, settings.rows_at_once(graph, graph.xp))
            if settings.correlate and isinstance(graph.node(value).operator, Product):
                result.correlations += correlate(enclosure, value)
        if value in tight:
            rows = bound(enclosure, value)
            if rows is not None:
                result.hidden.append(rows)
    return result


def unstable_mask(enclosure: Enclosure, value: int) -> Bool[Array, "batch n"]:
    """Where some reader of a value would relax better over a tighter box.

    Or a reader of what an elementwise operator makes of the value: that has no rows of its own.
    """
    return _unstable(enclosure, value, enclosure.boxes[value])


def _unstable(enclosure: Enclosure, value: int, box: Box) -> Bool[Array, "batch n"]:
    graph, mask = enclosure.graph, box.lower > box.upper
    for reader in graph.consumers[value]:
        node = graph.node(reader)
        if not isinstance(node.operator, Nonlinear):
            continue
        for which, i in enumerate(node.inputs):
            if i == value:
                mask = mask | _gains(enclosure, node, which, box)
        if isinstance(node.operator, Elementwise) and reader in graph.relaxed_inputs:
            mask = mask | _unstable(enclosure, reader, node.operator.interval(box))
    return mask


def _gains(enclosure: Enclosure, node: Node, which: int, box: Box) -> Bool[Array, "batch n"]:
    """Where a tighter box of one input would tighten the node's relaxation.

    A product with a point is linear, however wide the other factor.
    """
    operator = node.operator
    assert isinstance(operator, Nonlinear)
    mask = operator.unstable(which, box)
    if isinstance(operator, Product):
        other = enclosure.known(node.inputs[1 - which])
        if other is not None:
            mask = mask & operator.unstable(1 - which, other)
    return mask


def tighten(
    enclosure: Enclosure,
    value: int,
    mask: Bool[Array, "batch n"],
    settings: BoundSettings,
    optimiser: HiddenOptimiser | None = None,
    *,
    keep: bool = True,
) -> HiddenRows | None:
    """Back-substitute some neurons of a value and narrow its box.

    Returns the forms of those that stay unstable; None if there are none, or they are not kept. The
    bound that may settle a neuron comes first; the other one is computed only where it did not.
    """
    xp = enclosure.graph.xp
    batch, neuron = xp.nonzero(mask)
    if batch.shape[0] == 0:
        return None
    box = enclosure.boxes[value]
    one = xp.full((1,), 1.0)
    first = xp.where(box.upper[batch, neuron] > -box.lower[batch, neuron], one, -one)
    forms = _rows(enclosure, value, (batch, neuron, first), (settings, optimiser), keep=keep)
    left = xp.nonzero(unstable_mask(enclosure, value)[batch, neuron])[0]
    if left.shape[0] == 0:
        return None
    batch, neuron, second = batch[left], neuron[left], -first[left]
    others = _rows(enclosure, value, (batch, neuron, second), (settings, optimiser), keep=keep)
    if forms is None or others is None:
        return None
    influence = (abs(forms[left]) + abs(others)) / 2
    return HiddenRows(value, batch, neuron, influence)


def tighten_by_tiles(
    enclosure: Enclosure,
    value: int,
    mask: Bool[Array, "1 n"],
    settings: BoundSettings,
    tiler: Tiler,
) -> bool:
    """The same tile by tile, for one region, where that pays; did it?"""
    xp = enclosure.graph.xp
    tiles = tiler.tiles(value, xp.numpy(xp.nonzero(mask[0])[0]))
    if tiles is None:
        return False

    offsets = Offsets.reaching(enclosure, value)

    def bound(neurons: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        if offsets is None:
            tile = tiler.tile(enclosure, value, neurons, tiler.xp)
        else:
            tile = tiler.tile_of_offsets(offsets, value, neurons)
        return _tile_bounds(enclosure, value, tile, settings)

    for found in settings.spread.apart(bound, tiles):
        for neuron, sign, least in found:
            which = xp.ints(neuron * 0), xp.ints(neuron), xp.floats(sign)
            narrow(enclosure, value, which, xp.doubles(least))
    return True


def _tile_bounds(
    enclosure: Enclosure, value: int, tile: Tile, settings: BoundSettings
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(neuron, sign, least) of a tile: of the side that may settle each, and of the other."""
    xp, box = enclosure.graph.xp, enclosure.boxes[value]
    index = xp.arange(tile.neurons.shape[0])
    one = xp.full((1,), 1.0)
    low, high = box.lower[0, tile.neurons], box.upper[0, tile.neurons]
    sign = xp.where(high > -low, one, -one)
    mine, found = replace(enclosure, boxes=list(enclosure.boxes)), []
    while index.shape[0] and len(found) < 2:
        neuron = xp.ints(tile.neurons[index])
        least = tile.least(index, sign[index], settings)
        narrow(mine, value, (neuron * 0, neuron, sign[index]), least)
        found.append(tuple(xp.numpy(x) for x in (neuron, sign[index], least)))
        index = index[unstable_mask(mine, value)[0, neuron]]
        sign = -sign
    return found


def _rows(
    enclosure: Enclosure,
    value: int,
    which: tuple[Array, Array, Array],
    how: tuple[BoundSettings, HiddenOptimiser | None],
    *,
    keep: bool,
) -> Float[Array, "rows n"] | None:
    """Bound ``sign * neuron`` for (batch, neuron, sign), narrow the box; the coefficients if kept.

    Of many neurons over many inputs they would fill the memory.
    """
    xp, (settings, optimiser) = enclosure.graph.xp, how
    tiler = None if optimiser is None else optimiser.tiler
    if optimiser is not None and not optimiser.steps:
        optimiser = None
    offsets = _offsets(enclosure, value, which[0].shape[0]) if optimiser is None else None
    bend = optimiser is not None and optimiser.bend
    source = enclosure.bent() if bend else enclosure
    # Choosing planes of products takes many small operations.
    map_over = settings.spread.apart if bend else settings.spread.map
    groups = by_tiles(tiler, value, which[1], xp) if offsets is not None else []
    together = TILES_AT_ONCE
    if not groups:
        together = settings.spread.count * (CHUNKS_APART if bend else 1)
        groups = _chunks(enclosure, value, which[0].shape[0], (settings, optimiser), offsets)

    def bound(group: Group) -> Optimised:
        settings.check_time()
        if offsets is not None:
            return bound_group(offsets, value, group, which, settings)
        if optimiser is not None:
            rows = unit_rows(enclosure, value, group.of(which))
            found = optimise(source, rows, optimiser.steps, settings)
            return replace(found, trace=Trace(), last={})
        route = Route(shortcuts=enclosure.composed)
        least, coefficients = bound_units(enclosure, value, group.of(which), route)
        return Optimised(least, {}, LowerForm(coefficients, least), Trace())

    parts = []
    for first in range(0, len(groups), together):
        some = groups[first : first + together]
        for group, found in zip(some, map_over(bound, some), strict=True):
            _use(enclosure, value, group.of(which), found, optimiser)
            if keep:
                parts.append(xp.floats(found.form.coefficients))
    if not keep:
        return None
    forms = parts[0] if len(parts) == 1 else xp.cat(parts, 0)
    rows = None if groups[0].tile is None else xp.cat([group.rows for group in groups], 0)
    return forms if rows is None else forms[xp.argsort(rows)]


def _chunks(
    enclosure: Enclosure,
    value: int,
    count: int,
    how: tuple[BoundSettings, HiddenOptimiser | None],
    offsets: Offsets | None,
) -> list[Group]:
    """So many rows of a value, in parts that are swept at once: one for each worker, at least."""
    (settings, optimiser), xp = how, enclosure.graph.xp
    swept = xp if offsets is None else offsets.enclosure.graph.xp
    chunk = settings.rows_at_once(_passed(enclosure, value), swept)
    chunk = chunk if optimiser is None else max(16, chunk // OPTIMISER_ARRAYS)
    return in_chunks(count, min(chunk, max(16, -(-count // settings.spread.count))), xp)


def _offsets(enclosure: Enclosure, value: int, count: int) -> Offsets | None:
    """The enclosure in single precision, where so many rows of a value are worth it."""
    graph = enclosure.graph
    if enclosure.composed or not graph.xp.supports_convolution:
        return None
    work = sum(graph.node(v).operator.work for v in graph.ancestors[value] if v)
    if count * work < LEAST_WORK:
        return None
    return Offsets.reaching(enclosure, value)


def _passed(enclosure: Enclosure, value: int) -> list[int]:
    """The sizes of the values that rows of one value pass."""
    graph, one = enclosure.graph, enclosure.graph.xp.full((1,), 1.0)
    starts = UnitStart.of(enclosure, value, graph.xp.ints(one * 0), one).start
    passed = frozenset().union(*(graph.ancestors[v] for v in starts))
    return [graph.size(v) for v in passed - enclosure.spanned]


def _use(
    enclosure: Enclosure,
    value: int,
    which: tuple[Array, Array, Array],
    found: Optimised,
    optimiser: HiddenOptimiser | None,
) -> None:
    """Narrow the box with the bounds of some rows, and record what helped."""
    smaller = narrow(enclosure, value, which, found.least)
    narrowed = enclosure.graph.xp.nonzero(smaller)[0]
    if optimiser is None or not narrowed.shape[0]:
        return
    _, neuron, sign = which
    tilts = {v: t[narrowed] for v, t in found.tilts.items()}
    optimiser.record(enclosure, value, (neuron[narrowed], sign[narrowed]), tilts)


def narrow(
    enclosure: Enclosure,
    value: int,
    which: tuple[Array, Array, Array],
    least: Float[Array, " rows"],
) -> Bool[Array, " rows"]:
    """Cut a value's box with ``sign * neuron >= least``; which rows made it smaller.

    NaN and looser bounds change nothing.
    """
    xp = enclosure.graph.xp
    batch, neuron, sign = which
    box = enclosure.boxes[value]
    # Rounded to the working precision, downward.
    bound = xp.floats(least)
    bound = bound - 2 * xp.unit_roundoff * abs(bound) - xp.tiny
    lower, upper = xp.copy(box.lower), xp.copy(box.upper)
    old_lower, old_upper = lower[batch, neuron], upper[batch, neuron]
    better_lower = (sign > 0) & (bound > old_lower)
    better_upper = (sign < 0) & (-bound < old_upper)
    lower[batch, neuron] = xp.where(better_lower, bound, old_lower)
    upper[batch, neuron] = xp.where(better_upper, -bound, old_upper)
    enclosure.boxes[value] = Box(lower, upper)
    return better_lower | better_upper
