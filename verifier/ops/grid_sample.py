"""GridSample at constant places: weighted sums of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.scale import Scale
from verifier.ops.sum import Sum

MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest"}
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
    x = axis.places(grid)
    if mode == "nearest":
        return [(axis.pixels(np.rint(x)), np.ones(x.shape))]
    first = np.floor(x)
    share = (x - first).astype(np.float64)
    return [(axis.pixels(first), 1 - share), (axis.pixels(first + 1), share)]


@reads("GridSample")
def read_grid_sample(node: OnnxNode, builder: Builder) -> Operand:
    """Pixels at, or between, the places of a constant grid [images, rows, columns, 2]."""
    value, grid = node.value(0), node.needed_weights(1, "grid")
    given = str(node.attributes.get("mode", "linear"))
    padding = str(node.attributes.get("padding_mode", "zeros"))
    if len(value.shape) != 4 or given not in MODES:
        message = f"mode {given!r} over {len(value.shape)} axes, need linear or nearest over 4"
        raise UnsupportedModel(message)
    if padding not in {"zeros", "border", "reflection"} or not np.isfinite(grid).all():
        message = f"padding_mode {padding!r}, or a grid that is not finite"
        raise UnsupportedModel(message)
    images, channels, height, width = value.shape
    if grid.ndim != 4 or grid.shape[0] != images or grid.shape[3] != 2:
        message = f"a grid of shape {grid.shape} over images of shape {value.shape}"
        raise ModelError(message)
    aligned = bool(node.flag("align_corners", 0))
    rows, columns = (
        _corners(Axis(length, aligned, padding), grid[..., place], MODES[given])
        for length, place in ((height, 1), (width, 0))
    )
    image = np.arange(images * channels).reshape(images, channels, 1, 1) * (height * width)
    shape = (images, channels, *grid.shape[1:3])
    parts = []
    for i, (y, high) in enumerate(rows):
        for j, (x, wide) in enumerate(columns):
            pixel = np.where((y < 0) | (x < 0), -1, y * width + x)[:, None]
            index = np.where(pixel < 0, -1, image + pixel)
            part = builder.rearrange(f"{node.name}/pixels{i}{j}", value, index, np.zeros(shape))
            weight = np.broadcast_to((high * wide)[:, None], shape).reshape(-1)
            operator = Scale.of(part.size, weight, None)
            parts.append(builder.add(f"{node.name}/weighted{i}{j}", operator, [part]))
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
            near = {**options, "mode": "nearest"}
            yield Example("GridSample", ((1, 1, 2, 3), places), near, opset=20)
