"""What the tests of bounds share: backends, methods, and comparisons with exact values."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tests.bounds.exact import exact_values, rational
from tests.bounds.graphs import KINDS, boxes, mixed, mlp, placed, points_in, residual
from verifier.bounds import Enclosure, HiddenOptimiser, Objective, crown, interval
from verifier.graph import Graph
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Backend, numpy_backend, torch_backend

SETTINGS = BoundSettings()
BACKENDS = {
    "numpy-64": (numpy_backend, "float64"),
    "numpy-32": (numpy_backend, "float32"),
    "torch-64": (torch_backend, "float64"),
    "torch-32": (torch_backend, "float32"),
}
MANY, FEW = 120, 5


def backend(name: str) -> Backend:
    make, dtype = BACKENDS[name]
    return make(dtype)


def inherited_crown(graph: Graph, box: Box) -> Enclosure:
    """CROWN with the hidden boxes of a box around ``box``, as a parent hands them down."""
    width = (box.upper - box.lower) / 2
    parent = Box(box.lower - width, box.upper + width / 4)
    known = crown(graph, parent, SETTINGS).enclosure
    return crown(graph, box, SETTINGS, dict(enumerate(known.boxes))).enclosure


METHODS: dict[str, Callable[[Graph, Box], Enclosure]] = {
    "interval": interval,
    "crown": lambda graph, box: crown(graph, box, SETTINGS).enclosure,
    "inherited crown": inherited_crown,
    "optimised crown": lambda graph, box: (
        crown(graph, box, SETTINGS, optimiser=HiddenOptimiser(5)).enclosure
    ),
    "chosen planes": lambda graph, box: (
        crown(graph, box, SETTINGS, optimiser=HiddenOptimiser(5, bend=True)).enclosure
    ),
}


def some_graph(seed: int) -> Graph:
    """One of the kinds of graphs in turn."""
    if seed % 5 == 0:
        return mlp(seed, (2, 5, 4, 3, 2), leak=0.25 * (seed % 2))
    if seed % 5 == 1:
        return residual(seed)
    return mixed(seed, single=seed % 2 == 0)


@dataclass(eq=False)
class Trial:
    """A graph on no backend, a batch of boxes on one, and points in them."""

    graph: Graph
    xp: Backend
    box: Box
    seed: int

    @staticmethod
    def of(seed: int, name: str, kinds: tuple[str, ...] = KINDS) -> "Trial":
        """One box of each kind."""
        graph, xp = some_graph(seed), backend(name)
        sides = [
            boxes(kind, [seed, place], 1, graph.input_size) for place, kind in enumerate(kinds)
        ]
        lower, upper = (np.concatenate(side) for side in zip(*sides, strict=True))
        return Trial(graph, xp, placed(xp, lower, upper), seed)

    @property
    def batch(self) -> int:
        return self.box.lower.shape[0]

    @cached_property
    def placed(self) -> Graph:
        return self.graph.on(self.xp)

    @cached_property
    def points(self) -> np.ndarray:
        """[few, batch, n]: those of many points where the outputs and some values are extreme."""
        many = points_in(self.box, self.xp, self.seed, MANY)
        count, batch, size = many.shape
        plain = self.graph.on(numpy_backend())
        with np.errstate(all="ignore"):
            values = plain.values(many.reshape(-1, size))
        last = np.concatenate([values[self.graph.output], *values[-2:]], axis=1)
        last = last.reshape(count, batch, -1)
        chosen = np.concatenate([last.argmin(0), last.argmax(0)], axis=1)[:, : FEW - 2]
        first = np.broadcast_to(np.arange(2), (batch, 2))
        chosen = np.concatenate([first, chosen], axis=1)
        return np.stack([many[chosen[b], b] for b in range(batch)], axis=1)

    @cached_property
    def values(self) -> list[np.ndarray]:
        """For each value Fractions [few, batch, size]."""
        count, batch, size = self.points.shape
        values = exact_values(self.graph, self.points.reshape(-1, size))
        return [v.reshape(count, batch, -1) for v in values]

    def rows(self, outputs: np.ndarray, inputs: np.ndarray | None) -> np.ndarray:
        """outputs . y + inputs . x: Fractions [few, batch, rows]."""
        total = self.values[self.graph.output] @ rational(outputs.T)
        return total if inputs is None else total + self.values[0] @ rational(inputs.T)

    def objective(self, count: int) -> tuple[np.ndarray, np.ndarray | None, Objective]:
        """Random rows in float64: (on the output, on the input or None, both on the backend)."""
        generator = np.random.default_rng([self.seed, count])
        outputs = generator.normal(size=(count, self.graph.output_size))
        inputs = generator.normal(size=(count, self.graph.input_size)) if self.seed % 2 else None
        clause = np.arange(count) // 2
        return outputs, inputs, Objective.of(outputs, inputs, clause, self.xp)


def below(bound: np.ndarray, exact: np.ndarray) -> bool:
    """Is each bound at most the Fractions, without tolerance? NaN and -inf claim nothing."""
    bound = np.broadcast_to(np.asarray(bound, dtype=np.float64), exact.shape)
    claims = np.isfinite(bound) | (bound == np.inf)
    if (bound == np.inf).any():
        return False
    return bool((rational(bound[claims]) <= exact[claims]).all())


def contains(box: Box, exact: np.ndarray, xp: Backend) -> bool:
    """Are the Fractions [points, batch, n] inside the boxes [batch, n]?"""
    lower, upper = xp.numpy(box.lower), xp.numpy(box.upper)
    return below(lower[None], exact) and below(-upper[None], -exact)
