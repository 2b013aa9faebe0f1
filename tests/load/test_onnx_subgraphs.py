"""Subgraphs, functions and sequences are read where the network's input does not steer them."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.load.onnx_models import network, save
from verifier.bounds import interval
from verifier.errors import ModelError, UnsupportedModel
from verifier.load.onnx import load_model, verify_import
from verifier.load.onnx.importer import import_graph
from verifier.sets import Box
from verifier.tensors import numpy_backend

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
INFO = helper.make_tensor_value_info


def gate(tmp_path, proto):
    """The model, after its comparison with ONNX Runtime."""
    model = load_model(save(tmp_path / "model.onnx", proto))
    count = model.graph.input_size
    verify_import(model, np.full(count, -1.0), np.ones(count))
    return model


def branches(condition):
    """``condition ? x + b : x * b``, where both branches see the names outside."""
    bodies: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x", "b"], ["r"])], name, [], [INFO("r", FLOAT, [2])]
        )
        for name, op in (("then", "Add"), ("else", "Mul"))
    }
    constants = {"c": np.array(condition), "b": np.array([2, 3], dtype=np.float32)}
    node = helper.make_node("If", ["c"], ["y"], "choice", **bodies)
    return network([node], {"x": [2]}, {"y": [2]}, constants)


@pytest.mark.parametrize(("condition", "expected"), [(True, [3, 2]), (False, [2, -3])])
def test_a_constant_condition_chooses_a_branch(tmp_path, condition, expected):
    model = gate(tmp_path, branches(condition))
    x = np.array([[1.0, -1.0]])
    np.testing.assert_array_equal(model.graph.on(numpy_backend()).evaluate(x), [expected])


def loop(*, body_condition="keep", rounds=3, computed=False):
    """``v = 2 v + x`` for some rounds, whose values are stacked."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["w"]),
            helper.make_node("Add", ["w", "x"], ["next"]),
            helper.make_node("Identity", ["next"], ["row"]),
            helper.make_node("Less", ["i", "two"], ["early"]),
            helper.make_node("Identity", ["going"], ["keep"]),
        ],
        "body",
        [INFO("i", INT, []), INFO("going", BOOL, []), INFO("v", FLOAT, [2])],
        [INFO(body_condition, BOOL, []), INFO("next", FLOAT, [2]), INFO("row", FLOAT, [2])],
        [numpy_helper.from_array(np.array(2), "two")],
    )
    constants = {"rounds": np.array(rounds), "yes": np.array(True), "zero": np.zeros(2, np.float32)}
    start = "x" if computed else "zero"
    nodes = [helper.make_node("Loop", ["rounds", "yes", start], ["last", "rows"], body=body)]
    return network(nodes, {"x": [2]}, {"last": [2], "rows": [None, 2]}, constants)


def test_loops_are_unrolled(tmp_path):
    assert gate(tmp_path, loop()).outputs[1].shape == (3, 2)
    assert gate(tmp_path, loop(computed=True)).outputs[1].shape == (3, 2)
    # Rounds 0, 1 and 2 run: the condition of a round is for the next one.
    assert gate(tmp_path, loop(body_condition="early", rounds=9)).outputs[1].shape == (3, 2)
    assert gate(tmp_path, loop(rounds=0, computed=True)).outputs[1].shape == (0, 2)


def test_a_loop_that_does_not_end(tmp_path):
    path = save(tmp_path / "loop.onnx", loop(rounds=10**15))
    with pytest.raises(UnsupportedModel, match="more than 2000 rounds"):
        load_model(path)


def test_a_scan_takes_slices(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Sub", ["x", "s"], ["t"]), helper.make_node("Identity", ["t"], ["row"])],
        "body",
        [INFO("s", FLOAT, [2]), INFO("x", FLOAT, [2])],
        [INFO("t", FLOAT, [2]), INFO("row", FLOAT, [2])],
    )
    options = {
        "num_scan_inputs": 1,
        "scan_input_axes": [1],
        "scan_input_directions": [1],
        "scan_output_axes": [-1],
        "scan_output_directions": [1],
    }
    node = helper.make_node("Scan", ["start", "a"], ["last", "rows"], body=body, **options)
    constants = {"start": np.ones(2, dtype=np.float32)}
    proto = network([node], {"a": [2, 3]}, {"last": [2], "rows": [2, 3]}, constants)
    assert gate(tmp_path, proto).outputs[1].shape == (2, 3)


def test_a_condition_that_the_input_decides(tmp_path):
    proto = branches(condition=True)
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["truth"], to=BOOL))
    proto.graph.node[1].input[0] = "truth"
    with pytest.raises(UnsupportedModel, match="If with a condition that depends on the input"):
        load_model(save(tmp_path / "if.onnx", proto))


