"""Crops compute just what the whole network computes at some elements."""

import numpy as np
import pytest

from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import crop
from verifier.ops.conv_transpose import TransposedConvolution
from verifier.ops.convolution import Convolution
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.sum import Concat, Sum
from verifier.tensors import torch_backend

XP = torch_backend("float64")


def convolution(generator, shape, channels, kernel=3, stride=1, pad=1):
    weight = generator.normal(size=(channels, shape[0], kernel, kernel))
    geometry = ((stride, stride), (pad, pad, pad, pad), (1, 1), 1)
    return Convolution.of(weight, generator.normal(size=channels), shape, geometry)


def u_net(seed: int) -> Graph:
    """Convolutions down and up again, with a pool, skips and a linear branch at the side."""
    generator = np.random.default_rng(seed)
    builder, x = Builder(2 * 8 * 8), Value(0, (2, 8, 8))

    def relu(value):
        return builder.add("relu", Relu.of(value.size), [value])

    first = builder.add("a", convolution(generator, (2, 8, 8), 3), [x], (3, 8, 8))
    wide = relu(first)
    table = wide.table().reshape(3, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    pool = GatherSum.of(table, np.full(len(table), 0.25), wide.size)
    small = builder.add("pool", pool, [wide], (3, 4, 4))
    deep = relu(builder.add("b", convolution(generator, (3, 4, 4), 4), [small], (4, 4, 4)))
    geometry = ((2, 2), (0, 0, 0, 0), (1, 1), 1)
    forward = Convolution.of(generator.normal(size=(4, 3, 2, 2)), None, (3, 8, 8), geometry)
    up = TransposedConvolution.of(forward, generator.normal(size=3))
    raised = builder.add("up", up, [deep], (3, 8, 8))
    joined = builder.add("sum", Sum.of(raised.size, (1, -1)), [raised, first], (3, 8, 8))
    both = builder.add("join", Concat.of((joined.size, wide.size)), [joined, wide], (6, 8, 8))
    last = builder.add("c", convolution(generator, (6, 8, 8), 2), [both], (2, 8, 8))
    weight = generator.normal(size=(last.size, small.size))
    side = builder.add("side", Linear.of(weight, None), [small], (2, 8, 8))
    mixed = builder.add("mixed", Sum.of(last.size, (1, 1)), [last, side], (2, 8, 8))
    return builder.finish(mixed if seed % 2 else last)


@pytest.mark.parametrize("seed", range(6))
def test_a_crop_is_the_network_there(seed: int):
    graph, generator = u_net(seed), np.random.default_rng(seed)
    x = generator.normal(size=(3, graph.input_size))
    values = [np.asarray(v) for v in graph.on(XP).values(XP.floats(x))]
    for value in range(1, len(graph.nodes) + 1):
        size = graph.size(value)
        index = np.unique(generator.integers(0, size, 3))
        part = crop(graph, value, index)
        points = XP.floats(x[:, part.places[0]])
        inner = [np.asarray(v) for v in part.graph.on(XP).values(points)]
        np.testing.assert_allclose(inner[-1], values[value][:, index], atol=1e-12)
        assert part.graph.output == len(inner) - 1
        for larger, number in part.numbers.items():
            there = values[larger][:, part.places[larger]]
            np.testing.assert_allclose(inner[number], there, atol=1e-12)


def test_a_crop_is_smaller():
    graph = u_net(0)
    part = crop(graph, graph.output, np.array([0]))
    assert part.graph.work < graph.work / 2
    assert len(part.places[0]) < graph.input_size


def test_nothing_that_is_not_read_is_kept():
    graph = u_net(1)
    part = crop(graph, 2, np.array([5]))
    assert set(part.numbers) == {0, 1, 2}


def test_a_crop_of_everything_is_the_network():
    graph = u_net(1)
    part = crop(graph, graph.output, np.arange(graph.output_size))
    assert [n.operator for n in part.graph.nodes] == [n.operator for n in graph.nodes]
