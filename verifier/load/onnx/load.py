"""Read a network from an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.errors import ModelError, UnsupportedModel
from verifier.graph.passes import simplify
from verifier.load.onnx.importer import Imported, import_graph, operator_counts
from verifier.load.onnx.model import Model
from verifier.load.onnx.read import read_model

if TYPE_CHECKING:
    from verifier.load.onnx.cells import Cells


def load_model(path: str | Path) -> Model:
    """The network in an ``.onnx`` or ``.onnx.gz`` file, its graph simplified and on no backend.

    Raises:
        ModelError: the file is missing, cut off, not ONNX, or holds a broken network.
        UnsupportedModel: one error that lists every node that has no rule here.
    """
    path = Path(path)
    data, proto = read_model(path)
    try:
        return model_from(path, data, proto)
    except (ModelError, UnsupportedModel) as error:
        message = one_line(f"{path.name}: {error}")
        raise type(error)(message) from error


def one_line(text: str) -> str:
    """A message in which names from the file may stand, without line breaks."""
    return "".join(c if c.isprintable() else "?" for c in text)


def model_from(path: Path, data: bytes, proto: Any) -> Model:
    """The network of a ModelProto, which ``data`` serialises."""
    cells = None
    try:
        imported = import_graph(proto)
    except UnsupportedModel:
        found = _in_cells(proto)
        if found is None:
            raise
        imported, cells = found
    return Model(
        path=path,
        data=data,
        graph=simplify(imported.graph),
        inputs=imported.inputs,
        outputs=imported.outputs,
        opset=imported.opset,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        operators=operator_counts(proto),
        precision=imported.precision,
        cells=cells,
    )


def _in_cells(proto: Any) -> tuple[Imported, Cells] | None:
    """The network within cells of truncated inputs; None: that does not make it readable."""
    from verifier.load.onnx.cells import import_cells

    try:
        return import_cells(proto)
    except (UnsupportedModel, ModelError):
        return None


def import_again(model: Model) -> Imported:
    """The graph before any pass, with its tensors' names: to find the node at fault."""
    import onnx

    return import_graph(onnx.ModelProto.FromString(model.data))
