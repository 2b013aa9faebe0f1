"""Blocks of pixels to channels, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError
from verifier.families.example import Example
from verifier.families.onnx_node import OnnxNode, Operand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder


def _sizes(node: OnnxNode, given: Operand) -> tuple[int, int, int, int, int]:
    """(images, channels, height, width, length of a block's side)."""
    block = node.flag("blocksize", 0)
    if len(given.shape) != 4 or block < 1:
        message = f"blocks of size {block} in an array of shape {tuple(given.shape)}, need 4 axes"
        raise ModelError(message)
    images, channels, height, width = given.shape
    return images, channels, height, width, block


@reads("DepthToSpace", folds=True)
def read_depth_to_space(node: OnnxNode, builder: Builder) -> Operand:
    """Each pixel's channels become a block of pixels."""
    given = node.operand(0)
    images, channels, height, width, block = _sizes(node, given)
    if channels % block**2:
        message = f"{channels} channels cannot become blocks of {block} x {block}"
        raise ModelError(message)
    rest = channels // block**2

    def movement(table: np.ndarray) -> np.ndarray:
        if node.attributes.get("mode", "DCR") == "DCR":
            parts = table.reshape(images, block, block, rest, height, width)
            parts = parts.transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = table.reshape(images, rest, block, block, height, width)
            parts = parts.transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(images, rest, height * block, width * block)

    return move(builder, node.name, given, movement)


@reads("SpaceToDepth", folds=True)
def read_space_to_depth(node: OnnxNode, builder: Builder) -> Operand:
    """Each block of pixels becomes one pixel's channels."""
    given = node.operand(0)
    images, channels, height, width, block = _sizes(node, given)
    if height % block or width % block:
        message = f"{height} x {width} pixels do not part into blocks of {block} x {block}"
        raise ModelError(message)
    rows, columns = height // block, width // block

    def movement(table: np.ndarray) -> np.ndarray:
        parts = table.reshape(images, channels, rows, block, columns, block)
        depth_first = node.attributes.get("mode", "DCR") == "DCR"
        parts = parts.transpose(*((0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)))
        return parts.reshape(images, channels * block**2, rows, columns)

    return move(builder, node.name, given, movement)


@examples("DepthToSpace", "SpaceToDepth")
def _blocks() -> Iterator[Example]:
    yield Example("DepthToSpace", ((1, 8, 1, 3),), {"blocksize": 2})
    yield Example("DepthToSpace", ((2, 8, 2, 1),), {"blocksize": 2, "mode": "CRD"})
    yield Example("DepthToSpace", ((1, 4, 2, 2),), {"blocksize": 2}, opset=1)
    yield Example("SpaceToDepth", ((2, 2, 4, 2),), {"blocksize": 2})
    yield Example("SpaceToDepth", ((1, 1, 3, 6),), {"blocksize": 3}, opset=1)
