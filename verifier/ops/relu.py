"""Relu and LeakyRelu."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from verifier.families.elementwise import Elementwise
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.families.relaxation import Planes
from verifier.graph import Builder
from verifier.ops.piecewise import PiecewiseLinear
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Relu(Elementwise):
    """y = max(x, 0) + leak min(x, 0), with 0 <= leak <= 1.

    A neuron is stable when its box does not cross 0: then both lines are exact. Otherwise the upper
    line is the chord, and any slope in [leak, 1] through the origin is a sound lower line; the tilt
    (alpha of Xu et al. 2021) runs from leak at 0 to 1 at 1.
    """

    tilted: ClassVar[bool] = True

    leak: float = 0.0

    @staticmethod
    def of(size: int, leak: float = 0.0) -> Relu:
        """Over vectors of the given length."""
        return Relu(sizes=(size,), size=size, leak=leak)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        x = inputs[0]
        if self.leak == 0.0:
            return x.clip(min=0)
        return x.clip(min=0) + self.leak * x.clip(max=0)

    @property
    def keeps_integers(self) -> bool:
        return self.leak == 0.0

    @property
    def contracts(self) -> bool:
        return self.leak == 0.0

    def derivative(self, x: Float[Array, "batch n"]) -> Float[Array, "batch n"]:
        xp = self.xp
        return xp.where(x > 0, xp.full((1,), 1.0), xp.full((1,), self.leak))

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        if self.leak == 0.0:
            return Box(box.lower.clip(min=0), box.upper.clip(min=0))
        widen = 4 * self.xp.unit_roundoff
        lower, upper = self.evaluate(box.lower), self.evaluate(box.upper)
        least = self.xp.least_normal
        return Box(lower - widen * abs(lower) - least, upper + widen * abs(upper) + least)

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return (box.lower < 0) & (box.upper > 0)

    def split_point(self, box: Box) -> Array:
        return box.lower * 0

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch n"], ...]:
        # The chord's offset is (r^2 - c^2) / 2r with centre c and half-width r: d/dr = (1 +
        # (c/r)^2) / 2.
        (box,) = boxes
        unstable = self.unstable(0, box)
        width = self.xp.where(unstable, box.upper - box.lower, self.xp.full((1,), 1.0))
        ratio = (box.upper + box.lower) / width
        weight = positive + negative * (1 + ratio * ratio) / 2
        return (self.xp.where(unstable, weight, weight * 0) * (1 - self.leak),)

    def slopes(self, box: Box) -> tuple[Array, Array]:
        planes = self.relax(box)
        return planes.below[0], planes.above[0]

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        at_lower = self.evaluate(box.lower) - slope * box.lower
        at_upper = self.evaluate(box.upper) - slope * box.upper
        inside = (box.lower < 0) & (box.upper > 0)
        least = xp.minimum(at_lower, at_upper)
        greatest = xp.maximum(at_lower, at_upper)
        error = 8 * xp.unit_roundoff * (1 + abs(slope)) * box.magnitude(xp)
        least = xp.where(inside, least.clip(max=0), least) - error
        return least, xp.where(inside, greatest.clip(min=0), greatest) + error

    def relax(self, *boxes: Box) -> Planes:
        (box,) = boxes
        xp = self.xp
        lower, upper = box.lower, box.upper
        unstable = self.unstable(0, box)
        active = xp.floats(lower >= 0)
        one = xp.full((1,), 1.0)
        width = xp.where(unstable, upper - lower, one)
        stable_slope = active if self.leak == 0.0 else active + self.leak * (1 - active)
        chord = (upper - self.leak * lower) / width
        above = xp.where(unstable, chord, stable_slope)
        # The chord's offset, raised by the rounding of its slope and of itself.
        magnitude = box.magnitude(xp)
        offset = (chord - self.leak) * -lower + 16 * xp.unit_roundoff * magnitude
        zero = xp.zeros(1)
        upper_offset = xp.where(unstable, offset, zero)
        gain = xp.where(unstable, one * (1 - self.leak), zero)
        untilted = xp.where(unstable, one * self.leak, stable_slope)
        default = xp.where(upper > -lower, one, zero)
        below = untilted + gain * default
        noise = self.rounding * (2 * magnitude + upper_offset) + 16 * xp.least_normal
        # A stable neuron passes its row on, or drops it, exactly.
        exact = 0.0 if self.leak == 0.0 else 1.0
        noise = xp.where(unstable, noise, noise * exact)
        lower_offset = zero * upper_offset
        nan = xp.function("isnan", lower) | xp.function("isnan", upper)
        upper_offset = xp.where(nan, lower + upper, upper_offset)
        return Planes(
            xp, (below,), (above,), lower_offset, upper_offset, noise, gain=gain, untilted=untilted
        )


@reads("Relu")
def read_relu(node: OnnxNode, builder: Builder) -> Operand:
    """max(x, 0)."""
    value = node.value(0)
    return builder.add(node.name, Relu.of(value.size), [value])


@reads("LeakyRelu")
def read_leaky_relu(node: OnnxNode, builder: Builder) -> Operand:
    """x where positive, else alpha x."""
    value = node.value(0)
    leak = float(np.float32(node.number("alpha", 0.01)))
    if not 0 <= leak <= 1:
        operator = PiecewiseLinear.of(value.size, [0], [leak, 1], [0, 0])
        return builder.add(node.name, operator, [value])
    return builder.add(node.name, Relu.of(value.size, leak), [value])


@examples("Relu", "LeakyRelu")
def _examples() -> Iterator[Example]:
    yield Example("Relu", ((2, 3),))
    yield Example("LeakyRelu", ((2, 3),))
    yield Example("LeakyRelu", ((5,),), {"alpha": 0.3})
    yield Example("LeakyRelu", ((5,),), {"alpha": -0.3})
    yield Example("LeakyRelu", ((5,),), {"alpha": 1.5})
