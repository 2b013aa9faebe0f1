"""Malformed ONNX files: valid small models with a few seeded mistakes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, helper, numpy_helper

from verifier.families.registry import all_examples, readers

EXAMPLES = Path(__file__).resolve().parents[2] / "benchmarks" / "examples" / "onnx"
WHOLE = (
    -(2**63),
    -(2**31),
    -7,
    -2,
    -1,
    0,
    1,
    2,
    3,
    8,
    1000,
    2**31 - 1,
    2**31,
    2**40,
    2**62,
    2**63 - 1,
)
FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-45, 1e38, -1e38, 0.5, 1e9)
TEXTS = (
    "",
    "SAME_UPPER",
    "VALID",
    "linear",
    "reflect",
    "\u2603" * 50,
    "x" * 5000,
    "reverse",
    "NOTSET",
)
TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 21, 99)


@cache
def seeds() -> tuple[bytes, ...]:
    """Valid models: one or two examples of every operator, and the bundled networks."""
    found = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.onnx"))]
    for generators in all_examples().values():
        for generate in generators:
            some = list(generate())
            found += [e.model().SerializeToString() for e in (some[0], some[len(some) // 2])]
    found += [chained().SerializeToString(), branched().SerializeToString()]
    return tuple(dict.fromkeys(found))


def chained() -> onnx.ModelProto:
    """A few operators one after another, with initialisers."""
    weight = numpy_helper.from_array(_ramp(4, 3), "w")
    bias = numpy_helper.from_array(_ramp(3), "b")
    shape = helper.make_tensor("s", onnx.TensorProto.INT64, [2], [3, 1])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Reshape", ["r", "s"], ["t"]),
        helper.make_node("Softmax", ["t"], ["p"], axis=0),
        helper.make_node("Mul", ["p", "t"], ["y"]),
    ]
    return _model(nodes, [weight, bias, shape])


def branched() -> onnx.ModelProto:
    """Subgraphs: an If with a constant condition, and a Loop."""
    info = helper.make_tensor_value_info
    number, whole, truth = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    then = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["i"])], "then", [], [info("i", number, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["j"])], "else", [], [info("j", number, None)]
    )
    step = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["v2"]),
            helper.make_node("Identity", ["c"], ["c2"]),
        ],
        "body",
        [info("n", whole, []), info("c", truth, []), info("v", number, None)],
        [info("c2", truth, []), info("v2", number, None)],
    )
    nodes = [
        helper.make_node("If", ["c0"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("Loop", ["k", "c0", "b"], ["y"], body=step),
    ]
    constants = [
        helper.make_tensor("c0", truth, [], [1]),
        helper.make_tensor("k", whole, [], [3]),
    ]
    return _model(nodes, constants)


def _ramp(*shape: int) -> Any:
    import numpy as np

    count = int(np.prod(shape))
    return (np.arange(count, dtype=np.float32) / count - 0.4).reshape(shape)


def _model(nodes: list[Any], constants: list[Any]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "seed",
        [info("x", onnx.TensorProto.FLOAT, [1, 4])],
        [info("y", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def mutant(seed: int) -> tuple[str, bytes]:
    """A malformed file, and what was done to it; the same for the same seed."""
    rng = random.Random(seed)
    data = rng.choice(seeds())
    if rng.random() < 0.25:
        name = rng.choice(["flip", "cut", "splice"])
        return name, _BYTES[name](rng, data)
    proto = onnx.ModelProto.FromString(data)
    names = [rng.choice(list(_CHANGES)) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    for name in names:
        try:
            _CHANGES[name](rng, proto)
        except (IndexError, ValueError, TypeError, onnx.checker.ValidationError):
            continue  # There is nothing of the kind in this model.
    return "+".join(names), proto.SerializeToString()


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _splice(rng: random.Random, data: bytes) -> bytes:
    other = rng.choice(seeds())
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


_BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip": _flip,
    "cut": _cut,
    "splice": _splice,
}


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _node(rng: random.Random, proto: Any) -> Any:
    return rng.choice([node for graph in _graphs(proto.graph) for node in graph.node])


def _tensor(rng: random.Random, proto: Any) -> Any:
    found = [t for graph in _graphs(proto.graph) for t in graph.initializer]
    found += [
        a.t for g in _graphs(proto.graph) for n in g.node for a in n.attribute if a.HasField("t")
    ]
    return rng.choice(found)


def _info(rng: random.Random, proto: Any) -> Any:
    return rng.choice([*proto.graph.input, *proto.graph.output])


def cycle(rng: random.Random, proto: Any) -> None:
    """A node reads what it, or a later one, computes."""
    node = _node(rng, proto)
    later = _node(rng, proto)
    node.input[rng.randrange(len(node.input))] = rng.choice(later.output)


def swap_nodes(rng: random.Random, proto: Any) -> None:
    """Nodes in another order."""
    nodes = list(proto.graph.node)
    rng.shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def drop_constant(rng: random.Random, proto: Any) -> None:
    """An initialiser is missing."""
    del proto.graph.initializer[rng.randrange(len(proto.graph.initializer))]


def drop_node(rng: random.Random, proto: Any) -> None:
    """A node is missing."""
    del proto.graph.node[rng.randrange(len(proto.graph.node))]


def drop_attribute(rng: random.Random, proto: Any) -> None:
    """An attribute is missing."""
    node = _node(rng, proto)
    del node.attribute[rng.randrange(len(node.attribute))]


def drop_operand(rng: random.Random, proto: Any) -> None:
    """A node has fewer inputs or outputs, or leaves one out."""
    node = _node(rng, proto)
    names = rng.choice((node.input, node.output))
    place = rng.randrange(len(names))
    if rng.random() < 0.5:
        names[place] = ""
    else:
        del names[place]


def add_operand(rng: random.Random, proto: Any) -> None:
    """A node has more inputs or outputs, or one twice."""
    node = _node(rng, proto)
    if rng.random() < 0.5:
        node.input.append(rng.choice(("x", "x0", "", "nowhere", *node.input)))
    else:
        node.output.append(rng.choice(("y", "", "more", *node.output)))


def tensor_shape(rng: random.Random, proto: Any) -> None:
    """A constant says that it has another shape."""
    dims = _tensor(rng, proto).dims
    if rng.random() < 0.3 or not dims:
        dims.append(rng.choice(WHOLE))
    elif rng.random() < 0.3:
        del dims[rng.randrange(len(dims))]
    else:
        dims[rng.randrange(len(dims))] = rng.choice(WHOLE)


def tensor_type(rng: random.Random, proto: Any) -> None:
    """A constant says that it has another type."""
    _tensor(rng, proto).data_type = rng.choice(TYPES)


def tensor_content(rng: random.Random, proto: Any) -> None:
    """Absurd numbers among a constant's, of its own type and shape."""
    tensor = _tensor(rng, proto)
    array = numpy_helper.to_array(tensor).copy()
    flat = array.reshape(-1)
    choices = WHOLE if array.dtype.kind in "iub" else FLOATS
    new = rng.choice(choices)
    kind = array.dtype.kind
    with _quiet():
        if kind in "iu":  # As the type's own arithmetic would wrap it.
            new %= 2 ** (8 * array.dtype.itemsize - (kind == "i"))
        flat[rng.randrange(len(flat))] = array.dtype.type(new)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _quiet() -> Any:
    import numpy as np

    return np.errstate(all="ignore")


