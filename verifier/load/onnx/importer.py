"""From an ONNX protocol buffer to a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.registry import readers
from verifier.graph import Builder, Graph, Value
from verifier.load.onnx import fold, read
from verifier.load.onnx.model import Port
from verifier.ops.shapes import FLOATS, OTHERS
from verifier.ops.sum import concatenate

DOMAINS = ("", "ai.onnx")
INFINITE_ALLOWED = frozenset(("Clip", "Min", "Max", "Constant", "Identity", "Cast"))
"""Operators that may read an infinite constant: as a bound that is none."""

REMEDY = "a network of the operators that verifier supports --onnx-operators lists"


class Unread:
    """The value of a node that could not be read."""


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


@dataclass
class _State:
    """What is known while nodes are read one after another."""

    builder: Builder
    opset: int
    tensors: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    uses: dict[str, set[str]] = field(default_factory=dict)
    declared: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    unsupported: list[tuple[str, str, str]] = field(default_factory=list)
    """(operator, node, restriction that it breaks; empty: the operator itself)."""


def import_graph(proto: Any) -> Imported:
    """The network of a ModelProto.

    Raises:
        ModelError: the network is broken.
        UnsupportedModel: one error that lists every node that has no rule here.
    """
    graph = proto.graph
    opset = max((o.version for o in proto.opset_import if o.domain in DOMAINS), default=1)
    initial = {tensor.name for tensor in graph.initializer}
    given = [info for info in graph.input if info.name not in initial]
    inputs = tuple(_port(info) for info in given)
    if not inputs:
        message = "the network has no input"
        raise ModelError(message)
    state = _State(Builder(sum(port.size for port in inputs)), opset)
    _refuse_input_types(state, inputs)
    if graph.sparse_initializer:
        names = ", ".join(s.values.name for s in graph.sparse_initializer)
        state.unsupported.append(("sparse initialiser", names, ""))
    state.constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input:
            state.uses.setdefault(name, set()).add(node.op_type)
    infos = (*graph.value_info, *graph.output)
    declared = {info.name: _dims(info) for info in infos}
    state.declared = {name: dims for name, dims in declared.items() if dims is not None}
    _split_inputs(state, inputs)
    for node in graph.node:
        _read_node(state, node)
    if state.unsupported:
        raise UnsupportedModel(_complaint(state.unsupported))
    return _finish(state, proto, inputs)


def _port(info: Any) -> Port:
    dims = _dims(info)
    if dims is None:
        message = f"input {info.name!r} has no shape"
        raise ModelError(message)
    kind = info.type.tensor_type.elem_type
    dtype = FLOATS.get(kind) or OTHERS.get(kind) or object
    return Port(info.name, np.dtype(dtype), tuple(n or 1 for n in dims))


def _dims(info: Any) -> tuple[int | None, ...] | None:
    """A declared shape, None for its symbolic dimensions; None: no shape."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else None for d in dims)


def _refuse_input_types(state: _State, inputs: Iterable[Port]) -> None:
    for port in inputs:
        if port.dtype.kind != "f":
            state.unsupported.append(("input", port.name, f"type {port.dtype}, need a float type"))


def _split_inputs(state: _State, inputs: tuple[Port, ...]) -> None:
    whole, start = Value(0, (state.builder.input_size,)), 0
    for port in inputs:
        index = np.arange(start, start + port.size).reshape(port.shape)
        state.tensors[port.name] = state.builder.rearrange(port.name, whole, index)
        start += port.size


def _operand(state: _State, node: str, name: str) -> Any:
    """A named tensor: a value, a constant, None where it is left out."""
    if not name:
        return None
    if name not in state.tensors:
        if name not in state.constants:
            message = f"node {node!r} reads {name!r}, which nothing before it computes"
            raise ModelError(message)
        numbers = read.array(state.constants[name])
        _refuse_infinite(numbers, f"initialiser {name!r}", state.uses.get(name, set()))
        state.tensors[name] = numbers
    return state.tensors[name]


def _refuse_infinite(numbers: np.ndarray, what: str, users: set[str]) -> None:
    if numbers.dtype.kind != "f" or np.isfinite(numbers).all():
        return
    if np.isnan(numbers).any() or not users <= INFINITE_ALLOWED:
        count = int((~np.isfinite(numbers)).sum())
        message = f"{what} holds {count} numbers that are NaN or infinite, need finite ones"
        raise ModelError(message)


