"""Sums of ReLUs of one number become tables; what is none stays as it is."""

import numpy as np
import pytest

from verifier.families import Table
from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import fold_tables, simplify
from verifier.graph.passes.fold_tables import MANY
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.tensors import numpy_backend

XP = numpy_backend()
INPUTS, NUMBERS, HINGES = 3, 4, 12


def add(builder: Builder, operator, *inputs: Value) -> Value:
    return builder.add("", operator, list(inputs), (operator.size,))


def approximate(builder: Builder, value: Value, generator, leak: float = 0.0) -> Value:
    """Each number's own sum of hinges, as exporters write it: spread, shifted, bent, summed up."""
    n = value.size
    spread = builder.rearrange("spread", value, np.repeat(np.arange(n), HINGES))
    shift = generator.normal(size=spread.size)
    scale = generator.choice([-1.0, 0.5, 2.0], spread.size)
    moved = add(builder, Scale.of(spread.size, scale, shift), spread)
    bent = add(builder, Relu.of(spread.size, leak), moved)
    weight = np.zeros((n, spread.size))
    for i in range(n):
        weight[i, i * HINGES : (i + 1) * HINGES] = generator.normal(size=HINGES)
    return add(builder, Linear.of(weight, generator.normal(size=n)), bent)


def network(seed: int, leak: float = 0.0) -> Graph:
    """Affine, a ReLU layer, affine, curves of each number, and affine."""
    generator = np.random.default_rng(seed)
    builder = Builder(INPUTS)
    x = Value(0, (INPUTS,))
    hidden = add(builder, Linear.of(generator.normal(size=(6, INPUTS))), x)
    hidden = add(builder, Relu.of(6), hidden)
    numbers = add(builder, Linear.of(generator.normal(size=(NUMBERS, 6)), np.ones(NUMBERS)), hidden)
    curved = approximate(builder, numbers, generator, leak)
    return builder.finish(add(builder, Linear.of(generator.normal(size=(2, NUMBERS))), curved))


def tables_of(graph: Graph) -> list[Table]:
    return [n.operator for n in graph.nodes if isinstance(n.operator, Table)]


@pytest.mark.parametrize("leak", [0.0, 0.1])
@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_folded_network_is_the_same_function(seed: int, simple: bool, leak: float):
    graph = network(seed, leak)
    graph = simplify(graph) if simple else graph
    folded = fold_tables(graph)
    (table,) = tables_of(folded)
    assert table.size == NUMBERS
    assert table.kinks.shape[1] == HINGES
    assert sum(isinstance(n.operator, Relu) for n in folded.nodes) == 1
    x = np.random.default_rng(seed).normal(size=(500, INPUTS)) * 3
    np.testing.assert_allclose(
        folded.on(XP).evaluate(x), graph.on(XP).evaluate(x), rtol=1e-11, atol=1e-11
    )


def test_a_table_may_read_the_input_itself():
    generator = np.random.default_rng(0)
    builder = Builder(2)
    graph = builder.finish(approximate(builder, Value(0, (2,)), generator))
    folded = fold_tables(graph)
    assert [type(n.operator) for n in folded.nodes] == [Table]
    x = generator.normal(size=(50, 2))
    np.testing.assert_allclose(folded.on(XP).evaluate(x), graph.on(XP).evaluate(x), atol=1e-12)


def sums(weight: np.ndarray, count: int = 2) -> Graph:
    """``weight`` times the ReLUs of some shifts of each of ``count`` numbers."""
    generator = np.random.default_rng(1)
    builder, each = Builder(count), weight.shape[1] // count
    spread = builder.rearrange("", Value(0, (count,)), np.repeat(np.arange(count), each))
    shift = generator.normal(size=spread.size)
    moved = add(builder, Scale.of(spread.size, None, shift), spread)
    bent = add(builder, Relu.of(spread.size), moved)
    return builder.finish(add(builder, Linear.of(weight), bent))


def test_sums_of_several_numbers_are_none():
    weight = np.zeros((2, 40))
    weight[0, :20], weight[1, 20:] = 1, 1
    assert tables_of(fold_tables(sums(weight)))
    weight[1, 3] = 1e-300
    graph = sums(weight)
    assert fold_tables(graph) is graph
    weight[1, 3] = 1e-9
    graph = sums(weight)
    assert fold_tables(graph) is graph


def test_few_relus_are_left_alone():
    few = np.ones((1, MANY - 1))
    graph = sums(few, 1)
    assert fold_tables(graph) is graph
    assert tables_of(fold_tables(sums(np.ones((1, MANY)), 1)))


def test_relus_that_see_several_numbers_are_left_alone():
    """Even where one of the weights is so small that sums of the two round to the other."""
    generator = np.random.default_rng(2)
    for tiny in (1.0, 1e-20):
        builder = Builder(2)
        first = np.zeros((20, 2))
        first[:, 0] = generator.normal(size=20)
        first[7, 1] = tiny
        hidden = add(builder, Linear.of(first, generator.normal(size=20)), Value(0, (2,)))
        bent = add(builder, Relu.of(20), hidden)
        graph = builder.finish(add(builder, Linear.of(np.ones((1, 20))), bent))
        assert fold_tables(graph) is graph


def test_relus_that_something_else_reads_stay():
    weight = np.ones((1, 20))
    graph = sums(weight, 1)
    builder = Builder(1, list(graph.nodes))
    relu = next(i for i, n in enumerate(graph.nodes, 1) if isinstance(n.operator, Relu))
    other = add(builder, Linear.of(np.ones((1, 20))), Value(relu, (20,)))
    total = add(builder, Linear.of(np.ones((1, 1))), other)
    whole = builder.finish(total)
    both = Builder(1, list(whole.nodes))
    from verifier.ops.sum import Sum

    graph = both.finish(add(both, Sum.of(1, (1, 1)), total, Value(graph.output, (1,))))
    assert fold_tables(graph) is graph
