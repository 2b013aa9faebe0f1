"""Passes keep the function, the law of rounding, and never add nodes."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.families import Rearrange
from verifier.graph import Builder, Graph, Node, Value
from verifier.graph.passes import drop_identities, merge_affine, restrict_inputs, simplify
from verifier.ops.conv_transpose import TransposedConvolution
from verifier.ops.convolution import Convolution
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.ops.sum import Sum
from verifier.tensors import gamma, numpy_backend, torch_backend

GENERATOR = np.random.default_rng(0)


def normal(*shape):
    return GENERATOR.normal(size=shape)


def chain(*operators):
    """A graph that applies operators one after another."""
    builder = Builder(operators[0].sizes[0])
    value = Value(0, (operators[0].sizes[0],))
    for i, operator in enumerate(operators):
        value = builder.add(f"n{i}", operator, [value], (operator.size,))
    return builder.finish(value)


def values(graph, x, dtype="float64"):
    xp = torch_backend(dtype) if any(n.operator.convolves for n in graph.nodes) else None
    xp = xp or numpy_backend(dtype)
    return xp.numpy(graph.on(xp).evaluate(xp.floats(x))).astype(np.float64)


def operator_of(graph: Graph, place: int = 0) -> Any:
    return graph.nodes[place].operator


def kinds(graph):
    return [type(node.operator).__name__ for node in graph.nodes]


def scale(size, *, factor=True, bias=True, magnitude=False):
    t = normal(size) if bias else None
    return Scale.of(
        size,
        normal(size) if factor else None,
        t,
        None if t is None or not magnitude else abs(t) + 0.5,
    )


def uniform_scale(blocks, repeat, *, bias=True):
    size = blocks * repeat
    return Scale.of(size, np.repeat(normal(blocks), repeat), normal(size) if bias else None)


def selection(*index, size, fill=None):
    return Rearrange.of(np.array(index), size, fill)


def convolution(images=1, groups=1):
    geometry = ((2, 1), (1, 0, 0, 2), (1, 2), groups)
    return Convolution.of(normal(4, 4 // groups, 2, 2), normal(4), (4, 5, 6), geometry, images)


def transposed(images=1, groups=1):
    forward = replace(convolution(images, groups), bias=None)
    return TransposedConvolution.of(forward, normal(4))


CHAINS = {
    "linear, bias": ((Linear.of(normal(3, 4)), scale(3, factor=False)), ["Linear"]),
    "linear, biases": (
        (Linear.of(normal(3, 4), normal(3)), scale(3, factor=False), scale(3, factor=False)),
        ["Linear"],
    ),
    "linear, batch norm": (
        (Linear.of(normal(3, 4), normal(3)), scale(3, magnitude=True)),
        ["Linear"],
    ),
    "positions, bias": (
        (Linear.of(normal(3, 4), normal(6), 2), scale(6, factor=False)),
        ["Linear"],
    ),
    "positions, uneven scale": ((Linear.of(normal(3, 4), None, 2), scale(6)), ["Linear", "Scale"]),
    "scale, linear": ((scale(4, magnitude=True), Linear.of(normal(3, 4), normal(3))), ["Linear"]),
    "scale, linear without bias": ((scale(4, bias=False), Linear.of(normal(3, 4))), ["Linear"]),
    "scale, positions": (
        (Scale.of(8, np.tile(normal(4), 2), normal(8)), Linear.of(normal(3, 4), None, 2)),
        ["Linear"],
    ),
    "scales": ((scale(4), scale(4, factor=False), scale(4, bias=False), scale(4)), ["Scale"]),
    "permuted, linear": ((selection(2, 0, 1, size=3), Linear.of(normal(2, 3))), ["Linear"]),
    "selected, linear": (
        (selection(2, 0, size=3), Linear.of(normal(5, 2))),
        ["Rearrange", "Linear"],
    ),
    "repeated, linear": (
        (selection(0, 0, 1, size=2), Linear.of(normal(2, 3))),
        ["Rearrange", "Linear"],
    ),
    "padded, linear": (
        (
            selection(-1, 1, 0, -1, size=2, fill=normal(4)),
            Linear.of(normal(3, 4), normal(3)),
        ),
        ["Linear"],
    ),
    "linear, selected": ((Linear.of(normal(3, 4), normal(3)), selection(2, 0, size=3)), ["Linear"]),
    "linear, padded": (
        (
            Linear.of(normal(3, 4), normal(3)),
            selection(2, -1, size=3, fill=np.array([0.0, 1.5])),
        ),
        ["Linear"],
    ),
    "linear, repeated": (
        (Linear.of(normal(2, 4)), selection(0, 1, 1, 0, size=2)),
        ["Linear", "Rearrange"],
    ),
    "moved twice": (
        (
            selection(2, -1, 0, size=3, fill=np.array([0.0, 2.5, 0.0])),
            selection(1, 0, -1, 0, size=3, fill=np.array([0.0, 0.0, -1.5, 0.0])),
        ),
        ["Rearrange"],
    ),
    "moved, summed, scaled": (
        (
            selection(3, 1, 2, 0, size=4),
            GatherSum.of(np.array([[0, 1], [2, -1], [2, 3]]), normal(3), 4),
            scale(3, bias=False),
        ),
        ["GatherSum"],
    ),
    "linear twice": ((Linear.of(normal(3, 4)), Linear.of(normal(3, 3))), ["Linear", "Linear"]),
    "convolution, batch norm": (
        (convolution(), uniform_scale(4, 18)),
        ["Convolution"],
    ),
    "convolution, bias": ((convolution(), scale(72, factor=False)), ["Convolution"]),
    "convolution, uneven scale": ((convolution(), scale(72)), ["Convolution", "Scale"]),
    "normalised, convolution": (
        (uniform_scale(4, 30), convolution(groups=2)),
        ["Convolution"],
    ),
    "normalised images": (
        (Scale.of(240, np.tile(np.repeat(normal(4), 30), 2), normal(240)), convolution(2)),
        ["Convolution"],
    ),
    "transposed convolution, batch norm": (
        (transposed(groups=2), uniform_scale(4, 30)),
        ["TransposedConvolution"],
    ),
    "transposed convolution, uneven scale": (
        (transposed(), scale(120)),
        ["TransposedConvolution", "Scale"],
    ),
    "normalised, transposed convolution": (
        (Scale.of(144, np.tile(np.repeat(normal(4), 18), 2), normal(144)), transposed(2)),
        ["TransposedConvolution"],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_merge_where_that_is_cheaper(name):
    operators, expected = CHAINS[name]
    graph = chain(*operators)
    merged = merge_affine(graph)
    assert kinds(merged) == expected
    x = normal(5, graph.input_size)
    np.testing.assert_allclose(values(merged, x), values(graph, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CHAINS)
def test_merged_operators_keep_the_law_of_rounding(name):
    """In float32 the merged operator errs by at most gamma(terms) times its own magnitudes."""
    operators, _ = CHAINS[name]
    graph = chain(*operators)
    merged = merge_affine(graph)
    if len(merged.nodes) > 1:
        return
    operator = operator_of(merged)
    make = torch_backend if operator.convolves else numpy_backend
    rough, exact = operator.on(make("float32")), operator.on(make("float64"))
    factor = gamma(operator.terms, 2.0**-24)
    for size in (1.0, 1e3, 1e-3):
        x = (size * normal(4, graph.input_size)).astype(np.float32).astype(np.float64)
        ours = rough.xp.numpy(rough.evaluate(rough.xp.floats(x))).astype(np.float64)
        bound = exact.xp.numpy(exact.magnitude(exact.xp.floats(abs(x))))
        assert (abs(ours - values(graph, x)) <= factor * bound).all()


def in_fractions(operator, x):
    """M x + b in exact arithmetic; the entries of M are the adjoints of unit vectors."""
    placed = operator.on((torch_backend if operator.convolves else numpy_backend)("float64"))
    (matrix,) = placed.adjoint(placed.xp.floats(np.eye(operator.size)))
    bias = np.zeros(operator.size) if operator.bias is None else operator.bias
    to_fractions = np.vectorize(Fraction, otypes=[object])
    return to_fractions(placed.xp.numpy(matrix)) @ x + to_fractions(bias)


@pytest.mark.parametrize("name", CHAINS)
def test_merged_constants_keep_the_law_of_rounding(name):
    """In float64 too, where the constants' own roundings count, against exact arithmetic."""
    operators, _ = CHAINS[name]
    merged = merge_affine(chain(*operators))
    if len(merged.nodes) > 1:
        return
    operator = operator_of(merged)
    point = 1e-3 * normal(operator.sizes[0])
    true = np.vectorize(Fraction, otypes=[object])(point)
    for step in operators:
        true = in_fractions(step, true)
    placed = operator.on((torch_backend if operator.convolves else numpy_backend)("float64"))
    bound = placed.xp.numpy(placed.magnitude(placed.xp.floats(abs(point)[None])))[0]
    error = abs(np.array([Fraction(y) for y in values(merged, point[None])[0]]) - true)
    assert (error.astype(np.float64) <= gamma(operator.terms, 2.0**-53) * bound).all()


