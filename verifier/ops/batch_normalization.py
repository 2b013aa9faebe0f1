"""BatchNormalization at inference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.scale import Scale


@reads("BatchNormalization")
def read_batch_normalization(node: OnnxNode, builder: Builder) -> Operand:
    """y = s x + (beta - mean s) with s = gamma / sqrt(variance + epsilon), per channel."""
    if node.flag("training_mode", 0) or node.outputs > 1:
        message = "training mode"
        raise UnsupportedModel(message)
    if not node.flag("spatial", 1):
        message = "spatial 0"
        raise UnsupportedModel(message)
    value = node.value(0)
    names = ("scale", "bias", "mean", "variance")
    parts = [node.weights(i, name) for i, name in enumerate(names, start=1)]
    channels = value.shape[1] if len(value.shape) > 1 else 1
    for name, part in zip(names, parts, strict=True):
        if part is None or part.shape != (channels,):
            shape = None if part is None else part.shape
            message = f"{name} of shape {shape} over {channels} channels"
            raise ModelError(message)
    gamma, beta, mean, variance = (np.asarray(part) for part in parts)
    # Each scale carries at most three roundings, and each bias five relative to its magnitude.
    scale = gamma / np.sqrt(variance + float(np.float32(node.number("epsilon", 1e-5))))
    if not np.isfinite(scale).all():
        message = "a variance that is not positive"
        raise ModelError(message)

    def spread(x: np.ndarray) -> np.ndarray:
        per_channel = x.reshape(channels, *(1,) * (len(value.shape) - 2))
        return np.broadcast_to(per_channel, value.shape).reshape(-1)

    operator = Scale.of(
        value.size,
        spread(scale),
        spread(beta - mean * scale),
        spread(np.abs(beta) + np.abs(mean * scale)),
    )
    return builder.add(node.name, operator, [value])


@examples("BatchNormalization")
def _batch_normalization() -> Iterator[Example]:
    for shape in ((2, 3), (1, 2, 3, 2), (2, 2, 3)):
        c = shape[1]
        constants = (numbers(c), numbers(c, seed=1), numbers(c, seed=2), np.abs(numbers(c, seed=3)))
        yield Example("BatchNormalization", (shape, *constants))
        yield Example("BatchNormalization", (shape, *constants), {"epsilon": 0.1}, opset=9)
