"""Networks and properties for the tests of the command line."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXAMPLES = Path(__file__).resolve().parents[2] / "benchmarks" / "examples"
TYPES = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def save(path: Path, nodes, initial, *, dtype="float32", inputs=None, outputs=None) -> Path:
    """A network of some nodes; ports are name -> shape."""
    kind = TYPES[dtype]
    ports = [
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in given.items()]
        for given in (inputs or {"x": [1, 2]}, outputs or {"y": [1, 2]})
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in initial.items()]
    graph = helper.make_graph(nodes, "net", ports[0], ports[1], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def twice(path: Path, dtype="float32", *, factor=2.0) -> Path:
    """y = relu(2 x), over two inputs."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="double"),
        helper.make_node("Relu", ["h"], ["y"], name="cut"),
    ]
    return save(path, nodes, {"w": np.eye(2, dtype=dtype) * np.array(factor, dtype)}, dtype=dtype)


def two_ports(path: Path) -> Path:
    """s = a + b and t = 2 c, with inputs of shape [1, 2] and [1, 3]."""
    two = np.asarray(2.0, dtype=np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["a"], ["s"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["c", "two"], ["t"]),
    ]
    return save(
        path, nodes, {"two": two}, inputs={"a": [1, 2], "c": [1, 3]},
        outputs={"s": [1, 1], "t": [1, 3]},
    )  # fmt: skip


def unsupported(path: Path) -> Path:
    """A network with three nodes that have no rules."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"], name="first"),
        helper.make_node("NonZero", ["a"], ["b"], name="second"),
        helper.make_node("Det", ["b"], ["y"], name="third"),
    ]
    return save(path, nodes, {}, outputs={"y": [1, 2]})


FLAT = "\n".join(f"(declare-const {v} Real)" for v in ("X_0", "X_1", "Y_0", "Y_1"))
TENSORS = (
    "(vnnlib-version <2.0>)\n"
    "(declare-network N (declare-input X float32 [1,2]) (declare-output Y float32 [1,2]))"
)
FLAT_BOX = "(assert (>= X_0 0.0)) (assert (<= X_0 1.0)) (assert (>= X_1 0.0)) (assert (<= X_1 1.0))"
BOX = (
    "(assert (>= X[0,0] 0.0)) (assert (<= X[0,0] 1.0))"
    "(assert (>= X[0,1] 0.0)) (assert (<= X[0,1] 1.0))"
)


def flat(path: Path, unsafe: str, box: str = FLAT_BOX) -> Path:
    """A 1.0 property over [0, 1]^2."""
    path.write_text(f"{FLAT}\n{box}\n{unsafe}\n")
    return path


def tensors(path: Path, unsafe: str, box: str = BOX, declared: str = TENSORS) -> Path:
    """A 2.0 property over [0, 1]^2."""
    path.write_text(f"{declared}\n{box}\n{unsafe}\n")
    return path


def run_onnx(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    """The network's outputs, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    found = session.run(None, dict(zip(names, arrays, strict=True)))
    return [np.asarray(array) for array in found]


def read_tensor(path: Path) -> tuple[str, np.ndarray]:
    """The name and the value of a serialised TensorProto."""
    proto = onnx.TensorProto.FromString(path.read_bytes())
    return proto.name, numpy_helper.to_array(proto)
