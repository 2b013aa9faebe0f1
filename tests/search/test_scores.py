"""Which input to split, and which search to run."""

import numpy as np

from tests.bounds.checks import SETTINGS, backend
from tests.bounds.graphs import mlp, placed
from verifier.bounds import Objective, bound_objective, crown
from verifier.graph import Builder, Graph, Value
from verifier.ops.curves import square
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.sum import Concat
from verifier.search.split.gap_smear import costs, gap_smear
from verifier.tensors import Backend


def curves(xp: Backend) -> Graph:
    """(x_0^2, 1 / x_1)."""
    builder = Builder(2)
    x = Value(0, (2,))
    from verifier.ops.linear import Linear

    first = builder.add("first", Linear.of(np.array([[1.0, 0.0]])), [x], (1,))
    second = builder.add("second", Linear.of(np.array([[0.0, 1.0]])), [x], (1,))
    squared = square("square", builder, first)
    inverse = builder.add("inverse", Reciprocal.of(1), [second], (1,))
    return builder.finish(builder.add("both", Concat.of((1, 1)), [squared, inverse], (2,))).on(xp)


def test_curves_are_scored_by_how_far_their_lines_are_apart():
    """1 / x bends little over [1000, 1100], however large its factor."""
    xp = backend("numpy-64")
    graph = curves(xp)
    box = placed(xp, np.array([[-1.0, 1000.0]]), np.array([[1.0, 1100.0]]))
    objective = Objective.of(np.array([[1.0, 100.0]]), None, np.zeros(1, dtype=int), xp)
    result = crown(graph, box, SETTINGS, keep_hidden=True)
    asked = xp.bools(np.ones((1, 1)))
    found = bound_objective(result.enclosure, objective, xp.doubles(np.zeros((1, 1))), asked)
    score = gap_smear(result, found)[0]
    assert score[0] > 100 * score[1] > 0


def test_neurons_cost_nothing_where_rows_do_not_reach():
    xp = backend("numpy-64")
    graph = mlp(0, (3, 20, 20, 2)).on(xp)
    box = placed(xp, np.full((1, 3), -1.0), np.full((1, 3), 1.0))
    objective = Objective.of(np.array([[0.0, 0.0]]), None, np.zeros(1, dtype=int), xp)
    result = crown(graph, box, SETTINGS, keep_hidden=True)
    asked = xp.bools(np.ones((1, 1)))
    found = bound_objective(result.enclosure, objective, xp.doubles(np.zeros((1, 1))), asked)
    cost = costs(result, found)
    assert set(cost) == set(graph.relaxed_inputs)
    assert not any(x.any() for x in cost.values())
