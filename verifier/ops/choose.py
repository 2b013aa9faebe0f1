"""Choices by constant conditions: each result is one of two operands, or 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.logic import mix
from verifier.ops.sum import odd_in, select, without


@reads("Where", folds=True)
def read_where(node: OnnxNode, builder: Builder) -> Operand:
    """One operand where a condition holds, the other elsewhere."""
    condition = node.operand(0)
    operands = [node.operand(1), node.operand(2)]
    if not isinstance(condition, np.ndarray):
        return mix(node.name, builder, condition, (operands[0], operands[1]))

    def choose(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
        return np.where(condition, yes, no)

    if all(isinstance(x, np.ndarray) for x in operands):
        return choose(*operands)
    odd = [odd_in(builder, x) for x in operands]
    finite = [without(x, marks) for x, marks in zip(operands, odd, strict=True)]
    result = select(node.name, builder, finite, choose)
    if isinstance(result, Value):
        builder.mark(result, choose(*odd))
    return result


@reads("Trilu", folds=True)
def read_trilu(node: OnnxNode, builder: Builder) -> Operand:
    """The upper or lower triangle of matrices, and 0 elsewhere."""
    given, k = node.operand(0), node.ints("k", 1) or (0,)
    if len(given.shape) < 2:
        message = f"a triangle of an array of shape {tuple(given.shape)}, need matrices"
        raise ModelError(message)
    part = np.triu if node.flag("upper", 1) else np.tril
    kept = part(np.ones(given.shape[-2:], dtype=bool), k[0])
    zero = np.zeros((), dtype=given.dtype if isinstance(given, np.ndarray) else np.float64)
    return select(node.name, builder, [given, zero], lambda a, b: np.where(kept, a, b))


@examples("Where", "Trilu")
def _choices() -> Iterator[Example]:
    condition = np.array([[True, False, True], [False, False, True]])
    yield Example("Where", (condition, (2, 3), (3,)))
    yield Example("Where", (condition[:, :1], (1, 3), numbers(2, 1)), opset=9)
    yield Example("Where", (condition, scalar(2.0), (3,)))
    yield Example("Trilu", ((2, 3),))
    yield Example("Trilu", ((2, 3, 3), np.array(1)), {"upper": 0})
    yield Example("Trilu", ((3, 2), np.array(-1)))
