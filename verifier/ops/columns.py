"""Convolutions without torch: window tables, matrix products, and sums by target."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from verifier.records import dataclass
from verifier.tensors import Array, Backend, ScatterPlan, numpy_backend

CHUNK_ELEMENTS = 4_000_000
"""How many window entries are laid out at once."""


@dataclass(frozen=True)
class Geometry:
    """The spatial side of a convolution; all tuples have one entry per axis (``pads`` two)."""

    space: tuple[int, ...]
    out_space: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


@lru_cache(maxsize=256)
def windows(geometry: Geometry) -> tuple[np.ndarray, ScatterPlan]:
    """Which input cell each window reads: [kernel positions, output positions].

    Padding is one more cell, the last. Also the plan that adds such a table up by cells.
    """
    cells = math.prod(geometry.space)
    places = np.zeros((1, 1), dtype=np.int64)
    inside = np.ones((1, 1), dtype=bool)
    for axis, size in enumerate(geometry.space):
        taps = np.arange(geometry.kernel[axis]) * geometry.dilations[axis]
        starts = np.arange(geometry.out_space[axis]) * geometry.strides[axis] - geometry.pads[axis]
        position = taps[:, None] + starts[None, :]
        within = (position >= 0) & (position < size)
        places = places[:, None, :, None] * size + position[None, :, None, :]
        inside = inside[:, None, :, None] & within[None, :, None, :]
        shape = (places.shape[0] * places.shape[1], places.shape[2] * places.shape[3])
        places, inside = places.reshape(shape), inside.reshape(shape)
    table = np.where(inside, places, cells)
    return table, ScatterPlan.of(table.reshape(-1), cells + 1)


def convolve(x: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """[images, channels, cells] -> [images, out channels, out cells]."""
    table, _ = windows(geometry)
    images, channels, cells = x.shape
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = np.empty((images, weight.shape[0], table.shape[1]), dtype=x.dtype)
    step = max(1, CHUNK_ELEMENTS // (channels * table.size))
    for start in range(0, images, step):
        part = x[start : start + step]
        padded = np.zeros((*part.shape[:2], cells + 1), dtype=x.dtype)
        padded[:, :, :cells] = part
        columns = padded.take(table, axis=2)
        columns = columns.reshape(len(part), groups, -1, table.shape[1])
        result[start : start + step] = (matrix @ columns).reshape(len(part), -1, table.shape[1])
    return result


def convolve_adjoint(
    rows: np.ndarray, weight: np.ndarray, geometry: Geometry, groups: int
) -> np.ndarray:
    """[images, out channels, out cells] -> [images, channels, cells]."""
    table, plan = windows(geometry)
    images, cells = rows.shape[0], math.prod(geometry.space)
    channels = weight.shape[1] * groups
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
    result = np.empty((images, channels, cells), dtype=rows.dtype)
    step = max(1, CHUNK_ELEMENTS // (channels * table.size))
    backend = numpy_backend(str(rows.dtype))
    for start in range(0, images, step):
        part = rows[start : start + step]
        columns = matrix @ part.reshape(len(part), groups, -1, part.shape[2])
        flat = columns.reshape(len(part) * channels, table.size)
        total = backend.scatter_columns(flat, plan)[:, :cells]
        result[start : start + step] = total.reshape(len(part), channels, cells)
    return result


def unit_adjoint(
    index: Array, weight: Array, geometry: Geometry, groups: int, xp: Backend
) -> Array:
    """The matrix rows of some outputs of one image: [rows, channels, cells]."""
    table, _ = windows(geometry)
    cells, outputs, rows = math.prod(geometry.space), table.shape[1], index.shape[0]
    per_group, group_outputs = weight.shape[1], weight.shape[0] // groups
    channel, place = index // outputs, index % outputs
    # One more cell takes what falls on the padding.
    result = xp.zeros(rows, per_group * groups, cells + 1)
    first = channel // group_outputs * per_group
    source = first[:, None, None] + xp.arange(per_group)[None, :, None]
    target = xp.ints(table)[:, place].T[:, None, :]
    flat = weight.reshape(weight.shape[0], per_group, table.shape[0])
    result[xp.arange(rows)[:, None, None], source, target] = flat[channel]
    return result[:, :, :cells]
