"""Smooth functions of one variable: Exp, Log, Sqrt, Softplus, Erf, Atan, Elu, Pow, and others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import pi

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.curve import INFINITY, Curve, Formula, Function
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.tensors import Array, Backend

S_SHAPED = {"bends": (0.0,), "signs": (1, -1)}
ANTI_S = {"bends": (0.0,), "signs": (-1, 1)}


def _named(name: str) -> Formula:
    return lambda xp, x: xp.function(name, x)


def _one(xp: Backend) -> Array:
    return xp.full((1,), 1.0)


def _root(xp: Backend, x: Array) -> Array:
    return xp.function("sqrt", x.clip(min=0))


def _softplus(xp: Backend, x: Array) -> Array:
    return x.clip(min=0) + xp.function("log1p", xp.function("exp", -abs(x)))


def _softsign_slope(xp: Backend, x: Array) -> Array:
    return 1 / ((1 + abs(x)) * (1 + abs(x)))


def _sech_squared(xp: Backend, x: Array) -> Array:
    decay = xp.function("exp", -2 * abs(x))
    return 4 * decay / ((1 + decay) * (1 + decay))


EXP = Function(name="exp", value=_named("exp"), slope=_named("exp"), floor=0.0)
LOG = Function(
    name="log", value=_named("log"), slope=lambda _, x: 1 / x, signs=(-1,),
    domain=(0.0, INFINITY), pole=True, floor=0.0,
)  # fmt: skip
SQRT = Function(
    name="sqrt", value=_root, slope=lambda xp, x: 0.5 / _root(xp, x), signs=(-1,),
    domain=(0.0, INFINITY), floor=0.0,
)  # fmt: skip
SQUARE = Function(
    name="square", value=lambda _, x: x * x, slope=lambda _, x: 2 * x, turns=(0.0,), floor=0.0
)
SOFTPLUS = Function(name="softplus", value=_softplus, slope=_named("sigmoid"))
SOFTSIGN = Function(
    name="softsign", value=lambda _, x: x / (1 + abs(x)), slope=_softsign_slope, **S_SHAPED
)
ARCTAN = Function(
    name="arctan", value=_named("arctan"), slope=lambda _, x: 1 / (1 + x * x), **S_SHAPED
)
ERF = Function(
    name="erf", value=_named("erf"),
    slope=lambda xp, x: 2 / pi**0.5 * xp.function("exp", -x * x), **S_SHAPED,
)  # fmt: skip
SINH = Function(name="sinh", value=_named("sinh"), slope=_named("cosh"), floor=0.0, **ANTI_S)
COSH = Function(name="cosh", value=_named("cosh"), slope=_named("sinh"), turns=(0.0,))
ARCSINH = Function(
    name="arcsinh", value=_named("arcsinh"),
    slope=lambda xp, x: 1 / xp.function("sqrt", 1 + x * x), **S_SHAPED,
)  # fmt: skip
ARCCOSH = Function(
    name="arccosh", value=_named("arccosh"),
    slope=lambda xp, x: 1 / (_root(xp, x - 1) * _root(xp, x + 1)), signs=(-1,),
    domain=(1.0, INFINITY),
)  # fmt: skip
ARCTANH = Function(
    name="arctanh", value=_named("arctanh"), slope=lambda _, x: 1 / ((1 - x) * (1 + x)),
    domain=(-1.0, 1.0), **ANTI_S,
)  # fmt: skip
ARCSIN = Function(
    name="arcsin", value=_named("arcsin"),
    slope=lambda xp, x: 1 / (_root(xp, 1 - x) * _root(xp, 1 + x)), domain=(-1.0, 1.0), **ANTI_S,
)  # fmt: skip
ARCCOS = Function(
    name="arccos", value=_named("arccos"),
    slope=lambda xp, x: -1 / (_root(xp, 1 - x) * _root(xp, 1 + x)), domain=(-1.0, 1.0), **S_SHAPED,
)  # fmt: skip
PLAIN = {
    "Exp": EXP, "Log": LOG, "Sqrt": SQRT, "Softplus": SOFTPLUS, "Softsign": SOFTSIGN,
    "Atan": ARCTAN, "Erf": ERF, "Sinh": SINH, "Cosh": COSH, "Asinh": ARCSINH, "Acosh": ARCCOSH,
    "Atanh": ARCTANH, "Asin": ARCSIN, "Acos": ARCCOS,
}  # fmt: skip
"""ONNX operators without attributes."""


def elu(alpha: float, gamma: float = 1.0, scale: float = 1.0) -> Function:
    """gamma x where positive, gamma alpha (exp(x / scale) - 1) elsewhere; all parameters > 0."""
    left, steep = gamma * alpha, gamma * alpha / scale

    def value(xp: Backend, x: Array) -> Array:
        rest = xp.function("expm1", x.clip(max=0) / scale)
        return gamma * x.clip(min=0) + left * rest

    def falling(xp: Backend, x: Array) -> Array:
        return steep * xp.function("exp", x.clip(max=0) / scale)

    def rising(xp: Backend, x: Array) -> Array:
        return x * 0 + gamma

    def slope(xp: Backend, x: Array) -> Array:
        return xp.where(x > 0, rising(xp, x), falling(xp, x))

    name = f"elu({alpha!r},{gamma!r},{scale!r})"
    if steep <= gamma:
        return Function(name=name, value=value, slope=slope)
    # At 0 the slope falls: neither piece may take the other's.
    return Function(
        name=name, value=value, slope=slope, bends=(0.0,), signs=(1, 1), slopes=(falling, rising)
    )


def power(exponent: float) -> Function:
    """x^p; for p that is no integer, and for p < 0, where x > 0."""
    p = exponent
    if p == 2:
        return SQUARE

    def value(xp: Backend, x: Array) -> Array:
        with np.errstate(all="ignore"):
            y = x**p
        # Beyond the domain; norms of nothing but zeros are divided by in this way.
        return y if p > 0 else xp.where(x == 0, xp.zeros(1), y)

    def slope(xp: Backend, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return p * x ** (p - 1)

    plain = Function(name=f"power({p!r})", value=value, slope=slope, floor=0.0)
    if p > 0 and p == int(p):
        return replace(plain, turns=(0.0,)) if p % 2 == 0 else replace(plain, **ANTI_S)
    sign = -1 if 0 < p < 1 else 1
    return replace(plain, signs=(sign,), domain=(0.0, INFINITY), pole=p < 0)


def curve(name: str, builder: Builder, value: Value, function: Function) -> Value:
    """A function of every entry of a value."""
    return builder.add(name, Curve.of(value.size, function), [value])


def is_curve(operator: object, function: Function) -> bool:
    """Is an operator just this function?"""
    return isinstance(operator, Curve) and operator.function is function


def _reader(op_type: str) -> Callable[[OnnxNode, Builder], Operand]:
    def read(node: OnnxNode, builder: Builder) -> Operand:
        return curve(node.name, builder, node.value(0), PLAIN[op_type])

    return read


for _op_type in PLAIN:
    reads(_op_type)(_reader(_op_type))


def _parameter(node: OnnxNode, name: str, default: float) -> float:
    number = float(np.float32(node.number(name, default)))
    if number <= 0:
        message = f"{name} {number:.6g}, need a positive number"
        raise UnsupportedModel(message)
    return number


@reads("Elu")
def read_elu(node: OnnxNode, builder: Builder) -> Operand:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    return curve(node.name, builder, node.value(0), elu(_parameter(node, "alpha", 1.0)))


@reads("Selu")
def read_selu(node: OnnxNode, builder: Builder) -> Operand:
    """Gamma x where positive, gamma alpha (exp(x) - 1) elsewhere."""
    alpha = _parameter(node, "alpha", 1.67326319217681884765625)
    gamma = _parameter(node, "gamma", 1.05070102214813232421875)
    return curve(node.name, builder, node.value(0), elu(alpha, gamma))


@reads("Celu")
def read_celu(node: OnnxNode, builder: Builder) -> Operand:
    """x where positive, alpha (exp(x / alpha) - 1) elsewhere."""
    alpha = _parameter(node, "alpha", 1.0)
    return curve(node.name, builder, node.value(0), elu(alpha, 1.0, alpha))


def square(name: str, builder: Builder, value: Value) -> Value:
    """x^2, of every entry of a value."""
    return curve(name, builder, value, SQUARE)


@examples(*PLAIN)
def _plain() -> Iterator[Example]:
    ranges = {"Log": (0.25, 3.0), "Sqrt": (0.0, 3.0), "Acosh": (1.0, 4.0)}
    for op_type in PLAIN:
        low, high = ranges.get(op_type, (-2.0, 2.0))
        if op_type in {"Atanh", "Asin", "Acos"}:
            low, high = -0.875, 0.875
        yield Example(op_type, ((2, 3),), low=low, high=high)


@examples("Elu", "Selu", "Celu")
def _elus() -> Iterator[Example]:
    for op_type in ("Elu", "Selu", "Celu"):
        yield Example(op_type, ((4,),))
        yield Example(op_type, ((3,),), {"alpha": 0.4})
    yield Example("Elu", ((3,),), {"alpha": 2.5})
