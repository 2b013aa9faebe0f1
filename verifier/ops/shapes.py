"""Operators on shapes alone: they make no node."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, integers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, bounded
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.logic import cast_whole

FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
"""NumPy's types for ONNX's numbers of floating-point types."""

OTHERS = {
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    12: np.uint32,
    13: np.uint64,
}


@reads("Identity", folds=True)
def read_identity(node: OnnxNode, builder: Builder) -> Operand:
    """The input."""
    return node.operand(0)


@reads("Dropout", folds=True)
def read_dropout(node: OnnxNode, builder: Builder) -> Operand:
    """The input: nothing is dropped at inference; the mask is all true."""
    training = node.constant(2, "training_mode")
    if training is not None and training.any():
        message = "training_mode"
        raise UnsupportedModel(message)
    given = node.operand(0)
    if node.outputs == 1:
        return given
    return given, np.ones(given.shape, dtype=bool)


@reads("Cast", folds=True)
def read_cast(node: OnnxNode, builder: Builder) -> Operand:
    """Values keep their real numbers under a cast to a floating-point type."""
    given, to = node.operand(0), node.flag("to", 0)
    if isinstance(given, np.ndarray):
        dtype = FLOATS.get(to) or OTHERS.get(to)
        if dtype is None:
            message = f"a cast of a constant to ONNX type {to}"
            raise UnsupportedModel(message)
        return given.astype(dtype)
    if to in FLOATS:
        return given
    if builder.marks(given).any():
        message = "a cast of minus infinity to integers"
        raise UnsupportedModel(message)
    return cast_whole(node.name, builder, given, to)


@reads("Shape", folds=True)
def read_shape(node: OnnxNode, builder: Builder) -> Operand:
    """The shape, or a slice of it, as constants."""
    shape = np.array(node.operand(0).shape, dtype=np.int64)
    return shape[slice(node.attributes.get("start"), node.attributes.get("end"))]


@reads("Size", folds=True)
def read_size(node: OnnxNode, builder: Builder) -> Operand:
    """The number of elements."""
    return np.array(math.prod(node.operand(0).shape), dtype=np.int64)


@reads("ConstantOfShape", folds=True)
def read_constant_of_shape(node: OnnxNode, builder: Builder) -> Operand:
    """One constant, everywhere."""
    shape = node.constant(0, "shape")
    value = np.asarray(node.attributes.get("value", np.zeros(1, dtype=np.float32))).reshape(-1)
    dims = () if shape is None else tuple(int(n) for n in shape.reshape(-1))
    return np.full(bounded(dims), value[0], dtype=value.dtype)


@reads("Reshape", folds=True)
def read_reshape(node: OnnxNode, builder: Builder) -> Operand:
    """Another shape: 0 keeps an axis (unless ``allowzero``), -1 is inferred."""
    given, target = node.operand(0), node.ints("shape", 1)
    if target is None:
        message = "no shape is given"
        raise ModelError(message)
    shape = list(target)
    if not node.flag("allowzero", 0):
        for i, n in enumerate(shape):
            if n == 0 and i >= len(given.shape):
                message = f"shape {target} keeps axis {i} of an array of shape {given.shape}"
                raise ModelError(message)
            shape[i] = given.shape[i] if n == 0 else n
    if -1 in shape:
        rest = math.prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = math.prod(given.shape) // rest if rest else 0
    return _view(given, shape)


def _view(given: Operand, shape: list[int]) -> Operand:
    if math.prod(shape) != math.prod(given.shape) or min(shape, default=1) < 0:
        message = f"an array of shape {tuple(given.shape)} cannot have shape {tuple(shape)}"
        raise ModelError(message)
    return given.reshape(tuple(shape))


@reads("Flatten", folds=True)
def read_flatten(node: OnnxNode, builder: Builder) -> Operand:
    """Two axes: those before ``axis``, and the others."""
    given, axis = node.operand(0), node.flag("axis", 1)
    axis = axis + len(given.shape) if axis < 0 else axis
    return _view(given, [math.prod(given.shape[:axis]), math.prod(given.shape[axis:])])


@reads("Squeeze", folds=True)
def read_squeeze(node: OnnxNode, builder: Builder) -> Operand:
    """Without the given axes of length 1, or without all of them."""
    given, axes = node.operand(0), node.ints("axes", 1)
    shape = list(given.shape)
    if axes is None:
        return _view(given, [n for n in shape if n != 1])
    dropped = {axis_of(axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in dropped):
        message = f"axes {axes} of shape {tuple(shape)} are not all of length 1"
        raise ModelError(message)
    return _view(given, [n for axis, n in enumerate(shape) if axis not in dropped])


@reads("Unsqueeze", folds=True)
def read_unsqueeze(node: OnnxNode, builder: Builder) -> Operand:
    """With new axes of length 1 at the given places of the result."""
    given, axes = node.operand(0), node.ints("axes", 1)
    rank = len(given.shape) + len(axes or ())
    added = {axis_of(axis, rank) for axis in axes or ()}
    old = iter(given.shape)
    return _view(given, [1 if axis in added else next(old) for axis in range(rank)])


@examples("Identity", "Dropout", "Cast", "Flatten", "Reshape")
def _views() -> Iterator[Example]:
    yield Example("Identity", ((2, 3),))
    yield Example("Dropout", ((2, 3),), {"ratio": 0.5}, opset=11)
    yield Example("Dropout", ((2, 3), scalar(0.5), np.zeros((), dtype=bool)))
    yield Example("Cast", ((2, 3),), {"to": 1})
    yield Example("Flatten", ((2, 3, 2),), {"axis": 2})
    yield Example("Flatten", ((2, 3, 2),), {"axis": -1}, opset=11)
    yield Example("Flatten", ((2, 3),), {"axis": 0})
    yield Example("Reshape", ((2, 3, 2), integers(0, -1)))
    yield Example("Reshape", ((2, 3, 2), integers(3, 4)), {"allowzero": 1})


@examples("Squeeze", "Unsqueeze")
def _axes() -> Iterator[Example]:
    yield Example("Squeeze", ((1, 3, 1, 2),))
    yield Example("Squeeze", ((1, 3, 1, 2),), {"axes": [0]}, opset=11)
    yield Example("Squeeze", ((1, 3, 1, 2), integers(-2)))
    yield Example("Unsqueeze", ((2, 3),), {"axes": [0, 3]}, opset=11)
    yield Example("Unsqueeze", ((2, 3), integers(-1, 1)))
