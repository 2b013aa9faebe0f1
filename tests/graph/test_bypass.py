"""What reads one part of a concatenation, and networks cut before their curves."""

import numpy as np
import pytest

from verifier.families import Product
from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import sever, simplify
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.s_shaped import Sigmoid
from verifier.ops.sum import Concat, Sum
from verifier.tensors import numpy_backend

XP = numpy_backend()


def add(builder: Builder, operator, *inputs: Value) -> Value:
    return builder.add("", operator, list(inputs), (operator.size,))


def side_by_side(seed: int) -> Graph:
    """Sigmoids of some numbers beside the others, of which products read one here and one there."""
    generator = np.random.default_rng(seed)
    builder, x = Builder(5), Value(0, (5,))
    hidden = add(builder, Linear.of(generator.normal(size=(8, 5)), generator.normal(size=8)), x)
    hidden = add(builder, Relu.of(8), hidden)
    numbers = add(builder, Linear.of(generator.normal(size=(6, 8))), hidden)
    first = builder.rearrange("", numbers, np.arange(3))
    squashed = add(builder, Sigmoid.of(3), first)
    rest = builder.rearrange("", numbers, np.arange(3, 6))
    whole = add(builder, Concat.of((3, 3)), squashed, rest)
    left = builder.rearrange("", whole, np.array([2, 0, 2]))
    right = builder.rearrange("", whole, np.array([5, 4, 3]))
    mixed = builder.rearrange("", whole, np.array([1, 3, 5]))
    product = add(builder, Product.of(3), left, right)
    return builder.finish(add(builder, Sum.of(3, (1, -1)), product, mixed))


@pytest.mark.parametrize("seed", range(4))
def test_what_reads_a_part_reads_no_more(seed: int):
    graph = side_by_side(seed)
    simple = simplify(graph)
    product = next(n for n in simple.nodes if isinstance(n.operator, Product))
    sigmoid = next(v for v, n in enumerate(simple.nodes, 1) if isinstance(n.operator, Sigmoid))
    assert sigmoid in simple.ancestors[product.inputs[0]]
    assert sigmoid not in simple.ancestors[product.inputs[1]]
    x = np.random.default_rng(seed).normal(size=(100, 5))
    np.testing.assert_allclose(simple.on(XP).evaluate(x), graph.on(XP).evaluate(x), atol=1e-13)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("simple", [False, True])
def test_a_severed_network_is_the_tail_of_its_fringe(seed: int, simple: bool):
    graph = side_by_side(seed)
    graph = simplify(graph) if simple else graph
    severed = sever(graph)
    assert severed is not None
    for value in severed.fringe:
        kinds = {type(graph.node(v).operator) for v in graph.ancestors[value] - {0}}
        assert not kinds & {Sigmoid, Product}
    x = np.random.default_rng(seed).normal(size=(100, 5))
    values = graph.on(XP).values(x)
    cut = np.concatenate([values[v] for v in severed.fringe], axis=1)
    assert severed.tail.input_size == cut.shape[1]
    np.testing.assert_array_equal(severed.tail.on(XP).evaluate(cut), values[graph.output])


def test_a_network_of_relus_is_not_severed():
    builder = Builder(3)
    hidden = add(builder, Relu.of(3), Value(0, (3,)))
    assert sever(builder.finish(add(builder, Linear.of(np.ones((2, 3))), hidden))) is None
