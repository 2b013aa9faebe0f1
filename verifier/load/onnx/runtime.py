"""ONNX Runtime on the CPU: the judge of what a network computes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from verifier.errors import ImportMismatch, ModelError
from verifier.load.onnx.model import Model

_SOURCE_PLACE = re.compile(r"/\S+\.(?:cc|cpp|h):\d+ .*?\) (?=[A-Z])")
"""The file, line and function of ONNX Runtime's own source that its messages begin with."""
_SESSIONS: WeakKeyDictionary[Model, Any] = WeakKeyDictionary()


def runtime_session(model: Model) -> Any:
    """The model's ``InferenceSession``, made once: one thread, CPU, default optimisations.

    Raises:
        ModelError: ONNX Runtime does not take the model.
    """
    if model not in _SESSIONS:
        _SESSIONS[model] = session(model.data)
    return _SESSIONS[model]


def session(data: bytes, *, fused: bool = True) -> Any:
    """An ``InferenceSession`` for a serialised model; ``fused``: with the default optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not fused:
        level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refused(error) from None


def run(model: Model, x: np.ndarray, *, fused: bool = True) -> np.ndarray:
    """The network's outputs ``[points, m]`` in float64 at flat points ``[points, n]``.

    Points are rounded to the inputs' types and run one by one: the file's shapes are kept. Not
    ``fused``, every node is computed as ONNX says, and none together with others.

    Raises:
        ModelError: ONNX Runtime refuses the model or fails on it.
        ImportMismatch: its outputs have other sizes than the graph's.
    """
    if model.parts:
        pieces, start = [], 0
        for part in model.parts:
            size = sum(port.size for port in part.inputs)
            pieces.append(run(part, np.asarray(x)[:, start : start + size], fused=fused))
            start += size
        return np.concatenate(pieces, axis=1)
    judge = runtime_session(model) if fused else session(model.data, fused=False)
    names = [port.name for port in model.outputs]
    rows = [_flat(outputs(judge, names, model.feeds(point))) for point in np.asarray(x)]
    expected = sum(port.size for port in model.outputs)
    for row in rows:
        if len(row) != expected:
            message = f"ONNX Runtime computes {len(row)} outputs, our graph {expected}"
            raise ImportMismatch(message)
    return np.stack(rows) if rows else np.zeros((0, expected))


def outputs(judge: Any, names: Sequence[str], feeds: dict[str, np.ndarray]) -> list[Any]:
    """The named outputs for one set of inputs."""
    try:
        return judge.run(list(names), feeds)
    except Exception as error:
        raise _refused(error) from None


def _flat(arrays: Sequence[Any]) -> np.ndarray:
    return np.concatenate([_numbers(a).reshape(-1) for a in arrays])


def _numbers(output: Any) -> np.ndarray:
    """An array; of maps from classes to numbers the numbers, in the order of the classes."""
    if isinstance(output, list) and all(isinstance(row, dict) for row in output):
        output = [[row[key] for key in sorted(row)] for row in output]
    return np.asarray(output, dtype=np.float64)


def _refused(error: Exception) -> ModelError:
    reason = _SOURCE_PLACE.sub("", " ".join(str(error).split())).removesuffix(".")
    return ModelError(f"ONNX Runtime refuses the network: {reason}; need one that it runs")
