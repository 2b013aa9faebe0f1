"""Rules of ONNX operators that are made of others: maxima, Softmax, normalisations, products."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from verifier.checker.affine import Indices
from verifier.checker.atoms import Atom, Floor, Relu
from verifier.checker.curves import Exp, Power, Reciprocal, Root, Wave
from verifier.checker.groups import Maximum
from verifier.checker.operators import (
    RULES,
    Rule,
    chosen_axes,
    moved,
    moves,
    multiply,
    nonlinear,
    reduced,
    with_constant,
)
from verifier.checker.tensors import (
    Constant,
    NoRule,
    Step,
    Tensor,
    Variable,
    bounded,
    exact,
    side_by_side,
)
from verifier.checker.windows import patches, transposed_convolution

MOST_MULTIPLIED = 1 << 20
"""Products of two variable matrices with more elementary products than this have no rule."""


def _greatest(step: Step, x: list[Variable], index: Indices) -> Variable:
    """The maximum over the first axis of ``index`` [k, ...]; -1: no member there."""
    one = index.max(axis=0)
    index = np.where(index < 0, one, index)
    if (one < 0).any():
        raise NoRule("a window in the padding")
    name = step.outputs[0]
    stacked = step.values.select(step.part("members").outputs[0], x, index)
    if len(index) == 1:
        return step.values.select(name, [stacked], stacked.index.reshape(index.shape[1:]))
    return step.values.add(name, Maximum(len(index)), [stacked], index.shape[1:])


def _least(step: Step, x: list[Variable], index: Indices) -> Tensor:
    """The minimum in the same way: - max(- x)."""
    turned = [_negative(step.part(f"minus{i}"), part) for i, part in enumerate(x)]
    return _negative(step, _greatest(step.part("greatest"), turned, index))


def _negative(step: Step, x: Variable) -> Any:
    return with_constant(step, "*", x, np.full(x.shape, -1.0))


def _max_pool(step: Step) -> list[Tensor]:
    x, kernel = step.variable(), tuple(step.attribute("kernel_shape"))
    if step.attribute("storage_order", 0) or len(step.outputs) > 1:
        raise NoRule("the output Indices")
    index = np.moveaxis(patches(step, x, kernel), 2, 0)
    return [_greatest(step, [x], index)]


def _several(sign: int) -> Rule:
    """Max (1) or Min (-1) of variables, with broadcasting."""

    def rule(step: Step) -> list[Tensor]:
        tensors = [step.tensor() for _ in list(step.inputs)]
        variables = [t for t in tensors if isinstance(t, Variable)]
        if len(variables) != len(tensors):
            return [_with_constants(step, sign, tensors, variables)]
        extreme = _greatest if sign > 0 else _least
        return [extreme(step, variables, side_by_side(variables))]

    return rule


def _with_constants(step: Step, sign: int, tensors: list[Any], variables: list[Variable]) -> Tensor:
    """Of one variable and one constant: max(x, c) = relu(x - c) + c; min = c - relu(c - x)."""
    if len(tensors) != 2 or len(variables) != 1:
        raise NoRule("several constants among variables")
    x = variables[0]
    given = exact(tensors[1] if tensors[0] is x else tensors[0], x)
    c = np.broadcast_to(given, np.broadcast_shapes(x.shape, given.shape))
    apart: Any = with_constant(step.part("apart"), "-" if sign > 0 else "c-", x, c)
    over = nonlinear(step, Relu(), apart, "over")
    return with_constant(step, "+" if sign > 0 else "c-", over, c)


def _reduce(extreme: Callable[[Step, list[Variable], Indices], Tensor], **how: bool) -> Rule:
    """The greatest or the least over some axes."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        index = reduced(step, x, **how)
        return [x if index is None else extreme(step, [x], index)]

    return rule


