"""What every operator of a graph can do."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, ScatterPlan

FLOAT32_RANGE = 1e30
"""Constants this large, or the inverse of this small, stay normal numbers in float32."""


@dataclass(frozen=True, eq=False)
class Part:
    """An operator that computes some elements of another one's output from what that takes.

    All indices are of the whole operator's elements, ascending: ``index[j]`` is element j of the
    part's output, ``inputs[i][k]`` is element k of its input i. Where nothing is read of an input,
    the part does not have it.
    """

    operator: Operator
    index: np.ndarray
    inputs: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Operator(ABC):
    """A function of one or several flat vectors, with its constants; immutable.

    Constants are NumPy arrays (float64, int64) until the operator is put on a backend with ``on``,
    which every other method needs.
    """

    convolves: ClassVar[bool] = False
    """Does it need a backend with ``supports_convolution``?"""

    sizes: tuple[int, ...]
    """The lengths of the inputs."""
    size: int
    """The length of the output."""
    backend: Backend | None = None

    @property
    def xp(self) -> Backend:
        """The backend that the constants are on."""
        if self.backend is None:
            message = f"{type(self).__name__} is on no backend yet: call on()"
            raise ValueError(message)
        return self.backend

    def on(self, backend: Backend) -> Self:
        """The same operator with its constants on a backend, rounded to its precision."""
        changes: dict[str, Any] = {"backend": backend}
        placed = self if backend.dtype == "float64" else self.flushed(FLOAT32_RANGE)
        if backend.dtype == "float32" and not placed.ordinary(FLOAT32_RANGE):
            message = (
                f"{type(self).__name__} holds constants beyond the normal range of float32; "
                "use float64"
            )
            raise UnsupportedModel(message)
        for field in dataclasses.fields(placed):
            value = getattr(placed, field.name)
            if isinstance(value, ScatterPlan):
                changes[field.name] = value.on(backend)
            elif isinstance(value, np.ndarray):
                convert = {"f": backend.floats, "i": backend.ints, "b": backend.bools}
                changes[field.name] = convert[value.dtype.kind](value)
        return dataclasses.replace(placed, **changes)

    @property
    def fits_single(self) -> bool:
        """Can it be put on a backend of float32?"""
        return self.flushed(FLOAT32_RANGE).ordinary(FLOAT32_RANGE)

    def flushed(self, limit: float) -> Self:
        """The same without constants of less than 1 / limit, where it counts what that changes."""
        return self

    def ordinary(self, limit: float) -> bool:
        """Do all constants but 0 lie between 1 / limit and limit in size?"""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                size = np.abs(value[value != 0])
                if size.size and not (size.min() >= 1 / limit and size.max() <= limit):
                    return False
        return True

    @property
    def work(self) -> int:
        """About how many multiply-adds one evaluation at a point takes."""
        return max(self.size, *self.sizes)

    @property
    def keeps_integers(self) -> bool:
        """Does it compute whole numbers, exactly, from whole numbers that are not huge?"""
        return False

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        """Where each element lies in space, [size, axes], given where the inputs' elements do.

        Elements close to each other share most of what they depend on: nothing else rests on it.
        None: nowhere.
        """
        return inputs[0] if set(self.sizes) == {self.size} else None

    def part(self, index: np.ndarray) -> Part | None:
        """The operator for the elements ``index`` (ascending, at least one), and perhaps others.

        None: there is none that is smaller. On no backend yet, nor is the result.
        """
        return None

    @abstractmethod
    def evaluate(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        """The operator's value at points."""
