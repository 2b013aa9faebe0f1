"""Read an ONNX file as a list of affine and elementwise nodes over flat arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.cases import Tensor as Declared
from verifier.checker.composites import ALL_RULES
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.intervals import told_by_intervals
from verifier.checker.operators import Rule
from verifier.checker.tensors import (
    Constant,
    Node,
    NoRule,
    Step,
    Tensor,
    Values,
    Variable,
    bounded,
    exact,
)

_DOMAINS = ("", "ai.onnx")
MOST_COMPUTED = 1 << 18
"""Elements of constants, at most, that are computed with."""
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, eq=False)
class Network:
    """y = f(x): value 0 is x, flat, all inputs one after the other; node k computes value k + 1."""

    nodes: tuple[Node, ...]
    sizes: tuple[int, ...]
    """The size of each value."""
    output: int
    """The number of the value that is y, all outputs one after the other."""
    input_types: tuple[str, ...]
    single_precision: bool
    """Whether every tensor is float32, and no step may meet larger numbers than its box holds."""
    ports: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    """Of each input, then of each output: declare-input or declare-output, its type, its shape."""

    @cached_property
    def readers(self) -> list[int]:
        """How often each value is read, by a node or as the output."""
        counts = Counter([self.output, *chain.from_iterable(node.inputs for node in self.nodes)])
        return [counts[value] for value in range(len(self.sizes))]

    @cached_property
    def by_intervals(self) -> set[int]:
        """The values of which interval arithmetic tells as much as rows back to the input."""
        return told_by_intervals(self.nodes, self.sizes[0])

    def unlike(self, declared: Sequence[Declared]) -> str | None:
        """What a property of VNN-LIB 2.0 declares otherwise; axes of size 1 do not count."""
        for kind in ("declare-input", "declare-output"):
            mine = [port for port in self.ports if port[0] == kind]
            theirs = [tensor for tensor in declared if tensor.kind == kind]
            if len(mine) != len(theirs):
                return f"{len(theirs)} tensors by {kind}, the network has {len(mine)}"
            for (_, element, shape), tensor in zip(mine, theirs, strict=True):
                same = [n for n in shape if n != 1] == [n for n in tensor.shape if n != 1]
                if not same or tensor.element not in ("real", element):
                    given = f"{tensor.name} {tensor.element}{list(tensor.shape)}"
                    return f"{given}, the network {element}{list(shape)}"
        return None


@dataclass(frozen=True)
class _Missing:
    """A tensor that cannot be computed, for want of rules for these nodes."""

    labels: tuple[str, ...]


def read_network(data: bytes, arithmetic: Arithmetic, folder: Path | None = None) -> Network:
    """The network of a decompressed ONNX file; its external data may lie in ``folder`` only.

    Real arithmetic, weights exactly the file's numbers, a missing or symbolic batch size is 1.
    Raises Unreadable for a file that is no valid network, Unsupported for one without a rule.
    """
    try:
        return _read(onnx.ModelProto.FromString(data), arithmetic, folder)
    except (Unreadable, Unsupported, MemoryError):
        raise
    except Exception as error:
        raise Unreadable(f"the network cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _read(model: onnx.ModelProto, arithmetic: Arithmetic, folder: Path | None) -> Network:
    _check_header(model)
    graph = model.graph
    tensors: dict[str, Tensor | _Missing] = {t.name: _array(t, folder) for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in tensors]
    shapes = [_input_shape(i) for i in inputs]
    kinds = [onnx.helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in inputs]
    names = tuple(kind.name for kind in kinds)
    if not set(names) <= {"float16", "float32", "float64"}:
        raise Unsupported(f"inputs of type {', '.join(names)}: need floats")
    values, start = Values(arithmetic, [bounded(sum(map(prod, shapes)))]), 0
    for info, shape, kind in zip(inputs, shapes, kinds, strict=True):
        index = np.arange(start, start + prod(shape)).reshape(shape)
        start += prod(shape)
        whole = Variable(0, (values.sizes[0],), kind)
        tensors[info.name] = values.select(info.name, [whole], index)
    for node in graph.node:
        _define(node, values, tensors, folder)
    outputs = [_computed(tensors, o.name) for o in graph.output]
    every = np.arange(sum(prod(o.shape) for o in outputs))
    joined = values.select(" ".join(o.name for o in graph.output), outputs, every)
    nodes, sizes, output, kept = _prune(values, joined.value)
    _raise_terms(nodes)
    single = set(names) == {"float32"} and not values.strained and _merges_in_range(nodes)
    single = single and kept.isdisjoint(values.constants)
    given = zip(names, shapes, strict=True)
    ports = [("declare-input", name, shape) for name, shape in given]
    ports += [("declare-output", o.kind.name, o.shape) for o in outputs]
    return Network(nodes, sizes, output, names, single, tuple(ports))


def _check_header(model: onnx.ModelProto) -> None:
    graph = model.graph
    versions = {o.version for o in model.opset_import if o.domain in _DOMAINS}
    if len(versions) != 1 or not graph.output:
        raise Unreadable(f"{len(versions)} versions of ONNX, {len(graph.output)} outputs")
    if not versions <= set(range(8, 23)) or model.functions or graph.sparse_initializer:
        raise Unsupported(f"ONNX {versions}, functions or sparse constants: need 8 to 22, none")
    constants = {tensor.name for tensor in graph.initializer}
    names = [name for node in graph.node for name in node.output if name]
    names += [i.name for i in graph.input if i.name not in constants]
    if len({*names, *constants}) != len(names) + len(graph.initializer):
        raise Unreadable("a tensor is defined twice")


def _array(tensor: onnx.TensorProto, folder: Path | None) -> Constant:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if folder is None or not (folder / location).resolve().is_relative_to(folder.resolve()):
            raise Unreadable(f"constant {tensor.name} lies outside the network's folder")
    array = numpy_helper.to_array(tensor, str(folder or ""))
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise Unsupported(f"constant {tensor.name} has type {array.dtype}")
    return array


def _input_shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    sizes = [d.dim_value for d in info.type.tensor_type.shape.dim]
    if not sizes or min(sizes[1:], default=1) < 1 or sizes[0] < 0:
        raise Unsupported(f"input {info.name} has shape {sizes}: need known sizes")
    return max(sizes[0], 1), *sizes[1:]


def _define(
    node: onnx.NodeProto,
    values: Values,
    tensors: dict[str, Tensor | _Missing],
    folder: Path | None,
) -> None:
    """The node's outputs; what has no rule matters only if the network's outputs need it."""
    label = f"{node.op_type} ({node.name or node.output[0]})"
    unknown = [name for name in node.input if name and name not in tensors]
    if unknown:
        raise Unreadable(f"{label} reads {unknown[0]}, which nothing before it computes")
    read = [tensors[name] if name else None for name in node.input]
    missing = [label for t in read if isinstance(t, _Missing) for label in t.labels]
    rule = ALL_RULES.get(node.op_type) if node.domain in _DOMAINS else None
    results: Sequence[Tensor | _Missing] = []
    if rule is None:
        missing.append(label)
    elif not missing:
        attributes = _attributes(node, folder)
        given = [None if isinstance(t, _Missing) else t for t in read]
        try:
            results = _computed_by(rule, Step(values, list(node.output), attributes, given))
        except NoRule as error:
            missing.append(f"{label}: {error}")
        except (MemoryError, Unsupported):
            raise
        except Exception as error:
            raise Unreadable(f"{label}: {_line(error)}") from error
    rest = [name for name in node.output[len(results) :] if name]
    if rest and not missing and node.op_type != "Dropout":
        missing.append(f"{label}: the output {rest[0]}")
    if missing:
        results = []
    absent = _Missing(tuple(dict.fromkeys(missing or [f"{label}: the output {rest}"])))
    tensors.update(dict.fromkeys(node.output, absent))
    tensors.update(zip(node.output, results, strict=False))


def _computed_by(rule: Rule, step: Step) -> Sequence[Tensor]:
    """What the rule makes of the node; arithmetic between constants, of one that is a value.

    A value that does not depend on the input: its sums and products need not be float64 numbers.
    Where that does not work either, the node has no rule.
    """
    again = replace(step, attributes=dict(step.attributes), inputs=list(step.inputs))
    try:
        results = rule(step)
    except NoRule as error:
        constants = [x for x in again.inputs if isinstance(x, np.ndarray)]
        fitting = len(constants) == sum(x is not None for x in again.inputs) > 0
        if not fitting or sum(c.size for c in constants) > MOST_COMPUTED:
            raise
        try:
            again.inputs[0] = _as_value(again)
            step, results = again, _without_strain(rule, again)
        except MemoryError:
            raise
        except Exception:
            raise error from None
    step.finish()
    return results


def _as_value(step: Step) -> Variable:
    """The first input of a node, a constant, as a value with weights 0."""
    first = step.inputs[0]
    if not isinstance(first, np.ndarray) or first.dtype not in _FLOATS:
        raise NoRule("no constant that could be a value")
    whole = Variable(0, (step.values.sizes[0],), first.dtype)
    index, pool = -1 - np.arange(first.size).reshape(first.shape), exact(first, whole).reshape(-1)
    value = step.values.select(f"{step.outputs[0]}:constant", [whole], index, pool)
    step.values.constants.append(value.value)
    return value


def _without_strain(rule: Rule, step: Step) -> list[Tensor]:
    """What a rule makes of constants: nothing is claimed for float32 where that is needed at all.

    Runtimes compute it beforehand, and merge the result with affine nodes before and after.
    """
    before = len(step.values.strained)
    results = rule(step)
    del step.values.strained[before:]
    return results


def _attributes(node: onnx.NodeProto, folder: Path | None) -> dict[str, Any]:
    """By name, of the types that the operator's definition in the onnx package asks for."""
    schema: Any = onnx.defs.get_schema(node.op_type)
    wanted = schema.attributes
    for a in node.attribute:
        if a.name in wanted and a.type != wanted[a.name].type.value:
            raise Unreadable(f"attribute {a.name} of {node.op_type} has another type than its own")
        if a.type == onnx.AttributeProto.UNDEFINED or a.ref_attr_name:
            raise Unreadable(f"attribute {a.name} of {node.op_type} has no value")
    if len({a.name for a in node.attribute}) != len(node.attribute):
        raise Unreadable(f"{node.op_type} has an attribute twice")
    return {a.name: _attribute(a, folder) for a in node.attribute}