def tensor_data(rng: random.Random, proto: Any) -> None:
    """A constant has more or fewer bytes than its shape needs, or is said to be elsewhere."""
    tensor = _tensor(rng, proto)
    if rng.random() < 0.2:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(
            key="location", value=rng.choice(("../x", "gone.bin", "/dev/zero"))
        )
    elif rng.random() < 0.5:
        tensor.raw_data = tensor.raw_data[:-1]
    else:
        tensor.raw_data += b"\1\2\3"


def input_shape(rng: random.Random, proto: Any) -> None:
    """An input or output says that it has another shape."""
    shape = _info(rng, proto).type.tensor_type.shape
    if rng.random() < 0.2 or not shape.dim:
        shape.dim.add(dim_value=rng.choice(WHOLE))
    elif rng.random() < 0.2:
        del shape.dim[rng.randrange(len(shape.dim))]
    else:
        shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(WHOLE)


def input_type(rng: random.Random, proto: Any) -> None:
    """An input or output says that it has another type."""
    kind = _info(rng, proto).type
    if rng.random() < 0.2:
        kind.sequence_type.elem_type.tensor_type.elem_type = 1
    elif rng.random() < 0.1:
        kind.Clear()
    else:
        kind.tensor_type.elem_type = rng.choice(TYPES)


