"""From an ONNX protocol buffer to a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.onnx_node import Operand, bounded
from verifier.graph import Builder, Graph, Value
from verifier.load.onnx.model import Port
from verifier.load.onnx.needed import needed, used
from verifier.load.onnx.scope import DOMAINS, Scope, Shared, initialisers, read_node
from verifier.load.onnx.sequences import SEQUENCES
from verifier.load.onnx.subgraphs import SUBGRAPHS
from verifier.ops.shapes import FLOATS, OTHERS
from verifier.ops.sum import concatenate
from verifier.records import dataclass

REMEDY = "a network of the operators that verifier supports --onnx-operators lists"


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph before any pass, and where its tensors are."""

    graph: Graph
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    tensors: dict[str, Operand]
    """By ONNX name, in the order of computation: values of the graph, or constants."""
    precision: np.dtype


def import_graph(proto: Any) -> Imported:
    """The network of a ModelProto.

    Raises:
        ModelError: the network is broken.
        UnsupportedModel: one error that lists every node that has no rule here.
    """
    graph = proto.graph
    opset = max((o.version for o in proto.opset_import if o.domain in DOMAINS), default=1)
    given = [info for info in graph.input if info.name not in initialisers(graph)]
    inputs = tuple(_port(info) for info in given)
    if not inputs:
        message = "the network has no input"
        raise ModelError(message)
    shared = Shared(
        Builder(sum(port.size for port in inputs)),
        {**SUBGRAPHS, **SEQUENCES},
        {(body.domain, body.name): body for body in proto.functions},
        given[0].type.tensor_type.elem_type,
    )
    _refuse_input_types(shared, inputs)
    results = _results(graph)
    nodes = _nodes(graph, [info.name for info in results])
    infos = (*graph.value_info, *graph.output)
    declared = {info.name: _dims(info) for info in infos}
    scope = Scope(
        shared,
        opset,
        constants=initialisers(graph),
        used=used(nodes, [info.name for info in results]),
        declared={name: dims for name, dims in declared.items() if dims is not None},
    )
    _split_inputs(scope, inputs)
    for node in nodes:
        read_node(scope, node)
    if shared.unsupported:
        raise UnsupportedModel(_complaint(shared.unsupported))
    return _finish(scope, results, inputs)


def _port(info: Any) -> Port:
    dims = _dims(info)
    if info.type.WhichOneof("value") not in {None, "tensor_type"}:
        message = f"input {info.name!r} is a sequence or optional; need arrays"
        raise UnsupportedModel(message)
    if dims is None:
        message = f"input {info.name!r} has no shape"
        raise ModelError(message)
    kind = info.type.tensor_type.elem_type
    dtype = FLOATS.get(kind) or OTHERS.get(kind) or object
    return Port(info.name, np.dtype(dtype), bounded([n or 1 for n in dims]))


def _dims(info: Any) -> tuple[int | None, ...] | None:
    """A declared shape, None for its symbolic dimensions; None: no shape."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else None for d in dims)


def _refuse_input_types(shared: Shared, inputs: Iterable[Port]) -> None:
    for port in inputs:
        if port.dtype.kind != "f":
            shared.unsupported.append(("input", port.name, f"type {port.dtype}, need a float type"))


def _split_inputs(scope: Scope, inputs: tuple[Port, ...]) -> None:
    builder = scope.shared.builder
    whole, start = Value(0, (builder.input_size,)), 0
    for port in inputs:
        index = np.arange(start, start + port.size).reshape(port.shape)
        scope.tensors[port.name] = builder.rearrange(port.name, whole, index)
        start += port.size


def _complaint(unsupported: list[tuple[str, str, str]]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for operator, node, reason in unsupported:
        groups.setdefault((operator, reason), []).append(node)
    parts = []
    for (operator, reason), nodes in groups.items():
        names = ", ".join(nodes)
        parts.append(f"{operator} with {reason} ({names})" if reason else f"{operator} ({names})")
    return f"no bound rules for: {'; '.join(parts)}; need {REMEDY}"


def _results(graph: Any) -> list[Any]:
    """The outputs that are numbers: texts, such as the names of classes, are left out."""
    from onnx import TensorProto

    kept = [i for i in graph.output if i.type.tensor_type.elem_type != TensorProto.STRING]
    if not kept:
        message = "no output holds numbers"
        raise UnsupportedModel(message)
    return kept


def _nodes(graph: Any, results: list[str]) -> list[Any]:
    """All nodes but those that only outputs need which are left out."""
    others = [info.name for info in graph.output if info.name not in results]
    kept = {name for node in needed(graph.node, results) for name in node.output}
    theirs = {name for node in needed(graph.node, others) for name in node.output} - kept
    return [node for node in graph.node if not theirs.intersection(node.output)]


def _finish(scope: Scope, results: list[Any], inputs: tuple[Port, ...]) -> Imported:
    builder, operands, outputs = scope.shared.builder, [], []
    for info in results:
        operand = scope.lookup("the network's output", info.name)
        if not isinstance(operand, (Value, np.ndarray)):
            message = f"output {info.name!r} is a sequence, or nothing; need arrays"
            raise UnsupportedModel(message)
        if isinstance(operand, Value) and operand.number in builder.odd:
            message = f"output {info.name!r} holds minus infinity or NaN, need finite numbers"
            raise UnsupportedModel(message)
        kind = info.type.tensor_type.elem_type
        dtype = np.dtype(FLOATS.get(kind) or OTHERS.get(kind) or np.float32)
        outputs.append(Port(info.name, dtype, tuple(operand.shape)))
        operands.append(operand.reshape((outputs[-1].size,)))
    whole = operands[0] if len(operands) == 1 else concatenate("outputs", builder, operands, 0)
    if isinstance(whole, np.ndarray):
        entry = Value(0, (builder.input_size,))
        whole = builder.rearrange("outputs", entry, np.full(whole.shape, -1), whole)
    types = {*scope.shared.types, *(port.dtype for port in inputs)}
    return Imported(
        builder.finish(whole),
        inputs,
        tuple(outputs),
        scope.opset,
        {name: x for name, x in scope.tensors.items() if isinstance(x, (Value, np.ndarray))},
        min((t for t in types if t.kind == "f"), key=lambda t: t.itemsize),
    )


def operator_counts(proto: Any) -> dict[str, int]:
    """How often each operator occurs, by name."""
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))
