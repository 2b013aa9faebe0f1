"""What each ONNX operator computes, as a rule over flat arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from verifier.checker.affine import Affine, Dense, Indices
from verifier.checker.arithmetic import Floats
from verifier.checker.atoms import Atom, Relu, SShape, absolute, clip, leaky_relu
from verifier.checker.tensors import Constant, NoRule, Step, Tensor, Variable, exact

Rule = Callable[[Step], list[Tensor]]


def _axes(axes: list[int], rank: int) -> tuple[int, ...]:
    return tuple(range(rank)[axis] for axis in axes)


def _moves(mover: Callable[[Step, Any], Any]) -> Rule:
    return lambda step: _moved(step, [step.tensor()], lambda a: [mover(step, *a)])


def _concat(step: Step) -> list[Tensor]:
    tensors, axis = [step.tensor() for _ in list(step.inputs)], step.attribute("axis")
    return _moved(step, tensors, lambda arrays: [np.concatenate(arrays, axis)])


def _moved(
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
    for axis, *cut in zip(_axes(axes, x.ndim), starts, ends, steps, strict=True):
        cuts[axis] = slice(*cut)
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
    return _moved(step, [x], lambda a: np.split(a[0], np.cumsum(sizes)[:-1], axis))


def _pad(step: Step) -> list[Tensor]:
    x, pads, value = step.tensor(), step.integers("pads"), step.constant("value")
    rank, mode = len(x.shape), step.attribute("mode", "constant")
    axes = _axes(step.integers("", list(range(rank))), rank)
    widths = [(0, 0)] * rank
    for axis, *width in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        widths[axis] = (width[0], width[1])
    if min(pads) < 0 or mode not in {"constant", "edge", "reflect"}:
        raise NoRule(f"mode {mode}, pads {pads}")
    if mode != "constant":
        return _moved(step, [x], lambda a: [np.pad(a[0], widths, mode)])
    kind = x.kind if isinstance(x, Variable) else x.dtype
    fill = np.asarray(0 if value is None else value, dtype=kind).reshape(())
    return _moved(step, [x, fill], lambda a: [np.pad(a[0], widths, constant_values=a[1])])


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
    if kind.kind not in "fiub" or not np.array_equal(x.astype(kind).astype(x.dtype), x):
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
    return [np.full(step.integers(), value.item(), value.dtype)]


def _reciprocal(step: Step, x: npt.NDArray[np.float64]) -> tuple[Floats, int]:
    """1 / x, and how many roundings that takes."""
    if not ((abs(x) > 2.0**-900) & (abs(x) < 2.0**900)).all():
        raise ValueError("a division by 0, or by a number too small or too large")
    return step.numbers([1.0]) / step.numbers(x), int((abs(np.frexp(x)[0]) != 0.5).any())


def _arithmetic(operator: str) -> Rule:
    def rule(step: Step) -> list[Tensor]:
        a, b = step.tensor(), step.tensor()
        shape = np.broadcast_shapes(a.shape, b.shape)
        if isinstance(a, Variable) and isinstance(b, Variable):
            return [_two_variables(step, operator, a, b)]
        if isinstance(a, Variable):
            return [_with_constant(step, operator, a, np.broadcast_to(exact(b, a), shape))]
        if isinstance(b, Variable):
            return [_with_constant(step, "c" + operator, b, np.broadcast_to(exact(a, b), shape))]
        if a.dtype.kind not in "iu" or a.dtype != b.dtype or operator == "/":
            raise NoRule("arithmetic between constants")
        compute = {"+": np.add, "-": np.subtract, "*": np.multiply}[operator]
        return [np.asarray(compute(a, b))]

    return rule


def _with_constant(step: Step, operator: str, x: Variable, c: Constant) -> Tensor:
    """x + c, c + x, x - c, c - x, x * c, c * x or x / c, element by element."""
    scale, bias, inexact = step.numbers([1.0]), step.numbers(0.0), 0
    if operator == "/":
        scale, inexact = _reciprocal(step, c)
    elif operator in {"*", "c*"}:
        scale = step.numbers(c)
    elif operator == "c/":
        raise NoRule("a division by a variable")
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


def _two_variables(step: Step, operator: str, a: Variable, b: Variable) -> Tensor:
    if operator not in "+-":
        raise NoRule("a product or quotient of two variables")
    second = a.index.size + b.index
    index = np.stack(np.broadcast_arrays(a.index, second))
    signs = np.array([1.0, 1.0 if operator == "+" else -1.0])
    scale = step.numbers(signs.reshape(2, *[1] * (index.ndim - 1)))
    return step.affine([a, b], index, scale, step.numbers(0.0))


def _reduce(*, mean: bool, spatial: bool = False) -> Rule:
    """The sum or mean over some axes, over all by default; over the ``spatial`` ones."""

    def rule(step: Step) -> list[Tensor]:
        x = step.variable()
        every = list(range(2 if spatial else 0, len(x.shape)))
        axes, keep = step.integers("axes", []), step.attribute("keepdims", 1)
        if step.attribute("noop_with_empty_axes", 0) and not axes:
            return [x]
        chosen = _axes(axes or every, len(x.shape))
        index = np.moveaxis(x.index, chosen, range(len(chosen)))
        index = index.reshape(-1, *index.shape[len(chosen) :])
        scale, inexact = _reciprocal(step, np.array([float(len(index) if mean else 1)]))
        step.values.strained.extend(step.outputs if mean else [])
        result: Any = step.affine([x], index, scale, step.numbers(0.0), inexact)
        shape = tuple(1 if i in chosen else n for i, n in enumerate(x.shape))
        return [replace(result, shape=shape) if keep else result]

    return rule


def _patches(step: Step, x: Variable, kernel: tuple[int, ...]) -> Indices:
    """What a moving kernel meets: [batch, channels, prod(kernel), *places], -1 for padding."""
    rank, sizes = len(kernel), x.shape[2:]
    strides = step.attribute("strides", [1] * rank)
    dilations = step.attribute("dilations", [1] * rank)
    pads, auto = step.attribute("pads", [0] * 2 * rank), step.attribute("auto_pad", "NOTSET")
    if auto not in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"} or (
        auto != "NOTSET" and any(pads)
    ):
        raise NoRule(f"auto_pad {auto}, pads {pads}")
    if {len(sizes), len(strides), len(dilations)} != {rank} or min(*strides, *dilations) < 1:
        raise ValueError(f"shape {x.shape}, kernel {kernel}, strides {strides}, {dilations}")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if auto.startswith("SAME"):
        steps = zip(sizes, strides, reach, strict=True)
        whole = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in steps]
        less, more = [n // 2 for n in whole], [n - n // 2 for n in whole]
        pads = less + more if auto == "SAME_UPPER" else more + less
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(x.index, widths, constant_values=-1)
    rests = zip(padded.shape[2:], reach, strides, strict=True)
    if step.attribute("ceil_mode", 0) and any((n - r) % s for n, r, s in rests):
        raise NoRule("ceil_mode with a rest")
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, 2 + rank)))
    every = slice(None)
    view = view[every, every, *(slice(None, None, s) for s in [*strides, *dilations])]
    places = view.shape[2 : 2 + rank]
    view = np.moveaxis(view, range(2 + rank, 2 + 2 * rank), range(2, 2 + rank))
    return view.reshape(*x.shape[:2], -1, *places)


def _convolution(step: Step) -> list[Tensor]:
    """A matrix times the patches, for each group of channels."""
    x = step.variable()
    weight, bias = exact(step.tensor(), x), step.constant()
    groups, kernel = step.attribute("group", 1), weight.shape[2:]
    matching = x.shape[1] == groups * weight.shape[1] and len(weight) % groups == 0
    if tuple(step.attribute("kernel_shape", kernel)) != kernel or not matching:
        raise ValueError("the shapes of weight, kernel and groups do not match")
    index, name = _patches(step, x, kernel), step.outputs[0] + ":patches"
    patches = step.values.select(name, [x], index)
    matrix = step.numbers(weight.reshape(groups, len(weight) // groups, -1))
    places = index.shape[3:]
    offset = np.zeros(len(weight)) if bias is None else exact(bias, x)
    offset = step.numbers(offset.reshape(-1, *[1] * len(places)))
    shape = (len(index), len(weight), *places)
    return [step.product(patches, Dense(matrix, len(index), prod(places)), shape, offset)]


def _average_pool(step: Step) -> list[Tensor]:
    x, include = step.variable(), bool(step.attribute("count_include_pad", 0))
    kernel = tuple(step.attribute("kernel_shape"))
    index = np.moveaxis(_patches(step, x, kernel), 2, 0)
    share, inexact = _reciprocal(step, ((index >= 0) | include).sum(axis=0).astype(np.float64))
    scale = share * step.numbers(index >= 0)
    step.values.strained.extend(step.outputs)
    return [step.affine([x], np.maximum(index, 0), scale, step.numbers(0.0), inexact)]


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
    scale = factor * (1 / np.sqrt(variance + epsilon))
    if (variance < 0).any() or epsilon <= 0 or ((abs(scale) < 2.0**-900) & (factor != 0)).any():
        raise NoRule("a variance, epsilon or scale out of range")
    step.values.strained.extend(step.outputs)
    centred, index = replace(step, outputs=[step.outputs[0] + ":centred"]), x.index[None]
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


def _atom(make: Callable[[Step], Atom]) -> Rule:
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
    "Abs": _atom(lambda _: absolute()),
    "Add": _arithmetic("+"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _atom(_clip),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _convolution,
    "Div": _arithmetic("/"),
    "Dropout": _dropout,
    "Expand": _moves(lambda s, a: np.broadcast_to(a, np.broadcast_shapes(a.shape, s.integers()))),
    "Flatten": _moves(lambda s, a: a.reshape(prod(a.shape[: s.attribute("axis", 1)]), -1)),
    "Gather": _moves(_gather),
    "Gemm": _gemm,
    "GlobalAveragePool": _reduce(mean=True, spatial=True),
    "Identity": _moves(lambda _, a: a),
    "LeakyRelu": _atom(lambda s: leaky_relu(s.attribute("alpha", float(np.float32(0.01))))),
    "MatMul": _matmul,
    "Mul": _arithmetic("*"),
    "Neg": lambda s: [_with_constant(s, "*", x := s.variable(), np.full(x.shape, -1.0))],
    "Pad": _pad,
    "ReduceMean": _reduce(mean=True),
    "ReduceSum": _reduce(mean=False),
    "Relu": _atom(lambda _: Relu()),
    "Reshape": _moves(_reshape),
    "Shape": lambda s: [np.array(s.tensor().shape[s.attribute("start") : s.attribute("end")], int)],
    "Sigmoid": _atom(lambda _: SShape(1)),
    "Slice": _moves(_slice),
    "Split": _split,
    "Squeeze": _moves(lambda s, a: np.squeeze(a, tuple(s.integers("axes", [])) or None)),
    "Sub": _arithmetic("-"),
    "Tanh": _atom(lambda _: SShape(2)),
    "Tile": _moves(lambda s, a: np.tile(a, s.integers())),
    "Transpose": _moves(lambda s, a: a.transpose(s.attribute("perm"))),
    "Unsqueeze": _moves(lambda s, a: np.expand_dims(a, tuple(s.integers("axes")))),
}
