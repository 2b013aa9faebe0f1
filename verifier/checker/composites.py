"""Rules of ONNX operators that are made of others: maxima, Softmax, normalisations, products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from verifier.checker.affine import Indices
from verifier.checker.atoms import Atom, Relu
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
    with_constant,
)
from verifier.checker.tensors import NoRule, Step, Tensor, Variable, exact
from verifier.checker.windows import patches, transposed_convolution

MOST_MULTIPLIED = 1 << 20
"""Products of two variable matrices with more elementary products than this have no rule."""


def _greatest(step: Step, x: list[Variable], index: Indices, shape: tuple[int, ...]) -> Variable:
    """The maximum over the first axis of ``index`` [k, ...]; -1: no member there."""
    one = index.max(axis=0)
    index = np.where(index < 0, one, index)
    if (one < 0).any():
        raise NoRule("a window in the padding")
    name = step.outputs[0]
    stacked = step.values.select(f"{name}:members", x, index)
    if len(index) == 1:
        return step.values.select(name, [stacked], np.arange(prod(shape)).reshape(shape))
    return step.values.add(name, Maximum(len(index)), [stacked], shape)


def _negative(step: Step, x: Variable, name: str) -> Any:
    inner = replace(step, outputs=[f"{step.outputs[0]}:{name}"])
    return with_constant(inner, "*", x, np.full(x.shape, -1.0))


def _max_pool(step: Step) -> list[Tensor]:
    x, kernel = step.variable(), tuple(step.attribute("kernel_shape"))
    if step.attribute("storage_order", 0) or len(step.outputs) > 1:
        raise NoRule("the output Indices")
    index = np.moveaxis(patches(step, x, kernel), 2, 0)
    return [_greatest(step, [x], index, index.shape[1:])]


def _global_max_pool(step: Step) -> list[Tensor]:
    x = step.variable()
    images = x.shape[:2]
    index = x.index.reshape(*images, -1)
    shape = images + (1,) * (len(x.shape) - 2)
    return [_greatest(step, [x], np.moveaxis(index, 2, 0).reshape(-1, *shape), shape)]


def _several(sign: int) -> Rule:
    """Max (1) or Min (-1) of variables, with broadcasting."""

    def rule(step: Step) -> list[Tensor]:
        tensors = [step.tensor() for _ in list(step.inputs)]
        variables = [t for t in tensors if isinstance(t, Variable)]
        if len(variables) != len(tensors):
            return [_with_constants(step, sign, tensors, variables)]
        if sign < 0:
            variables = [_negative(step, x, f"minus{i}") for i, x in enumerate(variables)]
        starts = np.cumsum([0, *(x.index.size for x in variables)])
        index = np.stack(
            np.broadcast_arrays(*(s + x.index for s, x in zip(starts, variables, strict=False)))
        )
        if sign > 0:
            return [_greatest(step, variables, index, index.shape[1:])]
        inner = replace(step, outputs=[f"{step.outputs[0]}:greatest"])
        found = _greatest(inner, variables, index, index.shape[1:])
        return [with_constant(step, "*", found, np.full(found.shape, -1.0))]

    return rule


def _with_constants(step: Step, sign: int, tensors: list[Any], variables: list[Variable]) -> Tensor:
    """Of one variable and one constant: max(x, c) = relu(x - c) + c; min = c - relu(c - x)."""
    if len(tensors) != 2 or len(variables) != 1:
        raise NoRule("several constants among variables")
    x = variables[0]
    given = exact(tensors[1] if tensors[0] is x else tensors[0], x)
    c = np.broadcast_to(given, np.broadcast_shapes(x.shape, given.shape))
    inner = replace(step, outputs=[f"{step.outputs[0]}:apart"])
    apart: Any = with_constant(inner, "-" if sign > 0 else "c-", x, c)
    over = nonlinear(step, Relu(), apart, "over")
    return with_constant(step, "+" if sign > 0 else "c-", over, c)


def _reduce_max(step: Step) -> list[Tensor]:
    return _reduced(step, 1)


def _reduce_min(step: Step) -> list[Tensor]:
    return _reduced(step, -1)


def _reduced(step: Step, sign: int) -> list[Tensor]:
    x = step.variable()
    axes, keep = step.integers("axes", []), step.attribute("keepdims", 1)
    if step.attribute("noop_with_empty_axes", 0) and not axes:
        return [x]
    chosen = chosen_axes(axes or list(range(len(x.shape))), len(x.shape))
    shape = tuple(1 if i in chosen else n for i, n in enumerate(x.shape))
    final = shape if keep else tuple(n for i, n in enumerate(x.shape) if i not in chosen)
    index = np.moveaxis(x.index, chosen, range(len(chosen)))
    index = index.reshape(-1, *index.shape[len(chosen) :])
    if sign > 0:
        return [_greatest(step, [x], index.reshape(-1, *final), final)]
    inner = replace(step, outputs=[f"{step.outputs[0]}:greatest"])
    found = _greatest(inner, [_negative(step, x, "minus")], index.reshape(-1, *final), final)
    return [with_constant(step, "*", found, np.full(final, -1.0))]


def _function(make: Callable[[], Atom]) -> Rule:
    """A curve: proved for the real function only, as nothing is known of float32 runtimes."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        step.values.strained.extend(step.outputs)
        return [step.values.add(step.outputs[0], make(), [x], x.shape)]

    return rule


