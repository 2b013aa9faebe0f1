"""Rows in single precision, over offsets of all values from a point each.

What rounding may cost a row grows with the size of the values that it passes. As offsets from where
the network takes the middle of a box, values are about as large as their boxes are wide, and so
float32's rounding is small beside what relaxations lose: rows cost a quarter, and more is left of
them than of float32 rows over the values themselves. The points and the lines' offsets from them
are computed in float64, and what they may be off by is charged.
"""

from __future__ import annotations

from dataclasses import field

import numpy as np

from verifier.bounds.back import DOUBLE_ROUNDOFF, LowerForm, Route, back_substitute
from verifier.bounds.enclosure import EXTRA_TERMS, Enclosure
from verifier.bounds.optimise import unit_rows
from verifier.families import Affine, Planes
from verifier.graph.passes import Crop
from verifier.records import dataclass
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float, Int, gamma

LEAST_WORK = 200_000_000
"""Multiply-adds of some rows from which on they are worth the conversion."""


@dataclass(eq=False)
class Offsets:
    """An enclosure in float64 seen from a point in each box, value by value as it grows."""

    source: Enclosure
    enclosure: Enclosure
    """Of the network without biases, in float32: what its values are, is offsets."""
    centers: list[Float[Array, "batch n"]]
    """The points, float64: those of affine values are computed from those before."""
    seen: list[Box] = field(default_factory=list[Box])
    """The source's boxes that the offsets' boxes were made from."""

    @staticmethod
    def of(source: Enclosure) -> Offsets | None:
        """None where single precision cannot hold the network, or is all there is."""
        if source.graph.xp.dtype != "float64" or source.single:
            return None
        graph = source.graph.linear_in_single
        if graph is None:
            return None
        region, xp = source.boxes[0], source.graph.xp
        center = xp.where(xp.function("isfinite", region.center), region.center, xp.zeros(1))
        made = Offsets(source, Enclosure(graph, []), [center], [region])
        made.enclosure.boxes.append(made._box(0))
        return made

    @staticmethod
    def reaching(source: Enclosure, value: int) -> Offsets | None:
        """Those that an enclosure keeps, if they can follow it up to a value."""
        if source.offsets is None:
            source.offsets = Offsets.of(source)
        made = source.offsets
        return made if made is not None and made.reach(value) else None

    def reach(self, value: int) -> bool:
        """Follow the source up to a value; False where one of its relaxations cannot be moved."""
        for v in range(len(self.centers), value + 1):
            node = self.source.graph.node(v)
            if isinstance(node.operator, Affine):
                self._affine(v, node.operator, node.inputs)
            else:
                planes = self.source.relaxations.get(v)
                if not isinstance(planes, Planes) or planes.cut is not None:
                    return False
                self._relaxed(v, planes, node.inputs)
            self.enclosure.boxes.append(self._box(v))
            self.seen.append(self.source.boxes[v])
        return True

    def bound(
        self,
        value: int,
        which: tuple[Int[Array, " rows"], Int[Array, " rows"], Float[Array, " rows"]],
    ) -> tuple[Float[Array, " rows"], Float[Array, "rows n"]]:
        """Lower bounds of ``sign * neuron``, float64, and the coefficients of their forms."""
        batch, neuron, sign = which
        least, coefficients = bound_units(self.enclosure, value, which)
        return moved(least, sign * self.centers[value][batch, neuron]), coefficients

    def bound_tile(
        self,
        value: int,
        tile: tuple[np.ndarray, Crop],
        which: tuple[Int[Array, " rows"], Int[Array, " rows"], Float[Array, " rows"]],
        settings: BoundSettings,
    ) -> tuple[Float[Array, " rows"], Float[Array, "rows n"]]:
        """The same over a tile: neurons (ascending), and what computes these without biases."""
        (batch, neuron, sign), (neurons, crop) = which, tile
        part, xp = self.part(crop), self.enclosure.graph.xp
        index = xp.ints(np.searchsorted(neurons, xp.numpy(neuron)))
        places, chunk = xp.ints(crop.places[0])[None], settings.rows_at_once(part.graph, xp)
        coefficients, least = xp.zeros(batch.shape[0], self.source.graph.input_size), list[Array]()
        for start in range(0, batch.shape[0], chunk):
            settings.check_time()
            some = slice(start, start + chunk)
            asked = batch[some], index[some], sign[some]
            found, form = bound_units(part, part.graph.output, asked)
            least.append(found)
            coefficients[(xp.arange(form.shape[0]) + start)[:, None], places] = form
        centers = self.centers[value][batch, neuron]
        return moved(self.source.graph.xp.cat(least, 0), sign * centers), coefficients

    def part(self, crop: Crop) -> Enclosure:
        """The same of a crop of the network without biases."""
        e, graph = self.enclosure, crop.graph.on(self.enclosure.graph.xp)
        values = {number: value for value, number in crop.numbers.items()}
        made = Enclosure(graph, [e.boxes[0].elements(e.graph.xp.ints(crop.places[0]))])
        for number in range(1, len(graph.nodes) + 1):
            value = values.get(number)
            if value is None:
                made.step()
                continue
            index = e.graph.xp.ints(crop.places[value])
            made.boxes.append(e.boxes[value].elements(index))
            made.underflow[number] = e.underflow[value]
            if value in e.noise:
                made.noise[number] = e.noise[value][:, index]
                if value in e.fused:
                    made.fused.add(number)
            else:
                planes = e.relaxations[value]
                assert isinstance(planes, Planes)
                made.relaxations[number] = planes.elements(index)
        return made

    def _affine(self, value: int, operator: Affine, inputs: tuple[int, ...]) -> None:
        """The point and the noise of an affine value."""
        xp, e = self.source.graph.xp, self.enclosure
        centers = [self.centers[i] for i in inputs]
        center, sizes = operator.evaluate(*centers), [abs(c) for c in centers]
        finite = xp.function("isfinite", center)
        off = gamma(operator.terms + EXTRA_TERMS, DOUBLE_ROUNDOFF) * operator.magnitude(*sizes)
        off = off + operator.lost_of(*sizes) + xp.tiny
        self.centers.append(xp.where(finite, center, xp.zeros(1)))
        e.charge(value, [e.boxes[i] for i in inputs])
        off = xp.where(finite, off, xp.full((1,), float("inf")))
        e.noise[value] = e.noise[value] + self._upward(off)

    def _relaxed(self, value: int, planes: Planes, inputs: tuple[int, ...]) -> None:
        """The planes of a nonlinear value, as lines of offsets."""
        xp, e = self.source.graph.xp, self.enclosure
        for i in inputs:
            if self.seen[i] is not self.source.boxes[i]:
                self.seen[i], e.boxes[i] = self.source.boxes[i], self._box(i)
        here, low, high = e.graph.xp, planes.lower_offset, planes.upper_offset
        size, turned = abs(low) + abs(high), 0.0
        for i, below, above in zip(inputs, planes.below, planes.above, strict=True):
            center, steep = self.centers[i], xp.maximum(abs(below), abs(above))
            low, high = low + below * center, high + above * center
            size = size + steep * abs(center)
            # Slopes are rounded, and become 0 where single precision has no number.
            off = 3 * gamma(16, here.unit_roundoff) * steep + 4 * here.least_normal
            off = off * xp.astype_double(e.boxes[i].magnitude(here))
            exact = (below == above) & ((below == 0) | (abs(below) == 1))
            turned = turned + xp.where(exact, off * 0, off)
        center = low / 2 + high / 2
        center = xp.where(xp.function("isfinite", center), center, xp.zeros(1))
        self.centers.append(center)
        low, high = low - center, high - center
        terms = min(center.shape[-1], here.dot_terms) + 16
        moved = gamma(terms, here.unit_roundoff) * (abs(low) + abs(high)) + 16 * here.least_normal
        moved = moved + 16 * DOUBLE_ROUNDOFF * (size + abs(center))
        result = Planes(
            here,
            tuple(here.floats(x) for x in planes.below),
            tuple(here.floats(x) for x in planes.above),
            here.floats(low),
            here.floats(high),
            self._upward(planes.noise + turned + moved),
        )
        e.count_underflow(value, [e.boxes[i] for i in inputs], 8)
        e.relaxations[value] = e.fuse(inputs[0], result) if len(inputs) == 1 else result

    def _upward(self, noise: Array) -> Array:
        """In single precision, and no less, with what sums of so many may lose."""
        xp = self.enclosure.graph.xp
        return xp.floats(noise) * (1 + 2.0**-10) + xp.least_normal

    def _box(self, value: int) -> Box:
        """A value's box, less its point, rounded outward."""
        box = less(self.source.boxes[value], self.centers[value], self.source.graph.xp)
        return Box(*self.enclosure.graph.xp.outward_cast(box.lower, box.upper))


def bound_units(
    e: Enclosure, value: int, which: tuple[Array, Array, Array], route: Route | None = None
) -> tuple[Float[Array, " rows"], Float[Array, "rows n"]]:
    """Lower bounds of ``sign * neuron``, and the coefficients of their forms."""
    batch, neuron, sign = which
    rows = unit_rows(e, value, (batch, neuron, e.graph.xp.floats(sign)))
    form = back_substitute(e, rows.start, rows.owner, route=route)
    form = LowerForm(form.coefficients, form.constant + rows.constant)
    return form.least(e.boxes[0], rows.owner, e), form.coefficients


def less(box: Box, center: Array, xp: Backend) -> Box:
    """A box less a point (float64), in float64, rounded outward."""
    low, high = (xp.astype_double(x) - center for x in (box.lower, box.upper))
    return Box(low - 2 * DOUBLE_ROUNDOFF * abs(low), high + 2 * DOUBLE_ROUNDOFF * abs(high))


def moved(least: Float[Array, " rows"], center: Float[Array, " rows"]) -> Float[Array, " rows"]:
    """The bound of a row from that of its offset, rounded downward."""
    return least + center - 4 * DOUBLE_ROUNDOFF * (abs(least) + abs(center))
