"""What each ONNX operator computes, as a rule over flat arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx

from verifier.checker.affine import Affine, Dense, Indices
from verifier.checker.atoms import Atom, Relu, absolute, clip, leaky_relu
from verifier.checker.curves import Power, Reciprocal, SShape
from verifier.checker.groups import Product
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
from verifier.checker.windows import average_pool, convolution, inverse_of

Rule = Callable[[Step], list[Tensor]]


def chosen_axes(axes: list[int], rank: int) -> tuple[int, ...]:
    return tuple(range(rank)[axis] for axis in axes)


def moves(mover: Callable[[Step, Any], Any]) -> Rule:
    return lambda step: moved(step, [step.tensor()], lambda a: [mover(step, *a)])


def _concat(step: Step) -> list[Tensor]:
    tensors, axis = [step.tensor() for _ in list(step.inputs)], step.attribute("axis")
    return moved(step, tensors, lambda arrays: [np.concatenate(arrays, axis)])


def moved(
    step: Step, tensors: list[Tensor], mover: Callable[[list[Any]], list[Any]]
) -> list[Tensor]:
    """The same function moves constants and the indices of variables."""
    variables = [tensor for tensor in tensors if isinstance(tensor, Variable)]
    arrays: list[Constant] = []
    pool, start = np.zeros(0), 0
    for tensor in tensors:
        if isinstance(tensor, Variable):
            arrays.append(start + tensor.index)
            start += tensor.index.size
        elif variables:
            arrays.append(-1 - len(pool) - np.arange(tensor.size).reshape(tensor.shape))
            pool = np.append(pool, exact(tensor, variables[0]))
        else:
            arrays.append(tensor)
    results = mover(arrays)
    bounded(max(np.size(result) for result in results))
    if not variables:
        return results
    select, pairs = step.values.select, zip(step.outputs, results, strict=True)
    return [select(name, variables, index, pool) for name, index in pairs]


def _reshape(step: Step, x: Constant) -> Constant:
    target, keep = step.integers("shape"), not step.attribute("allowzero", 0)
    return x.reshape([x.shape[i] if keep and n == 0 else n for i, n in enumerate(target)])


def _slice(step: Step, x: Constant) -> Constant:
    starts, ends = step.integers("starts"), step.integers("ends")
    axes = step.integers("axes", list(range(len(starts))))
    steps = step.integers("", [1] * len(starts))
    cuts = [slice(None)] * x.ndim
    for axis, start, end, stride in zip(
        chosen_axes(axes, x.ndim), starts, ends, steps, strict=True
    ):
        # Going backwards from before the start, or to beyond the end, programs differ.
        if stride < 0 and (start < -x.shape[axis] or end >= x.shape[axis]):
            raise NoRule(f"a slice from {start} to {end} by {stride}")
        cuts[axis] = slice(start, end, stride)
    if 0 in x[tuple(cuts)].shape:
        raise NoRule("an empty slice")
    return x[tuple(cuts)]


def _gather(step: Step, x: Constant) -> Constant:
    index: Any = step.constant()
    return np.asarray(np.take(x, index, step.attribute("axis", 0)))


def _split(step: Step) -> list[Tensor]:
    x = step.tensor()
    axis, count = step.attribute("axis", 0), len(step.outputs)
    whole, each = x.shape[axis], -(-x.shape[axis] // count)
    equal = [each] * (count - 1) + [whole - each * (count - 1)]
    sizes = step.integers("split", equal)
    if sum(sizes) != whole or min(sizes) < 0 or step.attribute("num_outputs", count) != len(sizes):
        raise ValueError(f"{count} parts {sizes} of {whole}")
    return moved(step, [x], lambda a: np.split(a[0], np.cumsum(sizes)[:-1], axis))


def _pad(step: Step) -> list[Tensor]:
    x, pads, value = step.tensor(), step.integers("pads"), step.constant("value")
    rank, mode = len(x.shape), step.attribute("mode", "constant")
    axes = chosen_axes(step.integers("", list(range(rank))), rank)
    widths = [(0, 0)] * rank
    for axis, *width in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        widths[axis] = (width[0], width[1])
    if min(pads) < 0 or mode not in {"constant", "edge", "reflect"}:
        raise NoRule(f"mode {mode}, pads {pads}")
    bounded(prod(n + sum(w) for n, w in zip(x.shape, widths, strict=True)))
    if mode != "constant":
        return moved(step, [x], lambda a: [np.pad(a[0], widths, mode)])
    kind = x.kind if isinstance(x, Variable) else x.dtype
    fill = np.asarray(0 if value is None else value, dtype=kind).reshape(())
    return moved(step, [x, fill], lambda a: [np.pad(a[0], widths, constant_values=a[1])])


def _tile(step: Step, x: Constant) -> Constant:
    counts = step.integers()
    bounded(x.size * prod(counts))
    return np.tile(x, counts)


def _dropout(step: Step) -> list[Tensor]:
    x, _, training = step.tensor(), step.constant("ratio"), step.constant()
    step.attribute("seed")
    if training is not None and training.any():
        raise NoRule("training mode")
    return [x]


def _cast(step: Step) -> list[Tensor]:
    x, kind = step.tensor(), onnx.helper.tensor_dtype_to_np_dtype(step.attribute("to"))
    step.attribute("saturate")
    if isinstance(x, Variable):
        if x.kind != kind:
            raise NoRule(f"{x.kind} becomes {kind}")
        return [x]
    with np.errstate(all="ignore"):
        same = kind.kind in "fiub" and np.array_equal(x.astype(kind).astype(x.dtype), x)
    if not same:
        raise NoRule(f"a constant that is no {kind}")
    return [x.astype(kind)]


def _constant(step: Step) -> list[Tensor]:
    name, value = step.attributes.popitem()
    if name == "value":
        return [value]
    kind = {"value_float": np.float32, "value_int": np.int64}[name.removesuffix("s")]
    return [np.asarray(value, dtype=kind)]


def _constant_of_shape(step: Step) -> list[Tensor]:
    value = step.attribute("value", np.zeros(1, np.float32))
    shape = step.integers()
    bounded(prod(shape))
    return [np.full(shape, value.item(), value.dtype)]


def _arithmetic(operator: str) -> Rule:
    def rule(step: Step) -> list[Tensor]:
        a, b = step.tensor(), step.tensor()
        shape = np.broadcast_shapes(a.shape, b.shape)
        if isinstance(a, Variable) and isinstance(b, Variable):
            return [_two_variables(step, operator, a, b)]
        if isinstance(a, Variable):
            return [with_constant(step, operator, a, np.broadcast_to(exact(b, a), shape))]
        if isinstance(b, Variable):
            return [with_constant(step, "c" + operator, b, np.broadcast_to(exact(a, b), shape))]
        if a.dtype.kind not in "iu" or a.dtype != b.dtype or operator == "/":
            raise NoRule("arithmetic between constants")
        compute = {"+": np.add, "-": np.subtract, "*": np.multiply}[operator]
        return [np.asarray(compute(a, b))]

    return rule


def with_constant(step: Step, operator: str, x: Variable, c: Constant) -> Tensor:
    """x + c, c + x, x - c, c - x, x * c, c * x or x / c, element by element."""
    scale, bias, inexact = step.numbers([1.0]), step.numbers(0.0), 0
    if operator == "/":
        scale, inexact = inverse_of(step, c)
    elif operator in {"*", "c*"}:
        scale = step.numbers(c)
    elif operator == "c/":
        inverse = nonlinear(step, Reciprocal(), x, "inverse")
        return with_constant(step, "*", inverse, c)
    else:
        bias = step.numbers(-c if operator == "-" else c)
    if operator == "c-":
        scale = -scale
    elif operator in {"+", "c+", "-"} and x.value and x.shape == c.shape:
        before = step.values.nodes[x.value - 1]
        source = replace(x, value=before.inputs[0])
        rule = isinstance(before.rule, Affine) and before.rule.with_bias(bias.reshape(-1))
        if rule:
            return step.values.add(step.outputs[0], rule, [source], x.shape)
    return step.affine([x], np.broadcast_to(x.index, c.shape)[None], scale, bias, inexact)


def nonlinear(step: Step, rule: Atom, x: Variable, name: str) -> Variable:
    """A function of x, for use inside a node."""
    return step.values.add(step.part(name).outputs[0], rule, [x], x.shape)


def multiply(step: Step, name: str, a: Variable, b: Variable) -> Variable:
    """The product of two tensors, elementwise, with broadcasting."""
    index = side_by_side([a, b])
    shape = index.shape[1:]
    if a.value == b.value and np.array_equal(index[0], index[1] - a.index.size):
        spread = step.values.select(f"{name}:base", [a], index[0])
        return step.values.add(name, Power(2), [spread], shape)
    factors = step.values.select(f"{name}:factors", [a, b], index)
    return step.values.add(name, Product(), [factors], shape)


def _two_variables(step: Step, operator: str, a: Variable, b: Variable) -> Tensor:
    if operator == "/":
        b = nonlinear(step, Reciprocal(), b, "inverse")
    if operator in "*/":
        return multiply(step, step.outputs[0], a, b)
    index = side_by_side([a, b])
    signs = np.array([1.0, 1.0 if operator == "+" else -1.0])
    scale = step.numbers(signs.reshape(2, *[1] * (index.ndim - 1)))
    return step.affine([a, b], index, scale, step.numbers(0.0))


def _reduce(*, mean: bool, spatial: bool = False) -> Rule:
    """The sum or mean over some axes, over all by default; over the ``spatial`` ones."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        index = reduced(step, x, spatial=spatial)
        if index is None:
            return [x]
        scale, inexact = inverse_of(step, np.array([float(len(index) if mean else 1)]))
        step.values.strained.extend(step.outputs if mean else [])
        return [step.affine([x], index, scale, step.numbers(0.0), inexact)]

    return rule


