"""A network reduced over a region, taken over by regions within it.

What its unstable neurons read is known as forms of the input and of unstable neurons' outputs, with
what these may be off by. Within a smaller region some of those neurons are linear: put into the
others' forms, they leave the network reduced over that region, and no sweep of the graph is needed.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np

from verifier.bounds.back import DOUBLE_ROUNDOFF
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import TILT_STEPS
from verifier.bounds.reduced import Reducer, SureRows, Tail
from verifier.bounds.sure_rows import sure_layers
from verifier.families import Planes
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int, found_in, gamma

EXTRA_TERMS = 16
"""Roundings besides those of sums over neurons."""


@dataclass(eq=False)
class Slopes:
    """The slopes that bounded unstable neurons, in 255ths: uint8 [rows, neurons before]."""

    _halves: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(
        default_factory=dict[int, Any]
    )
    """For each value its neurons, on which side they were bounded, and with which slopes."""

    def keep(self, value: int, which: tuple[np.ndarray, np.ndarray], tilt: np.ndarray) -> None:
        """Keep those of (neurons, signs) of a value: the first half, or the second."""
        steps = np.rint(tilt.clip(0, 1) * TILT_STEPS).astype(np.uint8)
        self._halves.setdefault(value, []).append((*which, steps))

    def of(
        self, value: int, which: tuple[np.ndarray, np.ndarray], columns: np.ndarray
    ) -> np.ndarray | None:
        """Those of (neurons, signs) of a value, of some neurons before; None: not all are known."""
        neuron, sign = which
        found, known = np.zeros((len(neuron), len(columns)), np.uint8), np.zeros(len(neuron), bool)
        for there, side, steps in self._halves.get(value, []):
            if not len(there):
                continue
            place = np.searchsorted(there, neuron).clip(max=len(there) - 1)
            mine = np.flatnonzero((there[place] == neuron) & (side[place] == sign))
            found[mine] = steps[np.ix_(place[mine], columns)]
            known[mine] = True
        return found / np.float32(TILT_STEPS) if known.all() else None

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(steps.nbytes for halves in self._halves.values() for _, _, steps in halves)


@dataclass(frozen=True, eq=False)
class Outer:
    """What is known of a network over a region."""

    plain: Enclosure
    """Boxes of all values, of batch 1."""
    layers: dict[int, tuple[int, Int[Array, " layer"]]]
    """For each nonlinear node the value that it reads, and the elements that are unstable."""
    rows: dict[int, SureRows]
    """What these are, by the nonlinear node: forms of all layers before."""
    slopes: Slopes

    @staticmethod
    def of(reducer: Reducer, slopes: Slopes) -> Outer:
        """What a network was reduced to."""
        rows = dict(zip(reducer.layers, sure_layers(reducer), strict=True))
        return Outer(reducer.enclosure, dict(reducer.layers), rows, slopes)

    @property
    def bytes(self) -> int:
        """About how much memory this takes."""
        tails = [rows.tail for rows in self.rows.values()]
        numbers = sum(t.links.shape[0] * (t.links.shape[1] + t.weights.shape[1]) for t in tails)
        return 8 * numbers + self.slopes.bytes


@dataclass(frozen=True, eq=False)
class _Linear:
    """Outputs of neurons of one layer that are linear within, as forms: those that are not 0."""

    place: Int[Array, " linear"]
    """Where they are among the layer's neurons."""
    rows: SureRows
    size: Float[Array, " linear"]
    """The greatest sums of the sizes of what goes into them."""


