"""Operators with subgraphs, whose course must be known when the network is loaded: unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.onnx_node import axis_of, move
from verifier.graph import Value
from verifier.load.onnx import read
from verifier.load.onnx.scope import Scope, Unread
from verifier.ops.logic import mix
from verifier.ops.shapes import FLOATS, OTHERS
from verifier.ops.sum import concatenate

ROUNDS = 2_000
"""The longest loop that is unrolled."""

Results = tuple[Any, ...] | None


def attributes(proto: Any) -> dict[str, Any]:
    """A node's attributes as Python values, subgraphs as protocol buffers."""
    return {a.name: a.g if a.HasField("g") else read.attribute(a) for a in proto.attribute}


def known(operand: Any, what: str) -> int:
    """The one number of a constant."""
    if not isinstance(operand, np.ndarray):
        message = f"{what} that depends on the input"
        raise UnsupportedModel(message)
    if operand.size != 1:
        message = f"{what} of shape {operand.shape}, need one number"
        raise ModelError(message)
    return int(operand.reshape(-1)[0])


def read_if(scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]) -> Results:
    """The branch that a constant condition chooses; both, mixed, where it is computed."""
    given = attributes(proto)
    if isinstance(operands[0], Value):
        return _mixed(scope, given, label, operands[0])
    branch = "then_branch" if known(operands[0], "a condition") else "else_branch"
    return scope.inner(label, given[branch], ())


def _mixed(scope: Scope, given: dict[str, Any], label: str, condition: Value) -> Results:
    """What two branches compute, each where it is chosen: arrays of equal shapes."""
    before = len(scope.shared.unsupported)
    sides = [scope.inner(f"{label}/{b}", given[f"{b}_branch"], ()) for b in ("then", "else")]
    if len(scope.shared.unsupported) > before:
        return None
    results = []
    for i, (yes, no) in enumerate(zip(*sides, strict=True)):
        arrays = all(isinstance(x, (Value, np.ndarray)) for x in (yes, no))
        if condition.size != 1 or not arrays or tuple(yes.shape) != tuple(no.shape):
            message = "a condition that depends on the input, and branches of different shapes"
            raise UnsupportedModel(message)
        name = f"{scope.prefix}{label}/{i}"
        results.append(mix(name, scope.shared.builder, condition.reshape(()), (yes, no)))
    return tuple(results)


def read_loop(scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]) -> Results:
    """Round after round, while constants say so."""
    body = attributes(proto)["body"]
    limit, condition, *carried = (*operands, None, None)[: max(2, len(operands))]
    rounds = None if limit is None else known(limit, "a number of rounds")
    going = condition is None or bool(known(condition, "a condition"))
    scans: list[Sequence[Any]] = []
    while going and (rounds is None or len(scans) < rounds):
        if len(scans) == ROUNDS:
            message = f"more than {ROUNDS} rounds"
            raise UnsupportedModel(message)
        before = len(scope.shared.unsupported)
        start = (np.array(len(scans)), np.array(going), *carried)
        after, *results = scope.inner(f"{label}/{len(scans)}", body, start)
        if len(scope.shared.unsupported) > before or isinstance(after, Unread):
            return None
        going = bool(known(after, "a condition"))
        scans.append(results[len(carried) :])
        carried = results[: len(carried)]
    infos = body.output[1 + len(carried) :]
    stacked = [
        _stack(scope, f"{label}/{info.name}", [row[i] for row in scans], info)
        for i, info in enumerate(infos)
    ]
    return (*carried, *stacked)


def _stack(scope: Scope, name: str, parts: list[Any], info: Any, axis: int = 0) -> Any:
    """Arrays along a new axis; of none, an empty one of the shape that the file declares."""
    if parts:
        axis = axis_of(axis, len(parts[0].shape) + 1)
        wide = [x.reshape((*x.shape[:axis], 1, *x.shape[axis:])) for x in parts]
        return concatenate(scope.prefix + name, scope.shared.builder, wide, axis)
    kind, dims = info.type.tensor_type.elem_type, info.type.tensor_type.shape.dim
    shape = [0, *(d.dim_value for d in dims)]
    return np.zeros(shape, FLOATS.get(kind) or OTHERS.get(kind) or np.float32)


def read_scan(scope: Scope, proto: Any, label: str, operands: tuple[Any, ...]) -> Results:
    """One round for each slice of the scanned inputs."""
    if scope.opset < 9:
        message = f"opset {scope.opset}, need 9 or later"
        raise UnsupportedModel(message)
    given = attributes(proto)
    body, count = given["body"], int(given["num_scan_inputs"])
    states, scanned = list(operands[:-count]), operands[-count:]
    outputs = len(body.output) - len(states)
    in_axes, in_turned = (
        given.get(f"scan_input_{x}") or (0,) * count for x in ("axes", "directions")
    )
    out_axes, out_turned = (
        given.get(f"scan_output_{x}") or (0,) * outputs for x in ("axes", "directions")
    )
    in_axes = [axis_of(a, len(x.shape)) for a, x in zip(in_axes, scanned, strict=True)]
    length = scanned[0].shape[in_axes[0]]
    rows = []
    for step in range(length):
        slices = [
            _slice(
                scope, f"{label}/{step}/in{i}", x, in_axes[i], length - 1 - step if turned else step
            )
            for i, (x, turned) in enumerate(zip(scanned, in_turned, strict=True))
        ]
        before = len(scope.shared.unsupported)
        results = scope.inner(f"{label}/{step}", body, (*states, *slices))
        if len(scope.shared.unsupported) > before:
            return None
        states = list(results[: len(states)])
        rows.append(results[len(states) :])
    stacked = []
    for i, info in enumerate(body.output[len(states) :]):
        parts = [row[i] for row in rows][:: -1 if out_turned[i] else 1]
        stacked.append(_stack(scope, f"{label}/{info.name}", parts, info, out_axes[i]))
    return (*states, *stacked)


def _slice(scope: Scope, name: str, operand: Any, axis: int, place: int) -> Any:
    builder = scope.shared.builder
    return move(builder, scope.prefix + name, operand, lambda t: np.take(t, place, axis=axis))


SUBGRAPHS = {"If": read_if, "Loop": read_loop, "Scan": read_scan}