def reduced(step: Step, x: Variable, *, spatial: bool = False) -> Indices | None:
    """The elements [k, *shape] that each result of a reduction is made of; None: x as it is."""
    every = list(range(2 if spatial else 0, len(x.shape)))
    axes, keep = step.integers("axes", []), step.attribute("keepdims", 1)
    if step.attribute("noop_with_empty_axes", 0) and not axes:
        return None
    chosen = chosen_axes(axes or every, len(x.shape))
    shape = [n for i, n in enumerate(x.shape) if i not in chosen]
    if keep:
        shape = [1 if i in chosen else n for i, n in enumerate(x.shape)]
    return np.moveaxis(x.index, chosen, range(len(chosen))).reshape(-1, *shape)


def _batch_normalization(step: Step) -> list[Tensor]:
    """x - mean, then scale / sqrt(variance + epsilon) times that plus B, rounded 4 times."""
    x, epsilon = step.variable(), step.attribute("epsilon", float(np.float32(1e-5)))
    weights = [exact(step.tensor(), x) for _ in range(4)]
    step.attribute("momentum")
    training = step.attribute("training_mode", 0) or step.attribute("spatial", 1) != 1
    if training or step.values.arithmetic.exact:
        raise NoRule("training mode, or exact arithmetic")
    channels = -1, *[1] * (len(x.shape) - 2)
    factor, offset, mean, variance = (w.reshape(channels) for w in weights)
    if (variance < 0).any() or epsilon <= 0:
        raise NoRule("a variance or epsilon out of range")
    scale = factor * (1 / np.sqrt(variance + epsilon))
    if ((abs(scale) < 2.0**-900) & (factor != 0)).any():
        raise NoRule("a scale out of range")
    step.values.strained.extend(step.outputs)
    centred, index = step.part("centred"), x.index[None]
    difference: Any = centred.affine([x], index, np.ones(1), -mean)
    return [step.affine([difference], index, scale, offset, 4)]


