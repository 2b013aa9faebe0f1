"""Resize and Upsample: interpolation along each axis, which is linear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand, axis_of, bounded
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.along import along
from verifier.ops.resampling import Axis, coordinates, cubic, linear, nearest, smooth
from verifier.records import dataclass


@dataclass(frozen=True)
class Manner:
    """How to interpolate: ONNX's attributes."""

    mode: str
    coordinates: str
    rounding: str
    cubic_a: float = -0.75
    exclude_outside: bool = False
    outside: float = 0.0
    smooth: bool = False


@reads("Resize")
def read_resize(node: OnnxNode, builder: Builder) -> Operand:
    """Nearest elements, or linear or cubic interpolation, at the new coordinates."""
    value = node.value(0)
    get = node.attributes.get
    if node.opset < 11:
        scales = _floats(node, 1)
        manner = Manner(str(get("mode", "nearest")), "asymmetric", "simple")
        return _resize(node.name, builder, value, _scaled(value.shape, scales), manner)
    manner = Manner(
        str(get("mode", "nearest")),
        str(get("coordinate_transformation_mode", "half_pixel")),
        str(get("nearest_mode", "round_prefer_floor")),
        node.number("cubic_coeff_a", -0.75),
        bool(node.flag("exclude_outside", 0)),
        node.number("extrapolation_value", 0.0),
        bool(node.flag("antialias", 0)),
    )
    return _resize(node.name, builder, value, _axes(node, value), manner)


@reads("Upsample")
def read_upsample(node: OnnxNode, builder: Builder) -> Operand:
    """An older way to write Resize."""
    value = node.value(0)
    given = node.attributes.get("scales")
    if given is None and "height_scale" in node.attributes:
        given = (1.0, 1.0, node.number("height_scale", 1.0), node.number("width_scale", 1.0))
    scales = _floats(node, 1) if given is None else tuple(float(x) for x in given)
    mode = str(node.attributes.get("mode", "nearest")).replace("bilinear", "linear")
    manner = Manner(mode, "asymmetric", "simple")
    return _resize(node.name, builder, value, _scaled(value.shape, scales), manner)


def _floats(node: OnnxNode, place: int) -> tuple[float, ...]:
    """A constant input of float32 numbers; empty where it is left out."""
    given = node.constant(place, f"input {place}")
    return () if given is None else tuple(float(x) for x in given.reshape(-1))


def _scaled(shape: tuple[int, ...], scales: tuple[float, ...]) -> list[Axis]:
    if len(scales) != len(shape) or min(scales) <= 0:
        message = f"scales {scales} for an array of shape {shape}"
        raise ModelError(message)
    return [
        Axis(n, int(np.floor(np.float32(n) * np.float32(scale))), scale)
        for n, scale in zip(shape, scales, strict=True)
    ]


def _axes(node: OnnxNode, value: Value) -> list[Axis]:
    """Every axis of the value, from ``scales`` or ``sizes``, and the region of interest."""
    rank = len(value.shape)
    given = node.ints("axes")
    places = [axis_of(axis, rank) for axis in (range(rank) if given is None else given)]
    old = [value.shape[place] for place in places]
    scales, sizes = _floats(node, 2), node.ints("", 3) or ()
    if scales:
        changed = _scaled(tuple(old), scales)
        if node.attributes.get("coordinate_transformation_mode") == "align_corners":
            _refuse_doubt(changed)
    elif len(sizes) == len(places) and min(sizes) > 0:
        changed = _sized(
            old, sizes, str(node.attributes.get("keep_aspect_ratio_policy", "stretch"))
        )
    else:
        message = f"neither scales nor sizes for {len(places)} axes: {sizes}"
        raise ModelError(message)
    roi = _floats(node, 1)
    axes = [Axis(n, n, 1.0) for n in value.shape]
    for i, (place, axis) in enumerate(zip(places, changed, strict=True)):
        ends = (roi[i], roi[i + len(places)]) if len(roi) == 2 * len(places) else axis.roi
        axes[place] = Axis(axis.old, axis.new, axis.scale, ends)
    return axes


def _refuse_doubt(axes: list[Axis]) -> None:
    """ONNX takes the length before rounding, ONNX Runtime the one after."""
    if any(axis.old * axis.scale != axis.new for axis in axes):
        message = "align_corners and scales that do not give whole lengths"
        raise UnsupportedModel(message)


def _sized(old: list[int], sizes: tuple[int, ...], policy: str) -> list[Axis]:
    scales = [size / n for size, n in zip(sizes, old, strict=True)]
    if policy == "stretch":
        return [Axis(*each) for each in zip(old, sizes, scales, strict=True)]
    if policy not in {"not_larger", "not_smaller"}:
        message = f"keep_aspect_ratio_policy {policy!r}"
        raise UnsupportedModel(message)
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [Axis(n, math.floor(scale * n + 0.5), scale) for n in old]