def _attribute(attribute: onnx.AttributeProto, folder: Path | None) -> Any:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _array(attribute.t, folder)
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, float) and not isfinite(value):
        raise Unreadable(f"attribute {attribute.name} is not finite")
    return value.decode() if isinstance(value, bytes) else value


def _computed(tensors: dict[str, Tensor | _Missing], name: str) -> Variable:
    tensor = tensors.get(name)
    if isinstance(tensor, _Missing):
        raise Unsupported(f"no rule for {', '.join(tensor.labels)}")
    if not isinstance(tensor, Variable):
        raise Unreadable(f"output {name} does not depend on the inputs")
    return tensor


def _prune(
    values: Values, output: int
) -> tuple[tuple[Node, ...], tuple[int, ...], int, frozenset[int]]:
    """Only the nodes that the output depends on, with new numbers, and their old ones."""
    wanted = {0, output}
    for value in range(len(values.nodes), 0, -1):
        if value in wanted:
            wanted.update(values.nodes[value - 1].inputs)
    kept = sorted(wanted)
    number = {old: new for new, old in enumerate(kept)}
    nodes = [values.nodes[old - 1] for old in kept[1:]]
    nodes = [replace(node, inputs=tuple(number[i] for i in node.inputs)) for node in nodes]
    sizes = tuple(values.sizes[old] for old in kept)
    return tuple(nodes), sizes, number[output], frozenset(kept)


