"""The node tests that come with the onnx wheel, for every operator that has a reader."""

import importlib
import pkgutil
import warnings
from functools import cache

import numpy as np
import onnx
import onnx.backend.test.case.node as cases
import pytest

from verifier.errors import UnsupportedModel
from verifier.families.registry import readers
from verifier.load.onnx.importer import import_graph
from verifier.tensors import numpy_backend, torch_backend

OTHER_MODULES = {"batchnorm"}
"""Modules of tests that are not named for their operator."""


def single_node(proto):
    nodes = proto.graph.node
    return len(nodes) == 1 and nodes[0].op_type in readers() and not nodes[0].domain


def is_float(tensor):
    return isinstance(tensor, np.ndarray) and tensor.dtype.kind == "f" and tensor.size > 0


@cache
def node_tests():
    """(model, inputs, outputs) of every test of one node with a reader."""
    wanted = {name.lower() for name in readers()} | OTHER_MODULES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.iter_modules(cases.__path__):
            if module.name.replace("_", "") in wanted:
                importlib.import_module(f"{cases.__name__}.{module.name}")
    return [
        pytest.param(case.model, *case.data_sets[0], id=case.name)
        for case in cases._NodeTestCases
        if single_node(case.model)
        and all(is_float(y) for y in case.data_sets[0][1])
        and case.data_sets[0][0]
        and is_float(case.data_sets[0][0][0])
    ]


def with_constants(proto, inputs, variables):
    """The model with all inputs but the first ``variables`` as initialisers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    infos = list(proto.graph.input)
    del changed.graph.input[variables:]
    for info, x in list(zip(infos, inputs, strict=True))[variables:]:
        changed.graph.initializer.append(onnx.numpy_helper.from_array(x, info.name))
    return changed


def evaluate(proto, inputs, variables):
    imported = import_graph(with_constants(proto, inputs, variables))
    convolves = any(node.operator.convolves for node in imported.graph.nodes)
    xp = torch_backend("float64") if convolves else numpy_backend()
    x = np.concatenate([np.asarray(a, dtype=np.float64).reshape(-1) for a in inputs[:variables]])
    flat = xp.numpy(imported.graph.on(xp).evaluate(xp.floats(x[None])))[0]
    results, start = [], 0
    for port in imported.outputs:
        results.append(flat[start : start + port.size].reshape(port.shape))
        start += port.size
    return results


@pytest.mark.parametrize(("proto", "inputs", "outputs"), node_tests())
def test_node(proto, inputs, outputs):
    """Once for every way to make the first inputs variables and the others constants."""
    ran, reason = 0, ""
    for variables in range(1, len(inputs) + 1):
        if not all(is_float(x) for x in inputs[:variables]):
            break
        try:
            results = evaluate(proto, inputs, variables)
        except UnsupportedModel as error:
            reason = str(error)
            continue
        ran += 1
        for ours, theirs in zip(results, outputs, strict=True):
            assert ours.shape == theirs.shape
            # Some expected outputs are written with four digits.
            tolerance = 2e-2 if theirs.dtype == np.float16 else 1e-3
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance / 1e3)
    assert ran or "training" in reason
