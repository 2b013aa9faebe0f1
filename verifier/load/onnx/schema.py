"""What ONNX says about the form of its operators' nodes: broken ones are refused here."""

from __future__ import annotations

from functools import cache
from typing import Any

from verifier.errors import ModelError
from verifier.records import dataclass


@dataclass(frozen=True)
class Form:
    """The attributes of an operator with ONNX's numbers of their types, and which are required."""

    types: dict[str, int]
    required: frozenset[str]
    least_inputs: int
    most_inputs: int


@cache
def form(op_type: str, opset: int) -> Form | None:
    """The form of an operator of the default domain; None: ONNX has no such operator."""
    from onnx import defs

    try:
        schema: Any = defs.get_schema(op_type, min(max(opset, 1), 2**30), "")
    except defs.SchemaError:
        return None
    attributes = schema.attributes.items()
    return Form(
        {name: int(given.type) for name, given in attributes},
        frozenset(name for name, given in attributes if given.required),
        schema.min_input,
        schema.max_input,
    )


def require_form(proto: Any, opset: int) -> None:
    """Refuse a node of a broken form.

    Raises:
        ModelError: an attribute has another type than its operator says, or is missing; or there
            are too few or too many inputs.
    """
    expected = form(proto.op_type, opset)
    if expected is None:
        return
    given = {a.name: a for a in proto.attribute}
    for name, attribute in given.items():
        kind = expected.types.get(name, attribute.type)
        if attribute.type != kind:
            named = type(attribute).AttributeType.DESCRIPTOR.values_by_number
            said, need = (named[k].name if k in named else str(k) for k in (attribute.type, kind))
            message = f"attribute {name!r} of type {said}, need {need}"
            raise ModelError(message)
    for name in sorted(expected.required - given.keys()):
        message = f"attribute {name!r} is missing"
        raise ModelError(message)
    count = len(proto.input)
    if not expected.least_inputs <= count <= expected.most_inputs:
        need = f"{expected.least_inputs} to {expected.most_inputs}"
        message = f"{count} inputs, need {need}"
        raise ModelError(message)
