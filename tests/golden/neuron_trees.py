"""Search trees over neurons; renew the file with ``python -m tests.golden.neuron_trees``.

A new tree needs a reason in the commit message: better bounds or another heuristic. Turns begin
early in some, which are too small to come to them otherwise: by counted seconds, not by the clock.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from tests.bounds.graphs import mlp, residual
from tests.soundness.queries import outputs_at_least
from verifier.certify import ProofTree
from verifier.search import by_neurons, deep, hulling, race
from verifier.search.strategy import Strategy, decide
from verifier.verdict import Verified

FILE = Path(__file__).with_name("neuron_trees.json")
AT_ONCE = 1e-9
NO_HULLS = {"STEPS": 0, "FIRST": AT_ONCE}
TIGHTENED = NO_HULLS | {"UNTIL": AT_ONCE, "TURN": 1e12}
BY_TURNS = NO_HULLS | {"UNTIL": AT_ONCE, "TURN": 2e6}
DEEPENED = NO_HULLS | {"PATIENCE": AT_ONCE, "PARTS": (4, 32)}
HULLED = {"FIRST": AT_ONCE, "FIRST_SHARE": 0.0, "WORTH": 0.0, "PARTS": ()}
PROBLEMS = {
    "mlp-8x16": (lambda: mlp(2, (8, 16, 1)), 0.03, {}),
    "mlp-6x12x10": (lambda: mlp(7, (6, 12, 10, 1)), 0.2, {}),
    "mlp-5x10x8x6": (lambda: mlp(4, (5, 10, 8, 6, 1)), 0.03, {}),
    "leaky-6x12x8": (lambda: mlp(3, (6, 12, 8, 1), leak=0.1), 0.03, {}),
    "residual-8": (lambda: residual(4, width=8, blocks=3), 0.03, {}),
    "tightened-40x60": (lambda: mlp(0, (40, 60, 1)), 0.2, TIGHTENED),
    "by-turns-40x60": (lambda: mlp(0, (40, 60, 1)), 0.2, BY_TURNS),
    "deepened-8x12x10x8": (lambda: mlp(4, (8, 12, 10, 8, 1)), 0.03, DEEPENED),
    "hulled-8x12x10x8": (lambda: mlp(4, (8, 12, 10, 8, 1)), 0.03, HULLED),
}
"""Graph, where the threshold lies, and what its turns are."""
NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")


def tree_of(name: str) -> ProofTree:
    """The whole search."""
    make, share, turns = PROBLEMS[name]
    problem, network = outputs_at_least(make(), 1, share)
    with ExitStack() as stack:
        for module in (by_neurons, deep, hulling, race):
            some = {k: v for k, v in turns.items() if k in vars(module)}
            stack.enter_context(patch.dict(vars(module), some))
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
