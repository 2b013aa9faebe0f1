"""Malformed networks end in one of our errors, or in an answer that is right."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.load.malformed import mutant
from tests.load.onnx_models import mlp, network, save
from verifier.errors import ImportMismatch, ModelError, UnsupportedModel, VerifierError
from verifier.load.onnx import load_model, runtime
from verifier.load.onnx.describe import describe

FUZZ = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "fuzz_models.py"))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("seed", range(150))
def test_a_mutant(tmp_path, seed):
    label, data = mutant(seed)
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    outcome = FUZZ["attempt"](path)
    assert not outcome.startswith("crash"), (label, outcome)


def refused(path, error: type[VerifierError] = ModelError):
    with pytest.raises(error) as caught:
        load_model(path)
    return str(caught.value)


def one(node, shape=(2,), constants=None, opset=17):
    return network([node], {"x": shape}, {"y": None}, constants, opset=opset)


@pytest.mark.parametrize("size", [2**62, 2**40, 2**31])
def test_inputs_of_absurd_size(tmp_path, size):
    proto = mlp()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert "elements" in refused(save(tmp_path / "m.onnx", proto), UnsupportedModel)


def test_attributes_of_another_type(tmp_path):
    node = helper.make_node("Elu", ["x"], ["y"], "e", alpha=[1.0, 2.0])
    text = refused(save(tmp_path / "m.onnx", one(node)))
    assert "node 'e' (Elu): attribute 'alpha' of type FLOATS, need FLOAT" in text


def test_attributes_that_are_missing(tmp_path):
    node = helper.make_node("Scan", ["x"], ["y"], "s")
    assert "node 's' (Scan): attribute 'body' is missing" in refused(
        save(tmp_path / "m.onnx", one(node))
    )


def test_too_many_inputs(tmp_path):
    node = helper.make_node("Relu", ["x", "x"], ["y"], "r")
    assert "node 'r' (Relu): 2 inputs, need 1" in refused(save(tmp_path / "m.onnx", one(node)))


@pytest.mark.parametrize("op_type", ["LSTM", "PRelu"])
def test_operands_that_are_left_out(tmp_path, op_type):
    names = ["x", "", ""] if op_type == "LSTM" else ["x", ""]
    node = helper.make_node(op_type, names, ["y"], "n")
    text = refused(save(tmp_path / "m.onnx", one(node, (1, 1, 2))))
    assert "input 1 is missing" in text


def test_constants_of_the_wrong_type(tmp_path):
    nodes = [
        helper.make_node("Sign", ["c"], ["s"], "sign"),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    constants = {"c": np.array([True, False])}
    proto = network(nodes, {"x": [2]}, {"y": [2]}, constants)
    assert "node 'sign' (Sign)" in refused(save(tmp_path / "m.onnx", proto))


def test_blocks_of_no_elements(tmp_path):
    constants = {"size": np.array([4, 4]), "block": np.array([0, 2])}
    node = helper.make_node("Col2Im", ["x", "size", "block"], ["y"], "col")
    proto = one(node, (1, 4, 4), constants, opset=18)
    assert "node 'col' (Col2Im)" in refused(save(tmp_path / "m.onnx", proto))


@pytest.mark.parametrize("op_type", ["Odd\nName", "Sh\x0bout"])
def test_errors_are_one_line_whatever_names_a_file_holds(tmp_path, op_type):
    node = helper.make_node(op_type, ["x"], ["y"], "a\nnode")
    path = save(tmp_path / "m.onnx", one(node))
    assert refused(path, UnsupportedModel).isprintable()
    assert describe(path).unsupported.isprintable()


@pytest.mark.parametrize("size", [2**32, 2**40, -3])
def test_windows_of_absurd_size(tmp_path, size):
    constants = {"size": np.array([size, 4]), "block": np.array([2, 2])}
    node = helper.make_node("Col2Im", ["x", "size", "block"], ["y"], "col", strides=[1, 1])
    with pytest.raises((ModelError, UnsupportedModel)):
        load_model(save(tmp_path / "m.onnx", one(node, (1, 4, 4), constants, opset=18)))


@pytest.mark.parametrize("op_type", ["SequenceAt", "SequenceErase", "SequenceLength"])
def test_arrays_where_sequences_must_be(tmp_path, op_type):
    names = ["x", "place"] if op_type != "SequenceLength" else ["x"]
    node = helper.make_node(op_type, names, ["y"], "n")
    path = save(tmp_path / "m.onnx", one(node, constants={"place": np.array(0)}))
    assert "an array, need a sequence" in refused(path)


def test_complex_constants(tmp_path):
    proto = mlp()
    numbers = np.ones(6, dtype=np.complex64)
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(numbers, "b1"))
    assert "complex numbers" in refused(save(tmp_path / "m.onnx", proto))


def test_sparse_constants_of_absurd_size(tmp_path):
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("b1", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("places", TensorProto.INT64, [1], [2]),
        [2**40],
    )
    proto = mlp()
    del proto.graph.initializer[1]
    proto.graph.sparse_initializer.append(sparse)
    assert "elements" in refused(save(tmp_path / "m.onnx", proto), UnsupportedModel)


@pytest.mark.parametrize("old", [b"MatMul", b"first_bias", b"batch"])
def test_names_that_are_no_text(tmp_path, old):
    data = mlp().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data.replace(old, b"\xff" + old[1:]))
    assert "a name that is not UTF-8" in refused(path)


def test_inputs_of_a_type_that_onnx_does_not_have(tmp_path):
    proto = mlp()
    proto.graph.input[0].type.tensor_type.elem_type = 99
    described = describe(save(tmp_path / "m.onnx", proto))
    assert described.inputs == ("x: type 99 [batch, 3]",)
    assert described.model is None


def test_outputs_of_other_sizes_than_onnx_runtime_computes(tmp_path):
    """ONNX Runtime takes any ceil_mode but 1 for 0 here."""
    node = helper.make_node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3], strides=[2], ceil_mode=-2
    )
    model = load_model(save(tmp_path / "m.onnx", one(node, (1, 1, 6))))
    with pytest.raises(ImportMismatch, match="computes 2 outputs, our graph 3"):
        runtime.run(model, np.zeros((1, 6)))
