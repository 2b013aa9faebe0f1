"""Sin, Cos and Tan."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

from verifier.families.curve import Curve, Function
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend

CYCLE = 2 * pi
WIDE = 2 * CYCLE
"""Lines over boxes that are wider than this are horizontal."""


def _minus_sine(xp: Backend, x: Array) -> Array:
    return -xp.function("sin", x)


SINE = Function(
    name="sin", value=lambda xp, x: xp.function("sin", x), slope=lambda xp, x: xp.function("cos", x)
)
COSINE = Function(name="cos", value=lambda xp, x: xp.function("cos", x), slope=_minus_sine)
TANGENT = Function(
    name="tan", value=lambda xp, x: xp.function("tan", x),
    slope=lambda xp, x: 1 + xp.function("tan", x) * xp.function("tan", x), bends=(0.0,),
    signs=(-1, 1), accuracy=40.0,
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Wave(Curve):
    """sin(x) or cos(x): sin(x + shift).

    phi(x) - s x has its extrema at the ends of the box, or where phi'(x) = s: at x0 + 2 pi k for
    one x0 with phi'' > 0 (least) and one with phi'' < 0 (greatest), and of these at the first or
    the last k in the box, since the values differ by -2 pi s k.
    """

    shift: float

    def _among(self, box: Box, start: Array) -> tuple[Array, Array, Array]:
        """The first and the last start + 2 pi k in the box; are there any?"""
        xp = self.xp
        slack = self._aim(box)
        first = -xp.function("floor", (start - box.lower + slack) / CYCLE)
        last = xp.function("floor", (box.upper + slack - start) / CYCLE)
        return start + CYCLE * first, start + CYCLE * last, first <= last

    def _aim(self, box: Box) -> Array:
        """How far computed stationary points may be off."""
        return 32 * self.xp.unit_roundoff * (box.magnitude(self.xp) + CYCLE)

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        least, greatest = self.gap(box.lower * 0, box)
        low, high = least.clip(min=-1), greatest.clip(max=1)
        # Beyond this, floats are too far apart to tell where the extrema are.
        far = box.magnitude(self.xp) * self.xp.unit_roundoff > 2.0**-12
        one = self.xp.full((1,), 1.0)
        return Box(self.xp.where(far, -one, low), self.xp.where(far, one, high))

    def slopes(self, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        width = box.upper - box.lower
        middle = box.center
        tangent, value = self.derivative(middle), self.evaluate(middle)
        halves = self.samples(box, middle)
        lines = [self.support(halves, (middle, value, tangent), sign) for sign in (1, -1)]
        flat = width > WIDE
        below, above = (xp.where(flat, xp.zeros(1), xp.where(width > 0, s, tangent)) for s in lines)
        return below, above

    def gap(self, slope: Array, box: Box) -> tuple[Array, Array]:
        xp = self.xp
        at_lower = self.evaluate(box.lower) - slope * box.lower
        at_upper = self.evaluate(box.upper) - slope * box.upper
        least, greatest = xp.minimum(at_lower, at_upper), xp.maximum(at_lower, at_upper)
        turns = abs(slope) <= 1 + 8 * xp.unit_roundoff
        # phi'(x) = cos(x + shift) = slope, where sin(x + shift) < 0 and where it is > 0.
        angle = xp.function("arccos", slope.clip(min=-1, max=1))
        for start, lowest in ((-angle - self.shift, True), (angle - self.shift, False)):
            first, last, found = self._among(box, start)
            for point in (first, last):
                value = self.evaluate(point) - slope * point
                best = xp.minimum(least, value) if lowest else xp.maximum(greatest, value)
                if lowest:
                    least = xp.where(found & turns, best, least)
                else:
                    greatest = xp.where(found & turns, best, greatest)
        aim = self._aim(box)
        size = 2 + abs(slope) * (box.magnitude(xp) + CYCLE)
        error = 16 * xp.unit_roundoff * size + aim * aim
        return least - error, greatest + error

    def split_point(self, box: Box) -> Array:
        return box.center


@dataclass(frozen=True, eq=False, kw_only=True)
class Tangent(Curve):
    """tan(x), over boxes without a pole."""

    def bends_at(self, box: Box) -> tuple[Array, ...]:
        return (self.xp.function("round", (box.lower + box.upper) / (2 * pi)) * pi,)

    def outside(self, box: Box) -> Array:
        xp = self.xp
        centre = self.bends_at(box)[0]
        reach = pi / 2 - 32 * xp.unit_roundoff * (box.magnitude(xp) + 1)
        beyond = (box.lower < centre - reach) | (box.upper > centre + reach)
        return xp.where(beyond, xp.full((1,), float("nan")), xp.zeros(1))


@reads("Sin")
def read_sin(node: OnnxNode, builder: Builder) -> Operand:
    """sin(x)."""
    value = node.value(0)
    wave = Wave(sizes=(value.size,), size=value.size, function=SINE, shift=0.0)
    return builder.add(node.name, wave, [value])


@reads("Cos")
def read_cos(node: OnnxNode, builder: Builder) -> Operand:
    """cos(x) = sin(x + pi / 2)."""
    value = node.value(0)
    wave = Wave(sizes=(value.size,), size=value.size, function=COSINE, shift=pi / 2)
    return builder.add(node.name, wave, [value])


@reads("Tan")
def read_tan(node: OnnxNode, builder: Builder) -> Operand:
    """tan(x), away from its poles."""
    value = node.value(0)
    tangent = Tangent(sizes=(value.size,), size=value.size, function=TANGENT)
    return builder.add(node.name, tangent, [value])


@examples("Sin", "Cos", "Tan")
def _examples() -> Iterator[Example]:
    for op_type in ("Sin", "Cos"):
        yield Example(op_type, ((2, 3),))
        yield Example(op_type, ((4,),), low=-9.0, high=12.0)
    yield Example("Tan", ((2, 3),), low=-1.25, high=1.25)