def _resize(name: str, builder: Builder, value: Value, axes: list[Axis], manner: Manner) -> Value:
    if min(axis.new for axis in axes) < 1:
        message = f"a size of {[axis.new for axis in axes]}"
        raise ModelError(message)
    bounded([axis.new for axis in axes])
    places = [coordinates(axis, manner.coordinates) for axis in axes]
    if manner.mode == "nearest":
        chosen = [nearest(a, x, manner.rounding) for a, x in zip(axes, places, strict=True)]
        result = builder.rearrange(name, value, value.table()[np.ix_(*chosen)])
    elif manner.mode in {"linear", "cubic"}:
        result = value
        for i, (axis, x) in enumerate(zip(axes, places, strict=True)):
            matrix = _matrix(axis, x, manner)
            if axis.old != axis.new or not np.array_equal(matrix, np.eye(axis.old)):
                result = along(f"{name}/{i}", builder, result, i, matrix)
    else:
        message = f"mode {manner.mode!r}"
        raise UnsupportedModel(message)
    if manner.coordinates != "tf_crop_and_resize":
        return result
    inside = np.ones((1,) * len(axes), dtype=bool)
    for axis, x, along_axis in zip(axes, places, np.ix_(*places), strict=True):
        within = (x >= 0) & (x <= axis.old - 1)
        inside = inside & within.reshape(along_axis.shape)
    index = np.where(inside, result.table(), -1)
    return builder.rearrange(name, result, index, np.full(index.shape, manner.outside))


def _matrix(axis: Axis, places: np.ndarray, manner: Manner) -> np.ndarray:
    if manner.smooth and axis.scale < 1:
        if manner.exclude_outside:
            message = "antialias with exclude_outside"
            raise UnsupportedModel(message)
        return smooth(axis, places, manner.cubic_a if manner.mode == "cubic" else None)
    if manner.mode == "linear":
        return linear(axis, places)
    return cubic(axis, places, manner.cubic_a, exclude_outside=manner.exclude_outside)


def _constant(*values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float32)


MODES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "tf_half_pixel_for_nn",
    "align_corners",
    "asymmetric",
)


def _ratio(mode: str) -> tuple[Any, ...]:
    """Scales, or the sizes that they give where ``_refuse_doubt`` wants whole ones."""
    if mode == "align_corners":
        return None, integers(1, 2, 4, 3)
    return (_constant(1, 1, 1.6, 0.7),)


@examples("Resize")
def _nearest() -> Iterator[Example]:
    for mode in MODES:
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            options = {"coordinate_transformation_mode": mode, "nearest_mode": rounding}
            yield Example("Resize", ((1, 2, 3, 5), None, *_ratio(mode)), options, opset=19)
    yield Example("Resize", ((1, 1, 2, 3), _constant(1, 1, 2, 2)), opset=10)
    yield Example("Resize", ((1, 1, 4, 6), _constant(1, 1, 0.5, 0.6)), opset=10)
    yield Example("Resize", ((1, 1, 3, 3), None, None, integers(1, 1, 5, 2)), opset=13)


@examples("Resize")
def _interpolation() -> Iterator[Example]:
    for mode in MODES:
        options = {"coordinate_transformation_mode": mode, "mode": "linear"}
        yield Example("Resize", ((1, 2, 3, 5), None, *_ratio(mode)), options, opset=19)
        yield Example("Resize", ((1, 1, 3, 4), None, None, integers(1, 1, 7, 1)), options, opset=19)
        options = {**options, "mode": "cubic"}
        yield Example("Resize", ((1, 2, 3, 5), None, *_ratio(mode)), options, opset=19)
    outside = {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}
    yield Example("Resize", ((1, 1, 4, 4), None, _constant(1, 1, 2, 0.8)), outside, opset=13)
    yield Example("Resize", ((1, 1, 2, 3), _constant(1, 1, 2, 2)), {"mode": "linear"}, opset=10)
    for mode in ("linear", "cubic"):
        options = {"mode": mode, "antialias": 1}
        sizes = integers(1, 1, 3, 5)
        yield Example("Resize", ((1, 1, 7, 4), None, None, sizes), options, opset=18)
        yield Example("Resize", ((1, 1, 6, 6), None, _constant(1, 1, 0.6, 0.5)), options, opset=18)
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 1.5}
    roi = _constant(0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7)
    for mode in ("nearest", "linear"):
        inputs = ((1, 1, 4, 4), roi, None, integers(1, 1, 3, 3))
        yield Example("Resize", inputs, {**crop, "mode": mode}, opset=13)
    for policy in ("not_larger", "not_smaller"):
        options = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": "linear"}
        yield Example("Resize", ((1, 1, 2, 4), None, None, integers(7, 8)), options, opset=18)
    yield Example("Resize", ((2, 3), None, _constant(2, 1.5)), {"mode": "linear"}, opset=13)


@examples("Upsample")
def _upsample() -> Iterator[Example]:
    for mode in ("nearest", "linear"):
        yield Example("Upsample", ((1, 2, 2, 3), _constant(1, 1, 2, 3)), {"mode": mode}, opset=9)
        options = {"mode": mode, "scales": [1.0, 1.0, 2.0, 1.5]}
        yield Example("Upsample", ((1, 1, 2, 3),), options, opset=7)
