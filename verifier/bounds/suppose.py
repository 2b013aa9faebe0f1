"""Boxes of hidden neurons where a property is violated: what proves that it nowhere is.

A row of the property that is bounded by a function of a hidden layer, row >= A z + c, is at most 0
at every violation; there, s z_j >= s z_j + mu (A z + c) for any mu >= 0. Bounding the right side
back to the input tightens the layer's boxes, these tighten the row, and so on: until the row is
above 0 over the boxes, or a box is empty (Kotha et al. 2023, INVPROP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from verifier.bounds.back import (
    DOUBLE_ROUNDOFF,
    LowerForm,
    Route,
    Trace,
    back_substitute,
)
from verifier.bounds.crown import OPTIMISER_ARRAYS, narrow, unstable_mask
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import Adam, Rows, default_tilts, descend
from verifier.families import Nonlinear
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array, Float, Int

SHARE = 0.3
"""A multiplier's first step, as a share of what makes both parts of a sum alike in size."""
FLAT = 1e-9
"""A plane of smaller coefficients says nothing."""

Planes = Mapping[int, LowerForm]
"""For each value a function of it that is at most 0 wherever it matters: one row."""


def planes_of(enclosure: Enclosure, rows: Rows, tilts: Mapping[int, Array]) -> dict[int, LowerForm]:
    """One row as a function of each value that rows can tighten, if all of it is (a batch of 1)."""
    graph, found = enclosure.graph, dict[int, LowerForm]()
    for value in graph.bounded_by_rows:
        if not _separates(graph, value, rows.start):
            continue
        route = Route(stop=value)
        form = back_substitute(enclosure, rows.start, rows.owner, tilts, route=route)
        found[value] = LowerForm(form.coefficients, form.constant + rows.constant)
    return found


def _separates(graph: Graph, value: int, starts: Iterable[int]) -> bool:
    """Do some values depend on the input by way of one value only?"""
    left, seen = list(starts), set[int]()
    while left:
        now = left.pop()
        if now < value:
            return False
        if now > value and now not in seen:
            seen.add(now)
            left += graph.node(now).inputs
    return True


@dataclass(frozen=True, eq=False)
class Supposing:
    """How boxes are tightened where some functions are at most 0."""

    planes: Planes
    steps: int
    settings: BoundSettings
    relax: Callable[[Enclosure, int], None]
    """Relaxes a nonlinear value over the present boxes."""

    def tightened(self, graph: Graph, region: Box, known: Mapping[int, Box]) -> Enclosure | None:
        """Boxes of all values, within those that are known; None: there is no such point."""
        enclosure, some = Enclosure.over(graph, region), set(graph.bounded_by_rows)
        for _ in graph.nodes:
            value = enclosure.step(known)
            if isinstance(graph.node(value).operator, Nonlinear):
                self.relax(enclosure, value)
            if value in some and value in self.planes:
                self._tighten(enclosure, value)
            box = enclosure.boxes[value]
            if bool((box.lower > box.upper).any()):
                return None
        return enclosure

    def _tighten(self, enclosure: Enclosure, value: int) -> None:
        xp = enclosure.graph.xp
        _, neuron = xp.nonzero(unstable_mask(enclosure, value))
        count, together = 2 * neuron.shape[0], self.settings.spread.count
        if not count:
            return
        one = xp.full((neuron.shape[0],), 1.0)
        neuron, sign = xp.cat([neuron, neuron], 0), xp.cat([one, -one], 0)
        chunk = self.settings.rows_at_once(enclosure.graph, xp) // OPTIMISER_ARRAYS
        chunk = max(16, min(chunk, -(-count // together)))
        parts = [slice(start, start + chunk) for start in range(0, count, chunk)]

        def bound(part: slice) -> Array:
            self.settings.check_time()
            return self._least(enclosure, value, neuron[part], sign[part])

        for part, least in zip(parts, self.settings.spread.map(bound, parts), strict=True):
            narrow(enclosure, value, (neuron[part] * 0, neuron[part], sign[part]), least)

    def _least(
        self, enclosure: Enclosure, value: int, neuron: Int[Array, " rows"], sign: Array
    ) -> Float[Array, " rows"]:
        """Lower bounds of sign * neuron wherever the plane of the value is at most 0."""
        xp, plane = enclosure.graph.xp, self.planes[value]
        owner, every = Owner.equal(1, neuron.shape[0], xp), xp.arange(neuron.shape[0])
        unit = xp.zeros(neuron.shape[0], enclosure.graph.size(value))
        unit[every, neuron] = sign
        a, c = plane.coefficients, plane.constant
        rate = SHARE / (float(abs(a).mean()) + FLAT)
        mu = xp.zeros(neuron.shape[0], 1)
        tilts = default_tilts(enclosure, {value: unit}, owner)
        adam, scale, best = Adam(self.settings), Adam(self.settings), None
        for step in range(self.steps):
            rows = _combined(enclosure, value, (unit, mu, plane), owner)
            trace = Trace()
            form = back_substitute(enclosure, rows.start, owner, tilts, trace)
            form = LowerForm(form.coefficients, form.constant + rows.constant)
            least = form.least(enclosure.boxes[0], owner, enclosure)
            best = least if best is None else xp.where(least > best, least, best)
            if step == self.steps - 1:
                break
            gradients, primal = descend(enclosure, rows, (form, trace), tilts, value)
            adam.step(tilts, gradients, enclosure)
            turn = {value: ((primal[value] * a).sum(1) + c)[:, None] * rate}
            mu = (mu + scale.moves(turn, xp)[value] * rate).clip(min=0)
        assert best is not None
        return best


def _combined(
    enclosure: Enclosure, value: int, parts: tuple[Array, Array, LowerForm], owner: Owner
) -> Rows:
    """unit + mu plane, rounding included."""
    xp, (unit, mu, plane) = enclosure.graph.xp, parts
    added = mu * plane.coefficients
    reach = 4 * xp.unit_roundoff * enclosure.boxes[value].magnitude(xp)
    constant = xp.astype_double(mu[:, 0]) * plane.constant
    lost = xp.row_dot(abs(added) + abs(unit), owner.spread(reach)) + xp.tiny
    constant = constant - lost - 4 * DOUBLE_ROUNDOFF * abs(constant)
    return Rows({value: unit + added}, constant, owner)