def _merges_in_range(nodes: Sequence[Node]) -> bool:
    """Whether the weights of a chain of affine nodes, merged into one by a runtime, are float32.

    Their products must neither overflow nor lose digits to underflow: in powers of two, the least
    and the greatest product of weights along any part of a chain stay within float32's range.
    """
    least, greatest = [0.0] * (len(nodes) + 1), [0.0] * (len(nodes) + 1)
    for value, node in enumerate(nodes, 1):
        if not isinstance(node.rule, Affine):
            continue
        low, high = node.rule.extent
        before = min(least[i] for i in node.inputs), max(greatest[i] for i in node.inputs)
        least[value], greatest[value] = low + min(before[0], 0.0), high + max(before[1], 0.0)
        if any(before) and (least[value] < -120 or greatest[value] > 120):
            return False
    return True


def _raise_terms(nodes: Sequence[Node]) -> None:
    """Let float32 errors cover runtimes that merge affine nodes with affine ones after them.

    Say a runtime merges a product (Conv, Gemm, MatMul), z = W x + b, with diagonal and residual
    nodes that alone read it, y = D z + E r + c: it may start the sums at c or r, and round the
    products D W. Every elementary product is still rounded at most N times, N the sum of the
    nodes' terms: y is off by at most gamma_N (|D| (|W| |x| + |b|) + |E| |r| + |c|). With terms N
    for both nodes, the first is charged |D| gamma_N (|W| |x| + |b|), the second the rest: the same.
    N is the greatest sum over the chains of affine nodes through each node; 0 remains 0, as
    nodes that only move numbers round nothing.
    """
    rules = [node.rule if isinstance(node.rule, Affine) else None for node in nodes]
    own = [0, *(rule.terms_float32 if rule else 0 for rule in rules)]
    before, after = own.copy(), own.copy()
    for value, node in enumerate(nodes, 1):
        if rules[value - 1]:
            before[value] += max(before[i] for i in node.inputs)
    for value in range(len(nodes), 0, -1):
        for source in nodes[value - 1].inputs if rules[value - 1] else ():
            after[source] = max(after[source], own[source] + after[value])
    for value, rule in enumerate(rules, 1):
        if rule and own[value]:
            rule.terms_float32 = before[value] + after[value] - own[value]
