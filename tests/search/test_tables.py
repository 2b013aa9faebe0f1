"""Networks that approximate curves by sums of ReLUs, decided as networks of curves."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.checker import check as checker
from verifier.families import Table
from verifier.load.onnx import load_model
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.sealing import FOLDED
from verifier.settings import Options
from verifier.spec import Problem
from verifier.verdict import Verified, Violated

HINGES = 12


def network(path: Path, inputs: int, *, products: bool, numbers: int = 4) -> Path:
    """A layer of ReLUs, numbers, a sum of hinges of each one, products of neighbours perhaps."""
    generator = np.random.default_rng(inputs)
    weights = {
        "w1": generator.normal(size=(10, inputs)) / np.sqrt(inputs),
        "b1": generator.normal(size=10) / 4,
        "w2": generator.normal(size=(numbers, 10)) / 2, "b2": generator.normal(size=numbers) / 4,
        "shift": np.linspace(-3, 3, HINGES), "slope": generator.normal(size=HINGES) / 2,
        "base": np.array(0.25), "w3": generator.normal(size=(2, numbers)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"], transB=1),
        helper.make_node("Unsqueeze", ["z", "last"], ["wide"]),
        helper.make_node("Sub", ["wide", "shift"], ["moved"]),
        helper.make_node("Relu", ["moved"], ["bent"]),
        helper.make_node("MatMul", ["bent", "slope"], ["total"]),
        helper.make_node("Add", ["total", "base"], ["curve"]),
        helper.make_node("Gather", ["curve", "turned"], ["other"], axis=1),
        helper.make_node("Mul", ["curve", "other"], ["product"]),
        helper.make_node("Gemm", ["product" if products else "curve", "w3"], ["y"], transB=1),
    ]
    nodes = nodes if products else [n for n in nodes if n.op_type not in ("Gather", "Mul")]
    initial = {name: value.astype(np.float32) for name, value in weights.items()}
    initial |= {"last": np.array([-1]), "turned": np.roll(np.arange(numbers), 1)}
    graph = helper.make_graph(
        nodes, "curves",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(value, name) for name, value in initial.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def written(path: Path, inputs: int, radius: float, threshold: float) -> Path:
    """Unsafe: the first output is at most the threshold, or the second is more than 1000."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += ["(declare-const Y_0 Real)", "(declare-const Y_1 Real)"]
    for i in range(inputs):
        lines += [f"(assert (>= X_{i} {-radius}))", f"(assert (<= X_{i} {radius}))"]
    lines.append(f"(assert (or (and (<= Y_0 {threshold:.9f})) (and (>= Y_1 1000.0))))")
    path.write_text("\n".join(lines))
    return path


def outputs(path: Path, inputs: int, radius: float) -> np.ndarray:
    x = np.random.default_rng(1).uniform(-radius, radius, (4000, inputs))
    return run(load_model(path), x)[:, 0]


CASES = [(3, 0.4, False), (3, 0.2, True), (40, 0.05, False), (40, 0.02, True)]
over_cases = pytest.mark.parametrize(("inputs", "radius", "products"), CASES)


@over_cases
def test_verdicts_agree_with_samples(tmp_path: Path, inputs: int, radius: float, products: bool):
    net = network(tmp_path / "net.onnx", inputs, products=products)
    y = outputs(net, inputs, radius)
    least, width = float(y.min()), float(np.ptp(y))
    for threshold, wanted in ((least - 2 * width, Verified), (least + 0.1 * width, Violated)):
        prop = written(tmp_path / "prop.vnnlib", inputs, radius, threshold)
        query = read_query(prop)
        problem = Problem.of(load_model(net).graph, query, tables=True)
        assert problem.folded
        assert any(isinstance(n.operator, Table) for n in problem.graph.nodes)
        verdict = verifier.verify(net, prop, timeout=30.0).verdict
        assert isinstance(verdict, wanted)
        if isinstance(verdict, Violated):
            found = run(load_model(net), verdict.inputs[None])[0]
            assert found[0] <= threshold
        else:
            assert isinstance(verdict, Verified)
            assert verdict.certificate is not None
            # The checker reads the file, and follows what needs no line of a table.
            assert verdict.certificate.checked or "not certified" in verdict.certificate.note


def test_a_certificate_that_is_asked_for_is_about_the_relus(tmp_path: Path):
    net = network(tmp_path / "net.onnx", 3, products=False)
    least = float(outputs(net, 3, 0.2).min())
    prop = written(tmp_path / "prop.vnnlib", 3, 0.2, least - 0.5)
    found = verifier.verify(net, prop, timeout=60.0, options=Options(keep=True)).verdict
    assert isinstance(found, Verified)
    assert found.certificate is not None
    assert found.certificate.data is not None
    assert found.certificate.checked
    assert verifier.check(found.certificate.data, net, prop).accepted


@pytest.mark.parametrize(("share", "note"), [(2.0, FOLDED), (3.0, "")])
def test_a_proof_that_the_checker_does_not_follow_is_not_certified(
    tmp_path: Path, share: float, note: str
):
    """Its own lines, of each ReLU by itself, prove less; no verdict is lost by that."""
    net = network(tmp_path / "net.onnx", 40, products=False, numbers=8)
    y = outputs(net, 40, 0.1)
    threshold = float(y.min()) - share * float(np.ptp(y))
    prop = written(tmp_path / "prop.vnnlib", 40, 0.1, threshold)
    verdict = verifier.verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.note == note
    assert verdict.certificate.checked == (not note)


def test_all_of_a_proof_with_tables_is_looked_at(tmp_path: Path, monkeypatch):
    """Its check for float32 execution says, too, whether it holds for the real function."""
    asked = list[int]()
    check = checker.check_parsed

    def watched(container, subject, effort, semantics):
        asked.append(effort.most_failures)
        return check(container, subject, effort, semantics)

    monkeypatch.setattr(checker, "check_parsed", watched)
    net = network(tmp_path / "net.onnx", 40, products=False, numbers=8)
    y = outputs(net, 40, 0.1)
    threshold = float(y.min()) - 3.0 * float(np.ptp(y))
    prop = written(tmp_path / "prop.vnnlib", 40, 0.1, threshold)
    assert isinstance(verifier.verify(net, prop, timeout=20.0).verdict, Verified)
    assert asked
    assert set(asked) == {checker.FAILURES_NAMED}
