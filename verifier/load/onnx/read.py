"""From a file to an ONNX protocol buffer."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from verifier.errors import ModelError
from verifier.families.onnx_node import bounded
from verifier.load.files import read_regular

GZIP = b"\x1f\x8b"


def read_model(path: Path) -> tuple[bytes, Any]:
    """The decompressed bytes, with external data inside, and the ModelProto.

    Raises:
        ModelError: the file cannot be read, or holds no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    data = _bytes(path)
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        message = f"{path.name} is not ONNX, or is cut off: {error}"
        raise ModelError(message) from None
    if not proto.graph.output or not proto.opset_import:
        message = f"{path.name} is not ONNX: it holds no network with outputs and an opset"
        raise ModelError(message)
    if not _is_text(proto):
        message = f"{path.name} is not ONNX: it holds a name that is not UTF-8"
        raise ModelError(message)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(proto)):
        data = _with_external_data(path, proto)
    return data, proto


def _bytes(path: Path) -> bytes:
    try:
        data = read_regular(path)
        return gzip.decompress(data) if data[:2] == GZIP else data
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or str(error)
        message = f"{path} cannot be read: {problem}; need an ONNX file"
        raise ModelError(message) from None


def _is_text(message: Any) -> bool:
    """Are all strings text? Protocol buffers give those that are not as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            texts = [value] if isinstance(value, (str, bytes)) else value
            if not all(isinstance(text, str) for text in texts):
                return False
        elif field.type == field.TYPE_MESSAGE:
            parts = [value] if hasattr(value, "ListFields") else value
            if not all(map(_is_text, parts)):
                return False
    return True


def _tensors(proto: Any) -> Iterator[Any]:
    yield from proto.graph.initializer
    for node in proto.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _with_external_data(path: Path, proto: Any) -> bytes:
    from onnx import external_data_helper

    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
        return proto.SerializeToString()
    except (OSError, ValueError, onnx_errors()) as error:
        message = f"external data of {path.name} cannot be read: {_first_line(error)}"
        raise ModelError(message) from None


def onnx_errors() -> type[Exception]:
    """What the ``onnx`` package raises on models that break its rules."""
    from onnx import checker

    return checker.ValidationError


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def array(tensor: Any) -> np.ndarray:
    """The numbers of a TensorProto or SparseTensorProto in their own type."""
    from onnx import SparseTensorProto, numpy_helper

    if isinstance(tensor, SparseTensorProto):
        return _dense(tensor)
    try:
        numbers = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        message = f"constant {tensor.name!r} cannot be read: {_first_line(error)}"
        raise ModelError(message) from None
    if numbers.dtype.kind == "c":
        message = f"constant {tensor.name!r} holds complex numbers, need real ones"
        raise ModelError(message)
    return numbers


def _dense(tensor: Any) -> np.ndarray:
    values, places = array(tensor.values), array(tensor.indices)
    result = np.zeros(bounded(tensor.dims), values.dtype)
    try:
        if places.ndim == 1:
            result.reshape(-1)[places] = values
        else:
            result[tuple(places.T)] = values
    except (ValueError, IndexError) as error:
        message = f"sparse constant {tensor.values.name!r} cannot be read: {_first_line(error)}"
        raise ModelError(message) from None
    return result


def attribute(proto: Any) -> Any:
    """An attribute as a Python or NumPy value; graphs stay protocol buffers."""
    from onnx import AttributeProto as Kinds

    convert = {
        Kinds.FLOAT: lambda: proto.f,
        Kinds.INT: lambda: proto.i,
        Kinds.STRING: lambda: _text(proto.s),
        Kinds.TENSOR: lambda: array(proto.t),
        Kinds.SPARSE_TENSOR: lambda: array(proto.sparse_tensor),
        Kinds.FLOATS: lambda: tuple(proto.floats),
        Kinds.INTS: lambda: tuple(proto.ints),
        Kinds.STRINGS: lambda: tuple(_text(s) for s in proto.strings),
    }
    return convert.get(proto.type, lambda: proto)()


def _text(encoded: bytes) -> str:
    return encoded.decode("utf-8", errors="replace")
