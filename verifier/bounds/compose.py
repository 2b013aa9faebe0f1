"""Multiply the relaxations of a funnel out, once for all rows that pass it."""

from __future__ import annotations

from verifier.bounds.back import Route, back_substitute
from verifier.bounds.composed import Composed, groups_of
from verifier.bounds.enclosure import Enclosure
from verifier.sets import Owner
from verifier.tensors import Array, ScatterPlan, gamma


def compose(enclosure: Enclosure, value: int, chunk: int) -> None:
    """Where a funnel of the graph ends in ``value``, let later rows pass it in one step.

    Of one box only, and in double precision, where the planes that are made can be taken as exact
    numbers. Rows bounded this way are those of CROWN where no two paths through the funnel meet
    at its end, up to rounding; they are sound in any case.
    """
    graph, xp = enclosure.graph, enclosure.graph.xp
    funnel = graph.funnels.get(value)
    if funnel is None or enclosure.batch > 1 or xp.dtype != "float64":
        return
    size, source = graph.size(value), funnel.source
    parts = [_planes(enclosure, (value, source), start, chunk) for start in range(0, size, chunk)]
    below, low, above, high = (xp.cat([p[i] for p in parts], 0) for i in range(4))
    used = xp.numpy((below != 0) | (above != 0))
    rows, columns = groups_of(used)
    where = xp.ints(rows)[:, :, None], xp.ints(columns)[:, None, :]
    reach = enclosure.boxes[source].magnitude(xp)
    each = rows.shape[1]
    size = abs(below) @ reach[0] + abs(above) @ reach[0] + abs(low) + abs(high)
    noise = 2 * gamma(min(len(size), xp.dot_terms) + 2 * each + 24, xp.unit_roundoff) * size
    total = float(reach.sum()) + len(size)
    enclosure.composed[value] = Composed(
        xp,
        source,
        xp.ints(rows.reshape(-1)),
        ScatterPlan.of(columns.reshape(-1), graph.size(source)).on(xp),
        ScatterPlan.of(rows.reshape(-1), graph.size(value)).on(xp),
        below[where],
        above[where],
        low[None],
        high[None],
        noise[None] + 16 * xp.least_normal,
        (2 * each + 16) * xp.least_normal * total,
    )


def _planes(
    enclosure: Enclosure, ends: tuple[int, int], start: int, chunk: int
) -> tuple[Array, Array, Array, Array]:
    """Below and above of some elements of the funnel's end: coefficients and offsets."""
    xp, (value, source) = enclosure.graph.xp, ends
    index = xp.arange(min(chunk, enclosure.graph.size(value) - start)) + start
    unit = xp.zeros(index.shape[0], enclosure.graph.size(value))
    unit[xp.arange(index.shape[0]), index] = 1.0
    owner, route = Owner(None, 1, index.shape[0]), Route(stop=source)
    below = back_substitute(enclosure, {value: unit}, owner, route=route)
    above = back_substitute(enclosure, {value: -unit}, owner, route=route)
    return below.coefficients, below.constant, -above.coefficients, -above.constant
