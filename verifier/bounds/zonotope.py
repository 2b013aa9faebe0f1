"""Zonotopes: affine forms of the input whose errors are symbols shared by all later values."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.bounds.enclosure import Enclosure
from verifier.bounds.push import FORM_TERMS, Push, stacked
from verifier.families import Affine, Band, Elementwise, Maximum, Nonlinear, Planes
from verifier.families.maximum import Champions
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.sets.zonotope import Zonotope
from verifier.tensors import Array, Backend, Float, gamma

WORTHWHILE = 1024
"""An error of less than this many roundings of its value gets no symbol."""


def zonotope(
    graph: Graph, region: Box, generators: int, inherited: Mapping[int, Box] | None = None
) -> Enclosure:
    """Boxes of all values by zonotopes with at most so many generators (Singh et al. 2018).

    They are cut with interval arithmetic and with inherited boxes. Each step adds its rounding
    errors to the tails, so the boxes hold over the real numbers.
    """
    return ZonotopePush(Enclosure.over(graph, region), limit=generators).run(inherited)


@dataclass(frozen=True, eq=False)
class Strip:
    """least <= phi(x) - sum_i slopes_i x_i <= greatest over a box."""

    slopes: tuple[Float[Array, "batch m"], ...]
    least: Float[Array, "batch m"]
    greatest: Float[Array, "batch m"]


@dataclass(eq=False)
class ZonotopePush(Push[Zonotope]):
    """The live zonotopes share their symbols; ``limit`` of them survive each step."""

    limit: int = 0
    count: int = 0
    """How many symbols there are."""

    @property
    def xp(self) -> Backend:
        return self.enclosure.graph.xp

    def start(self) -> Zonotope:
        xp, region = self.xp, self.enclosure.boxes[0]
        form = self.constant(region)
        free = region.upper > region.lower
        self.count = min(self.limit, int(free.sum(1).max()))
        return form.promoted(free, self.count, 0, xp)

    def constant(self, box: Box) -> Zonotope:
        xp = self.xp
        center, radius = box.center, box.radius
        radius = radius + 4 * xp.unit_roundoff * box.magnitude(xp) + xp.tiny
        finite = xp.function("isfinite", center) & xp.function("isfinite", radius)
        center = xp.where(finite, center, xp.zeros(1))
        radius = xp.where(finite, radius, xp.full((1,), float("inf")))
        batch, size = center.shape
        return Zonotope(center, xp.zeros(batch, 0, size), radius)

    def choose(self, where: Array, yes: Zonotope, no: Zonotope) -> Zonotope:
        xp, no = self.xp, no.padded(yes.count, self.xp)
        return Zonotope(
            xp.where(where, yes.center, no.center),
            xp.where(where[:, None, :], yes.generators, no.generators),
            xp.where(where, yes.tail, no.tail),
        )

    def box(self, form: Zonotope) -> Box:
        return form.box(self.xp)

    def affine(self, operator: Affine, inputs: tuple[Zonotope, ...]) -> Zonotope:
        xp = self.xp
        inputs = self._aligned(inputs)
        error = 2 * gamma(operator.terms + FORM_TERMS, xp.unit_roundoff)
        tail, sizes = operator.absolute(*(z.tail for z in inputs)), tuple(z.size for z in inputs)
        error = error * operator.magnitude(*sizes) + (xp.tiny + operator.lost_of(*sizes))
        return Zonotope(
            operator.evaluate(*(z.center for z in inputs)),
            stacked(operator, tuple(z.generators for z in inputs)),
            tail + error,
        )

    def nonlinear(self, value: int, operator: Nonlinear, inputs: tuple[Zonotope, ...]) -> Zonotope:
        boxes = tuple(self.enclosure.boxes[i] for i in self.enclosure.graph.node(value).inputs)
        relaxation = self.enclosure.relaxations[value]
        if isinstance(relaxation, Band):
            return self._promoted(self._through(relaxation, inputs), relaxation.radius)
        if isinstance(relaxation, Champions):
            assert isinstance(operator, Maximum)
            inputs = (inputs[0].columns(relaxation.highest, self.xp),)
            strip = strip_of_champions(operator, relaxation, boxes[0])
        elif isinstance(operator, Elementwise):
            strip = narrowest_strip(operator, boxes[0])
        else:
            assert isinstance(relaxation, Planes)
            strip = strip_of_planes(relaxation, boxes)
        return self._promoted(self._along(strip, inputs), (strip.greatest - strip.least) / 2)

    def _promoted(self, form: Zonotope, fresh: Array) -> Zonotope:
        """Symbols of their own for tails of the size ``fresh``, where that is worthwhile."""
        worthwhile = fresh > WORTHWHILE * self.xp.unit_roundoff * form.size
        fresh_count = min(self.limit, int(worthwhile.sum(1).max()))
        first, self.count = self.count, self.count + fresh_count
        return form.promoted(worthwhile, fresh_count, first, self.xp) if fresh_count else form

    def settle(self) -> None:
        """Keep the symbols that matter most to the live values together."""
        if self.count <= self.limit:
            return
        xp = self.xp
        forms = {v: z.padded(self.count, xp) for v, z in self.live.items()}
        weight = None
        for form in forms.values():
            own = abs(form.generators).sum(2)
            weight = own if weight is None else weight + own
        assert weight is not None
        order = xp.argsort(-weight, 1)[:, : self.limit]
        self.live = {v: z.keeping(order, xp) for v, z in forms.items()}
        self.count = self.limit

    def _aligned(self, inputs: tuple[Zonotope, ...]) -> tuple[Zonotope, ...]:
        count = max(z.count for z in inputs)
        return tuple(z.padded(count, self.xp) for z in inputs)

    def _along(self, strip: Strip, inputs: tuple[Zonotope, ...]) -> Zonotope:
        """Sum slopes_i x_i + [least, greatest]."""
        xp = self.xp
        inputs = self._aligned(inputs)
        center = (strip.least + strip.greatest) / 2
        tail = (strip.greatest - strip.least) / 2
        size = abs(strip.least) + abs(strip.greatest)
        generators = None
        for slope, z in zip(strip.slopes, inputs, strict=True):
            center, tail = center + slope * z.center, tail + abs(slope) * z.tail
            size = size + abs(slope) * z.size
            part = z.generators * slope[:, None, :]
            generators = part if generators is None else generators + part
        assert generators is not None
        return Zonotope(center, generators, tail + FORM_TERMS * xp.unit_roundoff * size + xp.tiny)

    def _through(self, band: Band, inputs: tuple[Zonotope, ...]) -> Zonotope:
        """L x + offset + [-radius, radius]."""
        xp, inputs = self.xp, self._aligned(inputs)

        def reach(parts: tuple[Array, ...]) -> Array:
            return band.absolute(tuple(x[:, None] for x in parts))[:, 0]

        tail = reach(tuple(z.tail for z in inputs)) + band.radius + band.noise
        size = reach(tuple(z.size for z in inputs)) + abs(band.offset) + band.radius
        error = 2 * gamma(band.terms + FORM_TERMS, xp.unit_roundoff) * size + xp.tiny
        center = band.linear(tuple(z.center[:, None] for z in inputs), None)[:, 0]
        generators = band.linear(tuple(z.generators for z in inputs), None)
        return Zonotope(center + band.offset, generators, tail + error)


def narrowest_strip(operator: Elementwise, box: Box) -> Strip:
    """Around the chord or between the tangents' slopes, whichever is narrower.

    For a convex or concave phi the chord's is the narrowest band of all: for ReLU the parallelogram
    of the least area (Singh et al. 2018).
    """
    xp = operator.xp
    below, above = operator.slopes(box)
    mean = finite_or_zero((below + above) / 2, xp)
    width = box.upper - box.lower
    wide = width > 0
    rise = operator.evaluate(box.upper) - operator.evaluate(box.lower)
    chord = finite_or_zero(rise / xp.where(wide, width, xp.full((1,), 1.0)), xp)
    chord = xp.where(wide, chord, mean)
    first, second = operator.gap(chord, box), operator.gap(mean, box)
    # Written so that NaN chooses the second.
    narrower = first[1] - first[0] <= second[1] - second[0]
    return Strip(
        (xp.where(narrower, chord, mean),),
        xp.where(narrower, first[0], second[0]),
        xp.where(narrower, first[1], second[1]),
    )


def finite_or_zero(x: Array, xp: Backend) -> Array:
    """Slopes that overflowed become 0, which is as sound as any."""
    return xp.where(xp.function("isfinite", x), x, xp.zeros(1))


def strip_of_planes(planes: Planes, boxes: tuple[Box, ...]) -> Strip:
    """With the mean of the two planes' slopes; what they differ by is bounded over the boxes."""
    xp = planes.xp
    slopes, extra = [], planes.noise
    for below, above, box in zip(planes.below, planes.above, boxes, strict=True):
        slopes.append((below + above) / 2)
        extra = extra + abs(above - below) / 2 * box.magnitude(xp)
    rounding = FORM_TERMS * xp.unit_roundoff
    least, greatest = planes.lower_offset - extra, planes.upper_offset + extra
    return Strip(
        tuple(slopes),
        least - rounding * (abs(planes.lower_offset) + extra),
        greatest + rounding * (abs(planes.upper_offset) + extra),
    )


def strip_of_champions(operator: Maximum, champions: Champions, box: Box) -> Strip:
    """Around the upper line s x_i + t, 0 <= s <= 1, of the member i of the greatest upper bound.

    With b the greatest lower bound of all, y >= max(x_i, b); less s x_i, that is least at x_i = b.
    """
    best = operator.interval(box).lower
    least = (1 - champions.slope) * best - champions.noise
    return Strip((champions.slope,), least, champions.offset + champions.noise)
