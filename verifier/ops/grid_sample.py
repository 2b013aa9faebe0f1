"""GridSample at constant places: weighted sums of pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.scale import Scale
from verifier.ops.sum import Sum
from verifier.records import dataclass

MODES = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "cubic": "cubic",
}
CUBIC = -0.75
"""The coefficient of the cubic weights."""
HALF = np.float32(0.5)


@dataclass(frozen=True)
class Axis:
    """One axis of an image, and what lies beyond its ends: zeros, border, reflection."""

    length: int
    aligned: bool
    padding: str

    @property
    def ends(self) -> tuple[np.float32, np.float32]:
        """Where the image begins and ends: at the middle of its outer pixels if aligned."""
        length = np.float32(self.length)
        if self.aligned:
            return np.float32(0), length - np.float32(1)
        return -HALF, length - HALF

    def places(self, grid: np.ndarray) -> np.ndarray:
        """From [-1, 1] to pixels, in float32 as ONNX Runtime computes them."""
        x, length = grid.astype(np.float32), np.float32(self.length)
        if self.aligned:
            x = (x + np.float32(1)) / np.float32(2) * (length - np.float32(1))
        else:
            x = ((x + np.float32(1)) * length - np.float32(1)) / np.float32(2)
        if self.padding == "border":
            return np.clip(x, np.float32(0), length - np.float32(1))
        return self.reflected(x) if self.padding == "reflection" else x

    def reflected(self, x: np.ndarray) -> np.ndarray:
        """Places beyond the ends, mirrored until they are inside."""
        low, high = self.ends
        span = high - low
        if span <= 0:
            return np.zeros_like(x)
        beyond = np.where(x < low, low - x, np.where(x > high, x - high, 0))
        turns, rest = np.floor(beyond / span), np.fmod(beyond, span)
        even = turns % 2 == 0
        left = np.where(even, low + rest, high - rest)
        right = np.where(even, high - rest, low + rest)
        return np.where(x < low, left, np.where(x > high, right, x)).astype(np.float32)

    def pixels(self, whole: np.ndarray) -> np.ndarray:
        """The pixels of whole places, -1 where there is nothing."""
        index = whole.astype(np.int64)
        if self.padding == "reflection":
            index = self.reflected(whole.astype(np.float32)).astype(np.int64)
        if self.padding == "zeros":
            return np.where((index >= 0) & (index < self.length), index, -1)
        return np.clip(index, 0, self.length - 1)


Corners = list[tuple[np.ndarray, np.ndarray]]
"""Pixels of an axis (-1: none), and their weights."""


def _corners(axis: Axis, grid: np.ndarray, mode: str) -> Corners:
    # Between pixels, cubic weights go on beyond the border: only the pixels end there.
    ends = replace(axis, padding="zeros") if (mode, axis.padding) == ("cubic", "border") else axis
    x = ends.places(grid)
    if mode == "nearest":
        return [(axis.pixels(np.rint(x)), np.ones(x.shape))]
    first = np.floor(x)
    share = (x - first).astype(np.float64)
    if mode == "cubic":
        return [(axis.pixels(first + i), _cubic(abs(share - i))) for i in range(-1, 3)]
    return [(axis.pixels(first), 1 - share), (axis.pixels(first + 1), share)]


def _cubic(distance: np.ndarray) -> np.ndarray:
    """The weight of a pixel at a distance below 2."""
    a, x = CUBIC, distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x <= 1, near, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a)


@reads("GridSample")
def read_grid_sample(node: OnnxNode, builder: Builder) -> Operand:
    """Pixels at, or between, the places of a constant grid [images, ..., axes of an image]."""
    value, grid = node.value(0), node.needed_weights(1, "grid")
    given = str(node.attributes.get("mode", "linear"))
    padding = str(node.attributes.get("padding_mode", "zeros"))
    images, *space = value.shape[:1] + value.shape[2:]
    if given not in MODES or len(space) not in {2, 3} or (len(space), MODES[given]) == (3, "cubic"):
        message = f"mode {given!r} over {len(value.shape)} axes, need cubic over 4 or others to 5"
        raise UnsupportedModel(message)
    if padding not in {"zeros", "border", "reflection"} or not np.isfinite(grid).all():
        message = f"padding_mode {padding!r}, or a grid that is not finite"
        raise UnsupportedModel(message)
    if grid.ndim != len(space) + 2 or (grid.shape[0], grid.shape[-1]) != (images, len(space)):
        message = f"a grid of shape {grid.shape} over images of shape {value.shape}"
        raise ModelError(message)
    aligned = bool(node.flag("align_corners", 0))
    corners = [
        _corners(Axis(length, aligned, padding), grid[..., -1 - i], MODES[given])
        for i, length in enumerate(space)
    ]
    return _weighted(node, builder, corners, grid.shape[1:-1])


def _weighted(
    node: OnnxNode, builder: Builder, corners: list[Corners], places: tuple[int, ...]
) -> Value:
    """The sum of the pixels of all combinations of corners, by the products of their weights."""
    value = node.value(0)
    images, channels, *space = value.shape
    first = np.arange(images * channels).reshape(images, channels, *(1,) * len(space))
    image, shape = first * math.prod(space), (images, channels, *places)
    parts = []
    for combination in itertools.product(*corners):
        pixel, weight, inside = np.zeros(1, dtype=np.int64), np.ones(1), np.ones(1, dtype=bool)
        for (index, share), length in zip(combination, space, strict=True):
            pixel, weight, inside = pixel * length + index, weight * share, inside & (index >= 0)
        index = np.where(inside[:, None], image + pixel[:, None], -1)
        name = f"{node.name}/{len(parts)}"
        part = builder.rearrange(f"{name}/pixels", value, index, np.zeros(shape))
        flat = np.broadcast_to(weight[:, None], shape).reshape(-1)
        parts.append(builder.add(f"{name}/weighted", Scale.of(part.size, flat, None), [part]))
    if len(parts) == 1:
        return parts[0]
    return builder.add(node.name, Sum.of(parts[0].size, (1,) * len(parts)), parts)


@examples("GridSample")
def _examples() -> Iterator[Example]:
    places = np.random.default_rng(0).uniform(-1.4, 1.4, (1, 2, 3, 2)).astype(np.float32)
    for padding in ("zeros", "border", "reflection"):
        for aligned in (0, 1):
            options = {"padding_mode": padding, "align_corners": aligned}
            yield Example("GridSample", ((1, 2, 3, 4), places), options, opset=20)
            for mode in ("nearest", "cubic"):
                other = {**options, "mode": mode}
                yield Example("GridSample", ((1, 1, 2, 3), places), other, opset=20)
    deep = np.random.default_rng(1).uniform(-1.2, 1.2, (1, 1, 2, 2, 3)).astype(np.float32)
    for mode in ("linear", "nearest"):
        yield Example("GridSample", ((1, 2, 2, 3, 2), deep), {"mode": mode}, opset=20)