def _function(make: Callable[[], Atom]) -> Rule:
    """A curve or jump, proved for the real function only: float32 may be far from it."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        step.values.strained.extend(step.outputs)
        return [step.values.add(step.outputs[0], make(), [x], x.shape)]

    return rule


def _power(step: Step) -> list[Tensor]:
    x, exponent = step.variable(), step.constant()
    p = None if exponent is None or exponent.size != 1 else float(exponent.item())
    step.values.strained.extend(step.outputs)
    if p == 0.5:
        return [step.values.add(step.outputs[0], Root(), [x], x.shape)]
    if p not in {2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}:
        raise NoRule(f"exponent {p}")
    return [step.values.add(step.outputs[0], Power(int(p)), [x], x.shape)]


def _softmax(step: Step) -> list[Tensor]:
    """1 / sum over j of exp(x_j - x_i), where old and new versions of ONNX mean the same axis."""
    x, given = step.variable(), step.attribute("axis")
    (axis,) = chosen_axes([-1 if given is None else given], len(x.shape))
    if prod(x.shape[axis:]) != x.shape[axis] or (given is None and len(x.shape) != 2):
        raise NoRule("an axis that depends on the version of ONNX")
    name, n = step.outputs[0], x.shape[axis]
    if n * x.index.size > MOST_MULTIPLIED:
        raise NoRule("an axis that is too long")
    step.values.strained.extend(step.outputs)
    last = np.moveaxis(x.index, axis, -1)
    pairs = np.stack(np.broadcast_arrays(last[..., None, :], last[..., :, None]))
    signs = np.array([1.0, -1.0]).reshape(2, *[1] * (pairs.ndim - 1))
    apart: Any = step.part("apart").affine([x], pairs, step.numbers(signs), step.numbers(0.0))
    powers = nonlinear(step, Exp(), apart, "powers")
    one, zero, terms = step.numbers(np.ones(1)), step.numbers(0.0), np.moveaxis(powers.index, -1, 0)
    total: Any = step.part("sum").affine([powers], terms, one, zero)
    share = nonlinear(step, Reciprocal(), total, "share")
    return [step.values.select(name, [share], np.moveaxis(share.index, -1, axis))]


def _layer_normalization(step: Step) -> list[Tensor]:
    """(x - mean) / sqrt(variance + epsilon), over the last axes from ``axis``, scaled, shifted."""
    x, axis = step.variable(), step.attribute("axis", -1)
    scale, bias = exact(step.tensor(), x), step.constant()
    epsilon = step.attribute("epsilon", float(np.float32(1e-5)))
    step.attribute("stash_type")
    (axis,) = chosen_axes([axis], len(x.shape))
    if len(step.outputs) > 1 or step.values.arithmetic.exact:
        raise NoRule("more than one output, or exact arithmetic")
    name, n = step.outputs[0], prod(x.shape[axis:])
    step.values.strained.extend(step.outputs)
    rows = x.index.reshape(*x.shape[:axis], n)
    share, zero = step.numbers(np.full(1, 1 / n)), step.numbers(0.0)
    inexact = int(n & (n - 1) != 0)
    mean: Any = step.part("mean").affine([x], np.moveaxis(rows, -1, 0), share, zero, inexact)
    pairs = np.stack(np.broadcast_arrays(rows, rows.size + mean.index[..., None]))
    signs = step.numbers(np.array([1.0, -1.0]).reshape(2, *[1] * rows.ndim))
    centred: Any = step.part("centred").affine([x, mean], pairs, signs, zero)
    squares = nonlinear(step, Power(2), centred, "squares")
    columns = np.moveaxis(squares.index, -1, 0)
    offset = step.numbers(float(epsilon))
    variance: Any = step.part("variance").affine([squares], columns, share, offset, inexact)
    deviation = nonlinear(step, Root(), variance, "deviation")
    inverse = nonlinear(step, Reciprocal(), deviation, "inverse")
    spread = np.broadcast_to(inverse.index[..., None], rows.shape)
    wide = step.values.select(f"{name}:spread", [inverse], spread)
    product = multiply(step, f"{name}:normal", centred, wide)
    shape = x.shape
    factor = step.numbers(np.broadcast_to(scale, shape))
    shift = step.numbers(np.zeros(1) if bias is None else exact(bias, x))
    index = product.index.reshape(shape)[None]
    return [step.affine([product], index, factor, np.broadcast_to(shift, shape))]


def _matmul(step: Step) -> list[Tensor]:
    """A product of two variable matrices, batched; others have a rule of their own."""
    if not all(isinstance(tensor, Variable) for tensor in step.inputs):
        return RULES["MatMul"](step)
    a, b = step.variable(), step.variable()
    if min(len(a.shape), len(b.shape)) < 2:
        raise NoRule("a product of a vector and a variable")
    first, second = a.index[..., :, :, None], b.index[..., None, :, :]
    index = np.broadcast_arrays(first, second)[0]
    if index.size > MOST_MULTIPLIED:
        raise NoRule("a product of two variable matrices that is too large")
    name = step.outputs[0]
    left = step.values.select(f"{name}:left", [a], index)
    right = step.values.select(f"{name}:right", [b], np.broadcast_to(second, index.shape))
    products = multiply(step, f"{name}:products", left, right)
    terms = np.moveaxis(products.index, -2, 0)
    return [step.affine([products], terms, step.numbers(np.ones(1)), step.numbers(0.0))]


def _sum(step: Step) -> list[Tensor]:
    """Any number of variables, with broadcasting: k - 1 roundings."""
    tensors = [step.tensor() for _ in list(step.inputs)]
    variables = [t for t in tensors if isinstance(t, Variable)]
    if len(variables) != len(tensors):
        raise NoRule("constants among variables")
    return [
        step.affine(variables, side_by_side(variables), step.numbers(np.ones(1)), step.numbers(0.0))
    ]


def _blocks(step: Step) -> list[Tensor]:
    """DepthToSpace."""
    size, mode = step.attribute("blocksize"), step.attribute("mode", "DCR")

    def mover(arrays: list[Any]) -> list[Any]:
        n, c, h, w = arrays[0].shape
        deep = c // size**2
        if mode == "DCR":
            parts = arrays[0].reshape(n, size, size, deep, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = arrays[0].reshape(n, deep, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
        return [parts.reshape(n, deep, h * size, w * size)]

    return moved(step, [step.variable()], mover)


def _of_constants(compute: Callable[..., Constant], *kinds: str) -> Rule:
    """A comparison or choice, of constants only: some of these kinds, then two of one type."""

    def rule(step: Step) -> list[Tensor]:
        tensors = [step.tensor() for _ in range(len(kinds) + 2)]
        if any(isinstance(tensor, Variable) for tensor in tensors):
            raise NoRule("what depends on the input is compared or chosen")
        *first, x, y = (tensor.dtype for tensor in tensors)
        if x != y or tuple(kind.kind for kind in first) != kinds:
            raise ValueError("types that do not go together")
        bounded(prod(np.broadcast_shapes(*(tensor.shape for tensor in tensors))))
        return [np.asarray(compute(*tensors))]

    return rule


def _gather_elements(step: Step, x: Any) -> Any:
    axis, index = step.attribute("axis", 0), step.constant()
    assert index is not None
    size = x.shape[axis]
    if (index < -size).any() or (index >= size).any():
        raise ValueError("an index out of range")
    index = np.where(index < 0, index + size, index)
    rest = tuple(slice(None) if i == axis % x.ndim else slice(n) for i, n in enumerate(index.shape))
    return np.take_along_axis(x[rest], index, axis)


ALL_RULES: dict[str, Rule] = RULES | {
    "ConvTranspose": transposed_convolution,
    "Cos": _function(lambda: Wave(cosine=True)),
    "DepthToSpace": _blocks,
    "Equal": _of_constants(np.equal),
    "Exp": _function(Exp),
    "Floor": _function(Floor),
    "GatherElements": moves(_gather_elements),
    "GlobalMaxPool": _reduce(_greatest, spatial=True),
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "Max": _several(1),
    "MaxPool": _max_pool,
    "Min": _several(-1),
    "Pow": _power,
    "ReduceMax": _reduce(_greatest),
    "ReduceMin": _reduce(_least),
    "Sin": _function(lambda: Wave(cosine=False)),
    "Softmax": _softmax,
    "Sqrt": _function(Root),
    "Sum": _sum,
    "Where": _of_constants(np.where, "b"),
}
