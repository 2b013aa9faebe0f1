"""A network over one box with only its unstable neurons left: what a search over neurons sweeps.

Over a box every stable neuron is affine. With s the inputs of the unstable neurons, y their outputs
and the input scaled to x in [-1, 1]^n,

    s = P x + L y + c  (L strictly lower triangular, layer by layer),  rows = R x + Q y + d.

Whatever the network is made of, sweeping rows back and forth is a handful of matrix products. The
matrices are rounded, so bounds found here propose; the graph's own sweep disposes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from functools import cached_property

from verifier.bounds.back import Trace, back_substitute
from verifier.bounds.bands import Bands
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import Rows, default_tilts, project, unit_rows
from verifier.families import Planes
from verifier.records import dataclass
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float, Int, found_in


@dataclass(frozen=True, eq=False)
class Reduced:
    """The matrices above, with the lines of each neuron's relaxation over the whole box.

    A free neuron's upper line is ``chord s + offset``; its lower line goes through the origin with
    a slope between ``leak`` and 1.
    """

    xp: Backend
    layers: tuple[slice, ...]
    bands: Bands
    """Products with the matrices of the neurons."""
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
    tilt: Float[Array, " neurons"]
    """The lower line that is closest: 0 or 1."""
    lower: Float[Array, " neurons"]
    upper: Float[Array, " neurons"]
    """The neurons' inputs over the whole box."""
    reach: Float[Array, " neurons"]
    """``kink`` times the size of everything that reads the neuron."""
    cost: Float[Array, " neurons"]
    """``offset`` times the size of what may read the chord."""

    @cached_property
    def ones(self) -> Float[Array, " neurons"]:
        """To sum over neurons: a product is faster."""
        return self.xp.full((self.neurons,), 1.0)

    @cached_property
    def input_ones(self) -> Float[Array, " n"]:
        """To sum over the input."""
        return self.xp.full((self.inputs,), 1.0)

    @cached_property
    def rows_as_columns(self) -> tuple[Float[Array, "neurons rows"], Float[Array, "n rows"]]:
        """The rows' coefficients on neurons and on the input."""
        return self.xp.turned(self.row_links), self.xp.turned(self.row_weights)

    @cached_property
    def with_neurons(self) -> Reduced:
        """The same with all neurons' inputs as rows, after its own."""
        xp = self.xp
        return replace(
            self,
            row_weights=xp.cat([self.row_weights, self.weights], 0),
            row_links=xp.cat([self.row_links, self.links], 0),
            row_bias=xp.cat([self.row_bias, self.bias], 0),
        )

    def __post_init__(self) -> None:
        assert self.bands.weights is self.weights
        assert self.bands.links is self.links

    def expect(self, sweeps: int) -> None:
        """Have the products that suit so many more sweeps; not by several threads at once."""
        self.bands.expect(sweeps)

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
        # The sum of a row that has others in it is none either, and faster made.
        ones, of_inputs = (self.xp.full((n, 1), 1.0) for n in (self.neurons, self.inputs))
        sums = [self.weights @ of_inputs, self.row_weights @ of_inputs]
        sums += [self.links @ ones, self.row_links @ ones]
        vectors = (*sums, self.bias, self.row_bias, self.chord, self.offset)
        return all(bool(self.xp.function("isfinite", x).all()) for x in vectors)

    @property
    def work(self) -> int:
        """Multiply-adds of one sweep of one row."""
        return self.neurons * (self.inputs + self.neurons // 2) + 1


@dataclass(frozen=True, eq=False)
class Tail:
    """Rows as ``weights . input + links . y + bias``, in the graph's precision."""

    weights: Float[Array, "rows n"]
    links: Float[Array, "rows neurons"]
    bias: Float[Array, " rows"]

    def signed(self, index: Int[Array, " some"], sign: Float[Array, " some"]) -> Tail:
        """Some rows, or their negations."""
        column = sign[:, None]
        return Tail(
            self.weights[index] * column, self.links[index] * column, self.bias[index] * sign
        )


@dataclass(frozen=True, eq=False)
class SureRows:
    """Rows as forms of the input and of unstable neurons' outputs: |row - form| <= error."""

    tail: Tail
    error: Float[Array, " rows"]

    def signed(self, index: Int[Array, " some"], sign: Float[Array, " some"]) -> SureRows:
        """Some rows, or their negations."""
        return SureRows(self.tail.signed(index, sign), self.error[index])


def _units(enclosure: Enclosure, value: int, index: Int[Array, " rows"], sign: float) -> Rows:
    """The rows ``sign * e_index`` on a value of an only box."""
    signs = enclosure.graph.xp.full((index.shape[0],), sign)
    return unit_rows(enclosure, value, (index * 0, index, signs))


@dataclass(eq=False)
class Reducer:
    """Reduces a root of batch 1, layer by layer, while its enclosure grows.

    ``exact`` is the enclosure with unstable neurons that pass nothing on: sweeps through it are
    exact but for rounding, for which they charge nothing, and leave the rows' coefficients on those
    neurons behind.
    """

    enclosure: Enclosure
    xp: Backend
    """What the reduced form is computed in."""
    settings: BoundSettings
    exact: Enclosure
    layers: dict[int, tuple[int, Array]] = field(default_factory=dict[int, tuple[int, Array]])
    """For each nonlinear node the value that it reads, and the elements that are unstable."""
    tails: list[Tail] = field(default_factory=list[Tail])
    lines: list[Array] = field(default_factory=list[Array])
    _bands: Bands | None = None
    """Those of the last network that was made."""
    _like: Bands | None = None
    """Those of the same network in another precision."""
    _double: Reducer | None = None
    """What makes it in the graph's precision."""
    sure: dict[int, SureRows] = field(default_factory=dict[int, SureRows])
    """What the elements of layers are, for certain, by the nonlinear node."""
    costs: dict[int, Float[Array, " layer"]] = field(default_factory=dict[int, Array])
    """The greatest sums of the sizes of what goes into them."""
    known: dict[int, tuple[Array, SureRows]] = field(
        default_factory=dict[int, tuple[Array, SureRows]]
    )
    """For values that layers will read, some elements and what they are for certain."""

    @staticmethod
    def of(enclosure: Enclosure, xp: Backend, settings: BoundSettings) -> Reducer:
        """No layer yet."""
        e = enclosure
        exact = Enclosure(e.graph, e.boxes, {}, {}, e.fused, e.single, {})
        return Reducer(enclosure, xp, settings, exact)

    @property
    def neurons(self) -> int:
        """How many unstable neurons there are so far."""
        return sum(index.shape[0] for _, index in self.layers.values())

    def tail(self, rows: Rows) -> Tail:
        """Rows over values, over the layers so far."""
        self._follow()
        return self._tail(self.exact, rows.owner.rows, rows.part)

    def unit_tail(self, enclosure: Enclosure, value: int, index: Int[Array, " rows"]) -> Tail:
        """The same of the rows ``e_index`` on a value, of which only some are there at a time."""
        self._follow()

        def units(some: slice) -> Rows:
            return _units(enclosure, value, index[some], 1.0)

        return self._tail(self.exact, index.shape[0], units)

    def charged_tail(self, rows: Rows) -> Tail:
        """The same with a bias that is lowered by all rounding errors."""
        return self._tail(self._charged(), rows.owner.rows, rows.part)

    @property
    def losses(self) -> dict[int, Float[Array, "batch _"]]:
        """What nonlinear nodes lose by rounding for each unit of a row's coefficient on them."""
        xp, result = self.enclosure.graph.xp, dict[int, Array]()
        for value in self.exact.relaxations:
            known = self.enclosure.relaxations[value]
            assert isinstance(known, Planes)
            assert known.gain is not None
            # Where a line is both, what is between the two is lost as well.
            lost = known.noise + (known.upper_offset - known.lower_offset)
            result[value] = xp.where(known.gain > 0, lost * 0, lost)
        return result

    @property
    def charging(self) -> Enclosure:
        """The exact enclosure with the rounding errors of affine nodes."""
        e, exact = self.enclosure, self.exact.relaxations
        return Enclosure(e.graph, e.boxes, e.noise, exact, e.fused, e.single, e.underflow)

    def _charged(self) -> Enclosure:
        """The same with those of all nodes."""
        e, exact = self.charging, dict(self.exact.relaxations)
        for value, noise in self.losses.items():
            planes = exact[value]
            assert isinstance(planes, Planes)
            exact[value] = replace(planes, noise=noise)
        return replace(e, relaxations=exact)

    def passed(self, trace: Trace, count: int) -> Float[Array, "rows neurons"]:
        """The coefficients of so many rows on the layers' neurons."""
        xp = self.enclosure.graph.xp
        found = [xp.zeros(count, 0)]
        for value, (_, index) in self.layers.items():
            there = trace.rows.get(value)
            found.append(
                xp.zeros(count, index.shape[0]) if there is None else xp.columns(there, index)
            )
        return xp.cat(found, 1)

    def _tail(self, enclosure: Enclosure, total: int, rows_of: Callable[[slice], Rows]) -> Tail:
        xp, graph = enclosure.graph.xp, enclosure.graph
        chunk = self.settings.rows_at_once(graph, xp)

        def part(first: int) -> Tail:
            self.settings.check_time()
            rows = rows_of(slice(first, min(total, first + chunk)))
            trace, count = Trace(), rows.owner.rows
            form = back_substitute(enclosure, rows.start, rows.owner, trace=trace)
            passed = self.passed(trace, count)
            return Tail(form.coefficients, passed, form.constant + rows.constant)

        return xp.joined(self.settings.spread.map(part, range(0, total, chunk)))

    def _follow(self) -> None:
        """Charge nothing for the values that the enclosure has got since."""
        for known, mine in (
            (self.enclosure.noise, self.exact.noise),
            (self.enclosure.underflow, self.exact.underflow),
        ):
            mine.update({v: x * 0 for v, x in known.items() if v not in mine})

    def add(self, value: int) -> None:
        """Take in a nonlinear node whose relaxation is made: its unstable neurons are a layer."""
        xp, graph = self.enclosure.graph.xp, self.enclosure.graph
        planes, (source,) = self.enclosure.relaxations[value], graph.node(value).inputs
        assert isinstance(planes, Planes)
        assert planes.gain is not None
        index = xp.nonzero(planes.gain[0] > 0)[0]
        keep = xp.floats(planes.gain <= 0)
        self.exact.relaxations[value] = replace(
            planes,
            below=(planes.below[0] * keep,),
            above=(planes.above[0] * keep,),
            lower_offset=planes.lower_offset * keep,
            upper_offset=planes.upper_offset * keep,
            noise=planes.noise * 0,
            gain=None,
            untilted=None,
        )
        if index.shape[0] == 0:
            return
        known = self.known_rows(source, index)
        if known is not None:
            self.sure[value] = known
            self.tails.append(known.tail)
            self.known.pop(source)
        else:
            self.tails.append(self.unit_tail(self.exact, source, index))
        self.lines.append(_lines(xp, planes, self.enclosure.boxes[source], index))
        self.layers[value] = (source, index)

    def known_rows(self, value: int, index: Int[Array, " some"]) -> SureRows | None:
        """What some elements of a value are, if it is known for all of these."""
        if value not in self.known:
            return None
        xp, (some, rows) = self.enclosure.graph.xp, self.known[value]
        place = found_in(xp.numpy(some), xp.numpy(index))
        if place is None:
            return None
        return rows.signed(xp.ints(place), xp.full((index.shape[0],), 1.0))

    def in_double(self, tails: list[Tail]) -> Reducer:
        """The same in the graph's precision, with other tails of the layers."""
        if self._double is None:
            self._double = replace(self, xp=self.enclosure.graph.xp, _bands=None)
        self._double.tails = tails
        self._double._like = self._bands
        return self._double

    def whole_tilts(
        self, enclosure: Enclosure, rows: Rows, tilt: Float[Array, "rows neurons"]
    ) -> dict[int, Array]:
        """Tilts of the unstable neurons as those of whole layers, where the rows pass."""
        xp, start = enclosure.graph.xp, 0
        tilts = default_tilts(enclosure, rows.start, rows.owner)
        for value, (_, index) in self.layers.items():
            stop = start + index.shape[0]
            if value in tilts:
                whole = xp.copy(tilts[value])
                whole[:, index] = xp.floats(tilt[:, start:stop])
                tilts[value] = project(enclosure, value, whole)
            start = stop
        return tilts

    def net(self, rows: Tail) -> Reduced:
        """The reduced form that ends in some rows."""
        xp, region, start, slices = self.enclosure.graph.xp, self.enclosure.boxes[0], 0, []
        for _, index in self.layers.values():
            slices.append(slice(start, start + index.shape[0]))
            start = slices[-1].stop
        layers, center = tuple(slices), xp.astype_double(region.center)[0]
        radius = xp.astype_double(region.radius)[0]
        if self._bands is None or self._bands.layers != layers:
            self._bands = None  # Large: not both at once.
            if self._double is not None:
                self._double._bands = self._double._like = None
            self._bands = Bands(self.xp, layers, *self._matrices(layers, radius), like=self._like)
        none, size = xp.doubles(xp.zeros(0)), xp.doubles(xp.zeros(self.neurons))
        bias = [tail.bias + xp.astype_double(tail.weights) @ center for tail in self.tails]
        for tail in self.tails:
            size[: tail.links.shape[1]] += abs(tail.links).sum(0)
        ending = rows.bias + xp.astype_double(rows.weights) @ center
        of_neurons = xp.cat([xp.zeros(7, 0), *self.lines], 1)
        readers = size - rows.links.clip(max=0).sum(0)
        arrays = (xp.cat([none, *bias], 0), rows.weights * radius, rows.links, ending)
        extra = (of_neurons[3] * size, of_neurons[1] * readers)
        moved = [self._moved(x) for x in (*arrays, *of_neurons, *extra)]
        known = self._bands
        return Reduced(self.xp, layers, known, known.weights, known.links, *moved)

    def _matrices(
        self, layers: tuple[slice, ...], radius: Float[Array, " n"]
    ) -> tuple[Array, Array]:
        """Those of the neurons, layer by layer: copies of all at once would fill the memory."""
        fast, count = self.xp, self.neurons
        weights, links = fast.zeros(count, radius.shape[0]), fast.zeros(count, count)
        for rows, tail in zip(layers, self.tails, strict=True):
            weights[rows] = self._moved(tail.weights * radius)
            links[rows, : tail.links.shape[1]] = self._moved(tail.links)
        return weights, links

    def _moved(self, x: Array) -> Array:
        return self.xp.floats(self.enclosure.graph.xp.numpy(x))


def _lines(xp: Backend, planes: Planes, box: Box, index: Int[Array, " _"]) -> Float[Array, "7 _"]:
    """Chord, offset, leak, kink, default tilt and box of some neurons."""
    assert planes.untilted is not None
    kink = xp.minimum(box.upper, -box.lower)
    tilt = xp.floats(planes.below[0] > planes.untilted)
    lines = (
        planes.above[0],
        planes.upper_offset,
        planes.untilted,
        kink,
        tilt,
        box.lower,
        box.upper,
    )
    return xp.cat([line[0, index][None, :] for line in lines], 0)
