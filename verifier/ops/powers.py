"""Pow: constant exponents, the same or not, and constant or variable bases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.curves import EXP, LOG, curve, power
from verifier.ops.mul import multiply
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.sum import concatenate


@reads("Pow", folds=True)
def read_pow(node: OnnxNode, builder: Builder) -> Operand:
    """x^p entry by entry; where p is computed exp(p log x), for positive x only."""
    base, exponent = node.operand(0), node.operand(1)
    if isinstance(base, np.ndarray) and isinstance(exponent, np.ndarray):
        return np.asarray(np.power(base, exponent.astype(base.dtype)))
    shape = np.broadcast_shapes(base.shape, exponent.shape)
    if not isinstance(exponent, np.ndarray):
        return _variable(node.name, builder, base, exponent)
    base = expand(builder, f"{node.name}/base", base, shape)
    every = np.broadcast_to(exponent, shape).astype(np.float64).reshape(-1)
    distinct = np.unique(every)
    if len(distinct) == 1:
        return raised(node.name, builder, base, float(distinct[0]))
    parts, places = [], []
    for i, p in enumerate(distinct):
        places.append(np.flatnonzero(every == p))
        name = f"{node.name}/{i}"
        part = builder.rearrange(f"{name}/base", base, places[-1])
        parts.append(raised(name, builder, part, float(p)))
    joined = concatenate(f"{node.name}/all", builder, parts, 0)
    back = np.argsort(np.concatenate(places), kind="stable").reshape(shape)
    return builder.rearrange(node.name, joined, back)


def raised(name: str, builder: Builder, base: Value, p: float) -> Operand:
    """x^p."""
    if p == 0:
        return np.ones(base.shape, dtype=np.float32)
    if p == 1:
        return base
    if p == -1:
        return builder.add(name, Reciprocal.of(base.size), [base])
    if p < 0 and p == int(p):
        inverse = builder.add(f"{name}/reciprocal", Reciprocal.of(base.size), [base])
        return curve(name, builder, inverse, power(-p))
    return curve(name, builder, base, power(p))


def _variable(name: str, builder: Builder, base: Operand, exponent: Value) -> Value:
    if isinstance(base, np.ndarray):
        if not (base > 0).all():
            message = "a variable exponent of a constant that is not positive"
            raise UnsupportedModel(message)
        logarithm: Operand = np.asarray(np.log(base.astype(np.float64)))
    else:
        logarithm = curve(f"{name}/log", builder, base, LOG)
    return curve(name, builder, multiply(f"{name}/times", builder, exponent, logarithm), EXP)


@examples("Pow")
def _powers() -> Iterator[Example]:
    for p in (2.0, 3.0, 4.0):
        yield Example("Pow", ((2, 2), scalar(p)))
    yield Example("Pow", ((3,), scalar(1.0)))
    yield Example("Pow", ((3,), np.full((2, 1, 3), 2.0, np.float32)))
    for p in (0.5, 1.5):
        yield Example("Pow", ((3,), scalar(p)), low=0.0, high=3.0)
    for p in (-1.0, -2.0, -0.5):
        yield Example("Pow", ((3,), scalar(p)), low=0.25, high=3.0)
    several = np.array([[2.0, 0.0, 3.0], [1.0, 2.0, -1.0]], dtype=np.float32)
    yield Example("Pow", ((3,), several), low=0.25, high=2.0)
    yield Example("Pow", (abs(numbers(2, 1)), (1, 3)))
    yield Example("Pow", (scalar(2.0), (3,)))
    yield Example("Pow", ((2, 3), (3,)), low=0.5, high=2.0)
