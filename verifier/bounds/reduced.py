"""A network over one box with only its unstable neurons left: what a search over neurons sweeps.

Over a box every stable neuron is affine. With s the inputs of the unstable neurons, y their outputs
and the input scaled to x in [-1, 1]^n,

    s = P x + L y + c  (L strictly lower triangular, layer by layer),  rows = R x + Q y + d.

Whatever the network is made of, sweeping rows back and forth is a handful of matrix products. The
matrices are rounded, so bounds found here propose; the graph's own sweep disposes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from verifier.bounds.back import Trace, back_substitute
from verifier.bounds.crown import unit_rows
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import Rows
from verifier.families import Planes
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float, Int

REDUCED_WORK = 16
"""A sweep may take as many times the multiply-adds of the network's own: products of matrices run
so much faster than convolutions and than many small operations."""
REDUCED_BYTES = 1_000_000_000
"""And so much memory."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """The matrices above, with the lines of each neuron's relaxation over the whole box.

    A free neuron's upper line is ``chord s + offset``; its lower line goes through the origin with
    a slope between ``leak`` and 1.
    """

    xp: Backend
    layers: tuple[slice, ...]
    weights: Float[Array, "neurons n"]
    links: Float[Array, "neurons neurons"]
    bias: Float[Array, " neurons"]
    row_weights: Float[Array, "rows n"]
    row_links: Float[Array, "rows neurons"]
    row_bias: Float[Array, " rows"]
    chord: Float[Array, " neurons"]
    offset: Float[Array, " neurons"]
    leak: Float[Array, " neurons"]
    kink: Float[Array, " neurons"]
    """min(u, -l): how far a lower line can be off."""
    reach: Float[Array, " neurons"]
    """``kink`` times the size of everything that reads the neuron."""

    @property
    def neurons(self) -> int:
        """How many unstable neurons there are."""
        return self.links.shape[0]

    @property
    def inputs(self) -> int:
        """The length of the input."""
        return self.weights.shape[1]

    @property
    def finite(self) -> bool:
        """Is every number in range?"""
        arrays = (self.weights, self.links, self.bias, self.row_weights, self.row_links)
        lines = (self.row_bias, self.chord, self.offset)
        return all(bool(self.xp.function("isfinite", x).all()) for x in arrays + lines)

    @property
    def work(self) -> int:
        """Multiply-adds of one sweep of one row."""
        return self.neurons * (self.inputs + self.neurons // 2) + 1


def is_reducible(root: Enclosure, layers: Mapping[int, Int[Array, " _"]]) -> bool:
    """Is every nonlinear node exact over the box, but for the neurons ``layers`` names?

    And is the reduced form small enough? ``layers`` maps nonlinear nodes to elements.
    """
    xp, graph = root.graph.xp, root.graph
    for value in graph.ancestors[graph.output]:
        planes = root.relaxations.get(value)
        if planes is None:
            continue
        if not isinstance(planes, Planes) or len(planes.below) > 1 or planes.gain is None:
            return False
        free = xp.nonzero(planes.gain[0] > 0)[0]
        if free.shape[0] != (layers[value].shape[0] if value in layers else 0):
            return False
    neurons = sum(index.shape[0] for index in layers.values())
    work = neurons * (graph.input_size + neurons // 2)
    return work <= REDUCED_WORK * graph.work and 4 * 2 * work <= REDUCED_BYTES


def reduce(
    root: Enclosure,
    layers: Mapping[int, tuple[int, Int[Array, " _"]]],
    rows: Rows,
    settings: BoundSettings,
    xp: Backend,
) -> Reduced:
    """The reduced form of a root of batch 1 on the backend ``xp``.

    ``layers`` maps the nonlinear nodes, in order, to the value that they read and the elements that
    are unstable; ``rows`` are those of the property.
    """
    exact = _without(root, layers)
    region, own = root.boxes[0], root.graph.xp
    center = own.astype_double((region.lower + region.upper) / 2)[0]
    radius = own.astype_double((region.upper - region.lower) / 2)[0]
    parts: list[tuple[Array, Array, Array]] = []
    slices, start = [], 0
    lines: list[Array] = []
    for value, (source, index) in layers.items():
        one = own.full((index.shape[0],), 1.0)
        units = unit_rows(exact, source, (own.ints(one * 0), index, one))
        parts.append(_swept(exact, units, layers, settings))
        planes = root.relaxations[value]
        assert isinstance(planes, Planes)
        lines.append(_stack(own, planes, root.boxes[source], index))
        slices.append(slice(start, start + index.shape[0]))
        start += index.shape[0]
    parts.append(_swept(exact, rows, layers, settings))
    weights, links, bias = (own.cat([p[i] for p in parts], 0) for i in range(3))
    bias = bias + own.astype_double(weights) @ center
    weights = own.astype_double(weights) * radius
    of_neurons = own.cat(lines, 1) if lines else own.zeros(4, 0)
    arrays = [x[:start] for x in (weights, links, bias)]
    arrays += [x[start:] for x in (weights, links, bias)]
    reach = of_neurons[3] * abs(links).sum(0)
    moved = [xp.floats(own.numpy(x)) for x in (*arrays, *of_neurons, reach)]
    return Reduced(xp, tuple(slices), *moved)


def _stack(xp: Backend, planes: Planes, box: Box, index: Int[Array, " _"]) -> Float[Array, "4 _"]:
    """Chord, offset, leak and kink of some neurons."""
    assert planes.untilted is not None
    kink = xp.minimum(box.upper, -box.lower)
    lines = (planes.above[0], planes.upper_offset, planes.untilted, kink)
    return xp.cat([line[0, index][None, :] for line in lines], 0)


def _without(root: Enclosure, layers: Mapping[int, tuple[int, Int[Array, " _"]]]) -> Enclosure:
    """The root with unstable neurons that pass nothing on: what is left of a sweep is exact."""
    xp = root.graph.xp
    exact = root.take(xp.ints(xp.zeros(1)))
    for value, (_, index) in layers.items():
        planes = exact.relaxations[value]
        assert isinstance(planes, Planes)
        keep = xp.full((1, root.graph.size(value)), 1.0)
        keep[:, index] = 0.0
        exact.relaxations[value] = replace(
            planes,
            below=(planes.below[0] * keep,),
            above=(planes.above[0] * keep,),
            lower_offset=planes.lower_offset * keep,
            upper_offset=planes.upper_offset * keep,
            gain=None,
            untilted=None,
        )
    return exact


def _swept(
    exact: Enclosure,
    rows: Rows,
    layers: Mapping[int, tuple[int, Int[Array, " _"]]],
    settings: BoundSettings,
) -> tuple[Array, Array, Array]:
    """(coefficients on the input, coefficients on all unstable neurons' outputs, constants)."""
    xp, graph = exact.graph.xp, exact.graph
    chunk = settings.rows_at_once(graph, xp)
    inputs, links, constants = [], [], []
    for first in range(0, rows.owner.rows, chunk):
        settings.check_time()
        some = slice(first, first + chunk)
        start = {v: x[some] for v, x in rows.start.items()}
        constant = rows.constant[some]
        trace, owner = Trace(), Owner.equal(1, constant.shape[0], xp)
        form = back_substitute(exact, start, owner, trace=trace)
        none = xp.zeros(constant.shape[0], 0)
        passed = [none]
        for value, (_, index) in layers.items():
            if value in trace.rows:
                passed.append(trace.rows[value][:, index])
            else:
                passed.append(xp.zeros(constant.shape[0], index.shape[0]))
        inputs.append(form.coefficients)
        links.append(xp.cat(passed, 1))
        constants.append(form.constant + constant)
    return xp.cat(inputs, 0), xp.cat(links, 0), xp.cat(constants, 0)
