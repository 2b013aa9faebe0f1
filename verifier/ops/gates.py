"""x times a gate of x, as one function: Gelu, Swish (SiLU), Mish, HardSwish."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.curve import Function
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.curves import SOFTPLUS, curve
from verifier.tensors import Array, Backend

CONCAVE_CONVEX_CONCAVE = (-1, 1, -1)
ROOT_HALF, ROOT_2_OVER_PI, CUBIC = 0.5**0.5, (2 / pi) ** 0.5, 0.044715
"""The last two are those of the tanh form of Gelu (Hendrycks & Gimpel 2016)."""


def _gelu(xp: Backend, x: Array) -> Array:
    return x * xp.function("erfc", -ROOT_HALF * x) / 2


def _gelu_slope(xp: Backend, x: Array) -> Array:
    density = xp.function("exp", -x * x / 2) / (2 * pi) ** 0.5
    return xp.function("erfc", -ROOT_HALF * x) / 2 + x * density


def _inner(x: Array) -> Array:
    return 2 * ROOT_2_OVER_PI * (x + CUBIC * x * x * x)


def _gelu_by_tanh(xp: Backend, x: Array) -> Array:
    # (1 + tanh(u)) / 2 = sigmoid(2 u)
    return x * xp.function("sigmoid", _inner(x))


def _gelu_by_tanh_slope(xp: Backend, x: Array) -> Array:
    gate = xp.function("sigmoid", _inner(x))
    steep = 2 * ROOT_2_OVER_PI * (1 + 3 * CUBIC * x * x)
    fall = gate * (1 - gate)
    # Where the gate is flat its slope is 0, however steep the cubic is.
    return gate + xp.where(fall > 0, x * fall * steep, fall)


def swish(alpha: float) -> Function:
    """x sigmoid(alpha x), alpha > 0."""

    def value(xp: Backend, x: Array) -> Array:
        return x * xp.function("sigmoid", alpha * x)

    def slope(xp: Backend, x: Array) -> Array:
        gate = xp.function("sigmoid", alpha * x)
        return gate + alpha * x * gate * (1 - gate)

    bend, turn = 2.3993572805154676678 / alpha, -1.2784645427610737951 / alpha
    return Function(
        name=f"swish({alpha!r})", value=value, slope=slope, bends=(-bend, bend),
        signs=CONCAVE_CONVEX_CONCAVE, turns=(turn,), floor=max(1.0, 1 / alpha),
    )  # fmt: skip


def _mish(xp: Backend, x: Array) -> Array:
    return x * xp.function("tanh", SOFTPLUS.value(xp, x))


def _mish_slope(xp: Backend, x: Array) -> Array:
    gate = xp.function("tanh", SOFTPLUS.value(xp, x))
    return gate + x * (1 - gate * gate) * xp.function("sigmoid", x)


def _flat(xp: Backend, x: Array) -> Array:
    return x * 0


GELU = Function(
    name="gelu", value=_gelu, slope=_gelu_slope, bends=(-(2.0**0.5), 2.0**0.5),
    signs=CONCAVE_CONVEX_CONCAVE, turns=(-0.75179152469356445746,), accuracy=40.0,
)  # fmt: skip
GELU_BY_TANH = Function(
    name="gelu_by_tanh", value=_gelu_by_tanh, slope=_gelu_by_tanh_slope,
    bends=(-1.4185040087908283555, 1.4185040087908283555), signs=CONCAVE_CONVEX_CONCAVE,
    turns=(-0.75246142207101625849,), accuracy=40.0,
)  # fmt: skip
MISH = Function(
    name="mish", value=_mish, slope=_mish_slope,
    bends=(-2.25637639636079312, 1.4905711794854284593), signs=CONCAVE_CONVEX_CONCAVE,
    turns=(-1.1924312145154952121,), accuracy=40.0,
)  # fmt: skip


def hard_gate(steep: float, offset: float, top: float) -> Function:
    """x max(0, min(top, steep x + offset)), steep > 0, 0 < offset < 2 top."""

    def value(xp: Backend, x: Array) -> Array:
        return x * (steep * x + offset).clip(min=0, max=top)

    def bowl(xp: Backend, x: Array) -> Array:
        return 2 * steep * x + offset

    def straight(xp: Backend, x: Array) -> Array:
        return x * 0 + top

    first, second = -offset / steep, (top - offset) / steep
    # A bend that is off by its rounding takes so much for convex that is not, in eight roundings.
    kinks = max(offset * abs(first), abs(top - offset) * abs(second))

    def slope(xp: Backend, x: Array) -> Array:
        middle = xp.where(x < second, bowl(xp, x), straight(xp, x))
        return xp.where(x < first, _flat(xp, x), middle)

    return Function(
        name=f"hard_gate({steep!r},{offset!r},{top!r})", value=value, slope=slope,
        bends=(first, second), signs=(1, 1, 1), slopes=(_flat, bowl, straight),
        turns=(first / 2,), floor=max(1.0, kinks / 4),
    )  # fmt: skip


@reads("Gelu")
def read_gelu(node: OnnxNode, builder: Builder) -> Operand:
    """x P(X <= x) for a standard normal X, or its approximation by tanh."""
    form = node.attributes.get("approximate", "none")
    if form not in {"none", "tanh"}:
        message = f"approximate {form!r}"
        raise UnsupportedModel(message)
    function = GELU if form == "none" else GELU_BY_TANH
    return curve(node.name, builder, node.value(0), function)


@reads("Swish")
def read_swish(node: OnnxNode, builder: Builder) -> Operand:
    """x sigmoid(alpha x)."""
    alpha = float(np.float32(node.number("alpha", 1.0)))
    if alpha <= 0:
        message = f"alpha {alpha:.6g}, need a positive number"
        raise UnsupportedModel(message)
    return curve(node.name, builder, node.value(0), swish(alpha))


@reads("Mish")
def read_mish(node: OnnxNode, builder: Builder) -> Operand:
    """x tanh(log(1 + exp(x)))."""
    return curve(node.name, builder, node.value(0), MISH)


@reads("HardSwish")
def read_hard_swish(node: OnnxNode, builder: Builder) -> Operand:
    """x max(0, min(1, x / 6 + 1 / 2))."""
    return curve(node.name, builder, node.value(0), hard_gate(1 / 6, 0.5, 1.0))


@examples("Gelu", "Mish", "HardSwish", "Swish")
def _examples() -> Iterator[Example]:
    yield Example("Gelu", ((2, 3),), opset=20)
    yield Example("Gelu", ((4,),), {"approximate": "tanh"}, opset=20, low=-5.0, high=5.0)
    yield Example("Mish", ((2, 3),), opset=18, low=-5.0, high=5.0)
    yield Example("HardSwish", ((2, 3),), low=-5.0, high=5.0)
    yield Example("Swish", ((3,),), {"alpha": 1.5}, opset=24, low=-5.0, high=5.0)
