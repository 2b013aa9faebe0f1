"""A search over inputs run round by round, with every box on record."""

from dataclasses import dataclass, field, fields

import numpy as np

from verifier.bounds import Objective
from verifier.certify import ProofTree
from verifier.graph import Graph
from verifier.search.frontier import Frontier
from verifier.search.input_split import Efforts, InputProblem, bisect, bound_round
from verifier.search.subproblems import Subproblems
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import Backend

EVERYTHING = Efforts(**{part.name: True for part in fields(Efforts)})


@dataclass(eq=False)
class Run:
    """What a search did: for each node its box when made, and when split."""

    problem: InputProblem
    tree: ProofTree
    made: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    cut: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    margins: dict[int, float] = field(default_factory=dict)
    live: dict[int, np.ndarray] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    bounded: int = 0

    @property
    def children(self) -> dict[int, tuple[int, float, int, int]]:
        """For each split node: coordinate, point, lower child, upper child."""
        return {
            int(node): (int(coordinate), float(point), int(below), int(above))
            for s in self.tree.splits
            for node, coordinate, point, below, above in zip(
                s.node, s.coordinate, s.point, *s.children, strict=True
            )
        }

    @property
    def closed(self) -> set[int]:
        return {int(node) for block in self.tree.leaves for node in block}

    def _note(self, rows: Subproblems, boxes: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
        xp = self.problem.graph.xp
        lower, upper = xp.numpy(rows.lower), xp.numpy(rows.upper)
        for k, node in enumerate(xp.numpy(rows.node).tolist()):
            boxes[node] = lower[k].astype(float), upper[k].astype(float)
            self.margins[node] = float(rows.margin[k])
            self.live[node] = xp.numpy(rows.live)[k]


def run(
    graph: Graph,
    xp: Backend,
    objective: Objective,
    sides: tuple[np.ndarray, np.ndarray, np.ndarray],
    rounds: int,
) -> Run:
    """``sides``: lower and upper [cases, n], and thresholds [cases, rows]; batches of eight."""
    settings = (BoundSettings(), SearchSettings())
    problem = InputProblem(graph.on(xp), objective, *settings)
    lower, upper, thresholds = sides
    result = Run(problem, ProofTree(xp, len(lower)))
    box = xp.outward(lower, upper)
    roots = problem.roots(*box, xp.doubles(thresholds), xp.arange(len(lower)))
    result._note(roots, result.made)
    frontier = Frontier(xp, 10**9, Subproblems.cat)
    frontier.push(roots)
    with np.errstate(all="ignore"):
        for _ in range(rounds):
            if len(frontier) == 0:
                break
            batch = frontier.take(8)
            result.bounded += len(batch)
            found = bound_round(problem, batch, EVERYTHING)
            found.log(result.tree)
            result._note(found.open, result.cut)
            children = bisect(problem, found.open, found.scores, result.tree)
            result._note(children, result.made)
            frontier.push(children)
    if len(frontier):
        result.open = set(xp.numpy(frontier.take(len(frontier)).node).tolist())
    return result
