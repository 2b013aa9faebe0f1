"""Small ONNX networks for the tests of the loader."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def network(nodes, inputs, outputs, constants=None, *, opset=13, dtype="float32"):
    """A ModelProto; inputs and outputs are {name: shape}, constants {name: array}."""
    kind = TYPES[dtype]
    tensors = [numpy_helper.from_array(x, name) for name, x in (constants or {}).items()]
    given = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "network", given, results, tensors)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset > 8 else 3)


def mlp(batch=("batch",), *, opset=13, dtype="float32", listed=False, width=6):
    """Relu(x W1 + b1) W2 + b2 over three inputs with the given leading axes."""
    generator = np.random.default_rng(0)
    constants = {
        "W1": generator.normal(size=(3, width)).astype(dtype),
        "b1": generator.normal(size=width).astype(dtype),
        "W2": generator.normal(size=(width, 2)).astype(dtype),
        "b2": generator.normal(size=2).astype(dtype),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["m1"], "first"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], "first_bias"),
        helper.make_node("Relu", ["a1"], ["r1"], "relu"),
        helper.make_node("MatMul", ["r1", "W2"], ["m2"], "second"),
        helper.make_node("Add", ["m2", "b2"], ["y"], "second_bias"),
    ]
    ends = {"inputs": {"x": [*batch, 3]}, "outputs": {"y": [*batch, 2]}}
    proto = network(nodes, **ends, constants=constants, opset=opset, dtype=dtype)
    if listed:
        tensors = proto.graph.initializer
        infos = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
        proto.graph.input.extend(infos)
    return proto


def save(path, proto):
    """Write a model and give its path."""
    path.write_bytes(proto.SerializeToString())
    return path
