"""Col2Im: columns of blocks, added up where the blocks lie in an image."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.gather_sum import GatherSum, occurrences
from verifier.ops.windows import Windows


@reads("Col2Im")
def read_col2im(node: OnnxNode, builder: Builder) -> Operand:
    """The transpose of taking an image's windows as columns."""
    value, space, kernel = node.value(0), node.ints("", 1), node.ints("", 2)
    if space is None or kernel is None or len(value.shape) != 3 or not kernel:
        message = f"columns of shape {value.shape} for blocks {kernel} of an image {space}"
        raise ModelError(message)
    windows = Windows.of(node, space, kernel).table().T
    cells, height = math.prod(space), math.prod(kernel)
    images, rows, columns = value.shape
    if rows % height or windows.shape[1] != columns:
        message = f"columns of shape {value.shape}, need {windows.shape[1]} of them"
        raise ModelError(message)
    sources = occurrences(windows.reshape(-1), cells)
    each = images * rows // height
    offsets = np.arange(each)[:, None, None] * windows.size
    index = np.where(sources >= 0, sources + offsets, -1).reshape(each * cells, -1)
    operator = GatherSum.of(index, np.ones(len(index)), value.size)
    return builder.add(node.name, operator, [value], (images, rows // height, *space))


@examples("Col2Im")
def _col2im() -> Iterator[Example]:
    yield Example("Col2Im", ((1, 4, 6), integers(3, 4), integers(2, 2)), opset=18)
    options = {"strides": [2, 1], "pads": [1, 0, 0, 1], "dilations": [1, 2]}
    yield Example("Col2Im", ((2, 8, 6), integers(3, 4), integers(2, 2)), options, opset=18)
    yield Example("Col2Im", ((1, 2, 2), integers(5), integers(2)), {"strides": [3]}, opset=18)
