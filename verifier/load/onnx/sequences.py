"""Sequences of tensors and optional tensors, which a network handles at constant places."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.errors import ModelError
from verifier.families.onnx_node import axis_of, move
from verifier.load.onnx.scope import Scope, Structural
from verifier.load.onnx.subgraphs import attributes, known
from verifier.ops.sum import concatenate

Operands = tuple[Any, ...]


def _sequence(operand: Any) -> list[Any]:
    if not isinstance(operand, list):
        message = "an array, need a sequence"
        raise ModelError(message)
    return operand


def _place(sequence: list[Any], operand: Any, *, ends: int) -> int:
    place = known(operand, "a place in a sequence")
    if not -len(sequence) <= place < len(sequence) + ends:
        message = f"place {place} in a sequence of {len(sequence)}"
        raise ModelError(message)
    return place


def _construct(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    return (list(operands),)


def _insert(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    sequence, new, *place = _sequence(operands[0]), *operands[1:]
    at = _place(sequence, place[0], ends=1) if place else len(sequence)
    result = list(sequence)
    result.insert(at, new)
    return (result,)


def _erase(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    sequence, *place = _sequence(operands[0]), *operands[1:]
    result = list(sequence)
    del result[_place(sequence, place[0], ends=0) if place else -1]
    return (result,)


def _at(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    sequence = _sequence(operands[0])
    return (sequence[_place(sequence, operands[1], ends=0)],)


def _length(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    return (np.array(len(_sequence(operands[0]))),)


def _split(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    """Parts of given lengths, or slices one by one."""
    given, sizes = operands[0], operands[1] if len(operands) > 1 else None
    options = attributes(proto)
    axis = axis_of(int(options.get("axis", 0)), len(given.shape))
    length = given.shape[axis]
    drop = sizes is None and not options.get("keepdims", 1)
    if sizes is None or not sizes.shape:
        step = 1 if sizes is None else known(sizes, "a length")
        places = range(step, length, step)
    else:
        known(sizes[:1], "a length")
        places = np.cumsum(sizes)[:-1]
    parts = np.split(np.arange(length), places)

    def take(i: int, part: np.ndarray) -> Any:
        index = part[0] if drop else part
        name = f"{scope.prefix}{label}/{i}"
        return move(scope.shared.builder, name, given, lambda t: np.take(t, index, axis=axis))

    return ([take(i, part) for i, part in enumerate(parts)],)


def _concatenate(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    options, parts = attributes(proto), _sequence(operands[0])
    new = bool(options.get("new_axis", 0))
    if not parts:
        message = "an empty sequence"
        raise ModelError(message)
    axis = axis_of(int(options["axis"]), len(parts[0].shape) + new)
    if new:
        parts = [x.reshape((*x.shape[:axis], 1, *x.shape[axis:])) for x in parts]
    return (concatenate(scope.prefix + label, scope.shared.builder, parts, axis),)


def _map(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    """The same subgraph for each element."""
    body, (first, *others) = attributes(proto)["body"], operands
    rows = [
        scope.inner(
            f"{label}/{i}", body, (x, *(y[i] if isinstance(y, list) else y for y in others))
        )
        for i, x in enumerate(first)
    ]
    return tuple([row[i] for row in rows] for i in range(len(body.output)))


def _same(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    return operands[:1] or (None,)


def _has_element(scope: Scope, proto: Any, label: str, operands: Operands) -> Operands:
    return (np.array(bool(operands) and operands[0] is not None),)


SEQUENCES: dict[str, Structural] = {
    "ConcatFromSequence": _concatenate,
    "Optional": _same,
    "OptionalGetElement": _same,
    "OptionalHasElement": _has_element,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _construct,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SequenceMap": _map,
    "SplitToSequence": _split,
}
