"""Problems made of VNN-LIB text, and a replay that runs the graph in float64."""

from dataclasses import dataclass

import numpy as np

from tests.bounds.checks import SETTINGS
from verifier.bounds import crown
from verifier.graph import Graph
from verifier.load.vnnlib import parse_query
from verifier.search.context import Network
from verifier.search.strategy import Strategy, decide
from verifier.sets import Box
from verifier.spec import Problem
from verifier.tensors import numpy_backend
from verifier.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Clause:
    """Unsafe where ``rows . y <= thresholds``, all of them."""

    rows: np.ndarray
    thresholds: np.ndarray


def _number(x: float) -> str:
    return np.format_float_positional(x, trim="0")


def _box(box: tuple[np.ndarray, np.ndarray]) -> str:
    sides = [
        f"(>= X_{i} {_number(low)}) (<= X_{i} {_number(high)})"
        for i, (low, high) in enumerate(zip(*box, strict=True))
    ]
    return f"(and {' '.join(sides)})"


def _clause(clause: Clause) -> str:
    parts = []
    for row, threshold in zip(clause.rows, clause.thresholds, strict=True):
        terms = " ".join(f"(* {_number(c)} Y_{j})" for j, c in enumerate(row))
        parts.append(f"(<= (+ {terms} 0.0) {_number(threshold)})")
    return f"(and {' '.join(parts)})"


def text_of(boxes: list[tuple[np.ndarray, np.ndarray]], clauses: list[Clause]) -> str:
    """A VNN-LIB 1.0 property: some box and some clause."""
    inputs, outputs = len(boxes[0][0]), clauses[0].rows.shape[1]
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    lines.append(f"(assert (or {' '.join(_box(b) for b in boxes)}))")
    lines.append(f"(assert (or {' '.join(_clause(c) for c in clauses)}))")
    return "\n".join(lines)


def problem_of(graph: Graph, text: str) -> Problem:
    return Problem.of(graph, parse_query(text.encode(), "test.vnnlib"))


def network_of(graph: Graph) -> Network:
    plain = graph.on(numpy_backend())
    return Network(plain.evaluate, ((graph.input_size, "float64"),))


def settle(
    graph: Graph,
    text: str,
    search: str = "inputs",
    how: tuple[str, str] = ("numpy", "float64"),
    seconds: float = 20.0,
) -> Verdict:
    """The verdict of one search."""
    strategy = Strategy(search, *how, "cpu", "a test")
    return decide(problem_of(graph, text), network_of(graph), seconds, strategy)


def outputs_at_least(graph: Graph, seed: int, share: float) -> tuple[Problem, Network]:
    """Is output 0 a share of the way from what samples reach to CROWN's bound, or more?

    The inputs are in [-1, 1].
    """
    low, high = -np.ones(graph.input_size), np.ones(graph.input_size)
    points = np.random.default_rng(seed).uniform(low, high, size=(4000, graph.input_size))
    plain = graph.on(numpy_backend("float64"))
    points = np.concatenate([points, np.sign(points)])
    reached = plain.values(points)[graph.output][:, 0].max()
    bounds = crown(plain, Box(low[None], high[None]), SETTINGS).enclosure
    most = bounds.boxes[graph.output].upper[0, 0]
    row = -np.eye(graph.output_size)[:1]
    clause = Clause(row, np.array([-(reached + share * (most - reached))]))
    return problem_of(graph, text_of([(low, high)], [clause])), network_of(graph)
