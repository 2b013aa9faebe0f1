"""Products and quotients, elementwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.bilinear import Product
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.curves import square
from verifier.ops.gated import gated
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.scale import Scale


@reads("Mul", folds=True)
def read_mul(node: OnnxNode, builder: Builder) -> Operand:
    """A b."""
    left, right = node.operand(0), node.operand(1)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.asarray(left * right)
    return multiply(node.name, builder, left, right)


def multiply(name: str, builder: Builder, left: Operand, right: Operand) -> Value:
    """``left * right`` with broadcasting, not both constant."""
    if isinstance(left, np.ndarray):
        left, right = right, left
    if isinstance(right, Value) and left == right:
        return square(name, builder, left)
    shape = np.broadcast_shapes(left.shape, right.shape)
    left = expand(builder, f"{name}/left", left, shape)
    right = expand(builder, f"{name}/right", right, shape)
    if isinstance(right, np.ndarray):
        if (right == 1).all():
            return left
        factor = right.astype(np.float64).reshape(-1)
        return builder.add(name, Scale.of(left.size, factor, None), [left])
    return gated(name, builder, left, right) or builder.add(
        name, Product.of(left.size), [left, right]
    )


@reads("Div", folds=True)
def read_div(node: OnnxNode, builder: Builder) -> Operand:
    """A / b: by a constant a ``Scale``, by a value a product with its reciprocal."""
    left, right = node.operand(0), node.operand(1)
    if isinstance(right, np.ndarray):
        if not right.all():
            message = "division by a constant 0"
            raise ModelError(message)
        if isinstance(left, np.ndarray):
            return _quotient(left, right)
        inverse = np.asarray(1.0 / right.astype(np.float64))
        return multiply(node.name, builder, left, inverse)
    inverse = builder.add(f"{node.name}/reciprocal", Reciprocal.of(right.size), [right])
    if isinstance(left, np.ndarray) and left.size == 1 and left.reshape(-1)[0] == 1.0:
        return expand(builder, node.name, inverse, np.broadcast_shapes(left.shape, right.shape))
    return multiply(node.name, builder, left, inverse)


def _quotient(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of constants; integers are rounded towards 0, as in C."""
    if left.dtype.kind == "f":
        return np.asarray(left / right)
    whole = np.abs(left) // np.abs(right)
    return np.asarray(whole * (np.sign(left) * np.sign(right)), dtype=left.dtype)


@reads("Neg", folds=True)
def read_neg(node: OnnxNode, builder: Builder) -> Operand:
    """- a."""
    operand = node.operand(0)
    if isinstance(operand, np.ndarray):
        return np.asarray(-operand)
    return builder.add(node.name, Scale.of(operand.size, -np.ones(operand.size), None), [operand])


@reads("Reciprocal")
def read_reciprocal(node: OnnxNode, builder: Builder) -> Operand:
    """1 / a."""
    value = node.value(0)
    return builder.add(node.name, Reciprocal.of(value.size), [value])


@examples("Mul")
def _mul() -> Iterator[Example]:
    yield Example("Mul", ((2, 3), numbers(3)))
    yield Example("Mul", (numbers(2, 1), (1, 3)), opset=8)
    yield Example("Mul", ((2, 3), (2, 3)))
    yield Example("Mul", ((2, 1), (3,)))


@examples("Div")
def _div() -> Iterator[Example]:
    yield Example("Div", ((2, 3), numbers(3)))
    yield Example("Div", ((3,), numbers(2, 1)))
    yield Example("Div", ((2, 3), (3,)), low=0.5, high=2.0)
    yield Example("Div", (numbers(2, 1), (1, 3)), low=-2.0, high=-0.5)
    yield Example("Div", (np.ones((), dtype=np.float32), (2,)), low=0.5, high=2.0)


@examples("Neg")
def _neg() -> Iterator[Example]:
    yield Example("Neg", ((2, 3),))


@examples("Reciprocal")
def _reciprocal() -> Iterator[Example]:
    yield Example("Reciprocal", ((2, 3),), low=0.25, high=3.0)
    yield Example("Reciprocal", ((2,),), low=-3.0, high=-0.25)
