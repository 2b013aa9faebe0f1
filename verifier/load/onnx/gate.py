"""The import gate: our graph and ONNX Runtime must agree before anything is proved."""

from __future__ import annotations

import numpy as np

from verifier.errors import ImportMismatch
from verifier.families import Nonlinear
from verifier.graph import Graph, Value
from verifier.load.onnx import runtime
from verifier.load.onnx.load import import_again
from verifier.load.onnx.model import Model
from verifier.tensors import Backend, numpy_backend, torch_backend

TOLERANCES = {2: 5e-2, 4: 3e-5, 8: 1e-9}
"""Allowed differences, relative to the largest value inside the network, by the bytes of the
coarsest type that ONNX Runtime computes in: some hundred roundings, far below what a misread node
would do."""


def verify_import(
    model: Model, lower: np.ndarray, upper: np.ndarray, points: int = 8, seed: int = 0
) -> None:
    """Compare the graph, in float64, with ONNX Runtime at random points of a box of flat inputs.

    Raises:
        ImportMismatch: they differ; the message names the first node that does, and by how much.
        ModelError: ONNX Runtime refuses the network.
    """
    start = 0
    for part in model.parts:
        here = slice(start, start + sum(port.size for port in part.inputs))
        verify_import(part, lower[here], upper[here], points, seed)
        start = here.stop
    with np.errstate(over="ignore"):
        x = model.rounded(_sample(lower, upper, points, seed))
    graph = model.graph.on(_backend(model))
    expected = runtime.run(model, x)
    tolerance = TOLERANCES[model.precision.itemsize]
    with np.errstate(over="ignore", invalid="ignore"):
        entry = graph.xp.floats(model.extended(x))
        values = [graph.xp.numpy(v) for v in graph.values(entry)]
        scale = np.max([abs(v).max(axis=1, initial=0.0) for v in values], axis=0)
        difference = abs(values[graph.output] - expected).max(axis=1, initial=0.0)
        if _jumps(model.graph) and not (difference <= tolerance * scale).all():
            expected = runtime.run(model, x, fused=False)
            difference = abs(values[graph.output] - expected).max(axis=1, initial=0.0)
        # NaN and infinity compare as false, and so count as differences.
        agrees = (difference <= tolerance * scale) & np.isfinite(scale)
    if agrees.all():
        return
    # Where some value inside overflows, the outputs may still agree: 0, or infinity on both sides.
    overflows = ~np.isfinite(scale) & ~(difference > 0)
    both = not np.isfinite(values[graph.output]).all() and not np.isfinite(expected).all()
    if both or (agrees | overflows).all():
        message = f"{model.path.name} gives NaN or infinity inside the region, need finite outputs"
        raise ImportMismatch(message)
    worst = int(np.argmin(agrees))
    with np.errstate(over="ignore", invalid="ignore"):
        raise ImportMismatch(_explain(model, x[worst], difference[worst], tolerance))


def _jumps(graph: Graph) -> bool:
    """Does a network jump? Then nodes that are computed together may round to another step."""
    return any(isinstance(op, Nonlinear) and op.stepped for op in (n.operator for n in graph.nodes))


def _backend(model: Model) -> Backend:
    return torch_backend("float64") if model.graph.wants_torch else numpy_backend("float64")


def _sample(lower: np.ndarray, upper: np.ndarray, points: int, seed: int) -> np.ndarray:
    """Uniform points.

    An infinite bound counts as one unit away from the other one, or from 0.
    """
    low = np.where(np.isfinite(lower), lower, np.minimum(np.nan_to_num(upper, posinf=1.0), 1.0) - 1)
    high = np.where(np.isfinite(upper), upper, np.maximum(low, -1.0) + 1)
    generator = np.random.default_rng(seed)
    share = generator.random((points, len(low)))
    # Not low + share * (high - low): the width of a wide interval may be no number.
    return np.clip((1 - share) * low + share * high, low, high)


def _explain(model: Model, x: np.ndarray, difference: float, tolerance: float) -> str:
    """Run ONNX Runtime with every tensor as an output, and find the first that differs."""
    import onnx

    if model.parts:
        return f"the joint network's outputs differ from those of its parts by {difference:.3g}"
    if model.cells:
        return f"{model.path.name}: our outputs in a cell differ by {difference:.3g}"
    imported = import_again(model)
    proto = onnx.ModelProto.FromString(model.data)
    makers = {name: node for node in proto.graph.node for name in node.output}
    watched = [name for name, t in imported.tensors.items() if name in makers and _is_value(t)]
    known = {info.name for info in proto.graph.output}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in watched if name not in known
    )
    judge = runtime.session(proto.SerializeToString())
    expected = runtime.outputs(judge, watched, model.feeds(x))
    values = _values(imported.graph, _backend(model), x)
    whole = f"{model.path.name}: our outputs differ from ONNX Runtime's by {difference:.3g}"
    scale = abs(x).max(initial=0.0)
    for name, theirs in zip(watched, expected, strict=True):
        ours = values[imported.tensors[name].number]
        off = abs(ours - np.asarray(theirs, dtype=np.float64).reshape(-1)).max(initial=0.0)
        scale = max(scale, abs(ours).max(initial=0.0))
        if not off <= tolerance * scale:
            node = makers[name]
            label = f"{node.name or name!r} ({node.op_type})"
            return f"{whole}; the first node that differs is {label}: {off:.3g}"
    return f"{whole}; no single node differs, which points at a simplification of the graph"


def _is_value(tensor: object) -> bool:
    return isinstance(tensor, Value)


def _values(graph: Graph, backend: Backend, x: np.ndarray) -> list[np.ndarray]:
    placed = graph.on(backend)
    return [backend.numpy(v)[0] for v in placed.values(backend.floats(x[None]))]
