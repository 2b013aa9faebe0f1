"""Networks that use some inputs as places: Slice at starts that are a Cast of an input.

Such inputs are truncated to integers, and only these are used. Within a *cell*, where the integers
are constant, everything that is computed from them alone is constant as well: the *settings*. The
network is then an ordinary one over its inputs and the settings. Which tensors these are follows
from the graph: all that the integers determine and that a node reads which depends on other inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families import Rearrange
from verifier.graph import Graph
from verifier.graph.passes import simplify
from verifier.load.onnx import runtime
from verifier.load.onnx.importer import Imported, import_graph
from verifier.load.onnx.needed import needed, reads
from verifier.load.onnx.scope import initialisers
from verifier.records import dataclass
from verifier.tensors import distinct

SHAPES = frozenset(("Shape", "Size"))
"""Operators whose output does not depend on what their input holds."""
MOST_SETTINGS = 10_000_000


@dataclass(frozen=True, eq=False)
class Cells:
    """What the integers of a network determine.

    Attributes:
        inputs: int64 [k], the inputs that are truncated to integers, ascending
        size: how many numbers the settings are
        computed: the settings' tensors, by name
        session: ONNX Runtime's, for these tensors
    """

    inputs: np.ndarray
    size: int
    computed: tuple[str, ...]
    session: Any

    def settings(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        """The settings at a point ``[size]``.

        Raises:
            ModelError: ONNX Runtime cannot compute them there, or their shapes are others.
        """
        found = runtime.outputs(self.session, self.computed, feeds)
        flat = np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in found])
        if len(flat) != self.size:
            message = f"{len(flat)} numbers that integers determine, not {self.size} as elsewhere"
            raise ModelError(message)
        return flat


def import_cells(proto: Any) -> tuple[Imported, Cells] | None:
    """The network over its inputs and its settings, simplified; None: it has none.

    Raises:
        UnsupportedModel: within a cell, some nodes still have no rule.
    """
    casts = _integers(proto)
    if not casts:
        return None
    trace = _Trace.of(proto, set(casts))
    names = tuple(trace.settings())
    inputs = distinct(np.concatenate(list(casts.values())))
    if not names:
        return None
    session = runtime.session(_asking(proto, names).SerializeToString())
    given = [info for info in proto.graph.input if info.name not in initialisers(proto.graph)]
    zero = {info.name: np.zeros(_shape(info), dtype=_dtype(info)) for info in given}
    arrays = runtime.outputs(session, names, zero)
    size = sum(np.asarray(array).size for array in arrays)
    if not 0 < size <= MOST_SETTINGS:
        return None
    shapes = {name: np.shape(array) for name, array in zip(names, arrays, strict=True)}
    imported = import_graph(_given(proto, shapes, arrays, trace.needed(names)))
    own = replace(imported, inputs=imported.inputs[: len(given)])
    return own, Cells(inputs, size, names, session)


def _integers(proto: Any) -> dict[str, np.ndarray]:
    """The tensors that are truncated inputs, and the numbers of these inputs."""
    from onnx import TensorProto

    kinds = {TensorProto.INT32, TensorProto.INT64}
    casts = [
        node
        for node in proto.graph.node
        if node.op_type == "Cast" and any(a.name == "to" and a.i in kinds for a in node.attribute)
    ]
    found = {}
    for node in casts:
        places = _moved(proto, node.input[0])
        if places is not None:
            found[node.output[0]] = places
    return found


def _moved(proto: Any, name: str) -> np.ndarray | None:
    """The inputs that a tensor's elements are; None where they are computed."""
    if name in {info.name for info in proto.graph.input}:
        return None
    trace = _Trace.of(proto, set())
    if not trace.given & trace.sources(name):
        return None
    try:
        graph = simplify(import_graph(_asking(proto, (name,), pruned=True)).graph)
    except (UnsupportedModel, ModelError):
        return None
    return _places(graph)


def _places(graph: Graph) -> np.ndarray | None:
    if graph.output == 0:
        return np.arange(graph.input_size)
    (node,) = graph.nodes if len(graph.nodes) == 1 else (None,)
    operator = None if node is None else node.operator
    if not isinstance(operator, Rearrange) or operator.kept is not None:
        return None
    return np.asarray(operator.index)


@dataclass(frozen=True, eq=False)
class _Trace:
    """What each tensor of the main graph is computed from.

    Attributes:
        nodes: of the graph
        given: the graph's inputs
        integers: the truncated inputs
        depends: tensors that depend on inputs other than by the integers
        varies: tensors that depend on the integers
    """

    nodes: tuple[Any, ...]
    given: frozenset[str]
    outputs: tuple[str, ...]
    integers: frozenset[str]
    depends: frozenset[str]
    varies: frozenset[str]

    @staticmethod
    def of(proto: Any, integers: set[str]) -> _Trace:
        constants = initialisers(proto.graph)
        given = frozenset(i.name for i in proto.graph.input if i.name not in constants)
        depends, varies = set(given), set()
        for node in proto.graph.node:
            read = set(reads(node))
            if node.op_type in SHAPES and not node.domain:
                depends_now = False
            else:
                depends_now = bool(read & depends) and not integers & set(node.output)
            if depends_now:
                depends.update(node.output)
            if read & varies or integers & set(node.output):
                varies.update(node.output)
        outputs = tuple(info.name for info in proto.graph.output)
        return _Trace(
            tuple(proto.graph.node), given, outputs, frozenset(integers), frozenset(depends),
            frozenset(varies - {""}),
        )  # fmt: skip

    def settings(self) -> Iterator[str]:
        """Tensors that only the integers determine, and that others read, or that are outputs."""
        pure = self.varies - self.depends
        found = dict.fromkeys(name for name in self.outputs if name in pure)
        for node in self.nodes:
            if node.output and node.output[0] in self.depends:
                found.update(dict.fromkeys(name for name in reads(node) if name in pure))
        yield from found

    def needed(self, known: tuple[str, ...]) -> tuple[Any, ...]:
        """The nodes that the outputs need where some tensors are known."""
        return needed(self.nodes, self.outputs, known)

    def sources(self, name: str) -> set[str]:
        """All tensors that one is computed from."""
        wanted = {name}
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted.update(reads(node))
        return wanted


def _asking(proto: Any, names: tuple[str, ...], *, pruned: bool = False) -> Any:
    """The model with other outputs."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.output[:]
    result.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    if pruned:
        trace = _Trace.of(result, set())
        _keep(result, trace.needed(()))
    return result


def _given(
    proto: Any, shapes: dict[str, tuple[int, ...]], arrays: list[np.ndarray], nodes: tuple[Any, ...]
) -> Any:
    """The model with some tensors as further inputs, and only the nodes that are needed then."""
    import onnx
    from onnx import helper

    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for (name, shape), array in zip(shapes.items(), arrays, strict=True):
        kind = helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype)
        result.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    _keep(result, nodes)
    return result


def _keep(proto: Any, nodes: tuple[Any, ...]) -> None:
    kept = list(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _shape(info: Any) -> tuple[int, ...]:
    return tuple(max(1, d.dim_value) for d in info.type.tensor_type.shape.dim)


def _dtype(info: Any) -> np.dtype:
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
