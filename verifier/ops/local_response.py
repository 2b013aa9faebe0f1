"""LRN: channels divided by a power of the squares of their neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.clip import Clip
from verifier.ops.curves import curve, power, square
from verifier.ops.gather_sum import GatherSum
from verifier.ops.logic import scaled
from verifier.ops.mul import multiply


@reads("LRN")
def read_lrn(node: OnnxNode, builder: Builder) -> Operand:
    """x / (bias + alpha / size * (sum of squares of ``size`` channels around x))^beta."""
    value, size = node.value(0), node.flag("size", 0)
    alpha, beta, bias = (
        float(np.float32(node.number(name, default)))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    if size < 1 or len(value.shape) < 2:
        message = f"size {size} over an array of shape {value.shape}"
        raise ModelError(message)
    if not (alpha >= 0 and beta >= 0 and bias > 0):
        message = f"alpha {alpha:.6g}, beta {beta:.6g}, bias {bias:.6g}, need positive ones"
        raise UnsupportedModel(message)
    images, channels = value.shape[:2]
    around = np.arange(size) - (size - 1) // 2 + np.arange(channels)[:, None]
    places = value.table().reshape(images, channels, -1)
    inside = (around >= 0) & (around < channels)
    found = np.moveaxis(places[:, np.where(inside, around, 0)], 2, 3)
    table = np.where(inside[:, None], found, -1).reshape(-1, size)
    squares = square(f"{node.name}/squares", builder, value)
    weights = np.full(len(table), alpha / size)
    total = builder.add(f"{node.name}/sum", GatherSum.of(table, weights, value.size), [squares])
    total = scaled(f"{node.name}/total", builder, total, 1.0, bias)
    # Rounding of the sum must not make it less than bias.
    total = builder.add(f"{node.name}/least", Clip.of(total.size, bias, math.inf), [total])
    if beta == 0:
        return value
    inverse = curve(f"{node.name}/inverse", builder, total, power(-beta))
    return multiply(node.name, builder, value, inverse.reshape(value.shape))


@examples("LRN")
def _examples() -> Iterator[Example]:
    options = {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5}
    yield Example("LRN", ((1, 4, 1, 2),), options)
    yield Example("LRN", ((2, 3, 2, 1),), {"size": 5, "beta": 0.5})
    yield Example("LRN", ((1, 3, 2, 2),), {**options, "size": 1, "beta": 1.0})
