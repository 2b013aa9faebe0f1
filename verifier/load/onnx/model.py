"""A network as it was loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verifier.graph import Graph
from verifier.records import dataclass

if TYPE_CHECKING:
    from verifier.load.onnx.cells import Cells


@dataclass(frozen=True)
class Port:
    """An input or an output of a network: its name, element type, and shape.

    The shape is the file's, its batch axis included; symbolic dimensions are 1.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Model:
    """A network: its graph on no backend yet, and the file's own bytes for ONNX Runtime.

    The graph's input is the inputs' elements one after another, its output likewise the outputs'.
    """

    path: Path
    data: bytes
    """The file's ONNX, decompressed, with its external data inside."""
    graph: Graph
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    producer: str
    operators: Mapping[str, int]
    """How often each ONNX operator occurs."""
    precision: np.dtype
    """The coarsest floating-point type that ONNX Runtime computes in."""
    parts: tuple[Model, ...] = ()
    """Where it is several networks side by side: these; it has no bytes of its own then."""
    cells: Cells | None = None
    """Where it truncates inputs to integers that say places: what these determine. The graph's
    input is then followed by that."""

    @property
    def convolves(self) -> bool:
        """Does the graph need a backend with convolutions?"""
        return any(node.operator.convolves for node in self.graph.nodes)

    @cached_property
    def neurons(self) -> int:
        """The number of values that nonlinear operators compute."""
        return sum(self.graph.size(value) for value in self.graph.nonlinear)

    def feeds(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """One flat point as ONNX Runtime's inputs, rounded to their types."""
        result, start = {}, 0
        for port in self.inputs:
            part = x[start : start + port.size]
            result[port.name] = part.astype(port.dtype).reshape(port.shape)
            start += port.size
        return result

    def extended(self, x: np.ndarray) -> np.ndarray:
        """The graph's inputs at points ``[points, n]``: settings come after them."""
        if self.cells is None:
            return x
        settings = [self.cells.settings(self.feeds(point)) for point in x]
        return np.concatenate([x, np.stack(settings)], axis=1)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """``[points, n]`` in float64, rounded to the inputs' types."""
        parts, start = [], 0
        for port in self.inputs:
            parts.append(x[:, start : start + port.size].astype(port.dtype).astype(np.float64))
            start += port.size
        return np.concatenate(parts, axis=1)