@pytest.mark.parametrize("name", CHAINS)
def test_magnitudes_only_grow(name):
    """The merged bias is at least what cancels in it: the magnitude at 0 covers every term."""
    operators, _ = CHAINS[name]
    merged = merge_affine(chain(*operators))
    if len(merged.nodes) > 1:
        return
    operator = operator_of(merged)
    make = torch_backend if operator.convolves else numpy_backend
    placed = operator.on(make("float64"))
    zero = placed.xp.floats(np.zeros((1, operator.sizes[0])))
    magnitude = placed.xp.numpy(placed.magnitude(zero))
    size = np.zeros((1, operators[0].sizes[0]))
    for step in operators:
        on = step.on(make("float64"))
        size = on.xp.numpy(on.magnitude(on.xp.floats(size)))
    assert (magnitude >= size * (1 - 1e-12) - 1e-300).all()


def diamond():
    """x -> linear -> (relu, and itself rearranged) -> sum; the linear value is read twice."""
    builder = Builder(4)
    hidden = builder.add("hidden", Linear.of(normal(3, 4), normal(3)), [Value(0, (4,))], (3,))
    moved = builder.rearrange("moved", hidden, np.array([2, 1, 0]))
    again = builder.rearrange("again", moved, np.array([1, 2, 0]))
    scaled = builder.add("scaled", scale(3), [hidden])
    relu = builder.add("relu", Relu.of(3), [scaled])
    builder.add("dead", scale(3), [relu])
    return builder.finish(builder.add("sum", Sum.of(3, (1, -1)), [again, relu]))