def decided(**further):
    """``x[0] + x[1] > 0 ? x + b : x * b``, with further nodes in the branches."""
    proto = branches(condition=True)
    first = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "t"], ["truth"]),
    ]
    for node in reversed(first):
        proto.graph.node.insert(0, node)
    proto.graph.node[2].input[0] = "truth"
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "t"))
    for attribute in proto.graph.node[2].attribute:
        for node in further.get(attribute.name, ()):
            attribute.g.node.append(node)
            attribute.g.output[0].name = node.output[0]
    return proto


def test_branches_that_the_input_chooses_are_mixed(tmp_path):
    model = gate(tmp_path, decided())
    graph = model.graph.on(numpy_backend())
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    y, b = graph.evaluate(x), np.array([2.0, 3.0])
    np.testing.assert_allclose(y, np.where(x.sum(1, keepdims=True) > 0, x + b, x * b))
    box = Box(np.zeros((0, 2)), np.zeros((0, 2)))
    for ends in (
        [[0.5, 0.5], [0.75, 1.0]],
        [[-1.0, -1.0], [-0.5, 0.25]],
        [[-1.0, -1.0], [1.0, 1.0]],
    ):
        low, high = (np.array([end]) for end in ends)
        inside = low + np.random.default_rng(1).random((50, 2)) * (high - low)
        values = graph.evaluate(inside)
        box = interval(graph, Box(low, high)).boxes[graph.output]
        assert (values >= box.lower - 1e-9).all()
        assert (values <= box.upper + 1e-9).all()
    assert (box.upper - box.lower < 20).all()


def test_branches_of_different_shapes_that_the_input_chooses(tmp_path):
    unlike = helper.make_node("Concat", ["r", "r"], ["s"], axis=0)
    with pytest.raises(UnsupportedModel, match="branches of different shapes"):
        load_model(save(tmp_path / "if.onnx", decided(then_branch=[unlike])))


def test_what_a_branch_lacks_is_named(tmp_path):
    lacks = helper.make_node("NonZero", ["r"], ["s"], "the_node")
    with pytest.raises(UnsupportedModel, match=r"NonZero .choice/else/the_node"):
        load_model(save(tmp_path / "if.onnx", decided(else_branch=[lacks])))


def with_function(nodes, **calls):
    """A network ``y = f(x)`` of the given body."""
    function = helper.make_function(
        "my.domain", "F", ["a"], ["r"], nodes, [helper.make_opsetid("", 13)], ["slope"]
    )
    if nodes[0].op_type == "F":
        function.opset_import.append(helper.make_opsetid("my.domain", 1))
    proto = network(
        [helper.make_node("F", ["x"], ["y"], domain="my.domain", **calls)], {"x": [2]}, {"y": [2]}
    )
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("my.domain", 1))
    return proto


def test_the_model_s_own_functions(tmp_path):
    inner = helper.make_node("LeakyRelu", ["a"], ["b"])
    inner.attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    )
    nodes = [inner, helper.make_node("Add", ["b", "b"], ["r"])]
    for slope in (0.5, 0.25):
        gate(tmp_path, with_function(nodes, slope=slope))


def test_a_function_that_calls_itself(tmp_path):
    nodes = [helper.make_node("F", ["a"], ["r"], domain="my.domain")]
    path = save(tmp_path / "f.onnx", with_function(nodes))
    with pytest.raises(ModelError, match="nested over 40 levels deep"):
        load_model(path)


def test_operators_that_onnx_defines_by_others(tmp_path):
    constants = {"shape": np.array([1, 3, 2, 5])}
    node = helper.make_node("CenterCropPad", ["x", "shape"], ["y"])
    proto = network([node], {"x": [1, 3, 4, 3]}, {"y": [1, 3, 2, 5]}, constants, opset=18)
    assert import_graph(proto).outputs[0].shape == (1, 3, 2, 5)
    gate(tmp_path, proto)


def test_sequences_at_constant_places(tmp_path):
    constants = {"sizes": np.array([1, 2]), "first": np.array(0), "last": np.array(-1)}
    nodes = [
        helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "last"], ["b"]),
        helper.make_node("SequenceErase", ["parts", "last"], ["rest"]),
        helper.make_node("SequenceInsert", ["rest", "b", "first"], ["turned"]),
        helper.make_node("ConcatFromSequence", ["turned"], ["y"], axis=1),
    ]
    gate(tmp_path, network(nodes, {"x": [2, 3]}, {"y": [2, 3]}, constants))


def test_sequences_where_arrays_are_needed(tmp_path):
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"], "relu"),
    ]
    path = save(tmp_path / "s.onnx", network(nodes, {"x": [2]}, {"y": [2]}))
    with pytest.raises(ModelError, match=r"node .relu. \(Relu\): a sequence, need an array"):
        load_model(path)
