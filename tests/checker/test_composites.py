"""Operators that are made of several rules mean what ONNX says, also over boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.onnx_files import agrees, enclosed, execute, file, single
from verifier.checker import composites
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network

FLOAT = Arithmetic()
G = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return G.normal(size=shape).astype(np.float32)


def pair(operator: str, first: Any, second: Any, **more: Any) -> bytes:
    """One node over two inputs."""
    return file([node(operator, ["x", "z"], ["y"], **more)], {"x": first, "z": second})


IMAGE = (1, 2, 5, 4)
INDEX = np.array([[1, 0, -1], [0, -2, 1]])
FORMS = {
    "max pool": single("MaxPool", shape=IMAGE, kernel_shape=[2, 3]),
    "max pool of one": single("MaxPool", shape=IMAGE, kernel_shape=[1, 1]),
    "max pool, padded": single(
        "MaxPool", shape=IMAGE, kernel_shape=[3, 2], pads=[1, 0, 2, 1], strides=[2, 1]
    ),
    "max pool, same": single("MaxPool", shape=IMAGE, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    "max pool, dilated": single("MaxPool", shape=IMAGE, kernel_shape=[2, 2], dilations=[2, 3]),
    "global max pool": single("GlobalMaxPool", shape=IMAGE),
    "reduce max": single("ReduceMax", shape=(2, 3, 4), axes=[1]),
    "reduce max of all": single("ReduceMax", shape=(2, 3), keepdims=0),
    "reduce max, empty": single("ReduceMax", None, noop_with_empty_axes=1, opset=18),
    "reduce min": single("ReduceMin", np.array([-1, 0]), shape=(2, 3, 4), keepdims=0, opset=18),
    "max": pair("Max", [2, 1, 3], [4, 1]),
    "min": pair("Min", [2, 1, 3], [4, 1]),
    "max of one": single("Max"),
    "max with a constant": single("Max", weights(3, 1), shape=(1, 2)),
    "min with a constant": single("Min", weights(2), shape=(3, 2)),
    "min, the constant first": file(
        [node("Min", ["c", "x"], ["y"])], [1, 2], {"c": np.array([[0.25], [-0.5]], np.float32)}
    ),
    "exp": single("Exp", shape=(2, 3)),
    "floor": single("Floor", shape=(2, 3)),
    "sin": single("Sin", shape=(2, 3)),
    "cos": single("Cos", shape=(2, 3)),
    "square": single("Pow", np.float32(2), shape=(2, 3)),
    "cube": single("Pow", np.array([3], np.float32), shape=(2, 3)),
    "times itself": file([node("Mul", ["x", "x"], ["y"])], [2, 3]),
    "product": pair("Mul", [2, 3], [3]),
    "product of parts": file(
        [node("Split", ["x"], ["a", "b"], axis=0), node("Mul", ["a", "b"], ["y"])], [2, 3]
    ),
    "difference": pair("Sub", [2, 1, 3], [2, 3]),
    "sum of three": file([node("Sum", ["x", "z", "x"], ["y"])], {"x": [2, 3], "z": [1]}),
    "softmax": single("Softmax", shape=(2, 4)),
    "softmax of columns": single("Softmax", shape=(2, 3, 1), axis=1),
    "softmax, old": single("Softmax", shape=(2, 4), opset=11),
    "layer normalisation": single("LayerNormalization", weights(4), weights(4), shape=(2, 3, 4)),
    "layer normalisation of two axes": single(
        "LayerNormalization", weights(3, 4), shape=(2, 3, 4), axis=1, epsilon=0.25
    ),
    "matrices": pair("MatMul", [2, 3], [3, 4]),
    "several matrices": pair("MatMul", [2, 2, 3], [3, 2]),
    "depth to space": single("DepthToSpace", shape=(2, 8, 2, 3), blocksize=2),
    "depth to space, CRD": single("DepthToSpace", shape=(1, 8, 2, 3), blocksize=2, mode="CRD"),
    "gather elements": single("GatherElements", INDEX, shape=(2, 4), axis=0),
    "gather elements of rows": single("GatherElements", INDEX, shape=(3, 2), axis=1),
    "transposed convolution": single(
        "ConvTranspose", weights(2, 3, 2, 2), weights(3), shape=IMAGE, strides=[2, 1]
    ),
    "transposed convolution in groups": single(
        "ConvTranspose",
        weights(2, 2, 3),
        shape=(2, 2, 5),
        group=2,
        dilations=[2],
        pads=[1, 2],
        strides=[2],
        output_padding=[1],
    ),
}
POSITIVE = {
    "sqrt": single("Sqrt", shape=(2, 3)),
    "power of a half": single("Pow", np.float32(0.5), shape=(2, 3)),
    "reciprocal": single("Reciprocal", shape=(2, 3)),
    "quotient": pair("Div", [2, 3], [3]),
    "quotient of a constant": file(
        [node("Div", ["c", "x"], ["y"])], [2, 3], {"c": np.array([2, -1, 0.5], np.float32)}
    ),
}
MOVED = {"max pool of one", "reduce max, empty", "max of one"}
STRAINED = {
    *("exp", "floor", "sin", "cos", "square", "cube", "sqrt", "power of a half"),
    *("softmax", "softmax of columns", "softmax, old"),
    *("layer normalisation", "layer normalisation of two axes"),
}


@pytest.mark.parametrize("name", [*FORMS, *POSITIVE])
def test_points_are_mapped_as_by_the_runtime(name):
    data = FORMS.get(name) or POSITIVE[name]
    size = read_network(data, FLOAT).sizes[0]
    x = weights(size) if name in FORMS else 0.1 + abs(weights(size))
    network = agrees(data, x)
    assert network.single_precision == (name not in STRAINED)
    assert bool(network.nodes) == (name not in MOVED)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("name", sorted({*FORMS, *POSITIVE} - MOVED))
def test_boxes_and_rows_hold_what_the_runtime_computes(name, single):
    data = FORMS.get(name) or POSITIVE[name]
    network = read_network(data, FLOAT)
    single = single and network.single_precision
    size, (lower, upper) = network.sizes[0], ((-1.0, 1.5) if name in FORMS else (0.25, 2.0))
    low = G.uniform(lower, upper, size)
    box = low, np.minimum(low + G.uniform(0, 1, size), upper)
    with np.errstate(all="ignore"):
        enclosure = enclosed(network, box, single=single)
        count = network.sizes[network.output]
        number, sign = np.tile(np.arange(count), 2), np.repeat([1.0, -1.0], count)
        rows = enclosure.unit_rows(network.output, 0 * number, number, sign)
        least = enclosure.bound(rows)[1]
    # What is no number bounds nothing: a square is not bounded for float32 execution.
    assert single or np.isfinite(least).all()
    least = np.where(np.isnan(least), -np.inf, least)
    boxes = [
        np.nan_to_num(x[-1][0], nan=s * np.inf)
        for x, s in ((enclosure.lower, -1), (enclosure.upper, 1))
    ]
    tolerance = 0.0 if single else 1e-4
    for _ in range(30):
        x = G.uniform(*box).astype(np.float32)
        y = execute(data, np.clip(x, *box))
        for bounds in (boxes, (least[:count], -least[count:])):
            assert (y >= bounds[0] - tolerance).all()
            assert (y <= bounds[1] + tolerance).all()


NO_RULE = {
    "places": (
        single("MaxPool", shape=IMAGE, kernel_shape=[2, 2], outputs=("y", "z")),
        "the output Indices",
    ),
    "other places": (
        single("MaxPool", shape=IMAGE, kernel_shape=[2, 2], storage_order=1),
        "the output Indices",
    ),
    "padding only": (
        single("MaxPool", shape=(1, 1, 2), kernel_shape=[1], pads=[1, 0]),
        "a window in the padding",
    ),
    "two constants": (single("Max", weights(3), weights(3), shape=(2, 3)), "several constants"),
    "a sum with a constant": (single("Sum", weights(3), shape=(2, 3)), "constants among variables"),
    "an exponent": (single("Pow", np.float32(2.5), shape=(2, 3)), "exponent 2.5"),
    "several exponents": (
        single("Pow", np.array([2, 2, 2], np.float32), shape=(2, 3)),
        "exponent None",
    ),
    "an axis of old softmax": (
        single("Softmax", shape=(2, 3, 2), opset=11),
        "depends on the version",
    ),
    "an axis that is not the last one": (
        single("Softmax", shape=(2, 3, 2), axis=0),
        "depends on the version",
    ),
    "the mean too": (
        single("LayerNormalization", weights(3), outputs=("y", "m"), shape=(2, 3)),
        "more than one output",
    ),
    "a vector": (pair("MatMul", [3], [3, 2]), "a vector and a variable"),
    "the size of the output": (
        single("ConvTranspose", weights(2, 1, 2), shape=(1, 2, 3), output_shape=[4]),
        "output_shape",
    ),
    "padding beyond the kernel": (
        single("ConvTranspose", weights(2, 1, 2), shape=(1, 2, 3), pads=[2, 0]),
        "pads",
    ),
    "channels": (single("ConvTranspose", weights(3, 1, 2), shape=(1, 2, 3)), "weight"),
}
BROKEN = {
    "kernel": (
        single("ConvTranspose", weights(2, 1, 2), shape=(1, 2, 3), kernel_shape=[3]),
        "kernel_shape",
    ),
    "index": (single("GatherElements", INDEX + 1, shape=(2, 4)), "out of range"),
    "negative index": (single("GatherElements", INDEX - 1, shape=(2, 4)), "out of range"),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_forms_without_a_rule(name):
    data, message = NO_RULE[name]
    with pytest.raises(Unsupported, match=message):
        read_network(data, FLOAT)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_nodes_say_what_is_wrong(name):
    data, message = BROKEN[name]
    with pytest.raises(Unreadable, match=message):
        read_network(data, FLOAT)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [("softmax", 32, "too long"), ("matrices", 24, "too large")],
)
def test_products_are_limited(monkeypatch, name, size, message):
    monkeypatch.setattr(composites, "MOST_MULTIPLIED", size)
    assert read_network(FORMS[name], FLOAT).nodes
    monkeypatch.setattr(composites, "MOST_MULTIPLIED", size - 1)
    with pytest.raises(Unsupported, match=message):
        read_network(FORMS[name], FLOAT)


def test_normalisation_has_no_exact_rule():
    with pytest.raises(Unsupported, match="exact arithmetic"):
        read_network(FORMS["layer normalisation"], Arithmetic(exact=True))
