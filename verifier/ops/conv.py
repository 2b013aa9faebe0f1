"""Conv, read from ONNX."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.convolution import Convolution
from verifier.ops.windows import Windows


@reads("Conv")
def read_conv(node: OnnxNode, builder: Builder) -> Operand:
    """A convolution with constant weights, in one to three dimensions."""
    value, weight = node.value(0), node.needed_weights(1, "weights")
    return convolved(node, builder, value, weight, node.weights(2, "bias"))


def convolved(
    node: OnnxNode, builder: Builder, value: Value, weight: np.ndarray, bias: np.ndarray | None
) -> Value:
    """A convolution with a node's strides, pads, dilations and groups."""
    groups = node.flag("group", 1)
    if len(value.shape) != weight.ndim or weight.ndim < 3:
        message = f"weights of shape {weight.shape} over a value of shape {value.shape}"
        raise ModelError(message)
    if weight.ndim > 5:
        message = f"{weight.ndim - 2} spatial dimensions"
        raise UnsupportedModel(message)
    channels = value.shape[1]
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        message = f"weights of shape {weight.shape} over {channels} channels in {groups} groups"
        raise ModelError(message)
    windows = Windows.of(node, value.shape[2:], weight.shape[2:])
    geometry = (windows.strides, windows.pads, windows.dilations, groups)
    operator = Convolution.of(weight, bias, value.shape[1:], geometry, images=value.shape[0])
    shape = (value.shape[0], weight.shape[0], *windows.counts)
    return builder.add(node.name, operator, [value], shape)


@examples("Conv")
def _conv() -> Iterator[Example]:
    yield Example("Conv", ((1, 2, 4, 4), numbers(3, 2, 3, 3), numbers(3)))
    yield Example(
        "Conv",
        ((2, 4, 5, 6), numbers(6, 2, 2, 3)),
        {"group": 2, "strides": [2, 3], "pads": [1, 0, 0, 2], "kernel_shape": [2, 3]},
    )
    yield Example(
        "Conv", ((1, 2, 7), numbers(2, 2, 3), numbers(2)), {"dilations": [2], "pads": [1, 1]}
    )
    yield Example("Conv", ((1, 1, 3, 4, 3), numbers(2, 1, 2, 2, 2)), {"strides": [1, 2, 2]})
    same = {"auto_pad": "SAME_UPPER", "strides": [2, 2]}
    yield Example("Conv", ((1, 1, 5, 4), numbers(1, 1, 2, 3)), same, opset=8)
    yield Example("Conv", ((1, 1, 5, 4), numbers(1, 1, 3, 2)), {**same, "auto_pad": "SAME_LOWER"})
    yield Example("Conv", ((1, 1, 5), numbers(1, 1, 2)), {"auto_pad": "VALID", "strides": [3]})
    yield Example("Conv", ((1, 3, 1, 1), numbers(2, 3, 1, 1), numbers(2)))
    yield Example(
        "Conv", ((1, 1, 6, 6), numbers(1, 1, 2, 2)), {"strides": [4, 4], "pads": [0, 0, 1, 1]}
    )
