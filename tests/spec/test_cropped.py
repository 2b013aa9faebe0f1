"""Properties that read some outputs are decided on the part of the network that they need."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.load.onnx import load_model
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.settings import Options
from verifier.spec import Problem
from verifier.verdict import Verified, Violated

SIDE = 8
INPUTS, OUTPUTS = SIDE * SIDE, 2 * SIDE * SIDE
READ = (18, SIDE * SIDE + 18)
WIDTH = 0.4


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(3)
    weights = {
        "w1": generator.normal(size=(4, 1, 3, 3)) / 2, "b1": generator.normal(size=4) / 4,
        "w2": generator.normal(size=(4, 4, 3, 3)) / 4, "b2": generator.normal(size=4) / 4,
        "w3": generator.normal(size=(2, 4, 1, 1)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["h2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["logits"]),
        helper.make_node("Flatten", ["logits"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "image",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, OUTPUTS])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("image") / "image.onnx"
    onnx.save(model, path)
    return path


def written(folder: Path, center: np.ndarray, threshold: float) -> Path:
    """Unsafe: the difference of the two outputs that are read is at most the threshold."""
    lines = [f"(declare-const X_{i} Real)" for i in range(INPUTS)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(OUTPUTS)]
    for i, x in enumerate(center):
        low, high = x - WIDTH / 2, x + WIDTH / 2
        lines += [f"(assert (>= X_{i} {low:.6f}))", f"(assert (<= X_{i} {high:.6f}))"]
    lines.append(f"(assert (<= (- Y_{READ[0]} Y_{READ[1]}) {threshold:.9f}))")
    path = folder / "property.vnnlib"
    path.write_text("\n".join(lines))
    return path


def sampled(network: Path) -> tuple[np.ndarray, float]:
    """A center, and the least difference of many points around it."""
    generator = np.random.default_rng(5)
    center = np.round(generator.uniform(size=INPUTS), 3)
    x = generator.uniform(center - WIDTH / 2, center + WIDTH / 2, (4000, INPUTS))
    y = run(load_model(network), x)
    return center, float((y[:, READ[0]] - y[:, READ[1]]).min())


def test_only_what_is_read_is_kept(network: Path, tmp_path: Path):
    center, least = sampled(network)
    model = load_model(network)
    problem = Problem.of(model.graph, read_query(written(tmp_path, center, least)))
    assert problem.crop is not None
    assert problem.graph.output_size == 2
    assert len(problem.free) == problem.graph.input_size == 25
    assert problem.graph.work < model.graph.work / 4


@pytest.mark.parametrize(("below", "splits"), [(1.5, False), (1.02, True)])
def test_proofs_over_parts_hold_for_the_whole_network(
    network: Path, tmp_path: Path, below: float, splits: bool
):
    """With and without splits: the certificate names neurons as the file does."""
    center, least = sampled(network)
    prop = written(tmp_path, center, least - below)
    found = verifier.verify(network, prop, timeout=60.0, options=Options(keep=True))
    assert isinstance(found.verdict, Verified)
    certificate = found.verdict.certificate
    assert certificate is not None
    assert certificate.checked
    assert certificate.data is not None
    assert verifier.check(certificate.data, network, prop).accepted
    assert (certificate.leaves > 1) == splits


def test_counterexamples_are_over_all_inputs(network: Path, tmp_path: Path):
    center, least = sampled(network)
    prop = written(tmp_path, center, least + 0.05)
    verdict = verifier.verify(network, prop, timeout=20.0).verdict
    assert isinstance(verdict, Violated)
    assert len(verdict.inputs) == INPUTS
    assert len(verdict.outputs) == OUTPUTS
    assert verdict.outputs[READ[0]] - verdict.outputs[READ[1]] <= least + 0.05
    low, high = center - WIDTH / 2 - 1e-6, center + WIDTH / 2 + 1e-6
    assert ((verdict.inputs >= low) & (verdict.inputs <= high)).all()
