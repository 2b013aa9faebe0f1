"""Small ONNX files for the tests of the checker, and their execution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.network import Network, read_network

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def file(
    nodes: list[onnx.NodeProto],
    shape: Any,
    constants: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> bytes:
    """A network x -> outputs; x may be several inputs: {name: shape}."""
    shapes = shape if isinstance(shape, dict) else {"x": shape}
    inputs = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in shapes.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, results, weights)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def execute(data: bytes, x: np.ndarray, *, optimised: bool = True) -> np.ndarray:
    """The outputs by ONNX Runtime for one flat input, flat, as float64."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options)
    feed, start = {}, 0
    for info in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in info.shape]
        kind = np.float64 if "double" in info.type else np.float32
        size = int(np.prod(shape))
        feed[info.name] = x[start : start + size].reshape(shape).astype(kind)
        start += size
    results = session.run(None, feed)
    return np.concatenate([np.asarray(y, dtype=np.float64).ravel() for y in results])


def evaluate(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """All values of a network for a batch [batch, n]."""
    values = [x]
    for node in network.nodes:
        inputs = [values[i] for i in node.inputs]
        if isinstance(node.rule, Affine):
            values.append(node.rule.forward(*inputs))
        else:
            values.append(node.rule.interval(*inputs, *inputs)[0])
    return values


def single(
    operator: str,
    *constants: Any,
    shape: Any = (1, 2),
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    **more: Any,
) -> bytes:
    """One node over x and constants c0, c1, ..."""
    opset = more.pop("opset", 17)
    named = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    step = helper.make_node(operator, [*inputs, *names], list(outputs), **more)
    return file([step], shape, named, outputs, opset)


def agrees(data: bytes, x: np.ndarray | None = None) -> Network:
    """A network; it maps a point as ONNX Runtime does."""
    network = read_network(data, Arithmetic())
    if x is None:
        x = np.random.default_rng(len(data)).normal(size=network.sizes[0]).astype(np.float32)
    computed = evaluate(network, np.asarray(x, float)[None])[network.output][0]
    np.testing.assert_allclose(computed, execute(data, x), atol=1e-5)
    return network


def enclosed(network: Network, box: tuple[np.ndarray, np.ndarray], *, single: bool) -> Enclosure:
    """Boxes and lines of all values over one box."""
    enclosure = Enclosure(network, Arithmetic(), single, [box[0][None]], [box[1][None]])
    for step in network.nodes:
        value = enclosure.step()
        if not isinstance(step.rule, Affine):
            enclosure.relax(value)
    return enclosure
