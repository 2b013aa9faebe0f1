"""What reading a network builds: tensors, nodes, and one ONNX node that is being read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.checker.affine import Affine, Dense, Indices, Sparse
from verifier.checker.arithmetic import Arithmetic, Floats
from verifier.checker.atoms import Atom
from verifier.checker.errors import Unsupported

Constant = npt.NDArray[Any]
Shape = tuple[int, ...]


MOST_ELEMENTS = 1 << 27


def bounded(count: int) -> int:
    """A number of elements, if there is memory for them: files of some bytes can ask for all."""
    if count > MOST_ELEMENTS:
        raise Unsupported(f"a tensor of {count:,} elements: at most {MOST_ELEMENTS:,} fit")
    return count


class NoRule(Exception):
    """The node has no rule; the text says why."""


@dataclass(frozen=True, eq=False)
class Variable:
    """A tensor that depends on the input: a value, a shape, a type."""

    value: int
    shape: Shape
    kind: np.dtype[Any]

    @property
    def index(self) -> Indices:
        """The number of each element in the flat value."""
        return np.arange(prod(self.shape)).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Node:
    """One step: the ONNX tensor that it computes, by which rule, from which values."""

    name: str
    rule: Affine | Atom
    inputs: tuple[int, ...]


Tensor = Variable | Constant


@dataclass(frozen=True, eq=False)
class Values:
    """The nodes so far, and the sizes of the values: node k computes value k + 1."""

    arithmetic: Arithmetic
    sizes: list[int]
    nodes: list[Node] = field(default_factory=list[Node])
    strained: list[str] = field(default_factory=list[str])
    """Values on whose way a float32 execution may meet numbers beyond their magnitude."""
    constants: list[int] = field(default_factory=list[int])
    """Values that are constants, with which the network computes."""

    def add(self, name: str, rule: Affine | Atom, x: list[Variable], shape: Shape) -> Variable:
        """A new value."""
        if min(shape, default=1) < 1 or any(part.kind != x[0].kind for part in x):
            raise ValueError(f"an empty shape, {shape}, or several types")
        bounded(prod(shape))
        self.nodes.append(Node(name, rule, tuple(part.value for part in x)))
        self.sizes.append(prod(shape))
        return Variable(len(self.nodes), shape, x[0].kind)

    def select(
        self, name: str, x: list[Variable], index: Indices, pool: Constant | None = None
    ) -> Variable:
        """The tensor of elements ``index`` of some tensors, laid one after the other.

        Index -1 - k is number k of the pool. One tensor in its own order is no new value.
        """
        sizes = tuple(prod(part.shape) for part in x)
        bounded(index.size)
        flat, numbers = index.reshape(-1), self.arithmetic.numbers
        if len(x) == 1 and np.array_equal(flat, np.arange(sizes[0])):
            return replace(x[0], shape=index.shape)
        constants = np.append(0.0, np.zeros(1) if pool is None else pool)
        scale = numbers(np.where(flat < 0, 0.0, 1.0))[None]
        matrix = Sparse(np.maximum(flat, 0)[None], scale, sum(sizes))
        rule = Affine(matrix, numbers(constants[np.maximum(-flat, 0)]), sizes)
        return self.add(name, rule, x, index.shape)


@dataclass(eq=False)
class Step:
    """One ONNX node that is being read: attributes and inputs that nobody asks for are errors."""

    values: Values
    outputs: list[str]
    attributes: dict[str, Any]
    inputs: list[Tensor | None]

    def part(self, name: str) -> Step:
        """The same node, for a value of its own inside it."""
        return replace(self, outputs=[f"{self.outputs[0]}:{name}"])

    def finish(self) -> None:
        """Refuse what was not understood."""
        if self.attributes or any(tensor is not None for tensor in self.inputs):
            raise NoRule(f"more inputs than expected, or attributes {list(self.attributes)}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, which is then taken away."""
        return self.attributes.pop(name, default)

    def tensor(self) -> Any:
        """The next input, which must be present: a Variable or a constant."""
        tensor = self.inputs.pop(0) if self.inputs else None
        if tensor is None:
            raise ValueError("an input is missing")
        return tensor

    def variable(self) -> Variable:
        """The next input, which must not be constant."""
        tensor = self.tensor()
        if not isinstance(tensor, Variable):
            raise NoRule("arithmetic between constants")
        return tensor

    def constant(self, attribute: str = "") -> Constant | None:
        """The next input, or the attribute that it was in older versions; constant, or absent."""
        tensor = self.inputs.pop(0) if self.inputs else None
        if isinstance(tensor, Variable):
            raise NoRule("an input that must be constant is not")
        value = self.attribute(attribute) if tensor is None else tensor
        return None if value is None else np.asarray(value)

    def integers(self, attribute: str = "", default: list[int] | None = None) -> list[int]:
        """The same, as a list of integers."""
        value = self.constant(attribute)
        if value is None and default is not None:
            return default
        if value is None or value.dtype.kind not in "iu":
            raise ValueError("integers expected")
        return [int(x) for x in value.reshape(-1)]

    def numbers(self, x: Any) -> Floats:
        """Numbers of the arithmetic's kind."""
        return self.values.arithmetic.numbers(np.asarray(x))

    def affine(
        self, x: list[Variable], index: Indices, scale: Floats, bias: Floats, inexact: int = 0
    ) -> Tensor:
        """A value of shape index.shape[1:], the sum over t of scale[t] x[index[t]]."""
        bounded(index.size)
        shape, sizes = index.shape[1:], tuple(prod(part.shape) for part in x)
        flat = np.broadcast_to(scale, index.shape).reshape(len(index), -1)
        matrix = Sparse(index.reshape(len(index), -1), flat, sum(sizes))
        rule = Affine(matrix, np.broadcast_to(bias, shape).reshape(-1), sizes, inexact)
        return self.values.add(self.outputs[0], rule, x, shape)

    def product(self, x: Variable, matrix: Dense, shape: Shape, bias: Floats) -> Tensor:
        """A value of this shape, a full matrix times x, plus a bias that is broadcast."""
        bias = np.broadcast_to(bias, shape).reshape(-1)
        rule = Affine(matrix.thinned(), bias, (prod(x.shape),))
        return self.values.add(self.outputs[0], rule, [x], shape)


def side_by_side(x: list[Variable]) -> Indices:
    """[k, ...]: the elements of tensors laid one after the other, broadcast to one shape."""
    starts = np.cumsum([0, *(part.index.size for part in x)])
    parts = [start + part.index for start, part in zip(starts, x, strict=False)]
    return np.stack(np.broadcast_arrays(*parts))


def exact(constant: Tensor, x: Variable) -> npt.NDArray[np.float64]:
    """A constant that meets a variable, as exact float64 numbers."""
    if isinstance(constant, Variable):
        raise NoRule("an input that must be constant is not")
    if constant.dtype != x.kind or not np.isfinite(constant).all():
        raise ValueError(f"a constant of type {constant.dtype}, or not finite, meets {x.kind}")
    return constant.astype(np.float64)
