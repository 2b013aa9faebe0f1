"""Small ONNX models of one node, for the tests of every operator."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.records import dataclass

if TYPE_CHECKING:
    import onnx


DOMAINS = {"ai.onnx.ml": 3, "com.microsoft": 1}
"""Versions of the domains whose operators some examples are."""


@dataclass(frozen=True, eq=False)
class Example:
    """One node: its inputs are shapes (variables), arrays (constants), or None (left out)."""

    op_type: str
    """After its domain and a dot, where it is not ONNX's own."""
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    low: float = -2.0
    high: float = 2.0
    """The range of the variables that the tests sample."""
    truths: tuple[int, ...] = ()
    """Places of variables that reach the node as truth values: where they are positive."""
    whole: tuple[int, ...] = ()
    """Places of variables that reach the node as int32, rounded towards 0."""
    quantised: tuple[int, ...] = ()
    """Places of variables that reach the node as uint8: 64 times their number, rounded."""
    output_type: int = 1
    """ONNX's number of the outputs' element type; 1 is float32, 0 leaves it open."""
    output_types: tuple[int, ...] = ()
    """Those of each output, where they differ."""

    @property
    def name(self) -> str:
        """A readable label."""
        shapes = ",".join(_label(x) for x in self.inputs)
        options = ",".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.op_type}({shapes};{options};{self.opset})"

    def model(self) -> onnx.ModelProto:
        """The model: float32 variables x0, x1, ..., outputs y0, y1, ..."""
        from onnx import TensorProto, helper, numpy_helper

        names, variables, constants, nodes = [], [], [], []
        for i, given in enumerate(self.inputs):
            names.append("" if given is None else f"x{i}")
            if isinstance(given, np.ndarray):
                constants.append(numpy_helper.from_array(given, f"x{i}"))
            elif given is not None:
                shape = list(given)
                variables.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape))
            if i in self.truths:
                names[i] = f"t{i}"
                nodes.append(helper.make_node("Greater", [f"x{i}", "zero"], [names[i]]))
            if i in self.whole:
                names[i] = f"t{i}"
                nodes.append(helper.make_node("Cast", [f"x{i}"], [names[i]], to=TensorProto.INT32))
            if i in self.quantised:
                names[i] = f"t{i}"
                nodes.append(helper.make_node("QuantizeLinear", [f"x{i}", "step"], [names[i]]))
        results = [f"y{i}" for i in range(self.outputs)]
        domain, _, op_type = self.op_type.rpartition(".")
        options = {**self.attributes, "domain": domain}
        node = helper.make_node(op_type, names, results, "the_node", **options)
        if self.truths:
            constants.append(numpy_helper.from_array(scalar(0.0), "zero"))
        if self.quantised:
            constants.append(numpy_helper.from_array(scalar(1 / 64), "step"))
        nodes.append(node)
        kinds = self.output_types or (self.output_type,) * len(results)
        outputs = [_port(y, kind) for y, kind in zip(results, kinds, strict=True)]
        graph = helper.make_graph(nodes, "example", variables, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        if domain:
            opsets.append(helper.make_opsetid(domain, DOMAINS[domain]))
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _port(name: str, kind: int) -> Any:
    from onnx import ValueInfoProto, helper

    if not kind:
        return ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, kind, None)


def _label(given: Any) -> str:
    if given is None:
        return "-"
    if isinstance(given, np.ndarray):
        kind = "" if given.dtype.kind == "f" else str(given.reshape(-1).tolist())
        return "c" + "x".join(map(str, given.shape)) + kind
    return "x".join(map(str, given)) or "scalar"


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32 constants, none of them small."""
    generator = np.random.default_rng([seed, *shape])
    signs = generator.choice([-1.0, 1.0], size=shape)
    return (signs * generator.uniform(0.25, 1.5, size=shape)).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    """A vector of int64 constants."""
    return np.array(values, dtype=np.int64)


def scalar(number: float) -> np.ndarray:
    """A float32 constant without axes."""
    return np.array(number, dtype=np.float32)
