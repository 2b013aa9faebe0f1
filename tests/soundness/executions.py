"""Small networks computed in fractions, by float32 executions of many kinds, and by ONNX Runtime.

Nothing of the verifier is used: an execution that leaves its bounds convicts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import NodeProto
from onnx.helper import make_node

from tests.checker.onnx_files import execute, file

Generator = np.random.Generator
Product = Callable[[np.ndarray, np.ndarray, np.ndarray, Generator], np.ndarray]
"""How W x + b is computed in float32, from W [m, k], x [k], b [m]."""


@dataclass(frozen=True, eq=False)
class Step:
    """One ONNX node that reads the values of some numbers: 0 is the input, k the k-th step's."""

    operator: str
    sources: tuple[int, ...]
    weight: Any = None
    """float32 [m, k] of a Gemm, or [n] of a Mul"""
    bias: Any = None
    """float32 [m]"""
    alpha: float = 0.0


@dataclass(frozen=True, eq=False)
class Net:
    """Steps over flat vectors; the last one is the output."""

    size: int
    steps: tuple[Step, ...]

    def onnx(self) -> bytes:
        """The same as an ONNX file of input x; step k makes the tensor ``name(k)``."""
        constants: dict[str, np.ndarray] = {}
        nodes = [self._node(k, step, constants) for k, step in enumerate(self.steps, 1)]
        return file(nodes, [1, self.size], constants, (self.name(len(self.steps)),))

    def name(self, value: int) -> str:
        return f"v{value}" if value else "x"

    def _node(self, k: int, step: Step, constants: dict[str, np.ndarray]) -> NodeProto:
        inputs = [self.name(s) for s in step.sources]
        extra: dict[str, Any] = {}
        if step.weight is not None:
            constants[f"w{k}"] = step.weight
            inputs.append(f"w{k}")
        if step.operator == "Gemm":
            constants[f"b{k}"], extra = step.bias, {"transB": 1}
            inputs.append(f"b{k}")
        elif step.operator == "ReduceMean":
            extra = {"axes": [1]}
        elif step.operator == "LeakyRelu":
            extra = {"alpha": step.alpha}
        return make_node(step.operator, inputs, [self.name(k)], **extra)

    def exact(self, x: np.ndarray) -> list[np.ndarray]:
        """All values for a vector of numbers, as vectors of fractions."""
        values = [fractions(x)]
        for step in self.steps:
            values.append(_exact(step, [values[i] for i in step.sources]))
        return values

    def run(self, x: np.ndarray, how: str, generator: Generator) -> list[np.ndarray]:
        """All values that one float32 execution computes."""
        values = [x.astype(np.float32)]
        with np.errstate(all="ignore"):
            for step in self.steps:
                values.append(_run(step, [values[i] for i in step.sources], how, generator))
        return values

    def runs(self, x: np.ndarray, generator: Generator, each: int = 2) -> list[list[np.ndarray]]:
        """Executions of every kind."""
        return [self.run(x, how, generator) for how in PRODUCTS for _ in range(each)]

    def runtime(self, x: np.ndarray) -> list[np.ndarray]:
        """The outputs by ONNX Runtime, optimised and not."""
        data = self.onnx()
        return [execute(data, x, optimised=flag) for flag in (True, False)]


def fractions(x: np.ndarray) -> np.ndarray:
    result = np.empty(np.shape(x), dtype=object)
    result.reshape(-1)[:] = [Fraction(v) for v in np.asarray(x).reshape(-1).tolist()]
    return result


def _exact(step: Step, inputs: list[np.ndarray]) -> np.ndarray:
    x = inputs[0]
    if step.operator == "Gemm":
        return fractions(step.weight) @ x + fractions(step.bias)
    if step.operator == "ReduceMean":
        return np.array([sum(x, Fraction(0)) / len(x)], dtype=object)
    weight = None if step.weight is None else fractions(step.weight)
    return _elementwise(step, inputs, Fraction(step.alpha), weight)