@dataclass(eq=False)
class Within:
    """A network that is being reduced over a region within another."""

    outer: Outer
    reducer: Reducer
    """Of the smaller region."""
    _forms: dict[int, SureRows] = field(default_factory=dict[int, SureRows])
    """What outer layers read, by the nonlinear node."""
    _sizes: dict[int, Array] = field(default_factory=dict[int, Array])
    """The greatest sums of the sizes of what goes into that."""
    _linear: dict[int, _Linear] = field(default_factory=dict[int, _Linear])
    """Of the layers whose relaxations are known."""

    def __post_init__(self) -> None:
        self.see(0)

    def tilts(self, value: int, which: tuple[Array, Array]) -> Float[np.ndarray, "rows _"] | None:
        """The slopes that bounded (neurons, signs) of a value in the outer region, if any did."""
        xp, start, columns = self.reducer.enclosure.graph.xp, 0, [np.zeros(0, dtype=np.int64)]
        for node, (_, index) in self.outer.layers.items():
            if node in self.reducer.layers:
                columns.append(start + self._place(node))
            start += index.shape[0]
        neuron, sign = (xp.numpy(x) for x in which)
        return self.outer.slopes.of(value, (neuron, sign), np.concatenate(columns))

    def _place(self, node: int) -> Int[np.ndarray, " unstable"]:
        """Where the unstable neurons of a layer are among those of the outer region."""
        xp = self.reducer.enclosure.graph.xp
        place = found_in(*(xp.numpy(x.layers[node][1]) for x in (self.outer, self.reducer)))
        assert place is not None
        return place

    def see(self, value: int) -> None:
        """Take in a value: it may be of an outer layer, or what one reads.

        Of the one the reducer knows the relaxation now, of the other it is told the rows.
        """
        if value in self.outer.layers:
            self._note(value)
        for node, (source, index) in self.outer.layers.items():
            if source == value:
                self._forms[node] = self._rows(node)
                self.reducer.known[value] = index, self._forms[node]

    def _rows(self, node: int) -> SureRows:
        """What a layer reads, in terms of the neurons that are unstable in the smaller region."""
        xp, outer = self.reducer.enclosure.graph.xp, self.outer.rows[node]
        tail, error, start = outer.tail, outer.error, 0
        reach = self.reducer.enclosure.boxes[0].magnitude(xp)[0]
        weights, bias = xp.copy(tail.weights), xp.copy(tail.bias)
        links = xp.zeros(weights.shape[0], self.reducer.neurons)
        size, terms, first = abs(weights) @ reach + abs(bias), 0, 0
        for before, (_, index) in self.outer.layers.items():
            if before == node:
                break
            mine = tail.links[:, start : start + index.shape[0]]
            start += index.shape[0]
            if before in self.reducer.layers:
                source, some = self.reducer.layers[before]
                kept = mine[:, xp.ints(self._place(before))]
                last = first + some.shape[0]
                links[:, first:last] = links[:, first:last] + kept
                box = self.reducer.enclosure.boxes[source]
                size = size + abs(kept) @ box.magnitude(xp)[0, some]
                first = last
            linear = self._linear[before]
            if not linear.place.shape[0]:
                continue
            factor, put = mine[:, linear.place], linear.rows
            weights = weights + factor @ put.tail.weights
            width = put.tail.links.shape[1]
            links[:, :width] = links[:, :width] + factor @ put.tail.links
            bias = bias + factor @ put.tail.bias
            factor = abs(factor)
            error = error + factor @ put.error
            size = size + factor @ linear.size
            terms += linear.place.shape[0]
        off = gamma(terms + EXTRA_TERMS, DOUBLE_ROUNDOFF)
        self._sizes[node] = size
        # The sums of errors and sizes are rounded, too.
        error = (1 + 4 * off) * (error + 4 * off * size) + xp.tiny
        return SureRows(Tail(weights, links, bias), error)

    def _note(self, node: int) -> None:
        """See which neurons of a layer are linear."""
        xp, enclosure = self.reducer.enclosure.graph.xp, self.reducer.enclosure
        (_, index), planes = self.outer.layers[node], enclosure.relaxations[node]
        assert isinstance(planes, Planes)
        assert planes.gain is not None
        slope, low = planes.below[0][0, index], planes.lower_offset[0, index]
        lost = (planes.noise + (planes.upper_offset - planes.lower_offset))[0, index]
        linear = planes.gain[0, index] <= 0
        place = xp.nonzero(linear & ((slope != 0) | (low != 0) | (lost != 0)))[0]
        rows = self._forms[node]
        factor, size = slope[place], self._sizes[node][place]
        wide = abs(factor)
        off = gamma(EXTRA_TERMS, DOUBLE_ROUNDOFF)
        tail = rows.tail.signed(place, factor)
        bias = tail.bias + low[place]
        size = (1 + off) * (wide * size + abs(low[place]))
        error = (1 + off) * (wide * rows.error[place] + lost[place] + off * size) + xp.tiny
        forms = SureRows(Tail(tail.weights, tail.links, bias), error)
        self._linear[node] = _Linear(place, forms, size)
