"""Softmax and LogSoftmax, as compositions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.curves import EXP, curve
from verifier.ops.logic import rectified, scaled
from verifier.ops.norms import log_sum_exp
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.reduce import sums
from verifier.ops.scale import Scale
from verifier.ops.sum import concatenate, subtract

LONGEST_AXIS, MOST_DIFFERENCES = 64, 20_000
"""Up to these all differences of entries become neurons."""
CAP = 60.0
SLACK = 2.0 * math.exp(-CAP) * 2.0**53
"""At least one rounding of this, in float64 or coarser, is more than exp(-CAP)."""
AXES_OPSET = 13
"""Before this opset a softmax runs over all axes from ``axis`` on."""


@reads("Softmax", "LogSoftmax")
def read_softmax(node: OnnxNode, builder: Builder) -> Operand:
    """exp(x_i) / sum_j exp(x_j) along an axis, or its logarithm."""
    value = node.value(0)
    rank, early = len(value.shape), node.opset < AXES_OPSET
    axis = axis_of(node.flag("axis", 1 if early else -1), rank) if rank else 0
    table = value.table()
    if early:
        table = table.reshape(math.prod(value.shape[:axis]), -1)
    else:
        table = np.moveaxis(table, axis, -1) if rank else table.reshape(1)
    count = table.shape[-1]
    places = table.reshape(-1)
    log = node.op_type == "LogSoftmax"
    if count == 1:
        fill = np.full(value.shape, 0.0 if log else 1.0)
        return builder.rearrange(node.name, value, np.full(value.shape, -1), fill)
    rows = table.reshape(-1, count)
    hidden = np.isneginf(builder.marks(value)).reshape(-1)
    if hidden.any():
        result = _masked(node.name, builder, value, rows, hidden[rows])
    else:
        result = _of_rows(node.name, builder, value, rows, log=log)
    back = np.empty(value.size, dtype=np.int64)
    back[places] = np.arange(value.size)
    result = builder.rearrange(f"{node.name}/order", result, back.reshape(value.shape))
    if not hidden.any():
        builder.ordered[result.number] = value, back // count
    return result


def _of_rows(name: str, builder: Builder, value: Value, rows: np.ndarray, *, log: bool) -> Value:
    """The softmax of each row of elements, one after another."""
    count = rows.shape[1]
    if count <= LONGEST_AXIS and rows.size * (count - 1) <= MOST_DIFFERENCES and not log:
        return _by_differences(name, builder, value, rows)
    return _by_logarithm(name, builder, value, rows, log=log)


def _masked(
    name: str, builder: Builder, value: Value, rows: np.ndarray, hidden: np.ndarray
) -> Value:
    """Rows of which some elements are minus infinity: the softmax of the others, and 0.

    Of rows of nothing else there is none.
    """
    counts = (~hidden).sum(axis=1)
    result = _of_the_others(name, builder, value, rows, hidden)
    none = np.broadcast_to(np.where(counts == 0, np.nan, 0.0)[:, None], rows.shape)
    builder.mark(result, none.reshape(-1))
    return result


def _of_the_others(
    name: str, builder: Builder, value: Value, rows: np.ndarray, hidden: np.ndarray
) -> Value:
    counts = (~hidden).sum(axis=1)
    index, fill, start = np.full(rows.shape, -1), np.zeros(rows.shape), 0
    parts = []
    for count in np.unique(counts[counts > 0]):
        where = np.flatnonzero(counts == count)
        kept = ~hidden & (counts == count)[:, None]
        if count == 1:
            fill[kept] = 1.0
            continue
        some = rows[kept].reshape(len(where), count)
        parts.append(_of_rows(f"{name}/{count}", builder, value, some, log=False))
        index[kept] = start + np.arange(some.size)
        start += some.size
    if not parts:
        return builder.rearrange(name, value, index.reshape(-1), fill)
    flat = [part.reshape((part.size,)) for part in parts]
    joined = concatenate(f"{name}/all", builder, flat, 0)
    return builder.rearrange(name, joined, index.reshape(-1), fill)


def _by_differences(name: str, builder: Builder, value: Value, rows: np.ndarray) -> Value:
    """1 / (1 + sum_j exp(x_j - x_i)) over j other than i.

    What the entries have in common cancels in the differences, exactly (Wei et al. 2023, section
    3); and each function on the way is convex or concave in one variable. Differences are cut at
    ``CAP``, so that no power overflows; the result is then off by at most exp(-CAP), which is what
    the noise of the last step is for: its bias is 0, up to one rounding of SLACK.
    """
    groups, count = rows.shape
    others = np.array([[j for j in range(count) if j != i] for i in range(count)])
    shape = (groups, count, count - 1)
    first = builder.rearrange(f"{name}/others", value, rows[:, others])
    own = np.broadcast_to(rows[:, :, None], shape)
    second = builder.rearrange(f"{name}/own", value, own)
    differences = subtract(f"{name}/differences", builder, first, second)
    cut = Clip.of(differences.size, -math.inf, CAP)
    terms = curve(f"{name}/exp", builder, builder.add(f"{name}/cut", cut, [differences]), EXP)
    table = terms.table().reshape(-1, count - 1)
    rest = sums(f"{name}/sum", builder, terms, table, 1.0)
    total = scaled(f"{name}/total", builder, rest, 1.0, 1.0)
    # Rounding of the sum must not make it less than 1.
    total = builder.add(f"{name}/least", Clip.of(total.size, 1.0, math.inf), [total])
    inverse = builder.add(f"{name}/inverse", Reciprocal.of(total.size), [total])
    zero = np.zeros(inverse.size)
    return builder.add(name, Scale.of(inverse.size, None, zero, zero + SLACK), [inverse])


def _by_logarithm(
    name: str, builder: Builder, value: Value, rows: np.ndarray, *, log: bool
) -> Value:
    """exp(- max(l - x_i, 0)) with l = log sum_j exp(x_j), which is never less than x_i."""
    total = log_sum_exp(f"{name}/lse", builder, value, rows)
    spread = builder.rearrange(
        f"{name}/spread", total, np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    )
    every = builder.rearrange(f"{name}/every", value, rows)
    loss = rectified(
        f"{name}/loss", builder, subtract(f"{name}/difference", builder, spread, every)
    )
    gain = scaled(f"{name}/gain", builder, loss, -1.0)
    return gain if log else curve(name, builder, gain, EXP)


@examples("Softmax", "LogSoftmax")
def _softmax() -> Iterator[Example]:
    for op_type in ("Softmax", "LogSoftmax"):
        yield Example(op_type, ((2, 3),))
        yield Example(op_type, ((2, 3, 2),), {"axis": 1})
        yield Example(op_type, ((2, 2, 2),), {"axis": 1}, opset=11)
        yield Example(op_type, ((1, 4),), opset=9)
        yield Example(op_type, ((3, 1),))
        yield Example(op_type, ((1, 70),), {"axis": 1})
