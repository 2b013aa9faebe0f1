"""Nodes that depend on no input are computed once, when the network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.onnx_node import OnnxNode, bounded

RANDOM = frozenset(
    (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)
"""Operators whose output is no function of their inputs."""


def constant(node: OnnxNode) -> np.ndarray:
    """The value of a Constant node."""
    given = dict(node.attributes)
    if "value" in given:
        return np.asarray(given["value"])
    if "value_float" in given or "value_floats" in given:
        return np.asarray(given.get("value_float", given.get("value_floats")), dtype=np.float32)
    if "value_int" in given or "value_ints" in given:
        return np.asarray(given.get("value_int", given.get("value_ints")), dtype=np.int64)
    if "value_string" in given or "value_strings" in given:
        return np.asarray(given.get("value_string", given.get("value_strings")), dtype=object)
    if "sparse_value" in given:
        return np.asarray(given["sparse_value"])
    message = "a Constant without a value"
    raise ModelError(message)


def fold(proto: Any, node: OnnxNode) -> tuple[np.ndarray, ...]:
    """The outputs of a node of constants, by ONNX's own reference implementation.

    It computes in the constants' own types, as ONNX Runtime does. Importing it is slow, so common
    arithmetic on shapes is done by the readers instead.
    """
    if node.op_type in RANDOM:
        message = "a random operator"
        raise UnsupportedModel(message)
    if node.op_type == "Range":
        start, limit, delta = (float(node.operand(i).reshape(-1)[0]) for i in range(3))
        bounded([max(0, int((limit - start) / (delta or 1.0)))])
    kept = {name: np.asarray(x) for name, x in zip(proto.input, node.inputs, strict=True) if name}
    try:
        results = _by_reference(proto, node.opset, kept)
    except Exception as error:
        try:
            results = _by_runtime(proto, node.opset, kept)
        except (ModelError, KeyError, ValueError):
            message = (
                f"a node of constants that cannot be computed: {type(error).__name__}: {error}"
            )
            raise UnsupportedModel(message.split("\n", 1)[0]) from None
    computed = iter(np.asarray(x) for x in results)
    return tuple(next(computed) if name else np.zeros(0) for name in proto.output)


def _by_reference(proto: Any, opset: int, kept: dict[str, np.ndarray]) -> Sequence[Any]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = _alone(proto, opset, dict.fromkeys(kept, onnx.TensorProto.UNDEFINED))
    results: Any = ReferenceEvaluator(model).run(None, kept)
    return results


def _by_runtime(proto: Any, opset: int, kept: dict[str, np.ndarray]) -> Sequence[Any]:
    """By ONNX Runtime: the reference has not every version of every operator."""
    from onnx import helper

    from verifier.load.onnx import runtime

    types = {name: int(helper.np_dtype_to_tensor_dtype(x.dtype)) for name, x in kept.items()}
    names = [name for name in proto.output if name]
    judge = runtime.session(_alone(proto, opset, types).SerializeToString())
    return runtime.outputs(judge, names, kept)


def _alone(proto: Any, opset: int, types: dict[str, int]) -> Any:
    """A model of one node."""
    import onnx
    from onnx import helper

    inputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = helper.make_graph([proto], "fold", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
