"""ReLUs that read the network's input: their signs cut the region itself."""

import numpy as np
import pytest
from scipy.optimize import linprog

from tests.soundness.queries import Clause, network_of, problem_of, text_of
from verifier.bounds import Enclosure
from verifier.bounds.back import UnitStart
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.search.strategy import Strategy, decide
from verifier.sets import Box
from verifier.tensors import numpy_backend
from verifier.verdict import Verified, Violated

SIZE = 5
NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")


def relu_first(weight: np.ndarray) -> Graph:
    """W relu(x)."""
    builder = Builder(weight.shape[1])
    value = Value(0, (weight.shape[1],))
    for operator in (Relu.of(weight.shape[1]), Linear.of(weight)):
        value = builder.add("", operator, [value], (operator.size,))
    return builder.finish(value)


def test_the_input_has_no_node():
    graph = relu_first(np.ones((1, 2)))
    with pytest.raises(IndexError, match="value 0 has no node"):
        graph.node(0)


def test_unit_rows_on_the_input_start_there():
    xp = numpy_backend()
    graph = relu_first(np.ones((1, 3))).on(xp)
    enclosure = Enclosure.over(graph, Box(-np.ones((1, 3)), np.ones((1, 3))))
    made = UnitStart.of(enclosure, 0, np.array([2, 0]), np.array([1.0, -1.0]))
    assert made.start[0].tolist() == [[0, 0, 1], [-1, 0, 0]]
    assert made.biases == []
    assert made.skipped == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("slack", "verdict"), [(1e-3, Verified), (-1e-3, Violated)])
def test_the_search_over_neurons_decides_close_to_the_extreme(seed, slack, verdict):
    """Both outputs at least t: relu(x) fills a box, so a linear program gives the greatest t."""
    numbers = np.random.default_rng(seed)
    weight = numbers.normal(size=(2, SIZE))
    low, high = -numbers.random(SIZE), numbers.random(SIZE)
    bounds = [*((0.0, h) for h in high), (None, None)]
    rows = np.hstack([-weight, np.ones((2, 1))])
    cost = np.append(np.zeros(SIZE), -1.0)
    most = -linprog(cost, rows, np.zeros(2), bounds=bounds).fun
    clause = Clause(-np.eye(2), np.full(2, -(most + slack)))
    graph = relu_first(weight)
    problem = problem_of(graph, text_of([(low, high)], [clause]))
    assert isinstance(decide(problem, network_of(graph), 10.0, NEURONS), verdict)