def _read_node(state: _State, proto: Any) -> None:
    label = proto.name or next((o for o in proto.output if o), proto.op_type)
    operands = tuple(_operand(state, label, name) for name in proto.input)
    try:
        results = _results(state, proto, label, operands)
    except UnsupportedModel as error:
        state.unsupported.append((proto.op_type, label, str(error)))
        results = None
    except (ModelError, ValueError, IndexError) as error:
        message = f"node {label!r} ({proto.op_type}): {error}"
        raise ModelError(message) from error
    if results is None:
        results = (Unread(),) * len(proto.output)
    for name, result in zip(proto.output, results, strict=False):
        if name:
            _check_shape(state, label, name, result)
            state.tensors[name] = result
            if isinstance(result, Value):
                state.builder.label(result, name)


def _results(
    state: _State, proto: Any, label: str, operands: tuple[Any, ...]
) -> tuple[Operand, ...] | None:
    """The outputs of a node; None where it reads what could not be read."""
    entry = readers().get(proto.op_type) if proto.domain in DOMAINS else None
    foldable = proto.domain in DOMAINS and all(
        x is None or isinstance(x, np.ndarray) for x in operands
    )
    if entry is None and not foldable:
        domain = f" of domain {proto.domain!r}" if proto.domain not in DOMAINS else ""
        state.unsupported.append((proto.op_type + domain, label, ""))
        return None
    if any(isinstance(x, Unread) for x in operands):
        return None
    attributes = {a.name: read.attribute(a) for a in proto.attribute}
    outputs = max((i for i, name in enumerate(proto.output, start=1) if name), default=1)
    node = OnnxNode(proto.op_type, label, state.opset, attributes, operands, outputs)
    if node.op_type == "Constant":
        numbers = fold.constant(node)
        users = set().union(*(state.uses.get(name, set()) for name in proto.output))
        _refuse_infinite(numbers, "the constant", users)
        return (numbers,)
    if entry is None or (foldable and not entry.folds):
        return fold.fold(proto, node)
    results = entry.read(node, state.builder)
    return results if isinstance(results, tuple) else (results,)


def _check_shape(state: _State, node: str, name: str, result: Any) -> None:
    declared = state.declared.get(name)
    if declared is None or isinstance(result, Unread):
        return
    shape = tuple(result.shape)
    fits = len(shape) == len(declared) and all(
        d is None or d == n for d, n in zip(declared, shape, strict=True)
    )
    if not fits:
        said = tuple("?" if d is None else d for d in declared)
        message = f"node {node!r} gives {name!r} shape {shape}, but the file says {said}"
        raise ModelError(message)


def _complaint(unsupported: list[tuple[str, str, str]]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for operator, node, reason in unsupported:
        groups.setdefault((operator, reason), []).append(node)
    parts = []
    for (operator, reason), nodes in groups.items():
        names = ", ".join(nodes)
        parts.append(f"{operator} with {reason} ({names})" if reason else f"{operator} ({names})")
    return f"no bound rules for: {'; '.join(parts)}; need {REMEDY}"


def _finish(state: _State, proto: Any, inputs: tuple[Port, ...]) -> Imported:
    operands, outputs = [], []
    for info in proto.graph.output:
        operand = _operand(state, "the network's output", info.name)
        kind = info.type.tensor_type.elem_type
        dtype = np.dtype(FLOATS.get(kind) or OTHERS.get(kind) or np.float32)
        outputs.append(Port(info.name, dtype, tuple(operand.shape)))
        operands.append(operand.reshape((outputs[-1].size,)))
    whole = (
        operands[0] if len(operands) == 1 else concatenate("outputs", state.builder, operands, 0)
    )
    if isinstance(whole, np.ndarray):
        entry = Value(0, (state.builder.input_size,))
        whole = state.builder.rearrange("outputs", entry, np.full(whole.shape, -1), whole)
    return Imported(
        state.builder.finish(whole),
        inputs,
        tuple(outputs),
        state.opset,
        {name: x for name, x in state.tensors.items() if not isinstance(x, Unread)},
        _precision(state, inputs, proto),
    )


def _precision(state: _State, inputs: tuple[Port, ...], proto: Any) -> np.dtype:
    """The coarsest type among inputs, constants and casts."""
    types = {port.dtype for port in inputs}
    types |= {x.dtype for x in state.tensors.values() if isinstance(x, np.ndarray)}
    casts = (a.i for n in proto.graph.node if n.op_type == "Cast" for a in n.attribute)
    types |= {np.dtype(FLOATS[to]) for to in casts if to in FLOATS}
    return min((t for t in types if t.kind == "f"), key=lambda t: t.itemsize)


def operator_counts(proto: Any) -> dict[str, int]:
    """How often each operator occurs, by name."""
    return dict(sorted(Counter(node.op_type for node in proto.graph.node).items()))
