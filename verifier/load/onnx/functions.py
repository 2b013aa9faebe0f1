"""Operators that are defined by other operators: in the file itself, or by ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.errors import UnsupportedModel


def resolved(node: Any, given: dict[str, Any]) -> Any:
    """A node of a function's body with the attributes that the function was called with."""
    if not any(attribute.ref_attr_name for attribute in node.attribute):
        return node
    result = type(node)()
    result.CopyFrom(node)
    del result.attribute[:]
    for attribute in node.attribute:
        source = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if source is not None:
            result.attribute.append(source)
            result.attribute[-1].name = attribute.name
    return result


def defined(op_type: str) -> bool:
    """Does ONNX define an operator by others?"""
    import onnx

    schema: Any = onnx.defs.get_schema(op_type) if onnx.defs.has(op_type) else None
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def definition(node: Any, operands: tuple[Any, ...], opset: int, element: int) -> Any:
    """ONNX's own definition of an operator as a FunctionProto; None: it has none.

    ``element`` is ONNX's number of the type of computed operands.
    """
    import onnx
    from onnx import defs

    try:
        schema: Any = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError:
        return None
    own = [v for v in schema.function_opset_versions if v <= opset]
    dependent = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if own:
        data = schema.get_function_with_opset_version(max(own))
    elif dependent:
        types = [_type(x, element).SerializeToString() for x in operands]
        data = schema.get_context_dependent_function_with_opset_version(
            max(dependent), node.SerializeToString(), types
        )
    else:
        return None
    body = onnx.FunctionProto.FromString(data)
    for name, default in schema.attributes.items():
        if default.default_value.name:
            body.attribute_proto.append(default.default_value)
            body.attribute_proto[-1].name = name
    return body


def _type(operand: Any, element: int) -> Any:
    """What ONNX calls the type of an operand: its elements' and its shape."""
    import onnx
    from onnx import helper

    if operand is None:
        return onnx.TypeProto()
    if isinstance(operand, np.ndarray):
        try:
            element = helper.np_dtype_to_tensor_dtype(operand.dtype)
        except (KeyError, ValueError):
            message = f"constants of type {operand.dtype}"
            raise UnsupportedModel(message) from None
    return helper.make_tensor_type_proto(element, list(operand.shape))
