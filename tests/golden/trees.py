"""Search trees of tiny problems; renew the file with ``python -m tests.golden.trees``.

A new tree needs a reason in the commit message: better bounds or another heuristic.
"""

import json
from pathlib import Path

import numpy as np

from tests.bounds.graphs import mixed, mlp, residual
from tests.search.runs import Run, run
from verifier.bounds import Objective
from verifier.tensors import numpy_backend

FILE = Path(__file__).with_name("trees.json")
PROBLEMS = {
    "mlp-2x8x8": (lambda: mlp(1, (2, 8, 8, 2)), 2, 0.01),
    "mlp-3x8x8x8": (lambda: mlp(5, (3, 8, 8, 8, 2)), 1, 0.05),
    "leaky-4x8x8": (lambda: mlp(3, (4, 8, 8, 2), leak=0.1), 1, 0.05),
    "residual-2": (lambda: residual(4, width=6, blocks=3), 2, 0.02),
    "mixed-2": (lambda: mixed(25, inputs=2, steps=7), 2, 0.02),
}
"""Graph, number of boxes, and how far below the least sample the thresholds lie."""
ROUNDS, SAMPLES = 400, 20_000


def tree_of(name: str) -> Run:
    """The whole search of a problem that is safe by a small margin."""
    make, cases, gap = PROBLEMS[name]
    graph, xp = make(), numpy_backend()
    generator = np.random.default_rng(sorted(PROBLEMS).index(name))
    lower = generator.normal(size=(cases, graph.input_size))
    upper = lower + generator.uniform(1.0, 4.0, size=lower.shape)
    rows = generator.normal(size=(3, graph.output_size))
    share = generator.random((SAMPLES, *lower.shape))
    share = np.where(generator.random(share.shape) < 0.5, np.round(share), share)
    points = lower + share * (upper - lower)
    values = graph.on(xp).evaluate(points.reshape(-1, graph.input_size)) @ rows.T
    values = values.reshape(SAMPLES, cases, 3)
    least = np.stack([values[..., :2].max(-1).min(0), values[..., 2].min(0)], axis=1)
    thresholds = least[:, [0, 0, 1]] - gap
    objective = Objective.of(rows, None, np.array([0, 0, 1]), xp)
    return run(graph, xp, objective, (lower, upper, thresholds), ROUNDS)


def summary(found: Run) -> dict[str, object]:
    """What is compared, field by field; numbers to six digits."""
    first = [
        [node, coordinate, float(f"{point:.6g}"), below, above]
        for node, (coordinate, point, below, above) in sorted(found.children.items())[:12]
    ]
    return {
        "boxes": found.bounded,
        "splits": len(found.children),
        "leaves": found.tree.closed,
        "open": len(found.open),
        "first splits": first,
    }


def main() -> None:
    """Write the file anew."""
    trees = {name: summary(tree_of(name)) for name in PROBLEMS}
    FILE.write_text(json.dumps(trees, indent=1) + "\n")


if __name__ == "__main__":
    main()
