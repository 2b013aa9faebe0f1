"""Where the elements of a resized axis come from: coordinates, and weights over the old elements.

Computed in float32, step by step as ONNX Runtime does: next to a tie the rounding of a coordinate
decides which element is nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.records import dataclass

HALF = np.float32(0.5)


@dataclass(frozen=True)
class Axis:
    """One axis: its old and new length, and how much longer (or shorter) it is meant to be."""

    old: int
    new: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


def coordinates(axis: Axis, mode: str) -> np.ndarray:
    """The place of each new element along the old axis, in float32."""
    x = np.arange(axis.new, dtype=np.float32)
    scale, old, new = np.float32(axis.scale), np.float32(axis.old), np.float32(axis.new)
    if axis.scale == 1.0 and axis.old == axis.new and mode != "tf_crop_and_resize":
        return x
    start, end = (np.float32(share) for share in axis.roi)
    several = axis.new > 1
    formulas: dict[str, Callable[[], np.ndarray]] = {
        "half_pixel": lambda: (x + HALF) / scale - HALF,
        "half_pixel_symmetric": lambda: (
            old / np.float32(2) * (np.float32(1) - new / (scale * old)) + (x + HALF) / scale - HALF
        ),
        "pytorch_half_pixel": lambda: (x + HALF) / scale - HALF if several else 0 * x,
        "tf_half_pixel_for_nn": lambda: (x + HALF) / scale,
        "align_corners": lambda: x * (old - 1) / (new - 1) if several else 0 * x,
        "asymmetric": lambda: x / scale,
        "tf_crop_and_resize": lambda: (
            start * (old - 1) + x * (end - start) * (old - 1) / (new - 1)
            if several
            else x + HALF * (start + end) * (old - 1)
        ),
    }
    if mode not in formulas:
        message = f"coordinate_transformation_mode {mode!r}"
        raise UnsupportedModel(message)
    return formulas[mode]()


def nearest(axis: Axis, places: np.ndarray, mode: str) -> np.ndarray:
    """The old element next to each place."""
    if mode == "simple":
        mode = "ceil" if axis.scale < 1 else "floor"
    rounded = {
        "round_prefer_floor": lambda: np.ceil(places - HALF),
        "round_prefer_ceil": lambda: np.floor(places + HALF),
        "floor": lambda: np.floor(places),
        "ceil": lambda: np.ceil(places),
    }
    if mode not in rounded:
        message = f"nearest_mode {mode!r}"
        raise UnsupportedModel(message)
    return np.clip(rounded[mode]().astype(np.int64), 0, axis.old - 1)


def linear(axis: Axis, places: np.ndarray) -> np.ndarray:
    """[new, old]: weights of the two elements around each place, moved inside."""
    inside = np.clip(places, 0, axis.old - 1)
    first = inside.astype(np.int64)
    share = (inside - first).astype(np.float64)
    matrix = np.zeros((axis.new, axis.old))
    rows = np.arange(axis.new)
    np.add.at(matrix, (rows, first), 1 - share)
    np.add.at(matrix, (rows, np.minimum(first + 1, axis.old - 1)), share)
    return matrix


def _keys(t: np.ndarray, a: float) -> np.ndarray:
    """The cubic weight of an element at a distance below 2."""
    near = ((a + 2) * t - (a + 3)) * t**2 + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, far)


def smooth(axis: Axis, places: np.ndarray, a: float | None) -> np.ndarray:
    """[new, old]: the weights of an axis that shrinks, over as much as one new element spans.

    Linear, or cubic with a coefficient; elements beyond the ends count as the end.
    """
    reach = int(np.ceil(2 / axis.scale)) + 1
    taps = np.floor(places).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    apart = abs(places.astype(np.float64)[:, None] - taps) * axis.scale
    near = np.maximum(1 - apart, 0.0)
    weights = near if a is None else np.where(apart < 2, _keys(apart, a), 0.0)
    matrix = np.zeros((axis.new, axis.old))
    rows = np.broadcast_to(np.arange(axis.new)[:, None], taps.shape)
    shares = weights / weights.sum(axis=1, keepdims=True)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.old - 1)), shares)
    return matrix


def cubic(axis: Axis, places: np.ndarray, a: float, *, exclude_outside: bool) -> np.ndarray:
    """[new, old]: weights of the four elements around each place (Keys 1981).

    Elements beyond the ends count as the end, or not at all.
    """
    base = np.floor(places).astype(np.int64)
    taps = base[:, None] + np.arange(-1, 3)
    weights = _keys(abs(places.astype(np.float64)[:, None] - taps), a)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < axis.old), weights, 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.new, axis.old))
    rows = np.broadcast_to(np.arange(axis.new)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.old - 1)), weights)
    return matrix
