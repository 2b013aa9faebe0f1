"""Small networks, conditions and judges for the tests of attacks."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from verifier.attack import Judge, Regions, Target, Witness
from verifier.families import Maximum, Product
from verifier.graph import Builder, Graph, Value
from verifier.ops.clip import Clip
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.scale import Scale
from verifier.ops.sum import Concat, Sum
from verifier.sets import Box
from verifier.spec import UnsafeRows
from verifier.tensors import Backend


def dense(sizes: tuple[int, ...], seed: int) -> Graph:
    """A random network of dense and ReLU layers."""
    rng = np.random.default_rng(seed)
    builder = Builder(sizes[0])
    value = Value(0, (sizes[0],))
    for i, (n, m) in enumerate(pairwise(sizes)):
        weight = rng.normal(size=(m, n)) / np.sqrt(n)
        value = builder.add(f"dense{i}", Linear.of(weight, 0.3 * rng.normal(size=m)), [value], (m,))
        if i < len(sizes) - 2:
            value = builder.add(f"relu{i}", Relu.of(m), [value])
    return builder.finish(value)


def identity(size: int) -> Graph:
    """The network whose output is its input."""
    return Builder(size).finish(Value(0, (size,)))


def mixed(seed: int) -> Graph:
    """A DAG with every operator in it, in random order, each reading random earlier values."""
    rng = np.random.default_rng(seed)
    size = 4
    builder = Builder(size)
    values = [Value(0, (size,))]
    for kind in rng.permutation(12):
        values.append(_operator(int(kind), builder, values, rng))
    last = builder.add("sum", Sum.of(size, (1, -1, 1)), values[-3:])
    return builder.finish(last)


def _operator(kind: int, builder: Builder, values: list[Value], rng) -> Value:
    size = values[0].size
    a, b = (values[i] for i in rng.integers(0, len(values), 2))
    table = rng.integers(0, size, (size, 3))
    if kind == 8:
        return builder.add("product", Product.of(size), [a, b])
    if kind == 9:
        both = builder.add("concat", Concat.of((size, size)), [a, b], (2 * size,))
        return builder.rearrange("gather", both, rng.integers(-1, 2 * size, size), np.ones(size))
    if kind == 10:
        positive = builder.add("sigmoid", Sigmoid.of(size), [a])
        raised = builder.add("raise", Scale.of(size, None, np.full(size, 0.5)), [positive])
        return builder.add("reciprocal", Reciprocal.of(size), [raised])
    if kind == 11:
        return builder.add("difference", Sum.of(size, (1, -1)), [a, b])
    operator = (
        Linear.of(rng.normal(size=(size, size)), rng.normal(size=size)),
        Relu.of(size),
        Relu.of(size, 0.1),
        Tanh.of(size),
        Clip.of(size, -1.0, 1.5),
        Maximum.of(table, size),
        GatherSum.of(
            np.where(rng.random(table.shape) < 0.2, -1, table), rng.normal(size=size), size
        ),
        Scale.of(size, rng.normal(size=size), rng.normal(size=size)),
    )[kind]
    return builder.add(f"node{kind}", operator, [a], (size,))


def unsafe_rows(
    outputs: ArrayLike,
    clause: list[int],
    strict: list[bool] | None = None,
    inputs: ArrayLike | None = None,
) -> UnsafeRows:
    """Rows from nested lists; none is strict by default."""
    return UnsafeRows(
        output_coefficients=np.array(outputs, dtype=np.float64),
        input_coefficients=None if inputs is None else np.array(inputs, dtype=np.float64),
        clause=np.array(clause, dtype=np.int64),
        strict=np.array(strict or [False] * len(clause)),
    )


@dataclass(frozen=True)
class ToyQuery:
    """Judges points like a query: in some box, with the bounds of that box, exactly."""

    rows: UnsafeRows
    lower: np.ndarray
    upper: np.ndarray
    bounds: np.ndarray

    def holds(self, inputs: np.ndarray, outputs: np.ndarray) -> bool:
        for lower, upper, bounds in zip(self.lower, self.upper, self.bounds, strict=True):
            inside = ((inputs >= lower) & (inputs <= upper)).all()
            if inside and self._meets(inputs, outputs, bounds):
                return True
        return False

    def _meets(self, inputs: np.ndarray, outputs: np.ndarray, bounds: np.ndarray) -> bool:
        g = self.rows.output_coefficients @ outputs - bounds
        if self.rows.input_coefficients is not None:
            g = g + self.rows.input_coefficients @ inputs
        met = np.where(self.rows.strict, g < 0, g <= 0)
        return any(met[self.rows.clause == k].all() for k in range(self.rows.n_clauses))


Replay = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A problem for the attack: a network, its rows, boxes with bounds."""

    graph: Graph
    rows: UnsafeRows
    lower: np.ndarray
    upper: np.ndarray
    bounds: np.ndarray

    @staticmethod
    def of(
        graph: Graph, rows: UnsafeRows, box: tuple[ArrayLike, ArrayLike], bounds: ArrayLike
    ) -> "Case":
        arrays = [np.atleast_2d(np.array(x, dtype=float)) for x in (*box, bounds)]
        return Case(graph, rows, *arrays)

    def on(self, backend: Backend) -> tuple[Target, Regions]:
        box = Box(backend.floats(self.lower), backend.floats(self.upper))
        target = Target.of(self.graph.on(backend), self.rows)
        return target, Regions(box, backend.floats(self.bounds))

    def judge(self, replay: Replay, kind: str = "float32", **options) -> Judge:
        query = ToyQuery(self.rows, self.lower, self.upper, self.bounds)
        types = ((self.lower.shape[1], kind),)
        return Judge(query, replay, types, self.lower, self.upper, **options)

    def problem(self, backend: Backend, kind: str = "float32") -> tuple[Target, Regions, Judge]:
        return *self.on(backend), self.judge(replay_of(self.graph), kind)


def replay_of(graph: Graph) -> Replay:
    """A stand-in for the reference runtime: the network itself, in float32."""
    from verifier.tensors import numpy_backend

    on = graph.on(numpy_backend("float32"))
    return lambda points: np.asarray(on.evaluate(points.astype(np.float32)), dtype=np.float64)


def certain(witness: Witness | None) -> Witness:
    """The witness that there must be."""
    assert witness is not None
    return witness
