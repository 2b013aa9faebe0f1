"""Networks with products of two values: their factors have no slopes of their own."""

import numpy as np
import pytest

from tests.soundness.queries import Clause, network_of, problem_of, text_of
from verifier.families.bilinear import Product
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.search.strategy import Strategy, decide
from verifier.tensors import numpy_backend
from verifier.verdict import Verified, Violated

NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")


def gated(numbers: np.random.Generator) -> Graph:
    """c . ((A h) * (B h)) with h = relu(E x): nothing but the product reads A h and B h."""
    builder = Builder(3)
    x = Value(0, (3,))

    def add(operator, *inputs):
        return builder.add("", operator, list(inputs), (operator.size,))

    hidden = add(Relu.of(6), add(Linear.of(numbers.normal(size=(6, 3))), x))
    left, right = (add(Linear.of(numbers.normal(size=(4, 6))), hidden) for _ in range(2))
    return builder.finish(add(Linear.of(np.ones((1, 4))), add(Product.of(4), left, right)))


@pytest.mark.parametrize("seed", range(3, 9))
def test_the_search_over_neurons_takes_products(seed):
    graph = gated(np.random.default_rng(seed))
    box = -np.full(3, 0.1), np.full(3, 0.1)
    network = network_of(graph)
    points = np.random.default_rng(1).uniform(*box, size=(5000, 3))
    least = float(graph.on(numpy_backend()).evaluate(points).min())
    for threshold, verdict in ((least - 1.7, Verified), (least + 1e-3, Violated)):
        clause = Clause(np.ones((1, 1)), np.full(1, threshold))
        problem = problem_of(graph, text_of([box], [clause]))
        assert isinstance(decide(problem, network, 10.0, NEURONS), verdict)


def test_planes_chosen_for_products_are_not_certified():
    """A margin that the means of the planes do not prove (they need 1.7), but a choice does."""
    graph = gated(np.random.default_rng(3))
    box = -np.full(3, 0.1), np.full(3, 0.1)
    points = np.random.default_rng(1).uniform(*box, size=(5000, 3))
    least = float(graph.on(numpy_backend()).evaluate(points).min())
    clause = Clause(np.ones((1, 1)), np.full(1, least - 0.5))
    problem = problem_of(graph, text_of([box], [clause]))
    verdict = decide(problem, network_of(graph), 10.0, NEURONS)
    assert isinstance(verdict, Verified)
    assert verdict.proof is not None
    assert verdict.proof.lacking
