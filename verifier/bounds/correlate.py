"""Products of factors that move together: planes from the range of a difference.

McCormick's planes take the factors' boxes for all there is. Rows through the network know more: of
x - k y they bound the range, which is small where y is about x / k, and with it the plane below
x y (`families.bilinear.Correlated`); the range of x + k y gives the plane above.
"""

from __future__ import annotations

from verifier.bounds.back import back_substitute
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import unit_rows
from verifier.families import Correlated, Planes, Product
from verifier.families.bilinear import of_square
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Float, Int

GRID = tuple(2.0**i for i in range(-2, 3))
"""Ratios that are tried, in units of that of the half-widths."""
FARTHEST = 5.8
"""Beyond so many of them, or their inverse, no range can be better than McCormick's."""
WORTHWHILE = 0.8
"""Rows are asked for where they promise at most such a share of McCormick's gap."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """Elements of a product whose planes come from x - k y (``sign`` 1) or x + k y (-1).

    ``steep`` is the derivative of the gap by the half-width of that difference, and ``influence``
    by how much each input moves the difference.
    """

    value: int
    sign: int
    batch: Int[Array, " rows"]
    index: Int[Array, " rows"]
    steep: Float[Array, " rows"]
    influence: Float[Array, "rows n"]


@dataclass(frozen=True, eq=False)
class _Factors:
    """Elements of a product both factors of which have a width, by batch entry and index."""

    enclosure: Enclosure
    value: int
    batch: Int[Array, " rows"]
    index: Int[Array, " rows"]

    @staticmethod
    def of(enclosure: Enclosure, value: int) -> _Factors:
        """All of a value."""
        operator = enclosure.graph.node(value).operator
        assert isinstance(operator, Product)
        left, right = (enclosure.boxes[i] for i in enclosure.graph.node(value).inputs)
        mask = operator.unstable(0, left) & operator.unstable(1, right)
        return _Factors(enclosure, value, *enclosure.graph.xp.nonzero(mask))

    def __getitem__(self, index: Array) -> _Factors:
        return _Factors(self.enclosure, self.value, self.batch[index], self.index[index])

    @property
    def inputs(self) -> tuple[int, ...]:
        """The two factors' values."""
        return self.enclosure.graph.node(self.value).inputs

    def radii(self) -> tuple[Float[Array, " rows"], ...]:
        """The half-widths of the factors."""
        boxes = (self.enclosure.boxes[i] for i in self.inputs)
        return tuple((b.upper - b.lower)[self.batch, self.index] / 2 for b in boxes)

    def moved(self) -> tuple[Float[Array, "rows n"], ...]:
        """By how much each input moves the factors, according to their lower forms."""
        region = self.enclosure.boxes[0]
        radius = (region.upper - region.lower)[self.batch] / 2
        which = (self.batch, self.index, radius[:, 0] * 0 + 1)
        rows = [unit_rows(self.enclosure, i, which) for i in self.inputs]
        forms = [back_substitute(self.enclosure, r.start, r.owner) for r in rows]
        return tuple(form.coefficients * radius for form in forms)

    def range(self, sign: int, k: Float[Array, " rows"]) -> tuple[Array, Array]:
        """How far x - sign k y may be from its value at the centres, and what each input does."""
        enclosure, xp = self.enclosure, self.enclosure.graph.xp
        (left, right), owner = self.inputs, Owner.of(self.batch, enclosure.batch)
        here, start = (xp.arange(k.shape[0]), self.index), dict[int, Array]()
        for value, factor in ((left, k * 0 + 1), (right, -sign * k)):
            if value not in start:
                start[value] = xp.zeros(k.shape[0], enclosure.graph.size(value))
            start[value][here] += factor
        boxes = [enclosure.boxes[i] for i in (left, right)]
        exact, at = xp.astype_double(k), (self.batch, self.index)
        x, y = (xp.astype_double((b.lower + b.upper)[at]) / 2 for b in boxes)
        reach = [xp.astype_double(b.magnitude(xp)[at]) for b in boxes]
        middle = x - sign * exact * y
        low = back_substitute(enclosure, start, owner)
        high = back_substitute(enclosure, {v: -part for v, part in start.items()}, owner)
        below = middle - low.least(enclosure.boxes[0], owner, enclosure)
        above = -high.least(enclosure.boxes[0], owner, enclosure) - middle
        rounding = 16 * xp.unit_roundoff * (reach[0] + exact * reach[1]) + xp.tiny
        half = xp.floats(xp.maximum(below, above) + rounding) * (1 + 4 * xp.unit_roundoff)
        return half, (abs(low.coefficients) + abs(high.coefficients)) / 2


def correlate(enclosure: Enclosure, value: int) -> list[Correlation]:
    """Draw the planes of a product closer together, in place, where that helps much."""
    planes, xp = enclosure.relaxations[value], enclosure.graph.xp
    if not isinstance(planes, Planes):
        return []
    factors = _Factors.of(enclosure, value)
    if factors.batch.shape[0] == 0:
        return []
    moved, found, nearer, ratios = factors.moved(), list[Correlation](), [], []
    for sign in (1, -1):
        less, ratio = xp.copy(planes.lower_offset * 0), xp.copy(planes.lower_offset * 0)
        made = _plane(factors, (moved[0], sign * moved[1]), sign)
        if made is not None:
            correlation, k, gain = made
            found.append(correlation)
            here = (correlation.batch, correlation.index)
            less[here], ratio[here] = gain, k
        nearer.append(less)
        ratios.append(ratio)
    if found:
        enclosure.relaxations[value] = Correlated.of(planes, nearer, ratios)
    return found


def _plane(
    factors: _Factors, moved: tuple[Array, Array], sign: int
) -> tuple[Correlation, Array, Array] | None:
    """The planes on one side that get better, their ratios, and by how much."""
    xp, (rx, ry) = factors.enclosure.graph.xp, factors.radii()
    k, promised = _best_ratio(factors, moved)
    some = xp.nonzero(promised < WORTHWHILE * rx * ry)[0]
    if some.shape[0] == 0:
        return None
    k, gap, wide = k[some], (rx * ry)[some], factors[some]
    half, influence = wide.range(sign, k)
    less = gap - of_square(half, k)
    keep = xp.nonzero(less > 0)[0]
    if keep.shape[0] == 0:
        return None
    better, k, half = wide[keep], k[keep], half[keep]
    made = Correlation(
        factors.value, sign, better.batch, better.index, half / (2 * k), influence[keep]
    )
    return made, k, less[keep]


def _best_ratio(factors: _Factors, moved: tuple[Array, Array]) -> tuple[Array, Array]:
    """The k > 0, among some, with the least (sum |a - k b|)^2 / 4 k, and that.

    Between those where some |a_j - k b_j| vanishes the sum is linear in k: all these are tried.
    """
    xp, (x, y), (rx, ry) = factors.enclosure.graph.xp, moved, factors.radii()
    middle = rx / ry

    def gap(k: Array) -> Array:
        return of_square(abs(x - k[:, None] * y).sum(1), k)

    best, least = middle, gap(middle)
    still, one = y == 0, xp.full((1,), 1.0)
    ratios = x / xp.where(still, one, y)
    tried = [middle * factor for factor in GRID]
    tried += [xp.where(still[:, j], middle, ratios[:, j]) for j in range(x.shape[1])]
    for ratio in tried:
        possible = (ratio > middle / FARTHEST) & (ratio < middle * FARTHEST)
        k = xp.where(possible, ratio, middle)
        new = gap(k)
        best, least = xp.where(new < least, k, best), xp.minimum(new, least)
    return best, least
