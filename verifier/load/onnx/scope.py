"""The nodes of an ONNX graph, read one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.onnx_node import OnnxNode
from verifier.families.registry import Entry, reader_of
from verifier.graph import Builder, Value
from verifier.load.onnx import fold, functions, read
from verifier.load.onnx.needed import used
from verifier.load.onnx.schema import require_form
from verifier.ops.shapes import FLOATS
from verifier.records import dataclass

DOMAINS = ("", "ai.onnx")
MASKS = frozenset(("Add", "Concat", "Equal", "Greater", "Less", "Pad", "Sub"))
"""Operators that infinite constants reach as attention masks."""
MOVERS = frozenset(
    (
        *("Cast", "CastLike", "Expand", "Flatten", "Gather", "Identity", "IsInf", "IsNaN"),
        *("Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"),
    )
)
"""Operators that may read a value of which some elements are no numbers."""
MASK_READERS = frozenset(("Add", "Softmax"))
"""Operators that may also read minus infinity."""
INFINITE_ALLOWED = frozenset(("Clip", "Min", "Max", "Where"))
"""Operators that may read an infinite constant: as a bound that is none, or to leave it out."""
BROKEN = (ValueError, TypeError, IndexError, ArithmeticError)
"""What arithmetic on shapes and constants raises where these do not fit their operator."""
DEEPEST = 40
"""How deep subgraphs and functions may be nested."""


class Unread:
    """The value of a node that could not be read."""


Structural = Callable[["Scope", Any, str, tuple[Any, ...]], "tuple[Any, ...] | None"]
"""``(scope, node, label, operands) -> outputs`` of an operator with subgraphs or sequences."""


@dataclass(frozen=True)
class Shared:
    """What all scopes of one import share."""

    builder: Builder
    structural: Mapping[str, Structural]
    functions: Mapping[tuple[str, str], Any]
    """The model's own functions, by domain and name."""
    element: int
    """ONNX's number of the inputs' type."""
    unsupported: list[tuple[str, str, str]] = field(default_factory=list)
    """(operator, node, restriction that it breaks; empty: the operator itself)."""
    types: set[np.dtype] = field(default_factory=set)
    """Of constants and casts."""