def _matmul(step: Step) -> list[Tensor]:
    a, b = step.tensor(), step.tensor()
    if isinstance(a, Variable) == isinstance(b, Variable):
        raise NoRule("a product of two variables, or of two constants")
    x, c = (a, b) if isinstance(a, Variable) else (b, a)
    if prod(c.shape[:-2]) != 1:
        raise NoRule("a product with several matrices")
    shape = _product_shape(a.shape, b.shape)
    weight = exact(c, x).reshape(c.shape[-2:])
    if x is a:
        weight = weight.reshape(len(weight), -1).T
    weight = step.numbers(np.atleast_2d(weight))
    columns = 1 if x is a or len(x.shape) == 1 else x.shape[-1]
    copies = prod(x.shape) // (weight.shape[1] * columns)
    return [step.product(x, Dense(weight[None], copies, columns), shape, step.numbers(0.0))]


def _product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a matrix product, by numpy's rules, which are ONNX's."""
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    if a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ValueError(f"shapes {a} and {b} do not match")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), *rows, *columns)


def _gemm(step: Step) -> list[Tensor]:
    """alpha A B + beta C; products of two float32 numbers are exact in float64."""
    a, b, c = step.tensor(), step.tensor(), step.constant()
    alpha, beta = step.attribute("alpha", 1.0), step.attribute("beta", 1.0)
    flip_a, flip_b = step.attribute("transA", 0), step.attribute("transB", 0)
    if isinstance(a, Variable) == isinstance(b, Variable):
        raise NoRule("a product of two variables, or of two constants")
    first = isinstance(a, Variable)
    x, matrix, flip_x, flip = (a, b, flip_a, flip_b) if first else (b, a, flip_b, flip_a)
    if x.kind.itemsize > 4 and {alpha, beta} != {1.0}:
        raise NoRule("alpha or beta with float64")
    if flip_x:
        x = step.values.select(step.outputs[0] + ":transposed", [x], x.index.T)
    weight = exact(matrix, x)
    weight = weight.T if first != bool(flip) else weight
    shape = _product_shape(*((x.shape, weight.shape[::-1]) if first else (weight.shape, x.shape)))
    copies, columns = (x.shape[0], 1) if first else (1, x.shape[1])
    bias = step.numbers(0.0 if c is None else beta * exact(c, x))
    dense = Dense(step.numbers(alpha * weight)[None], copies, columns)
    step.values.strained.extend([] if alpha == beta == 1 else step.outputs)
    return [step.product(x, dense, shape, bias)]


def elementwise(make: Callable[[Step], Atom]) -> Rule:
    """A function of every element."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        return [step.values.add(step.outputs[0], make(step), [x], x.shape)]

    return rule


