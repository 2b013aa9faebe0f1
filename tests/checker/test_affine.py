"""Each affine rule: its meaning by ONNX Runtime, its adjoint, and its error counts."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.onnx_files import evaluate, execute, file
from verifier.checker.affine import Affine, Sparse
from verifier.checker.arithmetic import TINY32, UNIT, Arithmetic, gamma32
from verifier.checker.network import read_network

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def integers(*values):
    return np.array(values, dtype=np.int64)


def single(operator, shape, *constants, opset=17, outputs=("y",), **attributes):
    """One node, its first input x."""
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    named = {n: c for n, c in zip(names, constants, strict=True) if n}
    return file(
        [node(operator, ["x", *names], list(outputs), **attributes)], shape, named, outputs, opset
    )


def flipped(operator, shape, constant):
    return file([node(operator, ["c", "x"], ["y"])], shape, {"c": constant})


def several(*nodes, shape, **constants):
    return file(list(nodes), shape, constants)


NORM = [
    np.array([2, -1, 0], dtype=np.float32),
    weights(3),
    weights(3),
    np.array([0.5, 2, 0.01], dtype=np.float32),
]
CASES = {
    "gemm": single("Gemm", [1, 4], weights(4, 3), weights(3)),
    "gemm transposed": single(
        "Gemm", [5, 2], weights(3, 5), weights(2, 1), transA=1, transB=1, alpha=0.3, beta=-1.7
    ),
    "gemm constant first": file(
        [node("Gemm", ["c", "x", "d"], ["y"], transA=1, transB=1)],
        [2, 4],
        {"c": weights(4, 3), "d": weights(2)},
    ),
    "gemm without c": single("Gemm", [2, 4], weights(4, 3)),
    "matmul": single("MatMul", [2, 3, 4], weights(4, 5)),
    "matmul vector": single("MatMul", [4], weights(4, 5)),
    "matmul by vector": single("MatMul", [3, 4], weights(4)),
    "matmul deep constant": single("MatMul", [3, 4], weights(1, 1, 4, 2)),
    "matmul left": flipped("MatMul", [2, 4, 3], weights(5, 4)),
    "matmul left vector": flipped("MatMul", [4], weights(5, 4)),
    "matmul by left vector": flipped("MatMul", [2, 4, 3], weights(4)),
    "matmul left deep constant": flipped("MatMul", [4, 2], weights(1, 3, 4)),
    "matmul add": several(
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["b", "h"], ["y"]),
        shape=[2, 4],
        w=weights(4, 3),
        b=weights(3),
    ),
    "conv": single("Conv", [1, 2, 5, 6], weights(3, 2, 3, 2), weights(3), strides=[2, 1]),
    "conv padded": single("Conv", [2, 2, 4, 3], weights(2, 2, 2, 3), pads=[1, 0, 0, 2]),
    "conv 1d": single("Conv", [1, 2, 9], weights(3, 2, 3), dilations=[2], strides=[3], pads=[2, 2]),
    "conv 3d": single("Conv", [1, 1, 3, 4, 3], weights(2, 1, 2, 2, 2), weights(2)),
    "conv grouped": single("Conv", [1, 4, 4, 4], weights(6, 2, 2, 2), weights(6), group=2),
    "conv depthwise": single("Conv", [1, 3, 4, 4], weights(3, 1, 3, 3), group=3, pads=[1] * 4),
    "conv same upper": single(
        "Conv", [1, 1, 5, 6], weights(2, 1, 2, 3), auto_pad="SAME_UPPER", strides=[2, 2]
    ),
    "conv same lower": single("Conv", [1, 1, 5, 6], weights(2, 1, 2, 4), auto_pad="SAME_LOWER"),
    "conv valid": single("Conv", [1, 1, 5], weights(1, 1, 2), auto_pad="VALID", kernel_shape=[2]),
    "conv pointwise": single("Conv", [1, 3, 2, 2], weights(4, 3, 1, 1)),
    "add": single("Add", [2, 3], weights(2, 3)),
    "add broadcast": single("Add", [2, 1], weights(4, 1, 3)),
    "sub": single("Sub", [2, 3], weights(3)),
    "sub from": flipped("Sub", [2, 3], weights(2, 1)),
    "mul": single("Mul", [2, 3], np.array([0.3, -1, 0], dtype=np.float32)),
    "mul first": flipped("Mul", [1, 3], weights(2, 1)),
    "div": single("Div", [2, 3], np.array([0.3, -2, 7], dtype=np.float32)),
    "neg": single("Neg", [2, 3]),
    "batch normalisation": single("BatchNormalization", [1, 3, 2, 2], *NORM),
    "batch normalisation of vectors": single("BatchNormalization", [2, 3], *NORM, epsilon=0.1),
    "transpose": single("Transpose", [2, 3, 4], perm=[1, 2, 0]),
    "transpose default": single("Transpose", [2, 3]),
    "slice": single(
        "Slice", [4, 5], integers(-1, 1), integers(-9, 4), integers(0, 1), integers(-2, 2)
    ),
    "slice old": single("Slice", [4, 5], starts=[1], ends=[100], axes=[-1], opset=9),
    "split": single("Split", [2, 6], integers(1, 3, 2), axis=1, outputs=("y", "z", "w")),
    "split equally": single("Split", [4, 3], outputs=("y", "z")),
    "split old": single("Split", [4, 3], split=[1, 3], outputs=("y", "z"), opset=11),
    "split unevenly": single("Split", [5, 2], num_outputs=2, outputs=("y", "z"), opset=18),
    "gather": single("Gather", [3, 4], np.array([[0, -1], [2, 2]]), axis=1),
    "gather scalar": single("Gather", [3, 4], np.array(1)),
    "expand": single("Expand", [3, 1], integers(2, 1, 4)),
    "tile": single("Tile", [2, 3], integers(2, 3)),
    "pad": single("Pad", [2, 3], integers(1, 0, 0, 2), np.float32(0.7)),
    "pad old": single("Pad", [2, 3], pads=[1, 0, 0, 2], value=0.5, opset=9),
    "pad reflect": single("Pad", [3, 4], integers(1, 2, 0, 1), mode="reflect"),
    "pad edge": single("Pad", [3, 4], integers(0, 2, 3, 1), mode="edge"),
    "pad axes": single("Pad", [3, 4], integers(2, 1), None, integers(-1), opset=18),
    "concat": file([node("Concat", ["x", "c", "x"], ["y"], axis=-1)], [2, 3], {"c": weights(2, 2)}),
    "reduce sum": single("ReduceSum", [2, 3, 4], integers(-1, 0), keepdims=0),
    "reduce sum old": single("ReduceSum", [2, 3], axes=[1], opset=11),
    "reduce all": single("ReduceSum", [2, 3]),
    "reduce mean": single("ReduceMean", [2, 3, 4], axes=[1, 2]),
    "reduce mean to a scalar": single("ReduceMean", [7], keepdims=0),
    "global average": single("GlobalAveragePool", [1, 2, 3, 3]),
    "average pool": single("AveragePool", [1, 2, 5, 5], kernel_shape=[2, 3], strides=[1, 2]),
    "average pool padded": single("AveragePool", [1, 1, 4, 4], kernel_shape=[3, 3], pads=[1] * 4),
    "average pool padding counts": single(
        "AveragePool", [1, 1, 4, 4], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1
    ),
    "add itself": file([node("Add", ["x", "x"], ["y"])], [2, 3]),
    "sub two": several(
        node("Mul", ["x", "c"], ["h"]),
        node("Sub", ["x", "h"], ["y"]),
        shape=[2, 1],
        c=weights(1, 3),
    ),
}
BRIGHT = {
    "conv mul add": several(
        node("Conv", ["x", "w", "b"], ["h"]),
        node("Mul", ["h", "s"], ["i"]),
        node("Add", ["i", "t"], ["y"]),
        shape=[1, 3, 4, 4],
        w=weights(2, 3, 2, 2),
        b=1e3 * weights(2),
        s=weights(2, 1, 1),
        t=-1e3 * weights(2, 1, 1),
    ),
    "conv normalised": several(
        node("Conv", ["x", "w", "b"], ["h"]),
        node("BatchNormalization", ["h", "s", "t", "m", "v"], ["y"]),
        shape=[1, 3, 4, 4],
        w=weights(2, 3, 2, 2),
        b=np.array([1e4, -1e4], dtype=np.float32),
        s=weights(2),
        t=weights(2),
        m=np.array([1e4, -1e4], dtype=np.float32),
        v=np.array([0.3, 1e-5], dtype=np.float32),
    ),
    "conv residual": several(
        node("Conv", ["x", "w"], ["h"], pads=[1] * 4),
        node("Mul", ["x", "c"], ["r"]),
        node("Add", ["h", "r"], ["y"]),
        shape=[1, 2, 4, 4],
        w=weights(2, 2, 3, 3),
        c=np.float32(1e4),
    ),
    "scaled matmul": several(
        node("Mul", ["x", "c"], ["h"]),
        node("MatMul", ["h", "w"], ["i"]),
        node("Div", ["i", "d"], ["j"]),
        node("Add", ["j", "b"], ["y"]),
        shape=[2, 30],
        c=np.float32(0.1),
        w=weights(30, 5),
        d=np.float32(3),
        b=weights(5),
    ),
}
ALL = {**CASES, **BRIGHT}


def inputs(network, count=4):
    """Random numbers of very different sizes, as float32 has them."""
    scale = RNG.choice([1e-6, 1.0, 1e6], (count, network.sizes[0]))
    x = RNG.normal(size=scale.shape) * scale
    return np.concatenate([x, np.ones((1, network.sizes[0]))]).astype(np.float32).astype(float)


def affine_values(network, x):
    values = evaluate(network, x)
    for number, step in enumerate(network.nodes):
        assert isinstance(step.rule, Affine)
        yield step.rule, [values[i] for i in step.inputs], values[number + 1]


def matrices(rule):
    exact = rule.bias.dtype == object
    return rule.backward(Arithmetic(exact=exact).numbers(np.eye(rule.size)))


@pytest.mark.parametrize("name", ALL)
def test_forward_is_what_onnx_runtime_computes(name):
    network = read_network(ALL[name], Arithmetic())
    for x in RNG.normal(size=(3, network.sizes[0])).astype(np.float32):
        computed = evaluate(network, x[None].astype(float))[network.output][0]
        np.testing.assert_allclose(computed, execute(ALL[name], x), rtol=1e-5, atol=1e-2)
        if name in CASES:
            np.testing.assert_allclose(computed, execute(ALL[name], x), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_adjoint_rows_and_magnitude_belong_to_forward(name):
    network = read_network(ALL[name], Arithmetic())
    for rule, x, y in affine_values(network, RNG.normal(size=(3, network.sizes[0]))):
        a = RNG.normal(size=(2, rule.size))
        pulled = sum(b @ z.T for b, z in zip(rule.backward(a), x, strict=True))
        np.testing.assert_allclose(pulled, a @ (y - rule.bias).T, atol=1e-9 * (1 + abs(y).max()))
        rows = matrices(rule)
        ends = np.array([0, rule.size - 1])
        if rule.exact_rows:
            np.testing.assert_array_equal(rule.rows(ends)[0], rows[0][ends])
        else:
            with pytest.raises(ValueError, match="unit rows"):
                rule.rows(ends)
        image = sum(z @ row.T for z, row in zip(x, rows, strict=True)) + rule.bias
        np.testing.assert_allclose(image, y, atol=1e-9 * (1 + abs(y).max()))
        sizes = [abs(z) for z in x]
        moved = sum(z @ abs(row).T for z, row in zip(sizes, rows, strict=True))
        np.testing.assert_allclose(rule.absolute(*sizes), moved, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rule.magnitude(*sizes), moved + abs(rule.bias), rtol=1e-12)


def fraction_gamma(terms) -> Any:
    return Fraction(terms * UNIT) / (1 - Fraction(terms * UNIT))


def fractions(x):
    return Arithmetic(exact=True).numbers(x)


@pytest.mark.parametrize("name", [n for n in ALL if "normalis" not in n])
def test_float64_errors_are_within_the_counts(name):
    exact = read_network(ALL[name], Arithmetic(exact=True))
    network = read_network(ALL[name], Arithmetic())
    found = affine_values(network, inputs(network))
    for (rule, x, y), step in zip(found, exact.nodes, strict=True):
        true, numbers = step.rule, [fractions(z) for z in x]
        assert isinstance(true, Affine)
        size = true.magnitude(*map(abs, numbers))
        gamma = fraction_gamma(rule.terms_forward)
        assert (abs(fractions(y) - true.forward(*numbers)) <= gamma * size).all()
        computed = fractions(rule.magnitude(*map(abs, x)))
        assert (abs(computed - size) <= gamma * size).all()
        a = RNG.normal(size=(3, rule.size)) * RNG.choice([1e-5, 1.0, 1e5], (3, rule.size))
        gamma = fraction_gamma(rule.terms_backward)
        parts = zip(rule.backward(a), true.backward(fractions(a)), matrices(true), strict=True)
        for part, whole, matrix in parts:
            bound = gamma * (abs(fractions(a)) @ abs(matrix))
            assert (abs(fractions(part) - whole) <= bound).all()
        if rule.exact_rows:
            every = np.arange(rule.size)
            for part, whole in zip(rule.rows(every), matrices(true), strict=True):
                assert (fractions(part) == whole).all()


def test_what_only_moves_data_is_exact_in_every_arithmetic():
    names = ["transpose", "slice", "split", "gather", "expand", "tile", "pad", "concat", "neg"]
    for name in names:
        for step in read_network(CASES[name], Arithmetic()).nodes:
            assert isinstance(step.rule, Affine)
            assert step.rule.terms_forward == step.rule.terms_float32 == 0
            assert (step.rule.terms_backward == 0) == (name not in {"expand", "tile", "gather"})


def charge(network, x):
    """What the terms allow float32 execution to be off by: sum |coefficient| error over nodes."""
    values = evaluate(network, x[None])
    coefficients = {network.output: np.eye(network.sizes[network.output])}
    total = np.zeros(network.sizes[network.output])
    for number in range(len(network.nodes), 0, -1):
        step = network.nodes[number - 1]
        a = coefficients.pop(number, np.zeros((len(total), network.sizes[number])))
        magnitude = step.rule.magnitude(*(abs(values[i]) for i in step.inputs))[0]
        terms = step.rule.terms_float32
        total += abs(a) @ (gamma32(terms) * magnitude + terms * TINY32)
        for source, part in zip(step.inputs, step.rule.backward(a), strict=True):
            coefficients[source] = coefficients.get(source, 0) + part
    return values[network.output][0], total * 1.0001 + 1e-12 * abs(values[network.output][0])


@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_float32_execution_is_within_the_counts(name, optimised):
    network = read_network(ALL[name], Arithmetic())
    for x in inputs(network, 20):
        true, bound = charge(network, x)
        executed = execute(ALL[name], x, optimised=optimised)
        assert (abs(executed - true) <= bound).all()


def test_float32_counts_cover_sums_that_start_at_what_is_added_later():
    small = np.float32(0.4 * 2.0**-23)
    data = several(
        node("Conv", ["x", "w"], ["h"], pads=[1, 1]),
        node("Mul", ["x", "c"], ["r"]),
        node("Add", ["h", "r"], ["y"]),
        shape=[1, 1, 30],
        w=np.full((1, 1, 3), small),
        c=np.float32(1),
    )
    true, bound = charge(read_network(data, Arithmetic()), np.ones(30))
    executed = np.ones(30, dtype=np.float32)
    for _ in range(3):
        executed += small
    assert (executed == 1).all()
    assert (abs(executed - true) <= bound).all()
    assert (abs(executed - true)[1:-1] > 2.0**-24 * (1 + true)[1:-1]).all()


def test_a_sparse_matrix_and_its_transpose():
    index, scale = np.array([[0, 0, 2], [2, 1, 2]]), np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 5.0]])
    matrix = Sparse(index, scale, 4)
    dense = matrix.apply(np.eye(4)).T
    np.testing.assert_array_equal(dense, [[1, 0, 3, 0], [2, 4, 0, 0], [0, 0, 5, 0]])
    np.testing.assert_array_equal(matrix.transposed().apply(np.eye(3)), dense)
    nothing = Sparse(np.zeros((1, 2), dtype=int), np.zeros((1, 2)), 3)
    np.testing.assert_array_equal(nothing.transposed().apply(np.ones((1, 2))), [[0, 0, 0]])


def test_no_rows_are_no_problem():
    for data in CASES.values():
        for step in read_network(data, Arithmetic()).nodes:
            assert isinstance(step.rule, Affine)
            parts = step.rule.backward(np.zeros((0, step.rule.size)))
            assert all(len(part) == 0 for part in parts)
            assert len(step.rule.forward(*parts)) == 0
