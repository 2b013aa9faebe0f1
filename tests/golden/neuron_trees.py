"""Search trees over neurons; renew the file with ``python -m tests.golden.neuron_trees``.

A new tree needs a reason in the commit message: better bounds or another heuristic. Nothing here
may depend on the clock, so no search of hidden neurons begins, and boxes are tightened from the
start or never.
"""

import json
from pathlib import Path
from unittest.mock import patch

from tests.bounds.graphs import mlp, residual
from tests.soundness.queries import outputs_at_least
from verifier.certify import ProofTree
from verifier.search import by_neurons, race
from verifier.search.strategy import Strategy, decide
from verifier.verdict import Verified

FILE = Path(__file__).with_name("neuron_trees.json")
PROBLEMS = {
    "mlp-8x16": (lambda: mlp(2, (8, 16, 1)), 0.03, False),
    "mlp-6x12x10": (lambda: mlp(7, (6, 12, 10, 1)), 0.2, False),
    "mlp-5x10x8x6": (lambda: mlp(4, (5, 10, 8, 6, 1)), 0.03, False),
    "leaky-6x12x8": (lambda: mlp(3, (6, 12, 8, 1), leak=0.1), 0.03, False),
    "residual-8": (lambda: residual(4, width=8, blocks=3), 0.03, False),
    "tightened-40x60": (lambda: mlp(0, (40, 60, 1)), 0.2, True),
}
"""Graph, where the threshold lies, and whether boxes are tightened in each subproblem."""
NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")
NEVER, SOON = float("inf"), 1e-9


def tree_of(name: str) -> ProofTree:
    """The whole search."""
    make, share, tightened = PROBLEMS[name]
    problem, network = outputs_at_least(make(), 1, share)
    until = SOON if tightened else NEVER
    turns = {"UNTIL_SHALLOW": until, "UNTIL_DEEP": until, "TURN": 1e12}
    with patch.dict(vars(by_neurons), PATIENCE=NEVER), patch.dict(vars(race), turns):
        verdict = decide(problem, network, 60.0, NEURONS)
    assert isinstance(verdict, Verified)
    assert verdict.proof is not None
    return verdict.proof


def summary(tree: ProofTree) -> dict[str, object]:
    """What is compared, field by field; a neuron is its value and its element."""
    splits = [
        [int(node), *(int(x) for x in divmod(int(coordinate), 2**32))]
        for s in tree.splits
        for node, coordinate in zip(s.node, s.coordinate, strict=True)
    ]
    return {"nodes": tree.count, "leaves": tree.closed, "first splits": splits[:12]}


def main() -> None:
    """Write the file anew."""
    trees = {name: summary(tree_of(name)) for name in PROBLEMS}
    FILE.write_text(json.dumps(trees, indent=1) + "\n")


if __name__ == "__main__":
    main()