def _clip(step: Step) -> Atom:
    """Absent bounds are none: real numbers beyond float32's are not clipped."""
    low, high = step.constant("min"), step.constant("max")
    least = -np.inf if low is None else float(low.item())
    most = np.inf if high is None else float(high.item())
    if not (least <= most and least < np.inf and most > -np.inf):
        raise NoRule(f"bounds {least}, {most}")
    return clip(least, most)


RULES: dict[str, Rule] = {
    "Abs": elementwise(lambda _: absolute()),
    "Add": _arithmetic("+"),
    "AveragePool": average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": elementwise(_clip),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": convolution,
    "Div": _arithmetic("/"),
    "Dropout": _dropout,
    "Expand": moves(lambda s, a: np.broadcast_to(a, np.broadcast_shapes(a.shape, s.integers()))),
    "Flatten": moves(lambda s, a: a.reshape(prod(a.shape[: s.attribute("axis", 1)]), -1)),
    "Gather": moves(_gather),
    "Gemm": _gemm,
    "GlobalAveragePool": _reduce(mean=True, spatial=True),
    "Identity": moves(lambda _, a: a),
    "LeakyRelu": elementwise(lambda s: leaky_relu(s.attribute("alpha", float(np.float32(0.01))))),
    "MatMul": _matmul,
    "Mul": _arithmetic("*"),
    "Neg": lambda s: [with_constant(s, "*", x := s.variable(), np.full(x.shape, -1.0))],
    "Pad": _pad,
    "Reciprocal": elementwise(lambda _: Reciprocal()),
    "ReduceMean": _reduce(mean=True),
    "ReduceSum": _reduce(mean=False),
    "Relu": elementwise(lambda _: Relu()),
    "Reshape": moves(_reshape),
    "Shape": lambda s: [np.array(s.tensor().shape[s.attribute("start") : s.attribute("end")], int)],
    "Sigmoid": elementwise(lambda _: SShape(1)),
    "Slice": moves(_slice),
    "Split": _split,
    "Squeeze": moves(lambda s, a: np.squeeze(a, tuple(s.integers("axes", [])) or None)),
    "Sub": _arithmetic("-"),
    "Tanh": elementwise(lambda _: SShape(2)),
    "Tile": moves(_tile),
    "Transpose": moves(lambda s, a: a.transpose(s.attribute("perm"))),
    "Unsqueeze": moves(lambda s, a: np.expand_dims(a, tuple(s.integers("axes")))),
}
