"""A recentred network computes the same, from offsets."""

import numpy as np
import pytest

from tests.graph.test_crop import convolution, u_net
from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import crop, recentre, restrict_inputs
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.sum import Sum
from verifier.tensors import numpy_backend

XP = numpy_backend()
ROUNDOFF = 2.0**-24


def chain(seed: int) -> Graph:
    """Two affine operators that stay apart, since other values lie between, and a ReLU."""
    generator = np.random.default_rng(seed)
    builder, x = Builder(72), Value(0, (2, 6, 6))
    first = builder.add("a", convolution(generator, (2, 6, 6), 3), [x], (3, 6, 6))
    order = generator.permutation(first.size)
    moved = builder.rearrange("order", first, np.append(order, order[:4]).astype(np.int64))
    weight = generator.normal(size=(5, moved.size))
    last = builder.add("b", Linear.of(weight, np.ones(5)), [moved], (5,))
    return builder.finish(builder.add("relu", Relu.of(5), [last]))


def assert_same(graph: Graph, x: np.ndarray) -> None:
    found = recentre(graph, x[0], ROUNDOFF)
    assert 0 in found.centers
    there = found.graph.on(XP).values(x - x[0])
    for value, wanted in enumerate(graph.on(XP).values(x)):
        mine = there[value] + found.centers.get(value, 0.0)
        np.testing.assert_allclose(mine, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_values_are_offsets_and_centres(seed: int):
    generator = np.random.default_rng(seed)
    for graph in (u_net(seed), chain(seed)):
        assert_same(graph, generator.normal(size=(4, graph.input_size)))


def test_all_that_is_affine_becomes_an_offset_but_its_end():
    found = recentre(chain(0), np.ones(72), ROUNDOFF)
    assert set(found.centers) == {0, 1, 2}


@pytest.mark.parametrize("seed", range(3))
def test_fixed_inputs_are_part_of_the_centre(seed: int):
    generator, graph = np.random.default_rng(seed), u_net(seed)
    free = generator.random(graph.input_size) < 0.7
    some = restrict_inputs(graph, free, generator.normal(size=graph.input_size))
    assert_same(some, generator.normal(size=(4, some.input_size)))


@pytest.mark.parametrize("seed", range(3))
def test_crops_of_it_are_the_network_there(seed: int):
    generator, graph = np.random.default_rng(seed), chain(seed)
    x = generator.normal(size=(3, graph.input_size))
    found = recentre(graph, x[0], ROUNDOFF)
    for value in graph.relaxed_inputs:
        index = np.array([1, 3])
        part = crop(found.graph, value, index)
        mine = part.graph.on(XP).evaluate((x - x[0])[:, part.places[0]])
        np.testing.assert_allclose(mine, graph.on(XP).values(x)[value][:, index], atol=1e-11)


def test_inputs_of_nonlinear_operators_stay_as_they_are():
    builder, x = Builder(3), Value(0, (3,))
    line = builder.add("line", Linear.of(np.ones((3, 3)), np.ones(3)), [x])
    positive = builder.add("relu", Relu.of(3), [x])
    graph = builder.finish(builder.add("sum", Sum.of(3, (1, 1)), [line, positive]))
    found = recentre(graph, np.ones(3), ROUNDOFF)
    assert found.graph is graph
    assert not found.centers


def test_cancelled_biases_are_charged_for_what_they_were_computed_from():
    builder, x = Builder(2), Value(0, (2,))
    difference = Linear.of(np.array([[1e6, -1e6]]), np.array([0.5]))
    graph = builder.finish(
        builder.add("relu", Relu.of(1), [builder.add("a", difference, [x], (1,))])
    )
    operator = recentre(graph, np.array([1.0, 1.0]), ROUNDOFF).graph.node(1).operator
    assert isinstance(operator, Linear)
    assert operator.bias is not None
    assert operator.bias_magnitude is not None
    assert operator.bias == 0.5
    # gamma_n at 2^-24 of this is at least gamma_n at 2^-53 of 2e6.
    assert operator.bias_magnitude * ROUNDOFF >= 0.5 * ROUNDOFF + 2e6 * 2.0**-53
