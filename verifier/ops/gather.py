"""Elements picked at constant places."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.look_up import look_up


def places(node: OnnxNode, place: int) -> np.ndarray:
    """Constant integers of any shape, which must be there."""
    given = node.constant(place, "indices")
    if given is None:
        message = "no indices"
        raise ModelError(message)
    return given.astype(np.int64)


def within(indices: np.ndarray, size: int) -> np.ndarray:
    """Possibly negative indices as ones in [0, size)."""
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        message = f"indices {indices.min()} to {indices.max()} into an axis of length {size}"
        raise ModelError(message)
    return np.where(indices < 0, indices + size, indices)


def along_axis(indices: np.ndarray, axis: int, size: int) -> tuple[np.ndarray, ...]:
    """The coordinates of an element for each index: its own place, but for ``axis``."""
    coordinates = [np.asarray(own) for own in np.indices(indices.shape)]
    coordinates[axis] = within(indices, size)
    return tuple(coordinates)


def nested(indices: np.ndarray, shape: tuple[int, ...], batch: int = 0) -> tuple[np.ndarray, ...]:
    """The coordinates that index vectors (along the last axis) name, after ``batch`` own axes."""
    count = indices.shape[-1] if indices.ndim else 0
    if not 0 < count <= len(shape) - batch:
        message = f"index vectors of length {count} into an array of shape {shape}"
        raise ModelError(message)
    own = [np.asarray(place) for place in np.indices(indices.shape[:-1])[:batch]]
    given = [within(indices[..., i], shape[batch + i]) for i in range(count)]
    return (*own, *given)


@reads("Gather", folds=True)
def read_gather(node: OnnxNode, builder: Builder) -> Operand:
    """Slices picked by constant indices, or slices of a constant picked by computed ones."""
    given = node.operand(0)
    axis = axis_of(node.flag("axis", 0), len(given.shape))
    index = node.operand(1)
    if isinstance(given, np.ndarray) and not isinstance(index, np.ndarray):
        return look_up(node.name, builder, given, index, axis)
    chosen = within(places(node, 1), given.shape[axis])
    return move(builder, node.name, given, lambda table: np.take(table, chosen, axis=axis))


@reads("GatherElements", folds=True)
def read_gather_elements(node: OnnxNode, builder: Builder) -> Operand:
    """Each element of the result comes from its own place, but for one coordinate."""
    given, indices = node.operand(0), places(node, 1)
    if indices.ndim != len(given.shape):
        message = f"indices of shape {indices.shape} into an array of shape {tuple(given.shape)}"
        raise ModelError(message)
    axis = axis_of(node.flag("axis", 0), indices.ndim)
    coordinates = along_axis(indices, axis, given.shape[axis])
    return move(builder, node.name, given, lambda table: table[coordinates])


@reads("GatherND", folds=True)
def read_gather_nd(node: OnnxNode, builder: Builder) -> Operand:
    """Slices picked by vectors of indices."""
    given, indices = node.operand(0), places(node, 1)
    coordinates = nested(indices, tuple(given.shape), node.flag("batch_dims", 0))
    return move(builder, node.name, given, lambda table: table[coordinates])


@reads("Compress", folds=True)
def read_compress(node: OnnxNode, builder: Builder) -> Operand:
    """Slices (or elements, without an axis) where a constant condition holds."""
    given, condition = node.operand(0), node.constant(1, "condition")
    if condition is None:
        message = "no condition"
        raise ModelError(message)
    axis = node.attributes.get("axis")
    place = None if axis is None else axis_of(int(axis), len(given.shape))
    chosen = np.flatnonzero(condition)
    return move(builder, node.name, given, lambda table: np.take(table, chosen, axis=place))


@reads("ReverseSequence", folds=True)
def read_reverse_sequence(node: OnnxNode, builder: Builder) -> Operand:
    """The first elements of each sequence of a batch, backwards."""
    given, lengths = node.operand(0), places(node, 1).reshape(-1)
    axes = (node.flag("batch_axis", 1), node.flag("time_axis", 0))

    def movement(table: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(table, axes, (0, 1)).copy()
        for sequence, length in zip(moved, lengths, strict=True):
            sequence[:length] = sequence[:length][::-1].copy()
        return np.moveaxis(moved, (0, 1), axes)

    return move(builder, node.name, given, movement)


@examples("Gather", "GatherElements", "GatherND")
def _gathers() -> Iterator[Example]:
    yield Example("Gather", ((3, 4), integers(2, 0, -1)), {"axis": 1})
    yield Example("Gather", ((3, 4), np.array([[0, 2]])), {"axis": -2})
    yield Example("Gather", ((3, 4), np.array(1)))
    yield Example("GatherElements", ((3, 4), np.array([[0, 2], [-1, 0]])), {"axis": 0})
    yield Example("GatherElements", ((2, 3), np.array([[2, 2, 0, 1]])), {"axis": -1}, opset=11)
    yield Example("GatherND", ((2, 3, 2), np.array([[0, 1], [1, -1]])))
    yield Example("GatherND", ((2, 3, 2), np.array([[1], [0]])), {"batch_dims": 1}, opset=12)
    yield Example("GatherND", ((2, 3), np.array([[[1, 2]], [[0, 0]]])), opset=11)


@examples("Compress", "ReverseSequence")
def _choices() -> Iterator[Example]:
    yield Example("Compress", ((2, 3), np.array([True, False, True])), {"axis": 1})
    yield Example("Compress", ((2, 3), np.array([False, True, False, True])))
    yield Example("ReverseSequence", ((4, 2), integers(3, 1)))
    swapped = {"batch_axis": 0, "time_axis": 1}
    yield Example("ReverseSequence", ((2, 3, 2), integers(2, 3)), swapped)
