"""Comparisons within a softmax are comparisons of what it was made of."""

import numpy as np
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.families.curve import Curve
from verifier.load.onnx.importer import import_graph
from verifier.tensors import numpy_backend

XP = numpy_backend()


def model(softmax_axis: int, argmax_axis: int, *, move: bool = True, shape=(2, 3, 4)):
    nodes = [helper.make_node("Softmax", ["x"], ["s"], axis=softmax_axis)]
    last = "s"
    if move:
        nodes += [
            helper.make_node("Transpose", ["s"], ["t"], perm=[2, 1, 0]),
            helper.make_node("Gather", ["t", "some"], ["g"], axis=0),
        ]
        last = "g"
    nodes.append(helper.make_node("ArgMax", [last], ["a"], axis=argmax_axis))
    nodes.append(helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes, "order",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([2, 0]), "some")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def reference(proto, x):
    session = onnx.reference.ReferenceEvaluator(proto)
    outputs = [session.run(None, {"x": one}) for one in x]
    return np.stack([np.concatenate([np.reshape(y, -1) for y in one]) for one in outputs])


@pytest.mark.parametrize(
    ("softmax", "argmax", "simple"), [(1, 1, True), (0, 2, True), (1, 2, False)]
)
def test_only_comparisons_within_a_softmax_drop_it(softmax: int, argmax: int, simple: bool):
    proto = model(softmax, argmax)
    graph = import_graph(proto).graph
    x = np.random.default_rng(0).normal(size=(20, 2, 3, 4)).astype(np.float32)
    found = graph.on(XP).evaluate(x.reshape(20, -1).astype(np.float64))
    np.testing.assert_array_equal(found, reference(proto, x))
    needed = {0}
    for place in range(len(graph.nodes), 0, -1):
        if place == graph.output or any(place in graph.node(v).inputs for v in needed - {0}):
            needed.add(place)
    kept = any(isinstance(graph.node(v).operator, Curve) for v in needed - {0})
    assert kept != simple
