"""Random graphs and boxes, from a seed."""

from dataclasses import dataclass

import numpy as np

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
from verifier.tensors import Backend

KINDS = ("normal", "tiny", "huge", "point", "one-sided", "far")
"""Of boxes."""
STEPS = (
    "relu", "leaky", "sigmoid", "tanh", "clip", "sum", "concat", "scale", "rearrange", "gather",
    "product", "reciprocal", "maximum", "linear", "relu", "linear",
)  # fmt: skip


@dataclass
class Weights:
    """Random constants; ``single``: float32 numbers, so that no precision rounds them."""

    generator: np.random.Generator
    single: bool = True

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        x = self.generator.normal(size=shape) * scale
        return x.astype(np.float32).astype(np.float64) if self.single else x

    def below(self, limit: int) -> int:
        return int(self.generator.integers(limit))

    def linear(self, size_in: int, size: int) -> Linear:
        weight = self.normal(size, size_in, scale=1 / np.sqrt(size_in))
        return Linear.of(weight, self.normal(size, scale=0.5))


def mlp(seed: int, sizes: tuple[int, ...], leak: float = 0.0) -> Graph:
    """Linear layers with ReLUs between them."""
    weights = Weights(np.random.default_rng(seed))
    builder = Builder(sizes[0])
    value = Value(0, (sizes[0],))
    for place, size in enumerate(sizes[1:], start=1):
        value = builder.add(f"linear{place}", weights.linear(value.size, size), [value], (size,))
        if place < len(sizes) - 1:
            value = builder.add(f"relu{place}", Relu.of(size, leak), [value])
    return builder.finish(value)


def curved(seed: int, sizes: tuple[int, ...], scale: float = 1.0) -> Graph:
    """Linear layers with Sigmoid, Tanh and, in some, ReLU between them, by turns."""
    weights = Weights(np.random.default_rng(seed))
    builder, value = Builder(sizes[0]), Value(0, (sizes[0],))
    for place, size in enumerate(sizes[1:], start=1):
        matrix = weights.normal(size, value.size, scale=scale / np.sqrt(value.size))
        layer = Linear.of(matrix, weights.normal(size, scale=0.5))
        value = builder.add("", layer, [value], (size,))
        if place < len(sizes) - 1:
            kinds = (Sigmoid.of(size), Tanh.of(size), Relu.of(size))
            value = builder.add("", kinds[(seed + place) % (2 + seed % 2)], [value])
    return builder.finish(value)


def residual(seed: int, width: int = 3, blocks: int = 2) -> Graph:
    """Blocks x + W relu(V x + a), read by a last layer through a concatenation with the input."""
    weights = Weights(np.random.default_rng(seed))
    builder = Builder(2)
    first = Value(0, (2,))
    value = builder.add("in", weights.linear(2, width), [first], (width,))
    for block in range(blocks):
        inner = builder.add(f"v{block}", weights.linear(width, width), [value])
        inner = builder.add(f"relu{block}", Relu.of(width), [inner])
        inner = builder.add(f"w{block}", weights.linear(width, width), [inner])
        value = builder.add(f"sum{block}", Sum.of(width, (1, 1 - 2 * (block % 2))), [value, inner])
    value = builder.add("relu", Relu.of(width), [value])
    value = builder.add("concat", Concat.of((width, 2)), [value, first], (width + 2,))
    return builder.finish(builder.add("out", weights.linear(width + 2, 2), [value], (2,)))


def mixed(seed: int, *, single: bool = True, steps: int = 6, inputs: int | None = None) -> Graph:
    """A DAG of operators of all families; every value is read, by the last layer if by no other."""
    weights = Weights(np.random.default_rng(seed), single)
    size = inputs or 1 + weights.below(3)
    builder = Builder(size)
    values = [Value(0, (size,))]
    for place in range(steps):
        name = STEPS[weights.below(len(STEPS))]
        source = values[-1] if weights.below(3) else values[weights.below(len(values))]
        values.append(_step(name, f"{name}{place}", weights, builder, (source, values)))
    loose = {0} | set(range(1, len(builder.nodes) + 1))
    loose -= {i for node in builder.nodes for i in node.inputs}
    parts = [v for v in values if v.number in loose] or [values[-1]]
    last = parts[0]
    if len(parts) > 1:
        total = sum(p.size for p in parts)
        last = builder.add("all", Concat.of(tuple(p.size for p in parts)), parts, (total,))
    if weights.below(4):
        last = builder.add("out", weights.linear(last.size, 2), [last], (2,))
    return builder.finish(last)


