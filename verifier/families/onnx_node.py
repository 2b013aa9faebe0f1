"""One node of an ONNX graph, as plain values: what the readers of operators work on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.records import dataclass

if TYPE_CHECKING:
    from verifier.graph import Builder, Value
else:
    # Layers above, known here by name only.
    Value = Builder = Any

MOST_ELEMENTS = 2**26
"""The largest array that a network may make of small ones."""

Operand = Any
"""A ``Value`` that depends on the network's input, or a NumPy array that does not."""


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """An ONNX node with its attributes as Python or NumPy values.

    An input is a ``Value`` that depends on the network's input, a NumPy constant in its own ONNX
    type, or None where an optional input is left out.
    """

    op_type: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]
    outputs: int = 1
    """How many outputs are named, up to the last one that is."""

    def get(self, place: int) -> Operand | None:
        """An input, None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def operand(self, place: int) -> Operand:
        """An input that must be there."""
        given = self.get(place)
        if given is None:
            message = f"input {place} is missing"
            raise ModelError(message)
        return given

    def value(self, place: int, what: str = "a constant") -> Value:
        """An input that must depend on the network's input."""
        given = self.operand(place)
        if isinstance(given, np.ndarray):
            message = f"{what} as input {place}"
            raise UnsupportedModel(message)
        return given

    def constant(self, place: int, what: str) -> np.ndarray | None:
        """A constant input, None where it is left out; computed ones are unsupported."""
        given = self.get(place)
        if given is not None and not isinstance(given, np.ndarray):
            message = f"computed {what}"
            raise UnsupportedModel(message)
        return given

    def weights(self, place: int, what: str) -> np.ndarray | None:
        """A constant input in float64, None where it is left out."""
        given = self.constant(place, what)
        return None if given is None else given.astype(np.float64)

    def needed_weights(self, place: int, what: str) -> np.ndarray:
        """A constant input in float64 that must be there."""
        self.operand(place)
        given = self.weights(place, what)
        return np.zeros(0) if given is None else given

    def ints(self, attribute: str, place: int | None = None) -> tuple[int, ...] | None:
        """Integers from an attribute, or from the input that replaced it; None: absent."""
        given = self.attributes.get(attribute)
        if given is None and place is not None:
            given = self.constant(place, attribute)
        return None if given is None else tuple(int(i) for i in np.asarray(given).reshape(-1))

    def number(self, attribute: str, default: float) -> float:
        """A float attribute."""
        return float(self.attributes.get(attribute, default))

    def flag(self, attribute: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(attribute, default))


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as one in [0, rank)."""
    if not -rank <= axis < rank:
        message = f"axis {axis} of an array with {rank} axes"
        raise ModelError(message)
    return axis + rank if axis < 0 else axis


def bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that fits into memory."""
    if min(shape, default=0) < 0:
        message = f"a shape of {tuple(shape)}"
        raise ModelError(message)
    if math.prod(shape) > MOST_ELEMENTS:
        message = f"an array of shape {tuple(shape)}, need at most {MOST_ELEMENTS:,} elements"
        raise UnsupportedModel(message)
    return tuple(shape)


def move(
    builder: Builder, name: str, operand: Operand, movement: Callable[[np.ndarray], np.ndarray]
) -> Operand:
    """A data movement: done at once on constants, a ``Rearrange`` on values."""
    if isinstance(operand, np.ndarray):
        return np.asarray(movement(operand))
    return builder.rearrange(name, operand, np.asarray(movement(operand.table())))


def expand(builder: Builder, name: str, operand: Operand, shape: tuple[int, ...]) -> Operand:
    """An operand broadcast to a shape."""
    if tuple(operand.shape) == shape:
        return operand
    return move(builder, name, operand, lambda table: np.broadcast_to(table, shape))
