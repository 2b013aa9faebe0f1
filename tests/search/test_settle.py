"""Properties that count: which pixels of an image are classified as a mask says."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.load.onnx import load_model
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import parse_query
from verifier.search import lemma
from verifier.search.by_neurons import SETTLED
from verifier.verdict import Verified, Violated

HIGH, WIDE = 5, 6
PIXELS = HIGH * WIDE
WIDTH = 0.04


def counting(path: Path, seed: int) -> Path:
    """How many pixels have the class (of two) that the last channel of the input says."""
    generator = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "axis"], ["color"]),
        helper.make_node("Gather", ["x", "place"], ["mask"], axis=1),
        helper.make_node("Conv", ["color", "w1", "b1"], ["h1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["h2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["logits"]),
        helper.make_node("Transpose", ["logits"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["last"], ["share"], axis=3),
        helper.make_node("ArgMax", ["share"], ["label"], axis=3, keepdims=0),
        helper.make_node("Cast", ["mask"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Equal", ["label", "whole"], ["same"]),
        helper.make_node("Cast", ["same"], ["one_each"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["one_each"], ["count"], keepdims=0),
    ]
    weights = {
        "w1": generator.normal(size=(6, 1, 3, 3)), "b1": generator.normal(size=6) / 4,
        "w2": generator.normal(size=(6, 6, 3, 3)) / 3, "b2": generator.normal(size=6) / 4,
        "w3": generator.normal(size=(2, 6, 1, 1)),
    }  # fmt: skip
    initial = {name: value.astype(np.float32) for name, value in weights.items()}
    initial |= {"zero": np.array([0]), "one": np.array([1]), "axis": np.array([1])}
    initial["place"] = np.array(1)
    graph = helper.make_graph(
        nodes, "counting",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, HIGH, WIDE])],
        [helper.make_tensor_value_info("count", TensorProto.INT64, [])],
        [numpy_helper.from_array(value, name) for name, value in initial.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def points(model, seed: int, count: int) -> np.ndarray:
    """Points of the region: the first channel varies, the mask is what the middle says."""
    generator = np.random.default_rng(seed)
    center = np.round(generator.uniform(size=PIXELS), 3)
    masked = np.concatenate([center, np.zeros(PIXELS)])
    ones = np.array([_matches(model, masked, k) for k in range(PIXELS)])
    mask = np.where(ones, 0.0, 1.0)
    x = generator.uniform(center - WIDTH / 2, center + WIDTH / 2, (count, PIXELS))
    x[0] = center
    return np.concatenate([x, np.tile(mask, (count, 1))], axis=1)


def _matches(model, x: np.ndarray, k: int) -> bool:
    """Is pixel k of class 0, told by the count with and without it?"""
    other = x.copy()
    other[PIXELS + k] = 1.0
    return bool(run(model, x[None])[0, 0] > run(model, other[None])[0, 0])


def at_most(x: np.ndarray, most: int):
    low, high = x[0] - WIDTH / 2, x[0] + WIDTH / 2
    low[PIXELS:], high[PIXELS:] = x[0, PIXELS:], x[0, PIXELS:]
    lines = [f"(declare-const X_{i} Real)" for i in range(2 * PIXELS)]
    lines += ["(declare-const Y_0 Real)"]
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        lines += [f"(assert (>= X_{i} {a:.6f}))", f"(assert (<= X_{i} {b:.6f}))"]
    return parse_query("\n".join([*lines, f"(assert (<= Y_0 {most}))"]).encode(), "property")


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_verdicts_agree_with_samples(tmp_path: Path, seed: int):
    model = load_model(counting(tmp_path / "count.onnx", seed))
    x = points(model, seed, 2000)
    found = run(model, x)[:, 0]
    assert found[0] == PIXELS
    least = int(found.min())
    for most in (least - 3, least):
        verdict = verifier.verify(model, at_most(x, most), timeout=1.5).verdict
        assert not isinstance(verdict, Verified if most == least else Violated)


def test_pixels_that_lines_leave_open_are_settled(tmp_path: Path):
    model = load_model(counting(tmp_path / "count.onnx", 2))
    x = points(model, 2, 2000)
    assert int(run(model, x)[:, 0].min()) == PIXELS
    verdict = verifier.verify(model, at_most(x, PIXELS - 4), timeout=60.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.note == SETTLED


def test_no_proof_for_float32_execution_rests_on_pixels_that_were_settled(tmp_path: Path):
    model = load_model(counting(tmp_path / "count.onnx", 2))
    x = points(model, 2, 2000)
    options = verifier.Options(semantics="float32")
    verdict = verifier.verify(model, at_most(x, PIXELS - 4), timeout=5.0, options=options).verdict
    assert not isinstance(verdict, Verified)


def test_searches_in_double_precision_do_where_the_neurons_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lemma, "_same_neurons", lambda *_: False)
    model = load_model(counting(tmp_path / "count.onnx", 2))
    x = points(model, 2, 2000)
    verdict = verifier.verify(model, at_most(x, PIXELS - 4), timeout=60.0).verdict
    assert isinstance(verdict, Verified)
