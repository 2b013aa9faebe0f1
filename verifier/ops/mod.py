"""Remainders of a division by a constant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, scalar
from verifier.families.onnx_node import OnnxNode, Operand, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.extremes import clamped
from verifier.ops.logic import truncated
from verifier.ops.mul import multiply
from verifier.ops.staircase import staircase
from verifier.ops.sum import add, subtract


@reads("Mod")
def read_mod(node: OnnxNode, builder: Builder) -> Operand:
    """x - c trunc(x / c) with the sign of x (fmod), or x - c floor(x / c) with the sign of c.

    The clips at the end change no value: the parts' bounds lose that the result is below |c|.
    """
    value, divisor = node.value(0), node.constant(1, "divisor")
    if divisor is None or not divisor.all():
        message = "a remainder of a division by 0"
        raise ModelError(message)
    name, fmod = node.name, bool(node.flag("fmod", 0))
    if not fmod and divisor.dtype.kind not in "iu":
        message = f"a divisor of type {divisor.dtype} without fmod, need integers"
        raise UnsupportedModel(message)
    shape = np.broadcast_shapes(value.shape, divisor.shape)
    value = expand(builder, f"{name}/value", value, shape)
    c = np.broadcast_to(divisor, shape).astype(np.float64)
    # NumPy's arithmetic makes numbers of arrays without axes.
    half, inverse = np.asarray(np.sign(c) / 2), np.asarray(1 / c)
    if fmod:
        quotient = multiply(f"{name}/quotient", builder, value, inverse)
        whole: Operand = truncated(f"{name}/whole", builder, quotient)
    else:
        # Half of one further the whole quotient is the same, and not at a jump.
        middle = add(f"{name}/middle", builder, value, half)
        quotient = multiply(f"{name}/quotient", builder, middle, inverse)
        whole = staircase(f"{name}/whole", builder, quotient, "floor")
    rest = subtract(f"{name}/rest", builder, value, multiply(f"{name}/times", builder, whole, c))
    flat = c.reshape(-1)
    low = -abs(flat) if fmod else np.minimum(flat, 0.0)
    high = abs(flat) if fmod else np.maximum(flat, 0.0)
    rest = clamped(f"{name}/least", builder, rest, low, below=True)
    return clamped(name, builder, rest, high, below=False)


@examples("Mod")
def _mod() -> Iterator[Example]:
    yield Example("Mod", ((2, 3), scalar(0.75)), {"fmod": 1})
    divisors = np.array([0.5, -1.5, 3.0], dtype=np.float32)
    yield Example("Mod", ((2, 3), divisors), {"fmod": 1})
    for c in (3, -4):
        divisor = np.array(c, dtype=np.int32)
        for shape in ((4,), ()):
            yield Example("Mod", (shape, divisor), whole=(0,), output_type=6, low=-9.0, high=9.0)
