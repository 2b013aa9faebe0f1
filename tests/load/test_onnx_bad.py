"""Broken and unsupported networks: one line that says what to do."""

import gzip

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.load.onnx_models import mlp, network, save
from verifier.errors import ModelError, UnsupportedModel
from verifier.load.onnx import load_model


def message(error, path):
    with pytest.raises(error) as caught:
        load_model(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_that_is_not_there(tmp_path):
    assert "none.onnx cannot be read" in message(ModelError, tmp_path / "none.onnx")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off(tmp_path, part):
    data = mlp().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(part * len(data))])
    assert "cut.onnx is not ONNX" in message(ModelError, path)


def test_gzip_that_is_cut_off(tmp_path):
    path = tmp_path / "cut.onnx.gz"
    path.write_bytes(gzip.compress(mlp().SerializeToString())[:-20])
    assert "cannot be read" in message(ModelError, path)


@pytest.mark.parametrize(
    "text", [b"", b"hello", b"; vnnlib\n(declare-const X_0 Real)\n", b"\0" * 64]
)
def test_a_file_that_is_not_onnx(tmp_path, text):
    path = tmp_path / "text.onnx"
    path.write_bytes(text)
    assert "text.onnx is not ONNX" in message(ModelError, path)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(tmp_path, number):
    proto = mlp()
    weight = np.ones((3, 6), dtype=np.float32)
    weight[1, 2] = number
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "W1"))
    assert "node 'first' (MatMul): 'W1' holds 1 numbers that are NaN or infinite" in message(
        ModelError, save(tmp_path / "nan.onnx", proto)
    )


def test_constant_nodes_that_are_no_numbers(tmp_path):
    value = onnx.numpy_helper.from_array(np.array([np.nan, 1], dtype=np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], "odd", value=value),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    path = save(tmp_path / "nan.onnx", network(nodes, {"x": [2]}, {"y": [2]}))
    assert "(Add): 'c' holds 1 numbers that are NaN or infinite" in message(ModelError, path)


def test_infinite_bounds_of_clip_are_none(tmp_path):
    constants = {"low": np.array(-np.inf, dtype=np.float32), "high": np.array(1, dtype=np.float32)}
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    model = load_model(
        save(tmp_path / "clip.onnx", network([node], {"x": [2]}, {"y": [2]}, constants))
    )
    assert vars(model.graph.nodes[0].operator)["low"] == -np.inf


def test_shapes_that_do_not_fit_each_other(tmp_path):
    proto = mlp()
    weight = np.ones((4, 6), dtype=np.float32)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "W1"))
    assert "node 'first' (MatMul): matrices of shapes (1, 3) and (4, 6) do not multiply" in message(
        ModelError, save(tmp_path / "shape.onnx", proto)
    )


def test_shapes_that_do_not_broadcast(tmp_path):
    proto = mlp()
    proto.graph.initializer[1].CopyFrom(
        onnx.numpy_helper.from_array(np.ones(5, dtype=np.float32), "b1")
    )
    assert "node 'first_bias' (Add): " in message(ModelError, save(tmp_path / "shape.onnx", proto))


def test_shapes_that_are_not_the_declared_ones(tmp_path):
    proto = mlp()
    proto.graph.value_info.append(helper.make_tensor_value_info("m1", TensorProto.FLOAT, ["N", 7]))
    assert "node 'first' gives 'm1' shape (1, 6), but the file says ('?', 7)" in message(
        ModelError, save(tmp_path / "shape.onnx", proto)
    )


def test_a_reshape_that_does_not_fit(tmp_path):
    constants = {"shape": np.array([2, 2])}
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], "fold")
    path = save(tmp_path / "r.onnx", network([node], {"x": [5]}, {"y": [2, 2]}, constants))
    assert "node 'fold' (Reshape): an array of shape (5,) cannot have shape (2, 2)" in message(
        ModelError, path
    )


def test_tensors_that_nothing_computes(tmp_path):
    proto = mlp()
    proto.graph.node[2].input[0] = "ghost"
    assert "node 'relu' reads 'ghost', which nothing before it computes" in message(
        ModelError, save(tmp_path / "ghost.onnx", proto)
    )


def test_one_error_lists_everything_that_is_unsupported(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("Det", ["r"], ["d"], "first"),
        helper.make_node("Relu", ["d"], ["e"], "after"),
        helper.make_node("NonZero", ["x"], ["n"], "second"),
        helper.make_node("Det", ["r"], [""], ""),
        helper.make_node("Pad", ["x", "pads"], ["l"], "strange", mode="odd"),
        helper.make_node("Conv", ["x", "r"], ["c"], "twice"),
        helper.make_node("Shout", ["x"], ["s"], "loud", domain="my.domain"),
    ]
    proto = network(nodes, {"x": [1, 2, 2]}, {"e": [1]}, {"pads": np.zeros(6, np.int64)})
    proto.opset_import.append(helper.make_opsetid("my.domain", 1))
    text = message(UnsupportedModel, save(tmp_path / "odd.onnx", proto))
    for part in (
        "Det (first, Det)",
        "NonZero (second)",
        "Pad with mode 'odd' (strange)",
        "Conv with computed weights (twice)",
        "Shout of domain 'my.domain' (loud)",
    ):
        assert part in text
    assert "after" not in text
    assert "fine" not in text


def test_inputs_that_are_not_real(tmp_path):
    proto = mlp()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    text = message(UnsupportedModel, save(tmp_path / "whole.onnx", proto))
    assert "input with type int64, need a float type (x)" in text


def test_a_division_by_nothing(tmp_path):
    constants = {"c": np.array([1, 0], dtype=np.float32)}
    node = helper.make_node("Div", ["x", "c"], ["y"], "part")
    path = save(tmp_path / "div.onnx", network([node], {"x": [2]}, {"y": [2]}, constants))
    assert "node 'part' (Div): division by a constant 0" in message(ModelError, path)


def test_random_constants(tmp_path):
    nodes = [
        helper.make_node("RandomNormal", [], ["c"], "dice", shape=[2]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    path = save(tmp_path / "dice.onnx", network(nodes, {"x": [2]}, {"y": [2]}))
    assert "RandomNormal with a random operator (dice)" in message(UnsupportedModel, path)


def test_external_data_that_is_missing(tmp_path):
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert "external data of mlp.onnx cannot be read" in message(ModelError, path)


@pytest.mark.parametrize("domain", ["", "com"])
def test_a_name_with_a_domain_is_no_operator(tmp_path, domain):
    name = "com.microsoft.QLinearSoftmax".removeprefix(f"{domain}." if domain else "")
    node = helper.make_node(name, ["x"], ["y"], "odd", domain=domain)
    path = save(tmp_path / "m.onnx", network([node], {"x": [2]}, {"y": [2]}))
    assert "no bound rules for" in message(UnsupportedModel, path)
