"""What depends on no input is computed when the network is loaded, in its own type."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_models import network, save
from verifier.errors import UnsupportedModel
from verifier.load.onnx import load_model, verify_import
from verifier.load.onnx.importer import import_graph


def folded(nodes, constants=None, shape=(1, 3, 4), opset=13):
    """The tensor ``c`` of a network that reads ``x`` of the given shape, as it was folded."""
    keep = helper.make_node("Identity", ["x"], ["y"])
    proto = network([*nodes, keep], {"x": shape}, {"y": None}, constants, opset=opset)
    return import_graph(proto).tensors["c"]


def node(op_type, inputs, output="c", **attributes):
    return helper.make_node(op_type, inputs, [output], **attributes)


def test_arithmetic_keeps_its_type():
    a, b = np.array([0.1, 0.7], dtype=np.float32), np.array([0.3, 3.0], dtype=np.float32)
    for op_type, expected in {"Add": a + b, "Sub": a - b, "Mul": a * b, "Div": a / b}.items():
        result = folded([node(op_type, ["a", "b"])], {"a": a, "b": b})
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


def test_integers_divide_as_in_c():
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    result = folded([node("Div", ["a", "b"])], {"a": a, "b": b})
    assert result.dtype == np.int64
    assert result.tolist() == [3, -3, -3, 3]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.array([[1, 2]]))}, np.array([[1, 2]])),
        ({"value_float": 0.1}, np.array(0.1, dtype=np.float32)),
        ({"value_floats": [0.1, 2.0]}, np.array([0.1, 2.0], dtype=np.float32)),
        ({"value_int": 3}, np.array(3)),
        ({"value_ints": [3, -1]}, np.array([3, -1])),
    ],
)
def test_constants_of_every_form(attributes, expected):
    result = folded([node("Constant", [], **attributes)])
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_shapes_and_their_slices():
    assert folded([node("Shape", ["x"])]).tolist() == [1, 3, 4]
    assert folded([node("Shape", ["x"], start=-2)], opset=15).tolist() == [3, 4]
    assert folded([node("Shape", ["x"], start=0, end=-1)], opset=15).tolist() == [1, 3]
    assert folded([node("Size", ["x"])]).tolist() == 12


def test_constants_of_a_shape():
    result = folded([node("ConstantOfShape", ["s"])], {"s": np.array([2, 3])})
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.zeros((2, 3)))
    value = numpy_helper.from_array(np.array([7]))
    result = folded([node("ConstantOfShape", ["s"], value=value)], {"s": np.zeros(0, np.int64)})
    assert result.dtype == np.int64
    assert result.tolist() == 7


def test_casts_round():
    values = {"a": np.array([0.1, 1e-9, 65504.0])}
    assert folded([node("Cast", ["a"], to=TensorProto.FLOAT)], values).dtype == np.float32
    half = folded([node("Cast", ["a"], to=TensorProto.FLOAT16)], values)
    np.testing.assert_array_equal(half, values["a"].astype(np.float16))
    assert folded([node("Cast", ["a"], to=TensorProto.INT64)], values).tolist() == [0, 0, 65504]


def test_operators_without_a_reader_fold_too():
    values = {"a": np.array([4.0, 9.0], dtype=np.float32), "b": np.array([1.0, 9.0], np.float32)}
    np.testing.assert_array_equal(folded([node("Sqrt", ["a"])], values), [2, 3])
    nodes = [node("Equal", ["a", "b"], "e"), node("Where", ["e", "a", "b"])]
    np.testing.assert_array_equal(folded(nodes, values), [1, 9])


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "Expand", "Tile", "Range"])
def test_absurd_sizes_are_refused_before_they_are_made(op_type):
    huge = {"s": np.array([2**20, 2**20]), "a": np.ones((1, 1), np.float32), "n": np.array(2**40)}
    huge |= {"zero": np.array(0), "one": np.array(1)}
    inputs = {"ConstantOfShape": ["s"], "Range": ["zero", "n", "one"]}.get(op_type, ["a", "s"])
    with pytest.raises(UnsupportedModel, match="need at most 67,108,864 elements"):
        folded([node(op_type, inputs)], huge)


def test_sparse_constants():
    values = numpy_helper.from_array(np.array([2.0, 3.0], dtype=np.float32), "c")
    for places in (np.array([1, 5]), np.array([[0, 1], [1, 2]])):
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(places), [2, 3])
        result = folded([node("Constant", [], sparse_value=sparse)])
        np.testing.assert_array_equal(result, [[0, 2, 0], [0, 0, 3]])
        keep = helper.make_node("Identity", ["x"], ["y"])
        proto = network([keep, node("Identity", ["c"], "d")], {"x": [1]}, {"y": None})
        proto.graph.sparse_initializer.append(sparse)
        np.testing.assert_array_equal(import_graph(proto).tensors["d"], result)


def test_a_reshape_whose_shape_is_computed(tmp_path):
    """The way exporters write ``x.view(x.size(0), -1, 2)``."""
    constants = {
        "zero": np.array(0),
        "axis": np.array([0]),
        "rest": np.array([-1]),
        "two": np.array([2]),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["first"]),
        helper.make_node("Concat", ["first", "rest", "two"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    proto = network(nodes, {"x": ["N", 3, 4]}, {"y": None}, constants)
    model = load_model(save(tmp_path / "view.onnx", proto))
    assert model.outputs[0].shape == (1, 2, 6)
    assert [type(n.operator).__name__ for n in model.graph.nodes] == ["Rearrange"]
    verify_import(model, np.zeros(12), np.ones(12))
