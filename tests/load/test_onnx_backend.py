"""The node tests that come with the onnx wheel, with floating-point inputs as variables.

Passed: read, and right, for at least one choice of variables; skipped: an operator without rules.
"""

import importlib
import pkgutil
import warnings
from functools import cache

import numpy as np
import onnx
import onnx.backend.test.case.node as cases
import pytest

from verifier.errors import UnsupportedModel
from verifier.load.onnx.importer import import_graph
from verifier.tensors import numpy_backend, torch_backend

NO_RULES = {
    "Adagrad",
    "Adam",
    "Bernoulli",
    "BitCast",
    "CumProd",
    "DFT",
    "DeformConv",
    "DequantizeLinear",
    "Det",
    "FlexAttention",
    "MaxUnpool",
    "Mod",
    "Momentum",
    "NonMaxSuppression",
    "QLinearMatMul",
    "QuantizeLinear",
    "RandomUniformLike",
    "RoiAlign",
    "STFT",
    "TensorScatter",
    "Unique",
}
"""Operators that may be unsupported, whole or in part."""
RESTRICTED = (
    "training mode",
    "align_corners and scales",
    "opset 8",
    "Indices",
    "the outputs Mean and InvStdDev",
    "reduction 'mul'",
    "sequence or optional",
    "a computed",
    "depends on the input",
)
"""What supported operators may refuse."""


def is_float(tensor):
    return isinstance(tensor, np.ndarray) and tensor.dtype.kind == "f" and tensor.size > 0


def is_number(tensor):
    return isinstance(tensor, np.ndarray) and tensor.dtype.kind in "fiub"


@cache
def node_tests():
    """(model, inputs, outputs) of every test with arrays only and a float among its inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.iter_modules(cases.__path__):
            importlib.import_module(f"{cases.__name__}.{module.name}")
    found = {case.name: case for case in cases._NodeTestCases}
    return [
        pytest.param(case.model, *case.data_sets[0], id=name)
        for name, case in found.items()
        if "edge_cases" not in name  # Of NaN and infinity.
        and all(isinstance(x, np.ndarray) for x in case.data_sets[0][0])
        and choices(case.data_sets[0][0]) != [()]
        and all(is_number(y) for y in case.data_sets[0][1])
    ]


def with_constants(proto, inputs, variables):
    """The model with all inputs but those at some places as initialisers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    del changed.graph.input[:]
    for place, (info, x) in enumerate(zip(proto.graph.input, inputs, strict=True)):
        if place in variables:
            changed.graph.input.append(info)
        else:
            changed.graph.initializer.append(onnx.numpy_helper.from_array(x, info.name))
    return changed


def evaluate(proto, inputs, variables):
    imported = import_graph(with_constants(proto, inputs, variables))
    xp = torch_backend("float64") if imported.graph.wants_torch else numpy_backend()
    x = np.concatenate([np.asarray(inputs[i], dtype=np.float64).reshape(-1) for i in variables])
    flat = xp.numpy(imported.graph.on(xp).evaluate(xp.floats(x[None])))[0]
    results, start = [], 0
    for port in imported.outputs:
        results.append(flat[start : start + port.size].reshape(port.shape))
        start += port.size
    return results


def choices(inputs):
    """The first floats as variables: one, two, and all of them; and the last one alone.

    What holds NaN or infinity is in no region, and so never a variable.
    """
    floats = tuple(i for i, x in enumerate(inputs) if is_float(x) and np.isfinite(x).all())
    return list(dict.fromkeys([floats[:1], floats[:2], floats, floats[-1:]]))


@pytest.mark.parametrize(("proto", "inputs", "outputs"), node_tests())
def test_node(proto, inputs, outputs):
    ran, reason = 0, ""
    for variables in choices(inputs):
        try:
            results = evaluate(proto, inputs, variables)
        except UnsupportedModel as error:
            reason = reason or str(error)
            continue
        ran += 1
        for ours, theirs in zip(results, outputs, strict=True):
            assert ours.shape == theirs.shape
            # Some expected outputs are written with four digits.
            tolerance = 2e-2 if theirs.dtype == np.float16 else 1e-3
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance / 1e3)
    if not ran:
        used = {node.op_type for node in proto.graph.node}
        assert used & NO_RULES or any(part in reason for part in RESTRICTED), reason
        pytest.skip(reason.split(":", 1)[-1].split(";", maxsplit=1)[0][:100])