@dataclass
class Scope:
    """The tensors that are known by name in a graph, a subgraph, or the body of a function."""

    shared: Shared
    opset: int
    prefix: str = ""
    parent: Scope | None = None
    depth: int = 0
    tensors: dict[str, Any] = field(default_factory=dict)
    """Values of the graph, constants, lists of these, None for what is left out."""
    constants: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    """Tensors that are outputs, or that some node reads."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Those that the caller of a function gives it, as protocol buffers."""

    def lookup(self, reader: str, name: str) -> Any:
        """A named tensor: a value, a constant, None where it is left out."""
        if not name:
            return None
        if name in self.tensors:
            return self.tensors[name]
        if name in self.constants:
            self.bind(name, read.array(self.constants[name]))
            return self.tensors[name]
        if self.parent is not None:
            return self.parent.lookup(reader, name)
        message = f"node {reader!r} reads {name!r}, which nothing before it computes"
        raise ModelError(message)

    def bind(self, name: str, tensor: Any) -> None:
        """Give a tensor its name."""
        self.tensors[name] = tensor
        if isinstance(tensor, np.ndarray):
            self.shared.types.add(tensor.dtype)

    def inner(self, label: str, graph: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs of a subgraph, which sees the names of this scope."""
        child = Scope(self.shared, self.opset, f"{self.prefix}{label}/", self, self._deeper(label))
        child.attributes, child.used = self.attributes, self.used
        child.constants = initialisers(graph)
        for info, tensor in zip(graph.input, inputs, strict=True):
            child.bind(info.name, tensor)
        return child._outputs(label, graph.node, [info.name for info in graph.output])

    def call(self, label: str, node: Any, body: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs of a function, which sees its inputs and attributes only."""
        opset = max((o.version for o in body.opset_import if o.domain in DOMAINS), default=0)
        child = Scope(
            self.shared, opset or self.opset, f"{self.prefix}{label}/", None, self._deeper(label)
        )
        child.attributes = {a.name: a for a in (*body.attribute_proto, *node.attribute)}
        child.used = used(body.node, body.output)
        child.tensors = dict.fromkeys(body.input)
        for name, tensor in zip(body.input, inputs, strict=False):
            child.bind(name, tensor)
        wanted = [bool(name) for name in node.output]
        names = [name if want else "" for name, want in zip(body.output, wanted, strict=False)]
        return child._outputs(label, body.node, names)

    def _outputs(self, label: str, nodes: Iterable[Any], names: Iterable[str]) -> tuple[Any, ...]:
        for node in nodes:
            read_node(self, node)
        return tuple(self.lookup(label, name) for name in names)

    def _deeper(self, label: str) -> int:
        if self.depth == DEEPEST:
            message = f"node {label!r}: subgraphs or functions nested over {DEEPEST} levels deep"
            raise ModelError(message)
        return self.depth + 1


def initialisers(graph: Any) -> dict[str, Any]:
    """The constant tensors of a graph, not decoded yet."""
    sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
    return {**sparse, **{tensor.name: tensor for tensor in graph.initializer}}


def read_node(scope: Scope, proto: Any) -> None:
    """Add a node to the graph, or note why that is not possible."""
    label = proto.name or next((o for o in proto.output if o), proto.op_type)
    operands = tuple(scope.lookup(label, name) for name in proto.input)
    try:
        results = _results(scope, functions.resolved(proto, scope.attributes), label, operands)
    except UnsupportedModel as error:
        scope.shared.unsupported.append((proto.op_type, scope.prefix + label, str(error)))
        results = None
    except (ModelError, *BROKEN) as error:
        problem = str(error).strip().split("\n", 1)[0]
        message = f"node {label!r} ({proto.op_type}): {problem}"
        raise ModelError(message) from error
    if results is None:
        results = (Unread(),) * len(proto.output)
    for name, result in zip(proto.output, results, strict=False):
        if name:
            _check_shape(scope, label, name, result)
            scope.bind(name, result)
            if isinstance(result, Value) and not scope.depth:
                scope.shared.builder.label(result, name)


def _results(
    scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    """The outputs of a node; None where it reads what could not be read."""
    if any(isinstance(x, Unread) for x in operands):
        return None if _has_rule(scope, proto) else _refused(scope, proto.op_type, label)
    _refuse_odd(scope.shared.builder, proto, operands)
    body = scope.shared.functions.get((proto.domain, proto.op_type))
    if body is not None:
        return scope.call(label, proto, body, operands)
    if proto.domain not in DOMAINS:
        if reader_of(_rule(proto)) is None:
            return _refused(scope, f"{proto.op_type} of domain {proto.domain!r}", label)
        return _operator(scope, proto, label, operands)
    require_form(proto, scope.opset)
    if proto.op_type in scope.shared.structural:
        return scope.shared.structural[proto.op_type](scope, proto, label, operands)
    if any(isinstance(x, list) for x in operands):
        message = "a sequence, need an array"
        raise ModelError(message)
    return _operator(scope, proto, label, operands)


def _rule(proto: Any) -> str:
    """The name of an operator in the registry, before it its domain where it has one."""
    if "." in proto.op_type:
        return ""  # Which would pass for a domain.
    return proto.op_type if proto.domain in DOMAINS else f"{proto.domain}.{proto.op_type}"


def _has_rule(scope: Scope, proto: Any) -> bool:
    """Might the operator be read, if what it reads were?"""
    if (proto.domain, proto.op_type) in scope.shared.functions or proto.domain not in DOMAINS:
        return True
    if reader_of(_rule(proto)) is not None or proto.op_type in scope.shared.structural:
        return True
    return functions.defined(proto.op_type)


def _operator(
    scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    entry = reader_of(_rule(proto))
    foldable = all(x is None or isinstance(x, np.ndarray) for x in operands)
    if entry is None and not foldable:
        return _by_definition(scope, proto, label, operands)
    if proto.op_type == "Split" and not all(proto.output):
        # ONNX Runtime 1.31 ends with a segmentation fault.
        message = "an output that is left out; name all of them"
        raise UnsupportedModel(message)
    attributes = {a.name: read.attribute(a) for a in proto.attribute}
    wanted = set(proto.output) if proto.op_type == "Split" else scope.used
    outputs = max((i for i, name in enumerate(proto.output, start=1) if name in wanted), default=1)
    name = scope.prefix + label
    node = OnnxNode(proto.op_type, name, scope.opset, attributes, operands, outputs)
    if node.op_type == "Constant":
        return (fold.constant(node),)
    if node.op_type == "Cast" and node.flag("to", 0) in FLOATS:
        scope.shared.types.add(np.dtype(FLOATS[node.flag("to", 0)]))
    if not foldable:
        _refuse_infinite(proto, operands)
    return _read(scope, proto, node, entry if entry and (entry.folds or not foldable) else None)


def _read(scope: Scope, proto: Any, node: OnnxNode, entry: Entry | None) -> tuple[Any, ...]:
    if entry is None:
        return fold.fold(proto, node)
    results = entry.read(node, scope.shared.builder)
    results = results if isinstance(results, tuple) else (results,)
    # Arithmetic of NumPy makes plain numbers of arrays without axes.
    return tuple(np.asarray(x) if isinstance(x, np.generic) else x for x in results)


def _by_definition(
    scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    """An operator without a reader that ONNX itself defines by others."""
    body = functions.definition(proto, operands, scope.opset, scope.shared.element)
    if body is None:
        return _refused(scope, proto.op_type, label)
    before = len(scope.shared.unsupported)
    results = scope.call(label, proto, body, operands)
    if len(scope.shared.unsupported) == before:
        return results
    missing = {operator for operator, _, _ in scope.shared.unsupported[before:]}
    del scope.shared.unsupported[before:]
    needs = f"a definition by operators without rules, {', '.join(sorted(missing))}"
    scope.shared.unsupported.append((proto.op_type, scope.prefix + label, needs))
    return None


def _refused(scope: Scope, operator: str, label: str) -> None:
    scope.shared.unsupported.append((operator, scope.prefix + label, ""))


def _refuse_odd(builder: Builder, proto: Any, operands: tuple[Any, ...]) -> None:
    for name, operand in zip(proto.input, operands, strict=True):
        odd = builder.odd.get(operand.number) if isinstance(operand, Value) else None
        if odd is None or (proto.op_type in MOVERS and proto.domain in DOMAINS):
            continue
        if np.isnan(odd).any():
            message = f"a softmax of nothing but minus infinity in {name!r}, need a mask of -1e9"
            raise UnsupportedModel(message)
        if proto.op_type not in MASK_READERS or proto.domain not in DOMAINS:
            message = f"minus infinity in {name!r}, which only Softmax may read"
            raise UnsupportedModel(message)


def _is_mask(proto: Any, operands: tuple[Any, ...], numbers: np.ndarray) -> bool:
    """Is a constant added whose infinite numbers are all minus infinity?"""
    added = proto.op_type == "Add" and any(isinstance(x, Value) for x in operands)
    return added and not np.isnan(numbers).any() and not np.isposinf(numbers).any()


def _refuse_infinite(proto: Any, operands: tuple[Any, ...]) -> None:
    for name, numbers in zip(proto.input, operands, strict=True):
        if not isinstance(numbers, np.ndarray) or numbers.dtype.kind != "f":
            continue
        finite = np.isfinite(numbers)
        allowed = proto.op_type in INFINITE_ALLOWED and not np.isnan(numbers).any()
        if finite.all() or allowed or _is_mask(proto, operands, numbers):
            continue
        if proto.op_type in MASKS and not np.isnan(numbers).any():
            message = f"infinite numbers in {name!r}, need finite ones (a mask of -1e9)"
            raise UnsupportedModel(message)
        count = int((~finite).sum())
        message = f"{name!r} holds {count} numbers that are NaN or infinite, need finite ones"
        raise ModelError(message)


def _check_shape(scope: Scope, node: str, name: str, result: Any) -> None:
    declared = scope.declared.get(name)
    if declared is None or not isinstance(result, (Value, np.ndarray)):
        return
    if all(d is None for d in declared):
        return  # Converters leave even the number of axes wrong then.
    shape = tuple(result.shape)
    fits = len(shape) == len(declared) and all(
        d is None or d == n for d, n in zip(declared, shape, strict=True)
    )
    if not fits:
        said = tuple("?" if d is None else d for d in declared)
        message = f"node {node!r} gives {name!r} shape {shape}, but the file says {said}"
        raise ModelError(message)
