"""Verdicts that were wrong once, or could have been: each failed before its fix."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.api import verify
from verifier.errors import UnsupportedModel
from verifier.load.onnx import load_model
from verifier.load.vnnlib import parse_query
from verifier.ops.clip import Clip
from verifier.sets import Box, Owner
from verifier.tensors import numpy_backend
from verifier.verdict import Verdict, Verified, Violated


def chain(
    folder: Path, nodes: list[tuple[str, list[str]]], constants: dict[str, np.ndarray]
) -> Path:
    """A model of one input and one output of shape [1, 1]: nodes in a row, ``-`` the last value."""
    kind = next(iter(constants.values())).dtype
    element = TensorProto.DOUBLE if kind == np.float64 else TensorProto.FLOAT
    made, last = [], "x"
    for place, (op, inputs) in enumerate(nodes):
        names = [last if name == "-" else name for name in inputs]
        last = "y" if place == len(nodes) - 1 else f"v{place}"
        made.append(helper.make_node(op, names, [last], name=last))
    ports = [helper.make_tensor_value_info(name, element, [1, 1]) for name in "xy"]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(made, "chain", [ports[0]], [ports[1]], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def decide(model: Path, box: tuple[str, str], condition: str) -> Verdict:
    prop = model.with_name("property.vnnlib")
    prop.write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        f"(assert (>= X_0 {box[0]}))\n(assert (<= X_0 {box[1]}))\n(assert {condition})\n"
    )
    return verify(model, prop, timeout=2.0).verdict


def test_a_clip_at_the_largest_float32_still_clips(tmp_path: Path):
    constants = {"c": np.float64(1e40), "high": np.float64(9.999e39)}
    nodes = [("Mul", ["-", "c"]), ("Clip", ["-", "", "high"]), ("Sub", ["v0", "-"])]
    model = chain(tmp_path, nodes, {k: np.array(v) for k, v in constants.items()})
    assert isinstance(decide(model, ("0", "1"), "(>= Y_0 1e35)"), Violated)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_products_of_constants_that_underflow_prove_nothing(tmp_path: Path, kind: type):
    small, large, each = (1e-200, 1e200, 2) if kind is np.float64 else (1e-45, 1e36, 8)
    constants = {"s": np.array(small, dtype=kind), "l": np.array(large, dtype=kind)}
    grow = each if kind is np.float64 else 10
    nodes = [("Mul", ["-", "s"])] * each + [("Mul", ["-", "l"])] * grow
    model = chain(tmp_path, nodes, constants)
    assert not isinstance(decide(model, ("0", "1"), "(>= Y_0 0.5)"), Verified)


@pytest.mark.parametrize("corner", [-0.5, 0.75])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_clip_relaxed_over_its_own_corner_contains_it(corner: float, sign: float):
    xp = numpy_backend()
    point = np.full((1, 1), corner)
    relaxation = Clip.of(1, -0.5, 0.75).on(xp).relax(Box(point, point))
    (slope,), constant = relaxation.pull_back(np.full((1, 1), sign), Owner.equal(1, 1, xp), None)
    assert (slope * point).sum() + constant[0] <= sign * corner


def test_a_threshold_between_two_doubles_is_no_equality():
    text = (
        "(declare-const X_0 Real)(declare-const Y_0 Real)"
        "(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 1.00000000000000000001))"
    )
    query = parse_query(text.encode(), "property")
    assert query.holds(np.zeros(1), np.ones(1))
    assert not query.cautious().holds(np.zeros(1), np.ones(1))


def test_an_input_fixed_between_two_floats_is_refuted_over_the_reals(tmp_path: Path):
    model = chain(tmp_path, [("Mul", ["-", "c"])], {"c": np.array(2.0, dtype=np.float32)})
    verdict = decide(model, ("0.1", "0.1"), "(>= Y_0 0.15)")
    assert isinstance(verdict, Violated)
    assert not verdict.exact
    assert verdict.inputs == pytest.approx([0.1], abs=0)


def test_a_network_of_no_work_is_decided(tmp_path: Path):
    model = chain(tmp_path, [("Add", ["-", "c"])], {"c": np.zeros(1, dtype=np.float32)})
    assert isinstance(decide(model, ("0", "0.25"), "(>= Y_0 0.9)"), Verified)


BELOW_ONE = "0.99999999999999999999"


@pytest.mark.parametrize(
    "fixed",
    [
        f"(and (>= X_0 {BELOW_ONE}) (<= X_0 {BELOW_ONE}))",
        f"(or (and (>= X_0 1) (<= X_0 1)) (and (>= X_0 {BELOW_ONE}) (<= X_0 {BELOW_ONE})))",
        f"(or (and (>= X_0 5) (<= X_0 5)) (and (>= X_0 {BELOW_ONE}) (<= X_0 {BELOW_ONE})))",
        f"(or (and (>= X_0 1) (<= X_0 1)) (and (>= X_0 {BELOW_ONE}) (<= X_0 1)))",
    ],
)
@pytest.mark.parametrize("size", [1, 2])
def test_a_decimal_just_below_a_whole_number_is_not_that_number(
    tmp_path: Path, size: int, fixed: str
):
    """Its nearest double is 1, but its floor is 0; whether it is all of the input or part of it."""
    constants = {"s": np.array([0]), "m": np.array([1]), "e": np.array([2])}
    nodes = [
        helper.make_node("Slice", ["x", "s", "m", "m"], ["a"]),
        helper.make_node("Floor", ["a"], ["f" if size == 2 else "y"]),
    ]
    if size == 2:
        nodes.append(helper.make_node("Slice", ["x", "m", "e", "m"], ["b"]))
        nodes.append(helper.make_node("Add", ["f", "b"], ["y"]))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (
        ("x", [1, size]), ("y", [1, 1]))]  # fmt: skip
    stored = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "floor", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path, prop = tmp_path / "model.onnx", tmp_path / "property.vnnlib"
    onnx.save(model, path)
    lines = [f"(declare-const X_{i} Real)" for i in range(size)] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert {fixed})", "(assert (<= Y_0 0.5))"]
    lines += ["(assert (and (>= X_1 0) (<= X_1 0.25)))"] * (size == 2)
    prop.write_text("\n".join(lines))
    assert not isinstance(verify(path, prop, timeout=2.0).verdict, Verified)


@pytest.mark.parametrize(("to", "kind"), [(TensorProto.INT8, "int8"), (TensorProto.INT16, "int16")])
def test_a_computed_zero_point_of_another_type_is_refused(tmp_path: Path, to: int, kind: str):
    """The quantised number was taken for one between 0 and 255: here it is negative."""
    constants = {
        "one": np.full((1, 1), 1, np.float32),
        "five": np.full((), 5, np.float32),
        "low": np.full((), -5, np.float32),
        "dip": np.full((), -0.25, np.float32),
    }
    nodes = [
        ("Mul", ["x", "one"], "same", {}),
        ("Add", ["same", "dip"], "v", {}),
        ("Abs", ["x"], "size", {}),
        ("Add", ["size", "one"], "wide", {}),
        ("ReduceMax", ["wide"], "scale", {"keepdims": 0}),
        ("ReduceMax", ["x"], "number", {"keepdims": 0}),
        ("Clip", ["number", "low", "five"], "point", {}),
        ("Cast", ["point"], "zero", {"to": to}),
        ("QuantizeLinear", ["v", "scale", "zero"], "q", {}),
        ("Cast", ["q"], "y", {"to": TensorProto.FLOAT}),
    ]
    made = [helper.make_node(op, i, [o], name=o, **options) for op, i, o, options in nodes]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy"]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(made, kind, ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedModel, match="not cast to uint8"):
        load_model(tmp_path / "model.onnx")
