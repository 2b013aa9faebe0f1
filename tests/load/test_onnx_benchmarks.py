"""Real networks load and agree with ONNX Runtime, where the benchmark sets are there."""

from pathlib import Path

import numpy as np
import pytest

from verifier.load.onnx import load_model, verify_import

BENCHMARKS = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
FAMILIES = {
    "acasxu": 3,
    "carvana_unet": 2,
    "cersyve": 3,
    "cgan": 1,
    "cifar10_resnet": 1,
    "cifar_biasfield": 1,
    "collins_rul_cnn": 3,
    "cora": 1,
    "dist_shift": 1,
    "eran": 2,
    "linearizenn": 3,
    "lsnc": 2,
    "malbeware": 2,
    "metaroom": 1,
    "ml4acopf": 3,
    "ml4acopf_2023": 1,
    "mnist_fc": 1,
    "nn4sys": 3,
    "oval21": 1,
    "reach_prob_density": 3,
    "rl_benchmarks": 3,
    "safenlp": 2,
    "sat_relu": 1,
    "sri_resnet_a": 1,
    "test": 5,
    "tllverifybench": 2,
    "traffic_signs": 2,
    "verivital": 1,
    "vit": 2,
    "yolo": 1,
}
"""How many networks of each family: the smallest ones."""


def networks():
    for family, count in FAMILIES.items():
        found = (BENCHMARKS / family).rglob("*.onnx.gz")
        paths = sorted(found, key=lambda path: (path.stat().st_size, path.name))[:count]
        if not paths:
            reason = "no benchmark sets beside the repository"
            yield pytest.param(Path(), marks=pytest.mark.skip(reason=reason), id=family)
        for path in paths:
            yield pytest.param(path, id=f"{family}/{path.name}")


@pytest.mark.parametrize("path", list(networks()))
def test_it_loads_and_passes_the_gate(path):
    model = load_model(path)
    count = model.graph.input_size
    verify_import(model, np.zeros(count), np.ones(count), points=3)
    verify_import(model, np.full(count, -1.0), np.ones(count), points=2, seed=1)