def _step(
    kind: str,
    name: str,
    weights: Weights,
    builder: Builder,
    sources: tuple[Value, list[Value]],
) -> Value:
    source = sources[0]
    size = source.size
    if kind in ("sum", "concat", "product"):
        return _pair(kind, name, weights, builder, sources)
    if kind == "linear":
        operator = weights.linear(size, 2 + weights.below(3))
        return builder.add(name, operator, [source], (operator.size,))
    if kind == "reciprocal":
        value = builder.add(f"{name}/clip", Clip.of(size, 0.5, 4.0), [source])
        return builder.add(name, Reciprocal.of(size), [value])
    if kind in ("rearrange", "gather", "maximum"):
        return _indexed(kind, name, weights, builder, source)
    operators = {
        "relu": Relu.of(size),
        "leaky": Relu.of(size, 0.125 if weights.single else 0.1),
        "sigmoid": Sigmoid.of(size),
        "tanh": Tanh.of(size),
        "clip": Clip.of(size, -0.5, 0.75),
        "scale": Scale.of(size, weights.normal(size), weights.normal(size)),
    }
    return builder.add(name, operators[kind], [source])


def _pair(
    kind: str,
    name: str,
    weights: Weights,
    builder: Builder,
    sources: tuple[Value, list[Value]],
) -> Value:
    source, values = sources
    other = values[weights.below(len(values))]
    if kind == "concat":
        total = source.size + other.size
        return builder.add(name, Concat.of((source.size, other.size)), [source, other], (total,))
    size = source.size
    if other.size != size:
        other = builder.add(f"{name}/fit", weights.linear(other.size, size), [other], (size,))
    operator = Product.of(size) if kind == "product" else Sum.of(size, (1, -1))
    return builder.add(name, operator, [source, other])


def _indexed(kind: str, name: str, weights: Weights, builder: Builder, source: Value) -> Value:
    size = source.size
    if kind == "rearrange":
        index = weights.generator.integers(-1, size, size=2 + weights.below(3))
        return builder.rearrange(name, source, index, weights.normal(len(index)))
    table = weights.generator.integers(-1, size, size=(2 + weights.below(2), 3))
    table[:, 0] = table[:, 0].clip(min=0)
    if kind == "maximum":
        operator = Maximum.of(table, size)
    else:
        operator = GatherSum.of(table, weights.normal(len(table)), size)
    return builder.add(name, operator, [source], (operator.size,))


def boxes(kind: str, seed: list[int], batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Float64 boxes [batch, size]."""
    generator = np.random.default_rng(seed)
    center = generator.normal(size=(batch, size))
    radius = generator.uniform(0.05, 1.0, size=(batch, size))
    if kind == "tiny":
        radius = radius * 1e-9
    if kind == "huge":
        center, radius = center * 1e6, radius * 1e6
    if kind == "point":
        radius = radius * (generator.random((batch, size)) < 0.3)
    if kind == "one-sided":
        return np.zeros((batch, size)), radius
    if kind == "far":
        center, radius = center * 1e4, radius * 1e-3
    return center - radius, center + radius


def placed(xp: Backend, lower: np.ndarray, upper: np.ndarray) -> Box:
    """A box on a backend, rounded outward."""
    return Box(*xp.outward(lower, upper))


def points_in(box: Box, xp: Backend, seed: int, count: int) -> np.ndarray:
    """Float64 [count, batch, n]: corners, faces and the inside of boxes as the backend has them."""
    generator = np.random.default_rng(seed)
    lower = xp.numpy(box.lower).astype(np.float64)
    upper = xp.numpy(box.upper).astype(np.float64)
    share = generator.random((count, *lower.shape))
    corner = generator.random(share.shape) < np.linspace(1, 0, count)[:, None, None]
    share = np.where(corner, np.round(share), share)
    share[0], share[1] = 0.0, 1.0
    inside = lower + share * (upper - lower)
    return np.clip(np.where(share == 1.0, upper, inside), lower, upper)
