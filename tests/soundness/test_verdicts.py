"""Verdicts about small piecewise linear networks equal those of exhaustive enumeration."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from tests.bounds.exact import exact_rows
from tests.bounds.graphs import mlp, residual
from tests.soundness.patterns import least
from tests.soundness.queries import Clause, settle, text_of
from verifier.graph import Graph
from verifier.verdict import Unknown, Verdict, Verified, Violated

over_searches = pytest.mark.parametrize("search", ["inputs", "neurons"])
EDGE = 1e-6
"""Nearer to the edge than this, linear programs and searches may fail to see a difference."""
GAPS = (-0.1, -1e-3, -1e-5, 1e-5, 1e-3, 0.1)
"""How far the threshold lies above the least value: violated where positive."""
SHAPES = ((2, 3, 2), (3, 4, 3, 2), (2, 3, 3, 2, 1), (4, 5, 2), (2, 5, 3), (3, 2, 2, 2, 2))


@dataclass(frozen=True, eq=False)
class Situation:
    """A network, boxes, and clauses whose least values (over all boxes) are exactly 0, by LPs."""

    graph: Graph
    boxes: list[tuple[np.ndarray, np.ndarray]]
    clauses: list[Clause]
    minimisers: list[np.ndarray]

    def text(self, gaps: list[float]) -> str:
        """The property with its clauses' thresholds raised by so much."""
        moved = [
            Clause(clause.rows, clause.thresholds + gap)
            for clause, gap in zip(self.clauses, gaps, strict=True)
        ]
        return text_of(self.boxes, moved)


def network(seed: int) -> Graph:
    if seed % 4 == 3:
        return residual(seed, width=2 + seed % 2, blocks=1 + seed % 2)
    return mlp(seed, SHAPES[seed % len(SHAPES)], leak=0.125 * (seed % 3 == 2))


@cache
def situation(seed: int) -> Situation:
    generator = np.random.default_rng(seed)
    graph = network(seed)
    size, outputs = graph.input_size, graph.output_size
    boxes = []
    for _ in range(1 + seed % 2):
        center = generator.normal(size=size)
        radius = generator.uniform(0.1, 1.0, size=size)
        radius[0] *= seed % 5 != 4
        boxes.append((center - radius, center + radius))
    clauses, minimisers = [], []
    for _ in range(1 + seed % 3):
        rows = generator.normal(size=(1 + int(generator.integers(2)), outputs))
        base = generator.normal(size=len(rows)) * 0.1
        found = [least(graph, box, rows, base) for box in boxes]
        margin, point = min(found, key=lambda pair: pair[0])
        clauses.append(Clause(rows, base + margin))
        minimisers.append(point)
    return Situation(graph, boxes, clauses, minimisers)


def check_witness(case: Situation, verdict: Violated, gaps: list[float]) -> None:
    """In a box, and unsafe over the reals up to the rounding of the float64 replay."""
    x = verdict.inputs
    assert any(((lower <= x) & (x <= upper)).all() for lower, upper in case.boxes)
    margins = []
    for clause, gap in zip(case.clauses, gaps, strict=True):
        exact = exact_rows(case.graph, x[None], clause.rows, None)[0].astype(float)
        margins.append((exact - clause.thresholds - gap).max())
    assert min(margins) <= 1e-9


def check(case: Situation, verdict: Verdict, gaps: list[float], edge: float) -> None:
    gap = max(gaps)
    if isinstance(verdict, Verified):
        assert gap < EDGE / 10
    elif isinstance(verdict, Violated):
        assert gap > -EDGE / 10
        check_witness(case, verdict, gaps)
    else:
        assert abs(gap) <= edge, f"{verdict.reason} at {gap}"


def gaps_of(case: Situation, gap: float) -> list[float]:
    """The first clause decides; the others are a little further from being met."""
    return [gap, *(min(gap, 0.0) - 0.05 for _ in case.clauses[1:])]


@pytest.mark.parametrize("seed", range(22))
def test_the_search_over_inputs_decides(seed: int):
    case = situation(seed)
    for gap in GAPS:
        gaps = gaps_of(case, gap)
        check(case, settle(case.graph, case.text(gaps)), gaps, EDGE)


@pytest.mark.parametrize("seed", range(9))
def test_the_search_over_neurons_decides(seed: int):
    case = situation(seed)
    for gap in GAPS[1:5]:
        gaps = gaps_of(case, gap)
        check(case, settle(case.graph, case.text(gaps), "neurons"), gaps, EDGE)


def above(exact: np.ndarray) -> np.ndarray:
    """The least doubles that are no less than some Fractions."""
    near = exact.astype(float)
    low = np.array([x < e for x, e in zip(near, exact, strict=True)])
    return np.where(low, np.nextafter(near, np.inf), near)


def touching(seed: int, generator: np.random.Generator) -> tuple[Graph, str]:
    """A property that some point meets, exactly or by next to nothing.

    Odd seeds: the rows leave a hyperplane of outputs at most, as equations do.
    """
    case = situation(seed)
    rows, (lower, upper) = case.clauses[0].rows, case.boxes[0]
    if seed % 2:
        rows = np.concatenate([rows, -generator.uniform(0.1, 3.0) * rows.sum(0, keepdims=True)])
    point = np.clip(case.minimisers[0], lower, upper)
    thresholds = above(exact_rows(case.graph, point[None], rows, None)[0])
    return case.graph, text_of([(lower, upper)], [Clause(rows, thresholds)])


@over_searches
@pytest.mark.parametrize("how", [("numpy", "float64"), ("numpy", "float32")])
def test_a_touching_threshold_is_never_verified(search: str, how: tuple[str, str]):
    """Some point reaches the threshold exactly: whatever is said, it is not that all is safe."""
    generator = np.random.default_rng(0)
    for seed in range(8):
        verdict = settle(*touching(seed, generator), search, how, 0.3)
        assert isinstance(verdict, Violated | Unknown), seed


@over_searches
@pytest.mark.parametrize("how", [("numpy", "float32"), ("torch", "float32"), ("torch", "float64")])
def test_every_backend_decides(search: str, how: tuple[str, str]):
    for seed in range(3):
        case = situation(seed)
        for gap in (-1e-2, -1e-6, 1e-6, 1e-2):
            gaps = gaps_of(case, gap)
            seconds = 20.0 if abs(gap) > 1e-3 else 0.3
            verdict = settle(case.graph, case.text(gaps), search, how, seconds)
            check(case, verdict, gaps, 1e-4)