def test_values_that_others_read_stay():
    graph = diamond()
    simple = simplify(graph)
    assert kinds(simple) == ["Linear", "Rearrange", "Scale", "Relu", "Sum"]
    x = normal(6, 4)
    np.testing.assert_allclose(values(simple, x), values(graph, x), rtol=1e-13, atol=1e-13)


def test_identities_go():
    zero = Scale.of(3, None, np.zeros(3))
    nearly = Scale.of(3, None, np.zeros(3), np.ones(3))
    moved = Rearrange.of(np.arange(3), 3)
    graph = chain(zero, moved, Relu.of(3), nearly, zero)
    assert kinds(drop_identities(graph)) == ["Relu", "Scale"]
    assert kinds(drop_identities(chain(zero))) == []
    x = normal(2, 3)
    np.testing.assert_array_equal(values(drop_identities(chain(zero)), x), x)


@pytest.mark.parametrize("first", ["linear", "scale", "convolution", "sum", "move"])
def test_fixed_inputs_go(first):
    builder = Builder(120)
    x = Value(0, (120,))
    if first == "sum":
        turned = builder.rearrange("turn", x, np.arange(120)[::-1].copy())
        value = builder.add("sum", Sum.of(120, (1, 1)), [x, turned])
    else:
        operator = {
            "linear": Linear.of(normal(7, 120), normal(7)),
            "scale": scale(120),
            "convolution": convolution(),
            "move": selection(*range(5, 60), size=120),
        }[first]
        value = builder.add(first, operator, [x], (operator.size,))
    last = Linear.of(normal(3, value.size), normal(3))
    graph = builder.finish(builder.add("last", last, [value], (3,)))
    free = GENERATOR.random(120) < 0.2
    fixed = normal(120)
    small = restrict_inputs(graph, free, fixed)
    assert small.input_size == free.sum()
    whole = np.tile(fixed, (4, 1))
    part = normal(4, int(free.sum()))
    whole[:, free] = part
    np.testing.assert_allclose(values(small, part), values(graph, whole), rtol=1e-11, atol=1e-11)
    if first == "linear":
        assert kinds(small)[0] == "Linear"
        weight = operator_of(small).weight
        np.testing.assert_array_equal(weight, operator_of(graph).weight[:, free])


def test_restricting_nothing_changes_nothing():
    graph = diamond()
    assert restrict_inputs(graph, np.ones(4, dtype=bool), np.zeros(4)) is graph
    with pytest.raises(ValueError, match="no input is free"):
        restrict_inputs(graph, np.zeros(4, dtype=bool), np.zeros(4))


def test_fixed_inputs_may_be_off_by_one_rounding():
    weight = np.array([[1e8, -1e8, 1.0]])
    graph = chain(Linear.of(weight))
    fixed = np.array([1 / 3, 1 / 3, 0.0])
    small = restrict_inputs(graph, np.array([False, False, True]), fixed)
    operator = operator_of(small)
    nudged = fixed * (1 + 2.0**-53)
    off = abs(weight[0, 0] * (nudged[0] - 1 / 3)) + 2.0**-53 * 1e8
    bound = gamma(operator.terms, 2.0**-53) * operator.bias_bound()
    assert (bound >= off).all()


def test_a_pass_never_reads_later_values():
    node = Node("n", Scale.of(2, None, None), (0,))
    with pytest.raises(ValueError, match="lengths"):
        Graph(3, (node,), 1)