def _reciprocal(step: Step) -> list[Tensor]:
    x = step.variable()
    return [step.values.add(step.outputs[0], Reciprocal(), [x], x.shape)]


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
    inner = replace(step, outputs=[f"{name}:apart"])
    apart: Any = inner.affine([x], pairs, step.numbers(signs), step.numbers(0.0))
    powers = nonlinear(step, Exp(), apart, "powers")
    inner = replace(step, outputs=[f"{name}:sum"])
    one = step.numbers(np.ones(1))
    total: Any = inner.affine([powers], np.moveaxis(powers.index, -1, 0), one, step.numbers(0.0))
    share = step.values.add(f"{name}:share", Reciprocal(), [total], total.shape)
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

    def value(part: str) -> Step:
        return replace(step, outputs=[f"{name}:{part}"])

    rows = x.index.reshape(*x.shape[:axis], n)
    share, zero = step.numbers(np.full(1, 1 / n)), step.numbers(0.0)
    inexact = int(n & (n - 1) != 0)
    mean: Any = value("mean").affine([x], np.moveaxis(rows, -1, 0), share, zero, inexact)
    pairs = np.stack(np.broadcast_arrays(rows, rows.size + mean.index[..., None]))
    signs = step.numbers(np.array([1.0, -1.0]).reshape(2, *[1] * rows.ndim))
    centred: Any = value("centred").affine([x, mean], pairs, signs, zero)
    squares = nonlinear(step, Power(2), centred, "squares")
    columns = np.moveaxis(squares.index, -1, 0)
    offset = step.numbers(float(epsilon))
    variance: Any = value("variance").affine([squares], columns, share, offset, inexact)
    deviation = nonlinear(step, Root(), variance, "deviation")
    inverse = nonlinear(step, Reciprocal(), deviation, "inverse")
    spread = np.broadcast_to(inverse.index[..., None], rows.shape)
    wide = step.values.select(f"{name}:spread", [inverse], spread)
    product = multiply(step, f"{name}:normal", centred, wide)
    shape = x.shape
    factor = step.numbers(np.broadcast_to(scale, shape))
    shift = step.numbers(np.zeros(1) if bias is None else exact(bias, x))
    index = product.index.reshape(shape)[None]
    return [step.affine([product], index, factor, np.broadcast_to(shift, shape) + 0 * factor)]


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
    starts = np.cumsum([0, *(x.index.size for x in variables)])
    parts = [s + x.index for s, x in zip(starts, variables, strict=False)]
    index = np.stack(np.broadcast_arrays(*parts))
    return [step.affine(variables, index, step.numbers(np.ones(1)), step.numbers(0.0))]


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
    "Exp": _function(Exp),
    "GatherElements": moves(_gather_elements),
    "GlobalMaxPool": _global_max_pool,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "Max": _several(1),
    "MaxPool": _max_pool,
    "Min": _several(-1),
    "Pow": _power,
    "Reciprocal": _reciprocal,
    "ReduceMax": _reduce_max,
    "ReduceMin": _reduce_min,
    "Sin": _function(lambda: Wave(cosine=False)),
    "Softmax": _softmax,
    "Sqrt": _function(Root),
    "Sum": _sum,
}