def _run(step: Step, inputs: list[np.ndarray], how: str, generator: Generator) -> np.ndarray:
    x = inputs[0]
    if step.operator == "Gemm":
        return PRODUCTS[how](step.weight, x, step.bias, generator)
    if step.operator == "ReduceMean":
        ones, none = np.ones((1, len(x)), np.float32), np.zeros(1, np.float32)
        total, size = PRODUCTS[how](ones, x, none, generator), np.float32(len(x))
        return total / size if generator.random() < 0.5 else total * (np.float32(1) / size)
    return _elementwise(step, inputs, np.float32(step.alpha), step.weight)


def _elementwise(step: Step, inputs: list[np.ndarray], alpha: Any, weight: Any) -> np.ndarray:
    """In the arithmetic of what is given."""
    x = inputs[0]
    match step.operator:
        case "Relu":
            return np.maximum(x, alpha * 0)
        case "LeakyRelu":
            return np.where(x > 0, x, alpha * x)
        case "Add":
            return x + inputs[1]
        case "Sub":
            return x - inputs[1]
    assert step.operator == "Mul"
    return x * weight


def _terms(weight: np.ndarray, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.concatenate([weight * x, bias[:, None]], axis=1)


def _in_order(terms: np.ndarray) -> np.ndarray:
    total = np.zeros(len(terms), np.float32)
    for column in terms.T:
        total = total + column
    return total


def _in_pairs(terms: np.ndarray) -> np.ndarray:
    while terms.shape[1] > 1:
        if terms.shape[1] % 2:
            terms = np.concatenate([terms, np.zeros((len(terms), 1), np.float32)], axis=1)
        terms = terms[:, ::2] + terms[:, 1::2]
    return terms[:, 0]


def _shuffled(weight, x, bias, generator):
    return _in_order(generator.permutation(_terms(weight, x, bias), axis=1))


def _pairwise(weight, x, bias, generator):
    return _in_pairs(generator.permutation(_terms(weight, x, bias), axis=1))


def _rising(weight, x, bias, generator):
    return _in_order(np.sort(_terms(weight, x, bias), axis=1))


def _falling(weight, x, bias, generator):
    return _in_order(np.sort(_terms(weight, x, bias), axis=1)[:, ::-1])


def _fused(weight, x, bias, generator):
    """Fused multiply-add in any order, from the bias on, or with the bias added in the end."""
    first = bool(generator.integers(2))
    total = bias if first else np.zeros_like(bias)
    for k in generator.permutation(len(x)):
        total = fma32(weight[:, k], x[k], total)
    return total if first else total + bias


def _lanes(weight, x, bias, generator):
    """Four partial sums, as vector units have them."""
    order = generator.permutation(len(x))
    none = np.zeros_like(bias)
    lanes = [_fused(weight[:, order[i::4]], x[order[i::4]], none, generator) for i in range(4)]
    return _in_pairs(np.stack(lanes, axis=1)) + bias


def fma32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a b + c of float32 numbers, rounded once.

    a b is exact in float64. The sum is rounded to odd there, so that rounding it to float32 gives
    what rounding the exact sum gives.
    """
    product, c = np.asarray(a, np.float64) * np.asarray(b, np.float64), np.asarray(c, np.float64)
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    even = (total.view(np.int64) & 1) == 0
    inexact = np.isfinite(total) & (error != 0) & even
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where(inexact, np.nextafter(total, toward), total).astype(np.float32)


PRODUCTS: dict[str, Product] = {
    "shuffled": _shuffled,
    "pairwise": _pairwise,
    "rising": _rising,
    "falling": _falling,
    "fused": _fused,
    "lanes": _lanes,
}


def gemm(source: int, weight: Any, bias: Any) -> Step:
    """A Gemm of float32 numbers."""
    rows = np.atleast_2d(np.asarray(weight, np.float32))
    return Step("Gemm", (source,), rows, np.broadcast_to(np.float32(bias), len(rows)).copy())


def _numbers(generator: Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Numbers of any magnitude from 10^-spread to 10^spread."""
    sizes = 10.0 ** generator.uniform(-spread, spread, size=shape)
    return (generator.normal(size=shape) * sizes).astype(np.float32)


def _cancelling(generator: Generator, weight: np.ndarray) -> np.ndarray:
    """Columns that nearly cancel others."""
    weight = weight.copy()
    for j in range(1, weight.shape[1], 2):
        if generator.random() < 0.5:
            weight[:, j] = -weight[:, j - 1] * np.float32(1 + 2.0 ** -generator.integers(10, 24))
    return weight


@dataclass(eq=False)
class _Builder:
    """Grows a network step by step, and knows its values at one point."""

    generator: Generator
    spread: float
    values: list[np.ndarray]
    steps: list[Step]

    def add(self, operator: str, *sources: int, **more: Any) -> None:
        step = Step(operator, sources or (len(self.steps),), **more)
        inputs = [self.values[i] for i in step.sources]
        with np.errstate(all="ignore"):
            value = _run(step, inputs, "shuffled", self.generator)
        self.steps.append(step)
        self.values.append(value)

    def gemm(self, rows: int) -> None:
        """Weights of all magnitudes; as often as not they undo the magnitudes of their inputs."""
        generator, x = self.generator, self.values[-1]
        weight = _cancelling(generator, _numbers(generator, (rows, len(x)), self.spread))
        if generator.random() < 0.7:
            size = np.clip(np.nan_to_num(abs(x), nan=1.0), 1e-30, 1e30)
            with np.errstate(all="ignore"):
                weight = np.clip(weight / size, -1e38, 1e38).astype(np.float32)
        factor = generator.choice([0.0, 1.0, 2.0**30 if self.spread < 20 else 1.0])
        bias = _numbers(generator, (rows,), self.spread) * np.float32(factor)
        self.add("Gemm", weight=weight, bias=bias)


def badly_scaled(seed: int) -> tuple[Net, np.ndarray, np.ndarray]:
    """A network of one output, and a box of float32 numbers."""
    generator = np.random.default_rng(seed)
    spread = float(generator.choice([0, 1, 4, 8, 15, 30]))
    size = int(generator.integers(1, 5))
    center = _numbers(generator, (size,), spread / 3).astype(np.float64)
    radius = abs(center) * generator.choice([0, 1e-6, 0.1, 3.0], size=size)
    lower, upper = (x.astype(np.float32) for x in (center - radius, center + radius))
    build = _Builder(generator, spread, [center.astype(np.float32)], [])
    for _ in range(int(generator.integers(1, 4))):
        source, wider = len(build.steps), int(generator.integers(2, 6))
        build.gemm(wider)
        atom = str(generator.choice(["Relu", "Relu", "LeakyRelu"]))
        build.add(atom, alpha=float(np.float32(0.1)))
        if generator.random() < 0.4:
            build.add("Mul", weight=_numbers(generator, (wider,), spread / 2))
        if wider == len(build.values[source]) and generator.random() < 0.7:
            build.add(str(generator.choice(["Add", "Sub"])), len(build.steps), source)
    if generator.random() < 0.3:
        build.add("ReduceMean")
    else:
        build.gemm(1)
    return Net(size, tuple(build.steps)), lower.astype(np.float64), upper.astype(np.float64)


def points(
    lower: np.ndarray, upper: np.ndarray, count: int, generator: Generator
) -> list[np.ndarray]:
    """Points of float32 numbers in a box of such: corners, middles and others."""
    found = []
    for _ in range(count):
        share = generator.random(len(lower))
        share = np.where(generator.random(len(lower)) < 0.6, np.round(share), share)
        x = lower + share * (upper - lower)
        x = np.where(share == 0, lower, np.where(share == 1, upper, x))
        x = x.astype(np.float32).astype(np.float64)
        found.append(np.clip(x, lower, upper))
    return found
