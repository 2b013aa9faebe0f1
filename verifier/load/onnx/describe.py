"""What an ONNX file holds, whether or not it is supported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifier.errors import UnsupportedModel
from verifier.load.onnx.importer import DOMAINS, operator_counts
from verifier.load.onnx.load import model_from, one_line
from verifier.load.onnx.model import Model
from verifier.load.onnx.read import read_model
from verifier.records import dataclass


@dataclass(frozen=True, eq=False)
class Description:
    """A network file in words and numbers; ``model`` is None where ``unsupported`` says why."""

    path: Path
    inputs: tuple[str, ...]
    """Each as ``name: type [shape]``, symbolic dimensions by their names."""
    outputs: tuple[str, ...]
    opset: int
    producer: str
    parameters: int
    """The number of numbers in initialisers."""
    operators: Mapping[str, int]
    model: Model | None
    unsupported: str


def describe(path: str | Path) -> Description:
    """Read a network file, and say what it holds.

    Raises:
        ModelError: the file is missing, cut off, not ONNX, or holds a broken network.
    """
    path = Path(path)
    data, proto = read_model(path)
    model, unsupported = None, ""
    try:
        model = model_from(path, data, proto)
    except UnsupportedModel as error:
        unsupported = one_line(str(error))
    initial = {tensor.name for tensor in proto.graph.initializer}
    return Description(
        path=path,
        inputs=tuple(_port(info) for info in proto.graph.input if info.name not in initial),
        outputs=tuple(_port(info) for info in proto.graph.output),
        opset=max((o.version for o in proto.opset_import if o.domain in DOMAINS), default=1),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        parameters=sum(math.prod(tensor.dims) for tensor in proto.graph.initializer),
        operators=operator_counts(proto),
        model=model,
        unsupported=unsupported,
    )


def _port(info: Any) -> str:
    from onnx import TensorProto

    tensor = info.type.tensor_type
    known = TensorProto.DataType.DESCRIPTOR.values_by_number
    number = tensor.elem_type
    kind = known[number].name.lower() if number in known else f"type {number}"
    kind = {"float": "float32", "double": "float64"}.get(kind, kind)
    sizes = ", ".join(d.dim_param or str(d.dim_value or "?") for d in tensor.shape.dim)
    return f"{info.name}: {kind} [{sizes}]"
