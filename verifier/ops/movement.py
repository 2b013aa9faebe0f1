"""Operators that move data: each is applied to a table of element numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, integers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, bounded, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder


@reads("Transpose", folds=True)
def read_transpose(node: OnnxNode, builder: Builder) -> Operand:
    """The axes in another order; by default reversed."""
    axes = node.ints("perm")
    return move(builder, node.name, node.operand(0), lambda table: np.transpose(table, axes))


@reads("Slice", folds=True)
def read_slice(node: OnnxNode, builder: Builder) -> Operand:
    """Ranges along some axes, perhaps backwards."""
    starts, ends = node.ints("starts", 1), node.ints("ends", 2)
    if starts is None or ends is None:
        message = "no starts or no ends"
        raise ModelError(message)
    given = node.operand(0)
    axes = node.ints("axes", 3) or tuple(range(len(starts)))
    steps = node.ints("steps", 4) or (1,) * len(starts)
    slices = [slice(None)] * len(given.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(given.shape))
        slices[place] = _range(start, end, step, given.shape[place])
    return move(builder, node.name, given, lambda table: table[tuple(slices)])


def _range(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's range as NumPy's, in which -1 does not mean "before the beginning"."""
    if step == 0:
        message = "a slice with step 0"
        raise ModelError(message)
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return slice(start, None if end < 0 else end, step)


@reads("Split", folds=True)
def read_split(node: OnnxNode, builder: Builder) -> Operand:
    """Consecutive parts along an axis."""
    given, sizes = node.operand(0), node.ints("split", 1)
    axis = axis_of(node.flag("axis", 0), len(given.shape))
    length = given.shape[axis]
    if sizes is None:
        parts = node.flag("num_outputs", node.outputs)
        each = -(-length // parts)
        sizes = (*(each,) * (parts - 1), length - each * (parts - 1))
    if sum(sizes) != length or min(sizes) < 0:
        message = f"parts of lengths {sizes} of an axis of length {length}"
        raise ModelError(message)
    results, start = [], 0
    for i, size in enumerate(sizes):
        index = (*(slice(None),) * axis, slice(start, start + size))
        results.append(move(builder, f"{node.name}/{i}", given, lambda t, index=index: t[index]))
        start += size
    return tuple(results)


@reads("Expand", folds=True)
def read_expand(node: OnnxNode, builder: Builder) -> Operand:
    """Broadcast against a constant shape, both ways."""
    given, target = node.operand(0), node.ints("shape", 1)
    bounded(target or ())
    shape = bounded(np.broadcast_shapes(tuple(given.shape), target or ()))
    return move(builder, node.name, given, lambda table: np.broadcast_to(table, shape))


@reads("Tile", folds=True)
def read_tile(node: OnnxNode, builder: Builder) -> Operand:
    """Repeated along each axis."""
    given, repeats = node.operand(0), node.ints("repeats", 1) or ()
    bounded((math.prod(given.shape), *repeats))
    return move(builder, node.name, given, lambda table: np.tile(table, repeats))


@reads("Pad")
def read_pad(node: OnnxNode, builder: Builder) -> Operand:
    """More elements around (or fewer, where a pad is negative): a constant, or copies."""
    value = node.value(0)
    rank = len(value.shape)
    pads, axes = node.ints("pads", 1), node.ints("axes", 3) or tuple(range(rank))
    if pads is None or len(pads) != 2 * len(axes):
        message = f"pads {pads} for {len(axes)} axes"
        raise ModelError(message)
    around = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        around[axis_of(axis, rank)] = (pads[i], pads[len(axes) + i])
    kept = tuple(
        slice(max(-b, 0), n + min(e, 0)) for (b, e), n in zip(around, value.shape, strict=True)
    )
    wide = [(max(b, 0), max(e, 0)) for b, e in around]
    bounded([n + sum(more) for n, more in zip(value.shape, wide, strict=True)])
    table, mode = value.table()[kept], node.attributes.get("mode", "constant")
    if mode == "constant":
        given = node.weights(2, "constant_value")
        fill = (
            node.number("value", 0.0) if given is None or not given.size else given.reshape(-1)[0]
        )
        index = np.pad(table, wide, constant_values=-1)
        return builder.rearrange(node.name, value, index, np.full(index.shape, fill))
    if mode not in {"reflect", "edge", "wrap"}:
        message = f"mode {mode!r}"
        raise UnsupportedModel(message)
    return builder.rearrange(node.name, value, np.pad(table, wide, mode=mode))


@examples("Transpose", "Slice")
def _selections() -> Iterator[Example]:
    yield Example("Transpose", ((2, 3),))
    yield Example("Transpose", ((2, 3, 1, 2),), {"perm": [3, 0, 2, 1]})
    yield Example("Slice", ((2, 5),), {"starts": [1], "ends": [-1], "axes": [1]}, opset=9)
    yield Example(
        "Slice", ((2, 5), integers(0, 4), integers(2, 0), integers(0, -1), integers(1, -2))
    )
    yield Example("Slice", ((5,), integers(-1), integers(-(2**62)), integers(0), integers(-1)))
    yield Example("Slice", ((2, 5), integers(1, 1), integers(2, 2**62)))


@examples("Split", "Expand", "Tile", "Pad")
def _copies() -> Iterator[Example]:
    yield Example("Split", ((2, 6),), {"axis": 1, "split": [1, 2, 3]}, opset=11, outputs=3)
    yield Example("Split", ((2, 6), integers(4, 2)), {"axis": -1}, outputs=2)
    yield Example("Split", ((2, 6),), {"axis": 1}, outputs=3)
    yield Example("Split", ((7,),), {"num_outputs": 3}, opset=18, outputs=3)
    yield Example("Expand", ((3, 1), integers(2, 1, 4)))
    yield Example("Expand", ((1, 3, 1), integers(1)))
    yield Example("Tile", ((2, 1), integers(1, 3)))
    yield Example("Pad", ((2, 3),), {"pads": [0, 1, 1, 0], "value": 1.5}, opset=8)
    yield Example("Pad", ((2, 3), integers(0, -1, 1, 2), scalar(0.5)))
    yield Example("Pad", ((3, 4), integers(2, 1, 0, 3)), {"mode": "reflect"})
    yield Example("Pad", ((2, 3), integers(1, 0, 0, 2)), {"mode": "edge"}, opset=11)
    yield Example("Pad", ((2, 3), integers(1, 2), None, integers(-1)), {"mode": "edge"}, opset=18)
