"""The number of boxes that fixed problems take: at most a fifth more than on record."""

import numpy as np
import pytest

from tests.bounds.graphs import mlp, residual
from tests.search.runs import run
from verifier.bounds import Objective
from verifier.tensors import numpy_backend

PROBLEMS = {
    "mlp-2": (lambda: mlp(11, (2, 16, 16, 16, 1)), 3.0, 15),
    "mlp-3": (lambda: mlp(12, (3, 14, 14, 14, 1)), 2.5, 25),
    "mlp-5": (lambda: mlp(13, (5, 12, 12, 12, 1)), 1.5, 121),
    "residual": (lambda: residual(14, width=12, blocks=4), 3.0, 25),
}
"""Graph, width of the box, and the boxes that the search took."""


@pytest.mark.parametrize("name", PROBLEMS)
def test_searches_take_no_more_boxes_than_before(name: str):
    make, width, boxes = PROBLEMS[name]
    graph, xp = make(), numpy_backend()
    size = graph.input_size
    lower, upper = np.full((1, size), -width / 2), np.full((1, size), width / 2)
    share = np.random.default_rng(0).random((200_000, size))
    row = np.eye(graph.output_size)[:1]
    values = graph.on(xp).evaluate(lower + share * (upper - lower)) @ row.T
    # Safe by a twentieth of the range of values.
    threshold = values.min(keepdims=True) - 0.05 * (values.max() - values.min())
    objective = Objective.of(row, None, np.zeros(1, dtype=int), xp)
    found = run(graph, xp, objective, (lower, upper, threshold), 60)
    assert not found.open
    assert found.bounded <= 1.2 * boxes, found.bounded
