"""Gemm: alpha A B + beta C."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand, expand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.linear import Linear
from verifier.ops.matmul import matrix_product
from verifier.ops.scale import Scale
from verifier.ops.sum import Sum, add


@reads("Gemm")
def read_gemm(node: OnnxNode, builder: Builder) -> Operand:
    """Alpha A' B' + beta C, where a prime may transpose."""
    left, right, bias = node.operand(0), node.operand(1), node.get(2)
    if len(left.shape) != 2 or len(right.shape) != 2:
        message = (
            f"matrices of shapes {tuple(left.shape)} and {tuple(right.shape)}, need 2 axes each"
        )
        raise ModelError(message)
    if node.flag("transA", 0):
        left = move(builder, f"{node.name}/transA", left, np.transpose)
    if node.flag("transB", 0):
        right = move(builder, f"{node.name}/transB", right, np.transpose)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if isinstance(bias, np.ndarray) and isinstance(left, Value) and isinstance(right, np.ndarray):
        matrix = alpha * right.astype(np.float64)
        return _linear(node, builder, left, matrix, np.asarray(beta * bias.astype(np.float64)))
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        product = alpha * (left.astype(np.float64) @ right.astype(np.float64))
        scaled = _scaled(f"{node.name}/beta", builder, node.value(2), beta)
        return add(node.name, builder, product, scaled)
    product = matrix_product(node.name, builder, left, right)
    product = _scaled(f"{node.name}/alpha", builder, product, alpha)
    if bias is None or beta == 0.0:
        return product
    offset = expand(builder, f"{node.name}/bias", bias, product.shape)
    if isinstance(offset, np.ndarray):
        flat = beta * offset.astype(np.float64).reshape(-1)
        return builder.add(f"{node.name}/add", Scale.of(product.size, None, flat), [product])
    offset = _scaled(f"{node.name}/beta", builder, offset, beta)
    return builder.add(f"{node.name}/add", Sum.of(product.size, (1, 1)), [product, offset])


def _linear(
    node: OnnxNode, builder: Builder, left: Value, matrix: np.ndarray, bias: np.ndarray
) -> Value:
    """A computed matrix times a constant one, plus a constant."""
    shape = (left.shape[0], matrix.shape[1])
    if left.shape[1] != matrix.shape[0]:
        message = f"matrices of shapes {left.shape} and {matrix.shape} do not multiply"
        raise ModelError(message)
    flat = np.broadcast_to(bias, shape).reshape(-1)
    # alpha and beta each cost one rounding.
    operator = Linear.of(matrix.T, flat, positions=shape[0], extra_terms=1)
    return builder.add(node.name, operator, [left], shape)


def _scaled(name: str, builder: Builder, value: Value, factor: float) -> Value:
    if factor == 1.0:
        return value
    return builder.add(name, Scale.of(value.size, np.full(value.size, factor), None), [value])


@examples("Gemm")
def _gemm() -> Iterator[Example]:
    yield Example("Gemm", ((1, 3), numbers(3, 4), numbers(4)))
    yield Example("Gemm", ((2, 3), numbers(4, 3), numbers(2, 1)), {"transB": 1, "alpha": 0.3})
    yield Example("Gemm", ((3, 2), numbers(3, 4), numbers(1)), {"transA": 1, "beta": 0.7})
    yield Example("Gemm", ((1, 3), numbers(3, 1)), opset=11)
    yield Example("Gemm", (numbers(4, 3), (3, 2), numbers(4, 2)))
    yield Example("Gemm", (numbers(3, 4), (1, 3), (1,)), {"transA": 1, "transB": 1, "beta": 2.0})
    yield Example("Gemm", ((2, 3), (3, 2), (2,)), {"alpha": 0.5})
    yield Example("Gemm", ((2, 3), (4, 3), numbers(2, 4)), {"transB": 1})
    yield Example("Gemm", (numbers(2, 3), numbers(3, 2), (2,)), {"alpha": 0.5, "beta": 3.0})
