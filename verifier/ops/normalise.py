"""Normalisations by values: layers, instances, groups, roots of mean squares, Lp norms."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.curves import curve, power, square
from verifier.ops.kinked import absolute
from verifier.ops.linear import Linear
from verifier.ops.logic import scaled
from verifier.ops.mul import multiply
from verifier.ops.norms import root
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.reduce import sums
from verifier.ops.sum import add, subtract
from verifier.records import dataclass

WIDEST_MATRIX = 512
"""Up to this many entries their mean is subtracted by one matrix."""
INVERSE = power(-0.5)
CHANNELS_OPSET = 21
"""From this opset on a GroupNormalization has a scale for each channel, not for each group."""


@dataclass(frozen=True)
class Recipe:
    """What is done to each group of entries."""

    epsilon: float = 0.0
    centred: bool = True
    outside: bool = False
    """Is epsilon added to the root, not under it?"""
    mean: bool = True
    """Is it the mean of squares, or their sum?"""


def normalised(
    name: str, builder: Builder, value: Value, groups: np.ndarray, recipe: Recipe
) -> Value:
    """The entries of each group [groups, count] over the root of their mean square.

    No entry of a centred group is larger than sqrt(count - 1) (sqrt(count) where not centred; 1 for
    sums of squares): a clip that changes no value keeps the bounds that the composition loses.
    """
    count = groups.shape[1]
    every = builder.rearrange(f"{name}/groups", value, groups)
    if recipe.centred:
        every = centred(f"{name}/centred", builder, every)
    squares = square(f"{name}/squares", builder, every)
    weight = 1.0 / count if recipe.mean else 1.0
    total = sums(f"{name}/mean", builder, squares, squares.table(), weight)
    if recipe.outside:
        size = root(f"{name}/root", builder, total)
        size = scaled(f"{name}/sum", builder, size, 1.0, recipe.epsilon)
        inverse = builder.add(f"{name}/inverse", Reciprocal.of(size.size), [size])
    else:
        if recipe.epsilon:
            total = at_least(name, builder, total, recipe.epsilon)
        inverse = curve(f"{name}/inverse", builder, total, INVERSE)
    result = multiply(f"{name}/product", builder, every, inverse.reshape((len(groups), 1)))
    limit = math.sqrt(max(count - recipe.centred, 0) if recipe.mean else 1) * (1 + 1e-6)
    result = builder.add(f"{name}/range", Clip.of(result.size, -limit, limit), [result])
    return ungrouped(name, builder, result, groups, value.shape)


def ungrouped(
    name: str, builder: Builder, result: Value, groups: np.ndarray, shape: tuple[int, ...]
) -> Value:
    """Entries in the order of ``groups``, put back in their places."""
    back = np.empty(groups.size, dtype=np.int64)
    back[groups.reshape(-1)] = np.arange(groups.size)
    return builder.rearrange(name, result, back.reshape(shape))


def centred(name: str, builder: Builder, every: Value) -> Value:
    """Each row of a value [groups, count] less its mean."""
    rows, count = every.shape
    if count <= WIDEST_MATRIX:
        matrix = np.eye(count) - 1.0 / count
        return builder.add(name, Linear.of(matrix, positions=rows), [every])
    mean = sums(f"{name}/mean", builder, every, every.table(), 1.0 / count)
    return subtract(name, builder, every, mean.reshape((rows, 1)))


def _epsilon(node: OnnxNode, default: float = 1e-5) -> float:
    return float(np.float32(node.number("epsilon", default)))


def _scaled(
    node: OnnxNode, builder: Builder, value: Value, shape: tuple[int, ...] | None = None
) -> Value:
    """Times the second input, plus the third, each under a shape if one is given."""
    scale, bias = node.operand(1), node.get(2)
    if shape is not None:
        scale = scale.reshape(shape)
        bias = None if bias is None else bias.reshape(shape)
    value = multiply(f"{node.name}/scale", builder, value, scale)
    return value if bias is None else add(f"{node.name}/bias", builder, value, bias)


@reads("LayerNormalization", "RMSNormalization")
def read_layer_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """Over all axes from ``axis`` on; RMSNormalization subtracts no mean."""
    value = node.value(0)
    axis = axis_of(node.flag("axis", -1), len(value.shape))
    groups = value.table().reshape(math.prod(value.shape[:axis]), -1)
    recipe = Recipe(_epsilon(node), centred=node.op_type == "LayerNormalization")
    result = _scaled(node, builder, normalised(node.name, builder, value, groups, recipe))
    if node.outputs == 1:
        return result
    shape = (*value.shape[:axis], *(1 for _ in value.shape[axis:]))
    further = _statistics(f"{node.name}/statistics", builder, value, groups, recipe.epsilon)
    return result, *(part.reshape(shape) for part in further)


def _statistics(
    name: str, builder: Builder, value: Value, groups: np.ndarray, epsilon: float
) -> tuple[Value, Value]:
    """The mean of each group, and one over its standard deviation."""
    weight = 1.0 / groups.shape[1]
    mean = sums(f"{name}/mean", builder, value, groups, weight)
    every = centred(f"{name}/centred", builder, builder.rearrange(f"{name}/all", value, groups))
    squares = square(f"{name}/squares", builder, every)
    total = sums(f"{name}/variance", builder, squares, squares.table(), weight)
    return mean, curve(f"{name}/inverse", builder, at_least(name, builder, total, epsilon), INVERSE)


def at_least(name: str, builder: Builder, total: Value, epsilon: float) -> Value:
    """A sum of squares plus epsilon; rounding must not make it less than that."""
    total = scaled(f"{name}/sum", builder, total, 1.0, epsilon)
    return builder.add(f"{name}/least", Clip.of(total.size, epsilon, math.inf), [total])


@reads("InstanceNormalization")
def read_instance_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """Over the spatial axes of each channel."""
    value = node.value(0)
    groups = value.table().reshape(math.prod(value.shape[:2]), -1)
    result = normalised(node.name, builder, value, groups, Recipe(_epsilon(node)))
    return _scaled(node, builder, result, (value.shape[1], *(1,) * (len(value.shape) - 2)))


@reads("GroupNormalization")
def read_group_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """Over groups of consecutive channels and the spatial axes."""
    value, count = node.value(0), node.flag("num_groups", 1)
    channels, space = value.shape[1], value.shape[2:]
    groups = value.table().reshape(value.shape[0] * count, -1)
    result = normalised(node.name, builder, value, groups, Recipe(_epsilon(node)))
    if node.opset >= CHANNELS_OPSET:
        return _scaled(node, builder, result, (channels, *(1,) * len(space)))
    split = result.reshape((value.shape[0], count, channels // count, *space))
    shape = (count, *(1,) * (len(space) + 1))
    return _scaled(node, builder, split, shape).reshape(value.shape)


@reads("MeanVarianceNormalization")
def read_mean_variance_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """(x - mean) / (standard deviation + 1e-9) over ``axes``."""
    value = node.value(0)
    axes = [axis_of(axis, len(value.shape)) for axis in node.ints("axes") or (0, 2, 3)]
    rest = [axis for axis in range(len(value.shape)) if axis not in axes]
    count = math.prod(value.shape[axis] for axis in axes)
    groups = np.transpose(value.table(), (*rest, *axes)).reshape(-1, count)
    recipe = Recipe(float(np.float32(1e-9)), outside=True)
    return normalised(node.name, builder, value, groups, recipe)


@reads("LpNormalization")
def read_lp_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """x over its L1 or L2 norm along an axis; of boxes that hold 0 nothing is known."""
    value, p = node.value(0), node.flag("p", 2)
    axis = axis_of(node.flag("axis", -1), len(value.shape))
    groups = np.moveaxis(value.table(), axis, -1).reshape(-1, value.shape[axis])
    if p == 1:
        every = builder.rearrange(f"{node.name}/groups", value, groups)
        sizes = absolute(f"{node.name}/sizes", builder, every)
        total = sums(f"{node.name}/sum", builder, sizes, sizes.table(), 1.0)
        inverse = builder.add(f"{node.name}/inverse", Reciprocal.of(total.size), [total])
        result = multiply(f"{node.name}/product", builder, every, inverse.reshape((len(groups), 1)))
        result = builder.add(f"{node.name}/range", Clip.of(result.size, -1.0, 1.0), [result])
        return ungrouped(node.name, builder, result, groups, value.shape)
    recipe = Recipe(centred=False, mean=False)
    return normalised(node.name, builder, value, groups, recipe)


@examples("LayerNormalization")
def _layers() -> Iterator[Example]:
    yield Example("LayerNormalization", ((2, 3), numbers(3), numbers(3, seed=1)))
    attributes = {"axis": 1, "epsilon": 0.1}
    yield Example("LayerNormalization", ((2, 2, 2), numbers(2, 2)), attributes)
    yield Example("LayerNormalization", ((1, 4), numbers(4)), {"axis": -2})
    yield Example("LayerNormalization", ((2, 3), numbers(3)), outputs=3)


@examples("InstanceNormalization", "GroupNormalization", "RMSNormalization")
def _groups() -> Iterator[Example]:
    scale, bias = numbers(2), numbers(2, seed=1)
    yield Example("InstanceNormalization", ((1, 2, 2, 2), scale, bias), {"epsilon": 0.01})
    yield Example("InstanceNormalization", ((2, 2, 3), scale, bias))
    four = numbers(4), numbers(4, seed=1)
    yield Example("GroupNormalization", ((1, 4, 3), *four), {"num_groups": 2}, opset=21)
    yield Example("RMSNormalization", ((2, 3), numbers(3)), opset=23)


@examples("MeanVarianceNormalization", "LpNormalization")
def _others() -> Iterator[Example]:
    yield Example("MeanVarianceNormalization", ((1, 2, 2, 2),))
    yield Example("MeanVarianceNormalization", ((2, 3),), {"axes": [1]})
    yield Example("LpNormalization", ((2, 3),))
    yield Example("LpNormalization", ((2, 3),), {"axis": 0, "p": 1})
