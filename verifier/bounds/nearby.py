"""Interval arithmetic for batches of boxes that are hardly more than points.

What rounding adds to a value is much the same in all of them: it is bounded once for the whole
batch, so that an affine node costs one evaluation of the batch, not three.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from verifier.bounds.enclosure import EXTRA_TERMS
from verifier.bounds.whole import LARGEST, MOST_TERMS
from verifier.families import Affine, Nonlinear
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Float, gamma

SHARED_SIZE = 64
"""Longer values have one radius per neuron for the whole batch, shorter ones for each entry."""
ROUNDINGS = 4
"""In a centre and a radius of an interval, or in its ends."""


@dataclass(frozen=True, eq=False)
class Nearby:
    """All that is within a radius of a centre, neuron by neuron."""

    xp: Backend
    center: Float[Array, "batch n"]
    radius: Float[Array, "entries n"]
    """One entry for all, or one for each; 0 is exact."""

    @staticmethod
    def of(xp: Backend, center: Array, radius: Array) -> Nearby:
        """With NaN for what was too large a number: that says nothing, whatever is done with it."""
        finite = xp.function("isfinite", center)
        nothing = xp.full((1,), float("nan"))
        return Nearby(
            xp, center if bool(finite.all()) else xp.where(finite, center, nothing), radius
        )

    @staticmethod
    def around(box: Box, xp: Backend) -> Nearby:
        """The least one around boxes."""
        center = box.center
        radius = xp.maximum(box.upper - center, center - box.lower)
        if box.lower.shape[1] > SHARED_SIZE:
            radius = xp.amax(radius, 0)[None]
        return Nearby.of(xp, center, _inflated(radius, xp.zeros(1), xp))

    @property
    def shared(self) -> bool:
        """Is there one radius for all entries?"""
        return self.radius.shape[0] != self.center.shape[0]

    @cached_property
    def box(self) -> Box:
        """The boxes, rounded outward."""
        radius = _inflated(self.radius, self.center, self.xp)
        return Box(self.center - radius, self.center + radius)

    @cached_property
    def span(self) -> Box:
        """The least boxes around all that shares a radius: [entries, n]."""
        if not self.shared:
            return self.box
        low, high = (f(self.center, 0)[None] for f in (self.xp.amin, self.xp.amax))
        size = self.xp.maximum(abs(low), abs(high))
        radius = _inflated(self.radius, size, self.xp)
        return Box(low - radius, high + radius)

    @cached_property
    def whole(self) -> Float[Array, "entries n"]:
        """1, and 0 where it is one small whole number."""
        xp, x = self.xp, self.center
        size = xp.where(x == xp.function("floor", x), abs(x), xp.full((1,), LARGEST))
        size = xp.amax(size, 0)[None] if self.shared else size
        return xp.floats(~((self.radius == 0) & (size < LARGEST)))


def nearby(graph: Graph, region: Box) -> Box:
    """Boxes of the output, [batch, m]: those of ``whole_interval``, or somewhat larger ones.

    ``region`` [batch, n] holds boxes that are points in most coordinates. Rounding is included;
    numbers that were too large give NaN.
    """
    live = {0: Nearby.around(region, graph.xp)}
    for value, node in enumerate(graph.nodes, 1):
        inputs, operator = [live[i] for i in node.inputs], node.operator
        if isinstance(operator, Affine):
            found = _affine(operator, inputs)
        else:
            assert isinstance(operator, Nonlinear)
            found = _nonlinear(operator, inputs)
        live[value] = found
        for i in set(node.inputs):
            if i != graph.output and graph.consumers[i][-1] == value:
                del live[i]
    return live[graph.output].box


def _affine(operator: Affine, inputs: Sequence[Nearby]) -> Nearby:
    """As ``Enclosure`` does, of the largest entries where they share a radius."""
    xp = operator.xp
    reach = _alike([x.span.magnitude(xp) for x in inputs], xp)
    own = gamma(operator.terms + EXTRA_TERMS, xp.unit_roundoff)
    small = xp.least_normal * (operator.terms + 2) + operator.lost_of(*reach)
    radius = operator.absolute(*_alike([x.radius for x in inputs], xp))
    radius = radius + 2 * own * operator.magnitude(*reach) + small
    if operator.moves and operator.terms <= MOST_TERMS:
        # Sums of a few whole numbers are exact.
        exact = operator.absolute(*_alike([x.whole for x in inputs], xp)) == 0
        radius = xp.where(exact, xp.zeros(1), radius)
    return Nearby.of(xp, operator.evaluate(*(x.center for x in inputs)), radius)


def _nonlinear(operator: Nonlinear, inputs: Sequence[Nearby]) -> Nearby:
    xp = operator.xp
    if not operator.contracts:
        return Nearby.around(operator.interval(*(x.box for x in inputs)), xp)
    (x,) = inputs
    span = operator.interval(x.span)
    # Many neurons are off, which is exact.
    radius = xp.where(span.lower == span.upper, xp.zeros(1), operator.evaluate(x.radius))
    return Nearby(xp, operator.evaluate(x.center), radius)


def _alike(parts: Sequence[Array], xp: Backend) -> list[Array]:
    """The same number of entries in all."""
    count = max(part.shape[0] for part in parts)
    return [part if part.shape[0] == count else part + xp.zeros(count, 1) for part in parts]


def _inflated(radius: Array, center: Array, xp: Backend) -> Array:
    """More than a radius by what rounding may take; 0 stays 0."""
    more = ROUNDINGS * xp.unit_roundoff * (abs(center) + radius) + xp.least_normal
    return xp.where(radius == 0, radius, radius + more)
