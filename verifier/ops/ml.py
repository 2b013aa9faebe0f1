"""What converters of scikit-learn put around a network: operators of the domain ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.look_up import look_up
from verifier.ops.mul import multiply
from verifier.ops.steps import step
from verifier.ops.sum import subtract


def _rows(operand: Operand) -> Operand:
    """A vector as the one row of a matrix."""
    return operand.reshape((1, *operand.shape)) if len(operand.shape) == 1 else operand


@reads("ai.onnx.ml.Scaler")
def read_scaler(node: OnnxNode, builder: Builder) -> Operand:
    """(x - offset) scale, one of each for each column."""
    value = node.value(0)
    offset, scale = (
        np.float64(node.attributes.get(k, d)) for k, d in (("offset", 0), ("scale", 1))
    )
    centred = subtract(f"{node.name}/centred", builder, value, np.asarray(offset))
    return multiply(node.name, builder, centred, np.asarray(scale))


@reads("ai.onnx.ml.ArrayFeatureExtractor")
def read_array_feature_extractor(node: OnnxNode, builder: Builder) -> Operand:
    """Columns of an array, or of a constant one where the places are computed."""
    given, index = _rows(node.operand(0)), node.operand(1)
    index = index.reshape((int(np.prod(index.shape)),))
    if isinstance(index, np.ndarray):
        chosen = index.astype(np.int64)
        return move(builder, node.name, given, lambda table: np.take(table, chosen, axis=-1))
    if not isinstance(given, np.ndarray):
        message = "computed places in a computed array"
        raise UnsupportedModel(message)
    return look_up(node.name, builder, given, index, given.ndim - 1)


@reads("ai.onnx.ml.Binarizer")
def read_binarizer(node: OnnxNode, builder: Builder) -> Operand:
    """1 above a threshold, else 0."""
    at = np.full(1, np.float64(np.float32(node.number("threshold", 0.0))))
    return step(node.name, builder, node.value(0), (0, 0, 1), at)


@reads("ai.onnx.ml.ZipMap")
def read_zip_map(node: OnnxNode, builder: Builder) -> Operand:
    """The numbers that a map from classes to numbers holds, in the order of the classes."""
    value = _rows(node.value(0))
    names = [node.attributes.get(f"classlabels_{kind}") or () for kind in ("int64s", "strings")]
    classes = [*names[0], *names[1]]
    if len(classes) != value.shape[-1] or classes != sorted(set(classes)):
        message = f"{len(classes)} classes for {value.shape[-1]} numbers, need them in order"
        raise ModelError(message)
    return value


@examples("ai.onnx.ml.Scaler", "ai.onnx.ml.Binarizer")
def _scaled() -> Iterator[Example]:
    options = {"offset": [0.5, -1.0, 2.0], "scale": [2.0, 0.25, -3.0]}
    yield Example("ai.onnx.ml.Scaler", ((2, 3),), options)
    yield Example("ai.onnx.ml.Scaler", ((1, 3),), {"offset": [0.5], "scale": [2.0]})
    yield Example("ai.onnx.ml.Binarizer", ((2, 3),), {"threshold": 0.3})


@examples("ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.ZipMap")
def _labels() -> Iterator[Example]:
    extract = "ai.onnx.ml.ArrayFeatureExtractor"
    yield Example(extract, ((2, 3), integers(2, 0)))
    yield Example("ai.onnx.ml.ZipMap", ((2, 3),), {"classlabels_int64s": [1, 4, 7]}, output_type=0)
