"""Forms of operators that have no rule are refused by name, and odd ones mean what ONNX says."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from tests.checker.onnx_files import DOUBLE, agrees, evaluate, file, single
from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network

G = np.random.default_rng(0)
FLOAT = Arithmetic()


def weights(*shape):
    return G.normal(size=shape).astype(np.float32)


def norm(*, variance=1.0, scale=1.0, **more):
    vectors = [np.full(2, v, np.float32) for v in (scale, 0.5, 0.25, variance)]
    return single("BatchNormalization", *vectors, **more)


KERNEL = weights(1, 1, 2)
NO_RULE = {
    "cast of a constant that changes": (
        file(
            [node("Cast", ["c"], ["d"], to=7), node("Add", ["x", "d"], ["y"])],
            [1, 2],
            {"c": np.array([0.5, 1], np.float32)},
        ),
        "a constant that is no int64",
    ),
    "cast of a constant to text": (
        file(
            [node("Cast", ["c"], ["d"], to=8), node("Add", ["x", "d"], ["y"])],
            [1, 2],
            {"c": np.array([1, 2], np.float32)},
        ),
        "a constant that is no",
    ),
    "pooling with a rest": (
        single("AveragePool", shape=(1, 1, 4), kernel_shape=[3], strides=[2], ceil_mode=1),
        "ceil_mode with a rest",
    ),
    "unknown padding": (
        single("Conv", KERNEL, shape=(1, 1, 4), auto_pad="SAME"),
        "auto_pad SAME",
    ),
    "training": (norm(training_mode=1), "training mode"),
    "old normalisation over everything": (norm(spatial=0, opset=8), "training mode"),
    "a negative variance": (norm(variance=-5e-6), "out of range"),
    "several matrices": (single("MatMul", weights(3, 2, 2), shape=(3, 2, 2)), "several matrices"),
    "a shape that is computed": (
        single("Reshape", inputs=("x", "x")),
        "an input that must be constant is not",
    ),
    "reflected axes": (
        single("Pad", np.array([0, 1, 0, 0]), mode="wrap"),
        "mode wrap",
    ),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_forms_without_a_rule(name):
    data, message = NO_RULE[name]
    with pytest.raises(Unsupported, match=message):
        read_network(data, FLOAT)


BAD = {
    "parts that are not all": (
        single("Split", np.array([1, 2]), shape=(4, 2), outputs=("y", "z")),
        "2 parts",
    ),
    "more parts than named": (
        single("Split", shape=(4, 2), outputs=("y", "z"), num_outputs=3, opset=18),
        "2 parts",
    ),
    "a negative part": (
        single("Split", np.array([5, -1]), shape=(4, 2), outputs=("y", "z")),
        "2 parts",
    ),
    "strides of another rank": (single("Conv", KERNEL, shape=(1, 1, 4), strides=[1, 1]), "strides"),
    "dilation 0": (single("Conv", KERNEL, shape=(1, 1, 4), dilations=[0]), "strides"),
    "stride 0": (single("Conv", KERNEL, shape=(1, 1, 4), strides=[0]), "strides"),
    "channels": (single("Conv", KERNEL, shape=(1, 2, 4)), "groups do not match"),
    "groups": (single("Conv", weights(3, 1, 2), shape=(1, 2, 4), group=2), "groups do not match"),
    "kernel": (single("Conv", KERNEL, shape=(1, 1, 4), kernel_shape=[3]), "groups do not match"),
    "axes that are no integers": (single("ReduceSum", weights(1)), "integers expected"),
    "no shape": (single("Reshape", None), "integers expected"),
    "nothing left": (
        single("Split", np.array([0, 4]), shape=(4, 2), outputs=("y", "z")),
        "zero-size array",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_nodes_say_what_is_wrong(name):
    data, message = BAD[name]
    with pytest.raises(Unreadable, match=message):
        read_network(data, FLOAT)


def doubles(data):
    model = onnx.ModelProto.FromString(data)
    model.graph.input[0].type.tensor_type.elem_type = DOUBLE
    return model.SerializeToString()


def test_scaled_products_of_doubles_have_no_rule():
    matrix = weights(2, 2).astype(float)
    with pytest.raises(Unsupported, match="alpha or beta with float64"):
        read_network(doubles(single("Gemm", matrix, alpha=0.5)), FLOAT)
    assert read_network(doubles(single("Gemm", matrix)), FLOAT).nodes


def test_divisors_of_doubles_have_a_range():
    for divisor, known in ((1e-270, True), (1e-272, False), (1e270, True), (-1e272, False)):
        data = doubles(single("Div", np.array([divisor, 1.0])))
        if known:
            assert read_network(data, FLOAT).nodes
        else:
            with pytest.raises(Unreadable, match="too small or too large"):
                read_network(data, FLOAT)


def test_normalisation_of_doubles_has_a_least_scale():
    vectors = [np.full(2, v) for v in (0.5, 0.25, 1.0)]
    for scale, known in ((1e-260, True), (0.0, True), (1e-280, False)):
        data = doubles(single("BatchNormalization", np.array([1.0, scale]), *vectors))
        if known:
            assert read_network(data, FLOAT).nodes
        else:
            with pytest.raises(Unsupported, match="a scale out of range"):
                read_network(data, FLOAT)


def test_normalisation_has_no_exact_rule():
    with pytest.raises(Unsupported, match="exact arithmetic"):
        read_network(norm(), Arithmetic(exact=True))


def test_values_that_stay_as_they_are():
    for data in (
        single("Cast", to=1),
        single("ReduceSum", None, noop_with_empty_axes=1),
        single("Dropout", np.float32(0.5), np.array(False)),
        single("Expand", np.array([1, 2])),
    ):
        assert agrees(data).nodes == ()


def test_pooling_without_a_rest_may_be_rounded_up():
    agrees(single("AveragePool", shape=(1, 1, 5), kernel_shape=[3], strides=[2], ceil_mode=1))


def test_shapes_may_be_cut():
    nodes = [node("Shape", ["x"], ["s"], start=1, end=3), node("Expand", ["c", "s"], ["e"])]
    data = file([*nodes, node("Add", ["x", "e"], ["y"])], [2, 1, 3], {"c": weights(1, 1)})
    agrees(data)


def test_reshaping_keeps_or_makes_zeros():
    agrees(single("Reshape", np.array([0, -1]), shape=(2, 3, 2)))
    with pytest.raises(Unreadable):
        read_network(single("Reshape", np.array([0, 6]), shape=(2, 3), allowzero=1), FLOAT)


def test_what_float32_execution_may_strain():
    """Means, normalisation and scaled products may meet numbers beyond their magnitude."""
    matrix = weights(2, 2)
    for data, plain in (
        (single("Gemm", matrix), True),
        (single("Gemm", matrix, alpha=0.5), False),
        (single("Gemm", matrix, weights(2), beta=0.5), False),
        (single("ReduceSum", np.array([1])), True),
        (single("ReduceMean", axes=[1]), False),
        (single("GlobalAveragePool", shape=(1, 1, 4)), False),
        (single("AveragePool", shape=(1, 1, 4), kernel_shape=[2]), False),
        (norm(), False),
    ):
        assert agrees(data).single_precision == plain


def test_roundings_of_single_nodes():
    """One for a product, one for a sum; none for powers of two that divide, and for moving."""
    for data, terms in (
        (single("Mul", np.array([3, 5], np.float32)), 1),
        (single("Mul", np.array([-1, 1], np.float32)), 0),
        (single("Div", np.array([2, 4], np.float32)), 1),
        (single("Div", np.array([3, 4], np.float32)), 2),
        (single("Add", np.array([3, 5], np.float32)), 1),
        (single("Add", np.array([0, 0], np.float32)), 0),
        (single("Sub", np.array([[3], [5]], np.float32)), 1),
        (single("ReduceSum", np.array([1]), shape=(1, 5)), 4),
        (single("ReduceMean", axes=[1], shape=(1, 5)), 6),
        (single("MatMul", weights(5, 2), shape=(1, 5)), 5),
        (single("Gemm", weights(5, 2), weights(2), shape=(1, 5)), 6),
        (single("Gemm", weights(5, 2), np.array([0, 1], np.float32), shape=(1, 5)), 6),
        (norm(), None),
    ):
        rules = [step.rule for step in agrees(data).nodes]
        assert all(isinstance(rule, Affine) for rule in rules)
        if terms is not None:
            assert [rule.terms_float32 for rule in rules if isinstance(rule, Affine)] == [terms]


# --------------------------------------------------------------------------------------- networks


def test_inputs_are_floats():
    model = onnx.ModelProto.FromString(single("Identity"))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(Unsupported, match="inputs of type int64: need floats"):
        read_network(model.SerializeToString(), FLOAT)


def test_constants_are_numbers():
    with pytest.raises(Unsupported, match="constant c0 has type complex128"):
        read_network(single("Add", np.array([1j, 2])), FLOAT)


def test_inputs_that_meet_are_of_one_type():
    model = onnx.ModelProto.FromString(
        file([node("Add", ["x", "z"], ["y"])], {"x": [1, 2], "z": [1, 2]})
    )
    assert read_network(model.SerializeToString(), FLOAT).nodes
    model.graph.input[1].type.tensor_type.elem_type = DOUBLE
    with pytest.raises(Unreadable, match="several types"):
        read_network(model.SerializeToString(), FLOAT)


def test_constants_are_tensors_numbers_or_lists():
    tensor = onnx.numpy_helper.from_array(np.array([2, 3], np.float32))
    choices: list[dict[str, Any]] = [{"value": tensor}, {"value_floats": [2.0, 3.0]}]
    for given in choices:
        data = file([node("Constant", [], ["c"], **given), node("Mul", ["x", "c"], ["y"])], [1, 2])
        network = agrees(data, np.array([1, 1], np.float32))
        assert evaluate(network, np.ones((1, 2)))[-1].tolist() == [[2, 3]]


def test_outputs_depend_on_the_inputs():
    data = file([node("Constant", [], ["y"], value_float=1.0)], [1, 2])
    with pytest.raises(Unreadable, match="output y does not depend on the inputs"):
        read_network(data, FLOAT)


def scaled(*factors, between=None):
    """Products one after the other, with a Relu after one of them."""
    nodes, constants, name = [], {}, "x"
    for k, factor in enumerate(factors):
        constants[f"c{k}"] = np.full(2, factor, np.float32)
        nodes.append(node("Mul", [name, f"c{k}"], [f"v{k}"]))
        name = f"v{k}"
        if between == k:
            nodes.append(node("Relu", [name], ["r"]))
            name = "r"
    nodes.append(node("Neg", [name], ["y"]))
    return read_network(file(nodes, [1, 2], constants), FLOAT)


@pytest.mark.parametrize(
    ("factors", "fits"),
    [
        ((2.0**110,), True),
        ((2.0**60, 2.0**60), True),
        ((2.0**60, 2.0**61), False),
        ((2.0**60, 1.0, 2.0**61), False),
        ((2.0**-60, 2.0**-60), True),
        ((2.0**-60, 2.0**-61), False),
        ((2.0**-60, 2.0**100), True),
        ((2.0**-60, 2.0**100, 2.0**30), False),
        ((2.0**100, 2.0**-100, 2.0**-30), False),
        ((2.0**100, 2.0**-100, 2.0**-20), True),
    ],
)
def test_weights_that_are_merged_stay_in_range(factors, fits):
    """Any part of a chain may be merged: what comes before it does not make up for it."""
    assert scaled(*factors).single_precision == fits
    rest = factors[1:]
    apart = not rest or scaled(*rest).single_precision
    assert scaled(*factors, between=0).single_precision == apart
