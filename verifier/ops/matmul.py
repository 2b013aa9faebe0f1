"""Matrix products: by a constant, and of two values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, numbers
from verifier.families.matrix_product import MatrixProduct
from verifier.families.onnx_node import OnnxNode, Operand, expand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.linear import Linear
from verifier.ops.sum import concatenate


@reads("MatMul")
def read_matmul(node: OnnxNode, builder: Builder) -> Operand:
    """NumPy's ``matmul``; the leading axes are batches."""
    return matrix_product(node.name, builder, node.operand(0), node.operand(1))


def matrix_product(name: str, builder: Builder, left: Operand, right: Operand) -> Value:
    """``left @ right``, of which one may be a constant."""
    row, column = len(left.shape) == 1, len(right.shape) == 1
    if not left.shape or not right.shape:
        message = "a matrix product with a scalar"
        raise ModelError(message)
    left = left.reshape((1, *left.shape)) if row else left
    right = right.reshape((*right.shape, 1)) if column else right
    if left.shape[-1] != right.shape[-2]:
        message = f"matrices of shapes {left.shape} and {right.shape} do not multiply"
        raise ModelError(message)
    if isinstance(right, np.ndarray):
        result = _by_constant(name, builder, left, right.astype(np.float64))
    elif isinstance(left, np.ndarray):
        # (W x)' = x' W'
        turned = move(builder, f"{name}/turn", right, _transpose)
        matrix = _transpose(left.astype(np.float64))
        result = _by_constant(name, builder, turned, matrix)
        result = move(builder, f"{name}/turn_back", result, _transpose)
    else:
        result = _of_two(name, builder, left, right)
    shape = list(result.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return result.reshape(shape)


def _transpose(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _by_constant(name: str, builder: Builder, left: Value, matrix: np.ndarray) -> Value:
    """``left [..., p, n] @ matrix [..., n, m]``."""
    n, m = matrix.shape[-2:]
    leading = np.broadcast_shapes(left.shape[:-2], matrix.shape[:-2])
    shape = (*leading, left.shape[-2], m)
    if math.prod(matrix.shape[:-2]) == 1:
        positions = left.size // n
        operator = Linear.of(matrix.reshape(n, m).T, positions=positions)
        return builder.add(name, operator, [left], shape)
    table = np.broadcast_to(left.table(), (*leading, *left.shape[-2:])).reshape(-1, shape[-2], n)
    matrices = np.broadcast_to(matrix, (*leading, n, m)).reshape(-1, n, m)
    parts = []
    for i, (index, part) in enumerate(zip(table, matrices, strict=True)):
        block = builder.rearrange(f"{name}/block{i}", left, index)
        operator = Linear.of(part.T, positions=shape[-2])
        parts.append(builder.add(f"{name}/{i}", operator, [block], (shape[-2], m)))
    return concatenate(name, builder, parts, 0).reshape(shape)


def _of_two(name: str, builder: Builder, left: Value, right: Value) -> Value:
    """One product of matrices for each entry of the leading axes."""
    leading = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    rows, n, columns = left.shape[-2], left.shape[-1], right.shape[-1]
    left = expand(builder, f"{name}/left", left, (*leading, rows, n))
    right = expand(builder, f"{name}/right", right, (*leading, n, columns))
    operator = MatrixProduct.of(math.prod(leading), rows, n, columns)
    return builder.add(name, operator, [left, right], (*leading, rows, columns))


@examples("MatMul")
def _matmul() -> Iterator[Example]:
    yield Example("MatMul", ((1, 3), numbers(3, 4)))
    yield Example("MatMul", ((2, 3, 4), numbers(4, 2)))
    yield Example("MatMul", ((3,), numbers(3, 2)))
    yield Example("MatMul", ((2, 3), numbers(3)))
    yield Example("MatMul", (numbers(4, 3), (3,)))
    yield Example("MatMul", (numbers(2, 3), (2, 3, 2)))
    yield Example("MatMul", (numbers(2, 1, 3), (3, 2)))
    yield Example("MatMul", ((2, 2, 3), numbers(2, 3, 2)))
    yield Example("MatMul", ((2, 3), numbers(2, 3, 2)))
    yield Example("MatMul", ((2, 1, 2, 2), (2, 2, 1)))
    yield Example("MatMul", ((3,), (3,)))
    yield Example("MatMul", ((2, 1), (1, 2)))
