"""Elements written at constant places."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, numbers
from verifier.families.maximum import Maximum
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.gather import along_axis, nested, places
from verifier.ops.gather_sum import GatherSum, occurrences
from verifier.ops.scale import Scale
from verifier.ops.sum import select


@reads("Scatter", "ScatterElements", folds=True)
def read_scatter_elements(node: OnnxNode, builder: Builder) -> Operand:
    """Each update goes to its own place, but for one coordinate."""
    given, indices = node.operand(0), places(node, 1)
    if indices.ndim != len(given.shape) or indices.shape != tuple(node.operand(2).shape):
        message = f"indices of shape {indices.shape} into an array of shape {tuple(given.shape)}"
        raise ModelError(message)
    axis = axis_of(node.flag("axis", 0), indices.ndim)
    return _scatter(node, builder, along_axis(indices, axis, given.shape[axis]))


@reads("ScatterND", folds=True)
def read_scatter_nd(node: OnnxNode, builder: Builder) -> Operand:
    """Each slice of updates goes where a vector of indices says."""
    return _scatter(node, builder, nested(places(node, 1), tuple(node.operand(0).shape)))


def _scatter(node: OnnxNode, builder: Builder, target: tuple[np.ndarray, ...]) -> Operand:
    """Where two updates meet, the last one stays, or they are reduced with what is there."""
    given, updates = node.operand(0), node.operand(2)
    reduction = node.attributes.get("reduction", "none")
    if reduction == "none":
        return select(node.name, builder, [given, updates], lambda a, b: _written(a, target, b))
    if isinstance(given, np.ndarray) and isinstance(updates, np.ndarray):
        return _reduced(given, target, updates, reduction)
    if reduction not in {"add", "min", "max"}:
        message = f"reduction {reduction!r}"
        raise UnsupportedModel(message)
    numbered = np.arange(math.prod(given.shape)).reshape(given.shape)
    new = occurrences(numbered[target].reshape(-1), numbered.size)
    new = np.where(new >= 0, new + numbered.size, -1)
    index = np.concatenate([numbered.reshape(-1, 1), new], axis=1)
    whole = select(f"{node.name}/all", builder, [given, updates], _flat)
    if reduction == "add":
        operator = GatherSum.of(index, np.ones(len(index)), whole.size)
        return builder.add(node.name, operator, [whole], given.shape)
    greatest = Maximum.of(index, whole.size)
    if reduction == "max":
        return builder.add(node.name, greatest, [whole], given.shape)
    negative = builder.add(f"{node.name}/minus", _minus(whole.size), [whole])
    most = builder.add(f"{node.name}/most", greatest, [negative], given.shape)
    return builder.add(node.name, _minus(most.size), [most])


def _written(table: np.ndarray, target: tuple[np.ndarray, ...], new: np.ndarray) -> np.ndarray:
    table = table.copy()
    table[target] = new
    return table


def _reduced(
    given: np.ndarray, target: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str
) -> np.ndarray:
    """Of constants."""
    functions = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
    if reduction not in functions:
        message = f"reduction {reduction!r}"
        raise ModelError(message)
    result = given.copy()
    functions[reduction].at(result, target, updates)
    return result


def _minus(size: int) -> Scale:
    return Scale.of(size, -np.ones(size), None)


def _flat(*tables: np.ndarray) -> np.ndarray:
    return np.concatenate([table.reshape(-1) for table in tables])


@examples("Scatter", "ScatterElements", "ScatterND")
def _scatters() -> Iterator[Example]:
    indices = np.array([[1, 0, -1], [0, 2, 1]])
    yield Example("Scatter", ((3, 3), indices, numbers(2, 3)), opset=9)
    yield Example("ScatterElements", ((3, 3), indices, (2, 3)))
    yield Example("ScatterElements", (numbers(2, 4), indices, (2, 3)), {"axis": -1}, opset=11)
    twice = np.array([[1, 1, 0]])
    yield Example("ScatterElements", ((2, 2), twice, (1, 3)), {"axis": 1, "reduction": "add"})
    for reduction in ("min", "max"):
        options = {"axis": 1, "reduction": reduction}
        yield Example("ScatterElements", ((2, 2), twice, (1, 3)), options, opset=18)
    yield Example("ScatterND", ((4, 2), np.array([[3], [1]]), (2, 2)))
    yield Example("ScatterND", ((2, 3), np.array([[[0, 2], [-1, 0]]]), numbers(1, 2)), opset=11)
    yield Example("ScatterND", ((3, 2), np.array([[1], [1], [-1]]), (3, 2)), {"reduction": "add"})