def rename(rng: random.Random, proto: Any) -> None:
    """Two tensors have one name, or an input or output another one."""
    names = ["x", "x0", "y", "y0", "w", "", "\ud7ff", "nowhere"]
    target = rng.choice([*proto.graph.input, *proto.graph.output, *proto.graph.initializer])
    target.name = rng.choice(names)


def attribute(rng: random.Random, proto: Any) -> None:
    """An attribute has an absurd value, or one of another type."""
    node = _node(rng, proto)
    place = rng.randrange(len(node.attribute))
    old = node.attribute[place]
    kind = old.type if rng.random() < 0.8 else rng.choice((1, 2, 3, 6, 7, 8))
    length = rng.choice((0, 1, 2, 3, 4, 8, len(old.ints)))
    new: dict[int, Callable[[], Any]] = {
        AttributeProto.INT: lambda: rng.choice(WHOLE),
        AttributeProto.FLOAT: lambda: rng.choice(FLOATS),
        AttributeProto.STRING: lambda: rng.choice(TEXTS),
        AttributeProto.INTS: lambda: [rng.choice(WHOLE) for _ in range(length)] or [0],
        AttributeProto.FLOATS: lambda: [rng.choice(FLOATS) for _ in range(length)] or [0.0],
        AttributeProto.STRINGS: lambda: [rng.choice(TEXTS) for _ in range(length)] or [""],
    }
    changed = helper.make_attribute(old.name, new[kind]())
    old.CopyFrom(changed)


def some_ints(rng: random.Random, proto: Any) -> None:
    """One entry of an attribute of integers is absurd."""
    node = _node(rng, proto)
    given = rng.choice([a for a in node.attribute if a.ints])
    given.ints[rng.randrange(len(given.ints))] = rng.choice(WHOLE)


def new_attribute(rng: random.Random, proto: Any) -> None:
    """An attribute that the operator has, perhaps, with an absurd value."""
    node = _node(rng, proto)
    schema: Any = onnx.defs.get_schema(node.op_type) if onnx.defs.has(node.op_type) else None
    names = [*(schema.attributes if schema else ()), "odd"]
    value = rng.choice(
        (rng.choice(WHOLE), rng.choice(FLOATS), rng.choice(TEXTS), [rng.choice(WHOLE)] * 2)
    )
    node.attribute.append(helper.make_attribute(rng.choice(names), value))


def operator(rng: random.Random, proto: Any) -> None:
    """Another operator in a node's place."""
    node = _node(rng, proto)
    node.op_type = rng.choice([*sorted(readers()), "If", "Loop", "Scan", "Nothing", "SequenceAt"])


def domain(rng: random.Random, proto: Any) -> None:
    """A node of another domain, or a function that calls itself."""
    node = _node(rng, proto)
    node.domain = "odd"
    if rng.random() < 0.7:
        inner = helper.make_node(node.op_type, ["p"], ["q"], domain="odd")
        body = helper.make_function(
            "odd", node.op_type, ["p"], ["q"], [inner, inner], [helper.make_opsetid("odd", 1)]
        )
        proto.functions.append(body)
        proto.opset_import.append(helper.make_opsetid("odd", 1))


def opset(rng: random.Random, proto: Any) -> None:
    """Another version of the operators or of the format."""
    if rng.random() < 0.7:
        proto.opset_import[0].version = rng.choice((-1, 0, 1, 6, 8, 9, 10, 12, 13, 18, 99, 2**40))
    else:
        proto.ir_version = rng.choice((0, 1, 3, 99, 2**40))


_CHANGES: dict[str, Callable[[random.Random, Any], None]] = {
    change.__name__: change
    for change in (
        *(cycle, swap_nodes, drop_constant, drop_node, drop_attribute, drop_operand, add_operand),
        *(tensor_shape, tensor_type, tensor_content, tensor_data, input_shape, input_type, rename),
        *(attribute, attribute, some_ints, new_attribute, operator, domain, opset),
    )
}
