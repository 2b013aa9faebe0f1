"""Constants picked by a computed index: labels of classes, rows of a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import bounded
from verifier.families.registry import examples
from verifier.graph import Builder, Value
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.steps import is_whole

LONGEST = 1000
"""Of longer tables the steps are too many."""


def look_up(name: str, builder: Builder, table: np.ndarray, index: Value, axis: int) -> Value:
    """``table`` [..., n, ...] at computed places along an axis: a step function of the index.

    Halfway between whole numbers it does not matter on which side the index is. Indices from -n
    to -1 count from the end; beyond the ends ONNX Runtime refuses, so any number will do.
    """
    count = table.shape[axis]
    if not is_whole(builder, index) or table.dtype.kind not in "fiub" or not 0 < count <= LONGEST:
        message = f"a computed index into {count} constants of type {table.dtype}"
        raise UnsupportedModel(message)
    rows = np.moveaxis(table, axis, 0).astype(np.float64)
    if not np.isfinite(rows).all():
        message = "a computed index into constants that are NaN or infinite"
        raise UnsupportedModel(message)
    before, after = table.shape[:axis], table.shape[axis + 1 :]
    shape = bounded((*before, *index.shape, *after))
    wide = index.table().reshape((*(1,) * axis, *index.shape, *(1,) * len(after)))
    spread = builder.rearrange(f"{name}/spread", index, np.broadcast_to(wide, shape))
    inner = (*before, *(1,) * len(index.shape), *after)
    levels = [np.broadcast_to(row.reshape(inner), shape).reshape(-1) for row in (*rows, *rows)]
    kinks = [place - 0.5 for place in range(1 - count, count)]
    operator = PiecewiseLinear.of(
        spread.size, kinks, [0.0] * len(levels), levels, levels[1:] or None
    )
    return builder.add(name, operator, [spread], shape)


@examples("Gather")
def _computed() -> Iterator[Example]:
    options = {"whole": (1,), "low": -2.9, "high": 2.9}
    yield Example("Gather", (numbers(3), (2, 2)), **options)
    yield Example("Gather", (numbers(2, 3, 2), (2,)), {"axis": 1}, **options)
    yield Example("Gather", (numbers(3, 2), ()), **options)
    yield Example("Gather", (np.array([4, 4, 7], dtype=np.float32), (3,)), **options)
