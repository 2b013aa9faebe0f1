"""Forward linear bounds: for every value two linear forms of the input, all neurons at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property

from verifier.bounds.enclosure import Enclosure
from verifier.bounds.push import FORM_TERMS, Push, stacked
from verifier.families import Affine, Band, Nonlinear, Planes
from verifier.families.maximum import Champions
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Float, Int, gamma


def forward(graph: Graph, region: Box, inherited: Mapping[int, Box] | None = None) -> Enclosure:
    """Boxes of all values by forward linear bounds (the forward mode of Xu et al. 2020).

    They are cut with interval arithmetic and with inherited boxes. The work is that of evaluating
    the network at two points per input. With one hidden layer the bounds are CROWN's.
    """
    return ForwardPush(Enclosure.over(graph, region)).run(inherited)


def free_inputs(region: Box) -> int:
    """The most inputs that have a width in one region: so many coefficients a form needs."""
    if not region.lower.shape[0]:
        return 1
    return max(1, int((region.upper > region.lower).sum(1).max()))


@dataclass(frozen=True, eq=False)
class FormPair:
    """Two forms, by their mean and half their difference, which |M| maps as M maps the mean.

    Law: |value - (center . e + offset)| <= gap . e + slack, where the input is its box's center
    plus its radius times e, with e in [-1, 1]^g.
    """

    center: Float[Array, "batch g n"]
    offset: Float[Array, "batch n"]
    gap: Float[Array, "batch g n"]
    slack: Float[Array, "batch n"]

    @cached_property
    def spans(self) -> tuple[Float[Array, "batch n"], Float[Array, "batch n"]]:
        """How far each of the two forms goes from its offset, up to rounding."""
        return abs(self.lower()[0]).sum(1), abs(self.upper()[0]).sum(1)

    @property
    def size(self) -> Float[Array, "batch n"]:
        """At least the sum of the magnitudes of everything in it, up to rounding.

        |a| + |b| <= 2 max(|a|, |b|) = |a - b| + |a + b|, so the two spans cover the coefficients.
        """
        below, above = self.spans
        return below + above + abs(self.offset) + abs(self.slack)

    def lower(self) -> tuple[Array, Array]:
        """Coefficients and offset of the form below."""
        return self.center - self.gap, self.offset - self.slack

    def upper(self) -> tuple[Array, Array]:
        """Coefficients and offset of the form above."""
        return self.center + self.gap, self.offset + self.slack


@dataclass(eq=False)
class ForwardPush(Push[FormPair]):
    """Forms over the inputs that have a width.

    Where some have none, the k-th coefficient of a region is that of its input ``place[:, k]``.
    """

    keep: bool = False
    """Whether ``influence`` is wanted."""
    influence: dict[int, Float[Array, "batch g n"]] = field(default_factory=dict)
    """For the values that nonlinear nodes read: the magnitudes of the centers' coefficients."""
    place: Int[Array, "batch g"] | None = None

    @property
    def xp(self) -> Backend:
        return self.enclosure.graph.xp

    @cached_property
    def count(self) -> int:
        """How many coefficients forms have."""
        return free_inputs(self.enclosure.boxes[0])

    def seen(self, value: int, form: FormPair) -> None:
        if self.keep and value in self.enclosure.graph.bounded_by_rows:
            self.influence[value] = abs(form.center)

    def start(self) -> FormPair:
        xp, region = self.xp, self.enclosure.boxes[0]
        batch, size = region.lower.shape
        middle, radius = region.center, region.radius
        radius = radius + 4 * xp.unit_roundoff * region.magnitude(xp) + xp.tiny
        count = self.count
        center = xp.zeros(batch, count, size)
        if count == size:
            place = xp.arange(size)
            center[:, place, place] = radius
            return FormPair(center, middle, xp.zeros(batch, count, size), middle * 0)
        # The widest ones: what the others have is their rounding.
        self.place = xp.argsort(region.lower - region.upper, 1)[:, :count]
        one, which = xp.arange(batch)[:, None], xp.arange(count)[None, :]
        center[one, which, self.place] = radius[one, self.place]
        slack = xp.copy(radius)
        slack[one, self.place] = 0.0
        return FormPair(center, middle, xp.zeros(batch, count, size), slack)

    def constant(self, box: Box) -> FormPair:
        xp = self.xp
        middle, radius = box.center, box.radius
        radius = radius + 4 * xp.unit_roundoff * box.magnitude(xp) + xp.tiny
        finite = xp.function("isfinite", middle) & xp.function("isfinite", radius)
        middle = xp.where(finite, middle, xp.zeros(1))
        radius = xp.where(finite, radius, xp.full((1,), float("inf")))
        batch, size = middle.shape
        zeros = xp.zeros(batch, self.count, size)
        return FormPair(zeros, middle, zeros, radius)

    def choose(self, where: Array, yes: FormPair, no: FormPair) -> FormPair:
        xp, column = self.xp, where[:, None, :]
        return FormPair(
            xp.where(column, yes.center, no.center),
            xp.where(where, yes.offset, no.offset),
            xp.where(column, yes.gap, no.gap),
            xp.where(where, yes.slack, no.slack),
        )

    def box(self, form: FormPair) -> Box:
        xp = self.xp
        rounding = 2 * gamma(form.center.shape[1] + FORM_TERMS, xp.unit_roundoff)
        error = rounding * form.size + form.slack + xp.tiny
        below, above = form.spans
        return Box(form.offset - below - error, form.offset + above + error)

    def affine(self, operator: Affine, inputs: tuple[FormPair, ...]) -> FormPair:
        xp = self.xp
        rounding = 2 * gamma(operator.terms + FORM_TERMS, xp.unit_roundoff)
        sizes = tuple(f.size for f in inputs)
        error = rounding * operator.magnitude(*sizes) + (xp.tiny + operator.lost_of(*sizes))
        batch, count = inputs[0].center.shape[:2]
        gaps = tuple(f.gap.reshape(batch * count, f.gap.shape[2]) for f in inputs)
        return FormPair(
            stacked(operator, tuple(f.center for f in inputs)),
            operator.evaluate(*(f.offset for f in inputs)),
            operator.absolute(*gaps).reshape(batch, count, operator.size),
            operator.absolute(*(f.slack for f in inputs)) + error,
        )

    def nonlinear(self, value: int, operator: Nonlinear, inputs: tuple[FormPair, ...]) -> FormPair:
        relaxation = self.enclosure.relaxations[value]
        if isinstance(relaxation, Champions):
            return self._through_champions(relaxation, inputs[0])
        if isinstance(relaxation, Band):
            return self._through_band(relaxation, inputs)
        assert isinstance(relaxation, Planes)
        return self._through_planes(relaxation, inputs)

    def _through_planes(self, planes: Planes, inputs: tuple[FormPair, ...]) -> FormPair:
        lower, upper = planes.lower_offset, planes.upper_offset
        size = abs(lower) + abs(upper) + planes.noise
        below, above = None, None
        for low, high, form in zip(planes.below, planes.above, inputs, strict=True):
            steep = self.xp.maximum(abs(low), abs(high))
            size = size + steep * form.size
            lower = lower + low * form.offset - abs(low) * form.slack
            upper = upper + high * form.offset + abs(high) * form.slack
            part = form.center * low[:, None, :] - form.gap * abs(low)[:, None, :]
            below = part if below is None else below + part
            part = form.center * high[:, None, :] + form.gap * abs(high)[:, None, :]
            above = part if above is None else above + part
        return self._between((below, lower), (above, upper), size, planes.noise)

    def _through_band(self, band: Band, inputs: tuple[FormPair, ...]) -> FormPair:
        xp = self.xp

        def reach(parts: tuple[Array, ...]) -> Array:
            return band.absolute(tuple(x[:, None] for x in parts))[:, 0]

        offset = band.linear(tuple(f.offset[:, None] for f in inputs), None)[:, 0] + band.offset
        size = reach(tuple(f.size for f in inputs)) + abs(band.offset) + band.radius + band.noise
        error = 2 * gamma(band.terms + FORM_TERMS, xp.unit_roundoff) * size + band.noise + xp.tiny
        return FormPair(
            band.linear(tuple(f.center for f in inputs), None),
            offset,
            band.absolute(tuple(f.gap for f in inputs)),
            reach(tuple(f.slack for f in inputs)) + band.radius + error,
        )

    def _through_champions(self, champions: Champions, form: FormPair) -> FormPair:
        xp, slope = self.xp, champions.slope
        low, lower = (self._columns(x, champions.lowest) for x in form.lower())
        high, upper = (self._columns(x, champions.highest) for x in form.upper())
        size = form.size
        size = xp.maximum(
            self._columns(size, champions.lowest), self._columns(size, champions.highest)
        )
        above = (high * slope[:, None, :], upper * slope + champions.offset)
        size = size + abs(champions.offset)
        return self._between((low, lower), above, size, champions.noise)

    def _columns(self, x: Array, index: Array) -> Array:
        if len(x.shape) == 2:
            return self.xp.take_along(x, index, 1)
        return self.xp.take_along(x, index[:, None, :], 2)

    def _between(
        self,
        below: tuple[Array, Array],
        above: tuple[Array, Array],
        size: Float[Array, "batch n"],
        noise: Float[Array, "batch n"],
    ) -> FormPair:
        """The pair of two (coefficients, offset) whose parts come to ``size``."""
        error = noise + 2 * FORM_TERMS * self.xp.unit_roundoff * (size + noise) + self.xp.tiny
        return FormPair(
            (above[0] + below[0]) / 2,
            (above[1] + below[1]) / 2,
            (above[0] - below[0]) / 2,
            (above[1] - below[1]) / 2 + error,
        )
