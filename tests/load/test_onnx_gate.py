"""The import gate catches graphs that are not the file's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.load.onnx_models import mlp, network, save
from verifier.errors import ImportMismatch, ModelError
from verifier.families.registry import readers
from verifier.graph import Graph
from verifier.load.onnx import load_model, verify_import
from verifier.ops.relu import Relu

BOX = (-np.ones(3), np.ones(3))


def test_it_names_the_first_node_that_differs(tmp_path, monkeypatch):
    entry = readers()["Relu"]

    def wrong(node, builder):
        value = node.value(0)
        return builder.add(node.name, Relu.of(value.size, 0.1), [value])

    monkeypatch.setitem(readers(), "Relu", replace(entry, read=wrong))
    model = load_model(save(tmp_path / "mlp.onnx", mlp()))
    with pytest.raises(ImportMismatch, match=r"node that differs is 'relu' \(Relu\): 0\.\d+"):
        verify_import(model, *BOX)


def test_it_suspects_the_passes_where_no_node_differs(tmp_path):
    model = load_model(save(tmp_path / "mlp.onnx", mlp()))
    nodes = list(model.graph.nodes)
    nodes[1] = replace(nodes[1], operator=Relu.of(6, 0.1))
    broken = replace(model, graph=Graph(3, tuple(nodes), model.graph.output))
    with pytest.raises(ImportMismatch, match="points at a simplification"):
        verify_import(broken, *BOX)


def test_small_differences_are_seen(tmp_path):
    model = load_model(save(tmp_path / "mlp.onnx", mlp()))
    nodes = list(model.graph.nodes)
    last: Any = nodes[-1].operator
    nodes[-1] = replace(nodes[-1], operator=replace(last, bias=last.bias * 1.001))
    broken = replace(model, graph=Graph(3, tuple(nodes), model.graph.output))
    with pytest.raises(ImportMismatch):
        verify_import(broken, *BOX)


def test_outputs_must_be_finite(tmp_path):
    constants = {"c": np.array([3e38, 1], dtype=np.float32)}
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["m"]),
        helper.make_node("Mul", ["m", "c"], ["y"], "again"),
    ]
    model = load_model(
        save(tmp_path / "big.onnx", network(nodes, {"x": [2]}, {"y": [2]}, constants))
    )
    with pytest.raises(ImportMismatch):
        verify_import(model, np.ones(2), np.full(2, 2.0))


def test_nan_is_said(tmp_path):
    node = helper.make_node("Reciprocal", ["x"], ["y"])
    model = load_model(save(tmp_path / "nan.onnx", network([node], {"x": [2]}, {"y": [2]})))
    with pytest.raises(ImportMismatch, match="gives NaN or infinity inside the region"):
        verify_import(model, np.zeros(2), np.zeros(2))
    verify_import(model, np.ones(2), np.full(2, 2.0))


def test_unbounded_regions_are_sampled_near_zero(tmp_path):
    model = load_model(save(tmp_path / "mlp.onnx", mlp()))
    verify_import(model, np.array([-np.inf, 0, -np.inf]), np.array([np.inf, np.inf, -5.0]))


def test_a_network_that_onnx_runtime_refuses(tmp_path):
    proto = mlp()
    proto.ir_version = 99
    model = load_model(save(tmp_path / "new.onnx", proto))
    with pytest.raises(ModelError, match="ONNX Runtime refuses the network"):
        verify_import(model, *BOX)
