"""Step functions: Sign, and comparisons as 0 or 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.families import Rearrange
from verifier.families.example import Example, numbers, scalar
from verifier.families.onnx_node import OnnxNode, Operand, expand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.scale import Scale
from verifier.ops.staircase import Staircase
from verifier.ops.sum import Concat, Sum, subtract

BOOL = 9
"""ONNX's number of the type of truth values."""
COMPARISONS = {
    "Less": (1, 0, 0),
    "LessOrEqual": (1, 1, 0),
    "Greater": (0, 0, 1),
    "GreaterOrEqual": (0, 1, 1),
    "Equal": (0, 1, 0),
}
"""What each gives below, at, and above equality."""
FOLDED = {
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Equal": np.equal,
}
MARGIN = 1e-9
"""A step of a step is one step where the inner values keep this far from the outer jumps."""


def step(
    name: str, builder: Builder, value: Value, levels: tuple[int, int, int], at: np.ndarray
) -> Value:
    """The levels below, at, and above ``at``, which is one number, or one for each element."""
    below, here, above = levels
    if is_whole(builder, value) and (at == np.round(at)).all():
        # Halfway between whole numbers no rounding error matters.
        kinks, bends = [at - 0.5, at + 0.5], [0, 0, 0]
        operator = PiecewiseLinear.of(value.size, kinks, bends, levels, [below, above])
    else:
        operator = PiecewiseLinear.of(value.size, [at], [0, 0], [below, above], [here])
    fused = _fused(builder, value, operator)
    if fused is not None:
        source, operator = fused
        return builder.add(name, operator, [source], value.shape)
    return builder.add(name, operator, [value])


def _fused(
    builder: Builder, value: Value, outer: PiecewiseLinear
) -> tuple[Value, PiecewiseLinear] | None:
    """A step of s x + t of a step, as one step function of the inner one's input."""
    node = builder.nodes[value.number - 1] if value.number else None
    scale, shift = np.ones(1), np.zeros(1)
    if node is not None and isinstance(node.operator, Scale):
        scale = scale if node.operator.scale is None else node.operator.scale
        shift = shift if node.operator.bias is None else node.operator.bias
        source = node.inputs[0]
        node = builder.nodes[source - 1] if source else None
    inner = None if node is None else node.operator
    if node is None or not isinstance(inner, PiecewiseLinear) or inner.bends.any():
        return None

    def through(levels: np.ndarray) -> np.ndarray | None:
        x = scale * levels + shift
        distance = abs(x[:, None, :] - outer.kinks[None, :, :])
        if (distance <= MARGIN * (1 + abs(x[:, None, :]))).any():
            return None
        place = (x[:, None, :] > outer.kinks[None, :, :]).sum(1)
        offsets = np.broadcast_to(outer.offsets, (len(outer.offsets), place.shape[1]))
        return np.take_along_axis(offsets, place, 0)

    offsets, values = through(inner.offsets), through(inner.values)
    if offsets is None or values is None:
        return None
    operator = PiecewiseLinear.of(
        value.size, list(inner.kinks), list(inner.bends), list(offsets), list(values)
    )
    return Value(node.inputs[0], value.shape), operator


def is_whole(builder: Builder, value: Value) -> bool:
    """Are all elements certainly whole numbers?"""
    if value.number == 0:
        return False
    node = builder.nodes[value.number - 1]
    operator = node.operator
    sources = [Value(i, (n,)) for i, n in zip(node.inputs, operator.sizes, strict=True)]
    if isinstance(operator, Staircase):
        return True
    if isinstance(operator, PiecewiseLinear):
        return not operator.bends.any() and all(map(_integral, (operator.offsets, operator.values)))
    if isinstance(operator, (Rearrange, Scale)):
        factor = operator.scale if isinstance(operator, Scale) else None
        if not _integral(operator.bias) or not _integral(factor):
            return False
    elif not isinstance(operator, (Sum, Concat)):
        return getattr(operator, "whole", False)
    return all(is_whole(builder, source) for source in sources)


def _integral(x: np.ndarray | None) -> bool:
    return x is None or bool((x == np.round(x)).all())


@reads("Sign", folds=True)
def read_sign(node: OnnxNode, builder: Builder) -> Operand:
    """-1, 0 or 1."""
    operand = node.operand(0)
    if isinstance(operand, np.ndarray):
        return np.sign(operand)
    return step(node.name, builder, operand, (-1, 0, 1), np.zeros(1))


@reads(*COMPARISONS, folds=True)
def read_comparison(node: OnnxNode, builder: Builder) -> Operand:
    """1 where it holds, else 0."""
    left, right = node.operand(0), node.operand(1)
    levels = COMPARISONS[node.op_type]
    if isinstance(left, np.ndarray):
        if isinstance(right, np.ndarray):
            return np.asarray(FOLDED[node.op_type](left, right))
        left, right, levels = right, left, (levels[2], levels[1], levels[0])
    shape = np.broadcast_shapes(left.shape, right.shape)
    if isinstance(right, np.ndarray):
        left = expand(builder, f"{node.name}/left", left, shape)
        at = np.broadcast_to(right.astype(np.float64), shape).reshape(-1)
        at = at[:1] if at.size and (at == at[0]).all() else at
        return step(node.name, builder, left, levels, at)
    difference = subtract(f"{node.name}/difference", builder, left, right)
    return step(node.name, builder, difference, levels, np.zeros(1))


@examples("Sign")
def _sign() -> Iterator[Example]:
    yield Example("Sign", ((2, 3),))


@examples(*COMPARISONS)
def _comparisons() -> Iterator[Example]:
    for op_type in COMPARISONS:
        yield Example(op_type, ((2, 3), scalar(0.5)), output_type=BOOL)
        yield Example(op_type, (numbers(3), (2, 1)), output_type=BOOL)
        yield Example(op_type, ((2, 3), (3,)), output_type=BOOL)


@examples("Equal", "Less")
def _of_whole_numbers() -> Iterator[Example]:
    yield Example("Equal", ((2, 3), np.ones((), dtype=bool)), truths=(0,), output_type=BOOL)
    yield Example("Equal", ((2, 3), (2, 3)), truths=(0, 1), output_type=BOOL)
