"""Vector-Jacobian products against finite differences."""

import numpy as np
import pytest

from tests.attack.nets import dense, identity, mixed
from verifier.attack.gradient import backward, points_at_once
from verifier.graph import Builder, Value
from verifier.ops.convolution import Convolution
from verifier.ops.relu import Relu
from verifier.tensors import numpy_backend, torch_backend

STEP = 1e-6


def differences(graph, x, seeds):
    """Central differences of ``sum_v <seeds[v], value v>`` by each input: float64 [batch, n]."""
    xp = graph.xp

    def loss(point):
        values = graph.values(xp.floats(point))
        return sum(xp.numpy((values[v] * seed).sum(1)) for v, seed in seeds.items())

    columns = []
    for i in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[i] = STEP
        columns.append((loss(x + step) - loss(x - step)) / (2 * STEP))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_gradients_of_random_dags_are_those_of_finite_differences(seed):
    graph = mixed(seed).on(numpy_backend())
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, 4))
    seeds = {graph.output: rng.normal(size=(5, 4)), 0: rng.normal(size=(5, 4))}
    seeds[3] = rng.normal(size=(5, graph.size(3)))
    found = backward(graph, graph.values(x), seeds)
    expected = differences(graph, x, seeds)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("seed", range(3))
def test_torch_and_numpy_agree(seed):
    graph = mixed(seed)
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(2, 7, 4))
    found = []
    for xp in (numpy_backend(), torch_backend("float64")):
        on = graph.on(xp)
        values = on.values(xp.floats(x))
        found.append(xp.numpy(backward(on, values, {on.output: xp.floats(weights)})))
    assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-9)


def test_convolutions():
    rng = np.random.default_rng(0)
    geometry = ((2, 1), (1, 0, 0, 1), (1, 1), 1)
    operator = Convolution.of(rng.normal(size=(3, 2, 2, 3)), None, (2, 5, 4), geometry)
    builder = Builder(40)
    hidden = builder.add("conv", operator, [Value(0, (40,))], (operator.size,))
    graph = builder.finish(builder.add("relu", Relu.of(operator.size), [hidden]))
    graph = graph.on(torch_backend("float64"))
    x, seed = rng.normal(size=(2, 40)), graph.xp.floats(rng.normal(size=(2, operator.size)))
    found = backward(graph, graph.values(graph.xp.floats(x)), {graph.output: seed})
    expected = differences(graph, x, {graph.output: seed})
    assert graph.xp.numpy(found) == pytest.approx(expected, abs=1e-5)


def test_no_seed_reaches_the_input():
    graph = identity(3).on(numpy_backend())
    x = np.ones((2, 3))
    assert np.array_equal(backward(graph, graph.values(x), {}), np.zeros((2, 3)))


def test_more_points_for_smaller_networks():
    small, large = dense((5, 10, 2), 0), dense((5, 20000, 2), 0)
    xp = numpy_backend()
    assert points_at_once(small.on(xp)) == 512
    assert 4 <= points_at_once(large.on(xp)) < 100
