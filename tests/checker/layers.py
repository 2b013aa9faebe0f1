"""Small networks of rules, evaluated exactly, also as float32 executions that err as they may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifier.checker.affine import Affine, Dense, Sparse
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.atoms import Atom, Relu, leaky_relu
from verifier.checker.bounds import Enclosure
from verifier.checker.network import Network
from verifier.checker.tensors import Node

Vector = list[Fraction]
UNIT32 = Fraction(1, 2**24)
SLOPE = float(np.float32(0.3))


def vector(numbers: object) -> Vector:
    """Floats as fractions."""
    return [Fraction(x) for x in np.asarray(numbers, float).reshape(-1).tolist()]


def dot(a: Vector, b: Vector) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


@dataclass(frozen=True, eq=False)
class Layer:
    """y = sum of weights[i] inputs[i] + bias, or y = phi(x) where there are no weights."""

    inputs: tuple[int, ...]
    weights: tuple[np.ndarray, ...] = ()
    bias: np.ndarray | None = None
    atom: str = ""
    sparse: bool = False

    def rule(self, number: Arithmetic) -> Affine | Atom:
        """What the checker computes with."""
        if self.bias is None:
            return Relu() if self.atom == "relu" else leaky_relu(SLOPE)
        whole = np.concatenate(self.weights, axis=1)
        sizes = tuple(w.shape[1] for w in self.weights)
        matrix = Dense(number.numbers(whole)[None])
        if self.sparse or len(sizes) > 1:
            index = np.repeat(np.arange(whole.shape[1])[:, None], len(whole), 1)
            matrix = Sparse(index, number.numbers(whole.T), whole.shape[1])
        return Affine(matrix, number.numbers(self.bias), sizes)

    def apply(self, *x: Vector) -> Vector:
        if self.bias is None:
            slope = Fraction(0) if self.atom == "relu" else Fraction(SLOPE)
            return [v if v > 0 else slope * v for v in x[0]]
        result = vector(self.bias)
        for weight, part in zip(self.weights, x, strict=True):
            result = [y + dot(vector(row), part) for y, row in zip(result, weight, strict=True)]
        return result

    def error32(self, rule: Affine | Atom, *x: Vector) -> Vector:
        """How far one float32 execution of the node may be off, at most."""
        if self.bias is None or not isinstance(rule, Affine):
            size = [abs(Fraction(SLOPE) * v) if self.atom != "relu" else Fraction(0) for v in x[0]]
            return [s * UNIT32 + Fraction(1, 2**150) * bool(s) for s in size]
        absolute = Layer(self.inputs, tuple(map(abs, self.weights)), abs(self.bias))
        terms = rule.terms_float32
        gamma = terms * UNIT32 / (1 - terms * UNIT32)
        least = Fraction(terms, 2**149)
        return [gamma * y + least for y in absolute.apply(*([abs(v) for v in p] for p in x))]


@dataclass(frozen=True, eq=False)
class Layers:
    """Nodes over an input of some size."""

    size: int
    nodes: tuple[Layer, ...]

    def network(self, number: Arithmetic) -> Network:
        """For the checker."""
        nodes = [
            Node(f"v{k}", layer.rule(number), layer.inputs) for k, layer in enumerate(self.nodes)
        ]
        sizes = [self.size]
        for layer in self.nodes:
            same = sizes[layer.inputs[0]]
            sizes.append(same if layer.bias is None else len(layer.bias))
        return Network(tuple(nodes), tuple(sizes), len(nodes), ("float32",), True)

    def values(self, x: Vector, network: Network, signs: Callable[[], int]) -> list[Vector]:
        """All values; each is off by sign * error32 of an execution (sign 0: by nothing)."""
        values = [x]
        for layer, node in zip(self.nodes, network.nodes, strict=True):
            read = [values[i] for i in layer.inputs]
            error = layer.error32(node.rule, *read)
            y = layer.apply(*read)
            values.append([v + signs() * e for v, e in zip(y, error, strict=True)])
        return values


def enclose(
    layers: Layers, box: tuple[np.ndarray, np.ndarray], number: Arithmetic, *, single: bool = False
) -> Enclosure:
    """Boxes and lines of all values over a batch of boxes."""
    lower, upper = map(number.numbers, box)
    enclosure = Enclosure(layers.network(number), number, single, [lower], [upper])
    with np.errstate(all="ignore"):
        for layer in layers.nodes:
            value = enclosure.step()
            if layer.bias is None:
                enclosure.relax(value)
    return enclosure
