"""Products of a value and its gate, as exporters write Swish, Gelu, Mish and HardSwish.

As one function of one variable they have much closer lines than as a product of two values. The
parameters are the file's own: x (1 + erf(s x / sqrt(2))) / 2 is gelu(s x) / s, whatever s is.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import numpy as np

from verifier.families.curve import Function
from verifier.families.operator import Operator
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.curves import ERF, SOFTPLUS, curve, is_curve
from verifier.ops.gates import GELU, MISH, hard_gate, swish
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.scale import Scale
from verifier.records import dataclass

DEEPEST = 3
"""How many scales in a row are looked through: each costs the constants a rounding or two."""


@dataclass(frozen=True)
class Line:
    """slope x + offset, of the value x of a number."""

    number: int
    slope: float
    offset: float


@dataclass(frozen=True)
class Fused:
    """``outer function(inner x)`` of a value x."""

    outer: float
    function: Function
    inner: float = 1.0


def gated(name: str, builder: Builder, left: Value, right: Value) -> Value | None:
    """``left * right`` where one is a gate of the other; None: it is not."""
    for value, gate in ((left, right), (right, left)):
        found = _match(builder, value, gate)
        if found is None:
            continue
        inner = _scaled(f"{name}/inner", builder, value, found.inner)
        result = curve(f"{name}/gated", builder, inner, found.function)
        return _scaled(name, builder, result, found.outer)
    return None


def _scaled(name: str, builder: Builder, value: Value, factor: float) -> Value:
    if factor == 1:
        return value
    operator = Scale.of(value.size, np.full(value.size, factor), None)
    return builder.add(name, replace(operator, terms=operator.terms + 4 * DEEPEST), [value])


def _operator(builder: Builder, number: int) -> Operator | None:
    return builder.nodes[number - 1].operator if number else None


def _source(builder: Builder, number: int) -> int:
    return builder.nodes[number - 1].inputs[0]


def _line(builder: Builder, number: int) -> Line:
    """A value as a line over another one, through uniform scales."""
    slope, offset = 1.0, 0.0
    for _ in range(DEEPEST):
        operator = _operator(builder, number)
        if not isinstance(operator, Scale):
            break
        factor, shift = _uniform(operator.scale, 1.0), _uniform(operator.bias, 0.0)
        if factor is None or shift is None:
            break
        slope, offset = slope * factor, slope * shift + offset
        number = _source(builder, number)
    return Line(number, slope, offset)


def _uniform(constants: object, default: float) -> float | None:
    """The one number of a vector; None: they differ."""
    if not isinstance(constants, np.ndarray) or not constants.size:
        return default
    first = float(constants[0])
    return first if (constants == first).all() else None


def _match(builder: Builder, value: Value, gate: Value) -> Fused | None:
    after = _line(builder, gate.number)
    operator = _operator(builder, after.number)
    if operator is None or after.slope == 0 or not isfinite(after.slope):
        return None
    source = _source(builder, after.number)
    if isinstance(operator, Tanh) and is_curve(_operator(builder, source), SOFTPLUS):
        same = _source(builder, source) == value.number
        return Fused(after.slope, MISH) if same and after.offset == 0 else None
    over = _over(_line(builder, source), _line(builder, value.number))
    return None if over is None else _single(operator, after, over)


def _over(argument: Line, value: Line) -> tuple[float, float] | None:
    """The gate's argument as a line over the other factor: (slope, offset)."""
    if argument.number != value.number or value.slope == 0 or argument.slope == 0:
        return None
    slope = argument.slope / value.slope
    offset = argument.offset - slope * value.offset
    return (slope, offset) if isfinite(slope) and isfinite(offset) else None


def _single(operator: Operator, after: Line, over: tuple[float, float]) -> Fused | None:
    """The function of one gate, after.slope gate(over) + after.offset, times its argument."""
    slope, offset = over
    level = after.slope
    even = after.offset == level
    if isinstance(operator, Sigmoid) and offset == 0 == after.offset:
        return Fused(level / slope, swish(1.0), slope)
    if isinstance(operator, Tanh) and offset == 0 and even:
        return Fused(level / slope, swish(1.0), 2 * slope)
    if is_curve(operator, ERF) and offset == 0 and even:
        steep = 2.0**0.5 * slope
        return Fused(2 * level / steep, GELU, steep)
    if after.offset == 0 and isinstance(operator, Clip | PiecewiseLinear):
        return _hard(operator, level, over)
    return None


def _hard(
    operator: Clip | PiecewiseLinear, level: float, over: tuple[float, float]
) -> Fused | None:
    slope, offset = over
    top = operator.high if isinstance(operator, Clip) else 1.0
    if isinstance(operator, PiecewiseLinear):
        ramp = _ramp(operator)
        if ramp is None:
            return None
        slope, offset = ramp[0] * slope, ramp[0] * offset + ramp[1]
    elif operator.low != 0:
        return None
    if not (slope > 0 and 0 < offset < 2 * top < float("inf")):
        return None
    return Fused(level, hard_gate(slope, offset, top))


def _ramp(operator: PiecewiseLinear) -> tuple[float, float] | None:
    """The slope and offset in the middle of a continuous ramp from 0 to 1."""
    slopes, offsets = operator.bends, operator.offsets
    if slopes.shape != (3, 1) or slopes[[0, 2], 0].any() or operator.jumps.any():
        return None
    if (offsets[0, 0], offsets[2, 0]) != (0, 1):
        return None
    return float(slopes[1, 0]), float(offsets[1, 0])
