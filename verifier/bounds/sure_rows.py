"""Rows as forms of the input and of unstable neurons' outputs, and how far off these may be."""

from __future__ import annotations

from verifier.bounds.back import DOUBLE_ROUNDOFF, Trace, UnitStart, back_substitute
from verifier.bounds.optimise import Rows
from verifier.bounds.reduced import Reducer, SureRows, Tail
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.tensors import Array, Float, Int


@dataclass(frozen=True, eq=False)
class _Part:
    """Some rows: as ``SureRows``."""

    weights: Float[Array, "rows n"]
    links: Float[Array, "rows neurons"]
    bias: Float[Array, " rows"]
    error: Float[Array, " rows"]


def sure_rows(reducer: Reducer, low: Rows, high: Rows) -> SureRows | None:
    """From rows and their negations, both with what is lost on the way to them.

    None where the two sweeps' coefficients differ by more than the sign.
    """
    below, above = (reducer.charged_tail(rows) for rows in (low, high))
    same = (below.weights == -above.weights).all() & (below.links == -above.links).all()
    if not bool(same):
        return None
    least, greatest = below.bias, -above.bias
    error = (greatest - least) / 2 + 2 * DOUBLE_ROUNDOFF * (abs(least) + abs(greatest))
    return SureRows(Tail(below.weights, below.links, (least + greatest) / 2), error)


def sure_elements(reducer: Reducer, value: int, index: Int[Array, " rows"]) -> SureRows:
    """Some elements of a value: one sweep, whose losses are the same both ways."""
    enclosure, noise, xp = reducer.charging, reducer.losses, reducer.enclosure.graph.xp
    chunk, settings = reducer.settings.rows_at_once(enclosure.graph, xp), reducer.settings

    def part(first: int) -> _Part:
        settings.check_time()
        some = index[first : first + chunk]
        count, owner = some.shape[0], Owner.equal(1, some.shape[0], xp)
        made = UnitStart.of(enclosure, value, some, xp.full((count,), 1.0))
        start, off = made.apart(owner, some * 0)
        trace = Trace(noise=noise)
        form = back_substitute(enclosure, made.start, owner, trace=trace)
        assert trace.lost is not None
        bias = form.constant + start
        error = (trace.lost + off) * (1 + 4 * DOUBLE_ROUNDOFF) + 2 * DOUBLE_ROUNDOFF * abs(bias)
        return _Part(form.coefficients, reducer.passed(trace, count), bias, error)

    found = xp.joined(settings.spread.map(part, range(0, max(1, index.shape[0]), chunk)))
    return SureRows(Tail(found.weights, found.links, found.bias), found.error)


def sure_layers(reducer: Reducer) -> list[SureRows]:
    """What the unstable neurons of all layers read, with what that may be off by."""
    for value, (source, index) in reducer.layers.items():
        if value not in reducer.sure:
            reducer.sure[value] = sure_elements(reducer, source, index)
    return [reducer.sure[value] for value in reducer.layers]
