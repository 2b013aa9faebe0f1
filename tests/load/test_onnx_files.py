"""What files may look like."""

import gzip

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.load.onnx_models import mlp, network, save
from verifier.load.onnx import load_model, runtime, verify_import


def gate(model, size=1.0):
    count = model.graph.input_size
    verify_import(model, np.full(count, -size), np.full(count, size))


@pytest.mark.parametrize("opset", range(8, 23))
def test_opsets(tmp_path, opset):
    model = load_model(save(tmp_path / "mlp.onnx", mlp(opset=opset)))
    assert model.opset == opset
    gate(model)


@pytest.mark.parametrize("batch", [(), (1,), ("N",), (0,), (4,), (2, "T")])
def test_any_leading_axes(tmp_path, batch):
    if 0 in batch:
        proto = mlp()
        proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    else:
        proto = mlp(batch)
    model = load_model(save(tmp_path / "mlp.onnx", proto))
    fixed = tuple(n if isinstance(n, int) and n else 1 for n in batch)
    assert model.inputs[0].shape == (*fixed, 3)
    assert model.outputs[0].shape == (*fixed, 2)
    assert model.graph.input_size == 3 * int(np.prod(fixed))
    gate(model)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_of_each_type(tmp_path, dtype):
    proto = mlp(dtype=dtype)
    model = load_model(save(tmp_path / "mlp.onnx", proto))
    assert model.precision == model.inputs[0].dtype == dtype
    gate(model)
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    np.testing.assert_array_equal(vars(model.graph.nodes[0].operator)["weight"], weight.T)


def test_initialisers_listed_as_inputs(tmp_path):
    model = load_model(save(tmp_path / "mlp.onnx", mlp(listed=True)))
    assert [port.name for port in model.inputs] == ["x"]
    gate(model)


def test_gzip_is_known_by_its_first_bytes(tmp_path):
    data = mlp().SerializeToString()
    for name in ("mlp.onnx.gz", "mlp.onnx"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data))
        model = load_model(path)
        assert model.data == data
        gate(model)


def test_external_data_lies_beside_the_file(tmp_path):
    path = tmp_path / "mlp.onnx"
    onnx.save(
        mlp(width=300), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    whole = load_model(save(tmp_path / "whole.onnx", mlp(width=300)))
    model = load_model(path)
    gate(model)
    x = np.ones((2, 3))
    np.testing.assert_array_equal(runtime.run(model, x), runtime.run(whole, x))


def test_what_is_known_of_a_model(tmp_path):
    proto = mlp()
    proto.producer_name, proto.producer_version = "a tool", "1.5"
    model = load_model(save(tmp_path / "mlp.onnx", proto))
    assert model.producer == "a tool 1.5"
    assert model.operators == {"Add": 2, "MatMul": 2, "Relu": 1}
    assert model.neurons == 6
    assert [type(n.operator).__name__ for n in model.graph.nodes] == ["Linear", "Relu", "Linear"]


def test_several_inputs_and_outputs_are_one_after_another(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Concat", ["flat", "extra"], ["all"], axis=1),
        helper.make_node("Relu", ["all"], ["first"]),
        helper.make_node("Sub", ["extra", "c"], ["second"]),
        helper.make_node("Identity", ["c"], ["third"]),
    ]
    ends = {"image": [1, 2, 2], "extra": ["N", 3]}, {"second": None, "first": None, "third": None}
    constants = {"c": np.array([[1, 2, 3]], dtype=np.float32)}
    proto = network(nodes, *ends, constants)
    model = load_model(save(tmp_path / "two.onnx", proto))
    assert [port.size for port in model.inputs] == [4, 3]
    assert [(port.name, port.shape) for port in model.outputs] == [
        ("second", (1, 3)),
        ("first", (1, 7)),
        ("third", (1, 3)),
    ]
    gate(model)
    assert runtime.run(model, np.zeros((5, 7))).shape == (5, model.graph.output_size)


def test_a_network_may_ignore_its_input(tmp_path):
    constants = {"c": np.ones((1, 2), dtype=np.float32)}
    node = helper.make_node("Identity", ["c"], ["y"])
    proto = network([node], {"x": [1, 3]}, {"y": [1, 2]}, constants)
    gate(load_model(save(tmp_path / "constant.onnx", proto)))


def test_a_network_may_be_its_input(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = load_model(save(tmp_path / "same.onnx", network([node], {"x": [2]}, {"y": [2]})))
    assert model.graph.nodes == ()
    gate(model)


def test_points_are_rounded_to_the_inputs_type(tmp_path):
    model = load_model(save(tmp_path / "mlp.onnx", mlp()))
    x = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(model.rounded(x), x.astype(np.float32).astype(np.float64))
    (fed,) = model.feeds(x[0]).values()
    assert fed.dtype == np.float32
    assert fed.shape == (1, 3)
    np.testing.assert_array_equal(runtime.run(model, x), runtime.run(model, model.rounded(x)))
