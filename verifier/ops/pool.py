"""Pooling: maxima and means over windows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example
from verifier.families.maximum import Maximum
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.curves import curve, power, square
from verifier.ops.gather_sum import GatherSum
from verifier.ops.kinked import absolute
from verifier.ops.logic import rectified
from verifier.ops.norms import root
from verifier.ops.reduce import sums
from verifier.ops.windows import Windows, image_table


def _windows(node: OnnxNode, value: Value) -> tuple[Windows, np.ndarray, tuple[int, ...]]:
    """(windows, table over the whole value, output shape)."""
    kernel = node.ints("kernel_shape")
    if kernel is None or len(value.shape) < 3:
        message = f"a pool over shape {value.shape} with kernel_shape {kernel}"
        raise ModelError(message)
    space = value.shape[2:]
    windows = Windows.of(node, space, kernel)
    table = image_table(windows.table(), math.prod(value.shape[:2]), math.prod(space))
    return windows, table, (*value.shape[:2], *windows.counts)


@reads("MaxPool")
def read_max_pool(node: OnnxNode, builder: Builder) -> Operand:
    """The maximum over each window; padding never counts."""
    if node.outputs > 1:
        message = "the output Indices"
        raise UnsupportedModel(message)
    value = node.value(0)
    _, table, shape = _windows(node, value)
    if (table.max(axis=1) < 0).any():
        message = "a window that lies in the padding"
        raise UnsupportedModel(message)
    return builder.add(node.name, Maximum.of(table, value.size), [value], shape)


@reads("AveragePool")
def read_average_pool(node: OnnxNode, builder: Builder) -> Operand:
    """The mean over each window; ``count_include_pad`` counts padding as zeros."""
    value = node.value(0)
    windows, table, shape = _windows(node, value)
    if node.flag("count_include_pad", 0):
        cells = np.tile(windows.padded_cells(), math.prod(value.shape[:2]))
    else:
        cells = (table >= 0).sum(axis=1)
    if not cells.all():
        message = "a window that lies in the padding"
        raise UnsupportedModel(message)
    operator = GatherSum.of(table, 1.0 / cells, value.size)
    return builder.add(node.name, operator, [value], shape)


@reads("LpPool", "GlobalLpPool")
def read_lp_pool(node: OnnxNode, builder: Builder) -> Operand:
    """The p-norm of each window, or of each image; padding counts as zeros."""
    value, p = node.value(0), node.flag("p", 2)
    if p < 1:
        message = f"p {p}, need at least 1"
        raise ModelError(message)
    if node.op_type == "LpPool":
        _, table, shape = _windows(node, value)
    else:
        table, shape = _images(value)
    name = node.name
    if p > 2:
        size = absolute(f"{name}/size", builder, value) if p % 2 else value
        terms = curve(f"{name}/terms", builder, size, power(float(p)))
        total = sums(f"{name}/sum", builder, terms, table, 1.0)
        positive = rectified(f"{name}/positive", builder, total)
        return curve(name, builder, positive, power(1.0 / p)).reshape(shape)
    inner = absolute if p == 1 else square
    total = sums(f"{name}/sum", builder, inner(f"{name}/terms", builder, value), table, 1.0)
    return (total if p == 1 else root(name, builder, total)).reshape(shape)


def _images(value: Value) -> tuple[np.ndarray, tuple[int, ...]]:
    """The elements of each image, and the shape of one number for each."""
    table = np.arange(value.size).reshape(math.prod(value.shape[:2]), -1)
    return table, value.shape[:2] + (1,) * (len(value.shape) - 2)


@reads("GlobalAveragePool")
def read_global_average_pool(node: OnnxNode, builder: Builder) -> Operand:
    """The mean over all spatial axes, which stay as axes of length 1."""
    value = node.value(0)
    table, shape = _images(value)
    operator = GatherSum.of(table, np.full(len(table), 1.0 / table.shape[1]), value.size)
    return builder.add(node.name, operator, [value], shape)


@reads("GlobalMaxPool")
def read_global_max_pool(node: OnnxNode, builder: Builder) -> Operand:
    """The maximum over all spatial axes, which stay as axes of length 1."""
    value = node.value(0)
    table, shape = _images(value)
    return builder.add(node.name, Maximum.of(table, value.size), [value], shape)


@examples("MaxPool")
def _max_pool() -> Iterator[Example]:
    yield Example("MaxPool", ((1, 2, 4, 4),), {"kernel_shape": [2, 2], "strides": [2, 2]})
    yield Example("MaxPool", ((2, 1, 7),), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]})
    yield Example(
        "MaxPool",
        ((1, 2, 5, 6),),
        {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1},
    )
    yield Example("MaxPool", ((1, 1, 3, 3, 3),), {"kernel_shape": [2, 2, 2]})
    yield Example("MaxPool", ((1, 1, 6, 6),), {"kernel_shape": [2, 2], "dilations": [2, 3]})
    yield Example(
        "MaxPool",
        ((1, 1, 5, 5),),
        {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]},
        opset=8,
    )


@examples("AveragePool")
def _average_pool() -> Iterator[Example]:
    yield Example("AveragePool", ((1, 2, 4, 4),), {"kernel_shape": [2, 2], "strides": [2, 2]})
    pads = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    yield Example("AveragePool", ((1, 2, 5, 6),), pads)
    yield Example("AveragePool", ((1, 2, 5, 6),), {**pads, "count_include_pad": 1})
    yield Example(
        "AveragePool", ((1, 1, 6),), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}
    )
    yield Example(
        "AveragePool",
        ((1, 1, 6),),
        {
            "kernel_shape": [3],
            "strides": [2],
            "ceil_mode": 1,
            "count_include_pad": 1,
            "pads": [1, 0],
        },
        opset=22,
    )
    yield Example(
        "AveragePool", ((1, 1, 5, 5),), {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, opset=8
    )
    yield Example("AveragePool", ((1, 1, 6),), {"kernel_shape": [2], "dilations": [3]}, opset=19)


@examples("LpPool", "GlobalLpPool")
def _lp_pool() -> Iterator[Example]:
    yield Example("LpPool", ((1, 2, 4, 4),), {"kernel_shape": [2, 2], "strides": [2, 2]})
    pads = {"kernel_shape": [3], "strides": [2], "pads": [1, 0], "p": 1}
    yield Example("LpPool", ((2, 1, 7),), pads, opset=18)
    yield Example("LpPool", ((1, 1, 5),), {**pads, "p": 3}, opset=18)
    yield Example("LpPool", ((1, 1, 5),), {**pads, "p": 4}, opset=18)
    yield Example("GlobalLpPool", ((2, 2, 3),))
    yield Example("GlobalLpPool", ((1, 2, 2, 2),), {"p": 1})


@examples("GlobalAveragePool", "GlobalMaxPool")
def _global_pool() -> Iterator[Example]:
    for op_type in ("GlobalAveragePool", "GlobalMaxPool"):
        yield Example(op_type, ((2, 2, 3, 2),))
        yield Example(op_type, ((1, 3, 4),))
