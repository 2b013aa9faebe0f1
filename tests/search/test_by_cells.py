"""Networks that truncate inputs to integers: every cell is looked at, no other point."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.bounds import nearby, whole_interval
from verifier.errors import UnsupportedModel
from verifier.load.onnx import load_model
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import parse_query
from verifier.search import by_cells
from verifier.verdict import Unknown, Verified, Violated

SIZE = 6
TABLE = np.array([3.0, -1.0, 0.5, 2.0, -2.5, 1.0], dtype=np.float32)


def picks(path, *, element=TensorProto.INT64):
    """y = TABLE[trunc(x_0)] + relu(x_1) if trunc(x_0) >= 0: a Slice at a computed start.

    x_1 is an ordinary input; x_2 is compared with the first place of the greatest of two numbers.
    """
    nodes = [
        helper.make_node("Gather", ["x", "zero"], ["x0"], axis=0),
        helper.make_node("Cast", ["x0"], ["k"], to=element),
        helper.make_node("Unsqueeze", ["k", "axes"], ["start"]),
        helper.make_node("Add", ["start", "step"], ["stop"]),
        helper.make_node("Slice", ["table", "start", "stop"], ["picked"]),
        helper.make_node("Slice", ["x", "one", "two"], ["x1"]),
        helper.make_node("Relu", ["x1"], ["r"]),
        helper.make_node("Add", ["picked", "r"], ["sum"]),
        helper.make_node("Slice", ["x", "two", "three"], ["x2"]),
        helper.make_node("Concat", ["x1", "limit"], ["pair"], axis=0),
        helper.make_node("ArgMax", ["pair"], ["first"], axis=0),
        helper.make_node("Cast", ["first"], ["place"], to=TensorProto.FLOAT),
        helper.make_node("Equal", ["place", "x2"], ["same"]),
        helper.make_node("Cast", ["same"], ["flag"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sum", "flag"], ["y"]),
    ]
    kind = np.int64 if element == TensorProto.INT64 else np.int32
    initial = {
        "zero": np.array(0, np.int64), "axes": np.array([0], np.int64), "table": TABLE,
        "step": np.array([1], kind), "one": np.array([1], np.int64), "two": np.array([2], np.int64),
        "three": np.array([3], np.int64), "limit": np.array([100.0], np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "cells",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(value, name) for name, value in initial.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def asked(low, high, unsafe, x1=("-1", "0.25"), x2="1"):
    declared = "".join(f"(declare-const {v} Real)" for v in ("X_0", "X_1", "X_2", "Y_0"))
    box = "".join(
        f"(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))"
        for i, (a, b) in enumerate([(low, high), x1, (x2, x2)])
    )
    return parse_query(f"{declared}{box}(assert {unsafe})".encode(), "p")


@pytest.fixture
def net(tmp_path):
    return picks(tmp_path / "net.onnx")


def test_the_inputs_that_are_truncated_are_found(net):
    model = load_model(net)
    assert model.cells is not None
    assert model.cells.inputs.tolist() == [0]
    assert model.cells.computed == ("picked",)
    points = np.array([[k + d, x, 1.0] for k in range(SIZE) for d in (0.0, 0.75) for x in (-1, 2)])
    outputs = run(model, points)[:, 0]
    expected = [TABLE[int(a)] + max(b, 0.0) for a, b, _ in points]
    assert outputs.tolist() == expected
    settings = model.extended(points)[:, 3]
    assert settings.tolist() == TABLE[points[:, 0].astype(int)].tolist()


@pytest.mark.parametrize(
    ("low", "high"),
    [("0", "5"), ("0", "2"), ("1.5", "3.9"), ("2", "2"), ("0.5", "0.75"), ("4", "5.5")],
)
def test_verdicts_are_those_of_all_cells(net, low, high):
    cells = range(int(float(low)), int(float(high)) + 1)
    least = min(TABLE[list(cells)])
    for gap, kind in ((0.01, Violated), (-0.01, Verified)):
        verdict = verifier.verify(net, asked(low, high, f"(<= Y_0 {least + gap})")).verdict
        assert isinstance(verdict, kind), (low, high, gap, verdict)
    most = max(TABLE[list(cells)]) + 0.25
    for gap, kind in ((0.01, Verified), (-0.01, Violated)):
        result = verifier.verify(net, asked(low, high, f"(>= Y_0 {most + gap})"))
        assert isinstance(result.verdict, kind), (low, high, gap, result.verdict)
        if isinstance(result.verdict, Violated):
            assert result.query.holds(result.verdict.inputs, result.verdict.outputs)
        else:
            certificate = result.verdict.certificate
            assert certificate is not None
            assert "not certified" in certificate.note


def test_both_ends_of_the_range_count(net):
    """The cell of the upper end is one point: 4 alone gives -2.5."""
    unsafe = "(<= Y_0 -2.4)"
    assert isinstance(verifier.verify(net, asked("0", "4", unsafe)).verdict, Violated)
    assert isinstance(verifier.verify(net, asked("0", "3.999", unsafe)).verdict, Verified)


def test_numbers_below_zero_are_truncated_towards_zero(net):
    """From -0.9 on it is place 0; a Floor would give -1, the last place."""
    unsafe = "(<= Y_0 2.9)"
    assert isinstance(verifier.verify(net, asked("-0.9", "0.9", unsafe)).verdict, Verified)


def test_a_class_that_is_no_double_is_not_taken_for_the_whole_number(net):
    """With x_2 = 1 the flag is 1; with a decimal beside 1, over the reals, it is 0."""
    safe = "(<= Y_0 2.9)"
    assert isinstance(verifier.verify(net, asked("0", "0", safe, x2="1")).verdict, Verified)
    beside = asked("0", "0", safe, x2="1.00000000000000000001")
    assert isinstance(verifier.verify(net, beside, timeout=10.0).verdict, Unknown)


def test_a_decimal_that_rounds_to_an_integer_may_lie_below_it(net):
    """3.999... (to 4 as a double) is truncated to 3 over the reals, where the table says 2."""
    exact = asked("4", "4", "(>= Y_0 1.9)", x1=("-1", "-1"))
    assert isinstance(verifier.verify(net, exact).verdict, Verified)
    below = "3.99999999999999999999"
    beside = asked(below, below, "(>= Y_0 1.9)", x1=("-1", "-1"))
    assert not isinstance(verifier.verify(net, beside, timeout=10.0).verdict, Verified)


def test_what_integers_select_may_not_be_other_inputs(tmp_path):
    """A Slice of inputs at a computed place is not a constant in any cell."""
    nodes = [
        helper.make_node("Slice", ["x", "first", "second"], ["x0"]),
        helper.make_node("Cast", ["x0"], ["start"], to=TensorProto.INT64),
        helper.make_node("Add", ["start", "second"], ["stop"]),
        helper.make_node("Slice", ["x", "start", "stop"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "moving",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array([n]), s) for n, s in ((0, "first"), (1, "second"))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedModel, match="Slice with computed starts"):
        load_model(path)


def test_int32_counts_as_well(tmp_path):
    model = load_model(picks(tmp_path / "net.onnx", element=TensorProto.INT32))
    assert model.cells is not None
    onnx.checker.check_model(onnx.ModelProto.FromString(model.data))


def test_random_regions(net):
    """Against enumeration by ONNX Runtime on a grid."""
    dice = np.random.default_rng(3)
    model = load_model(net)
    for _ in range(12):
        low, high = np.sort(dice.uniform(-0.99, SIZE - 0.01, 2)).astype(np.float32)
        a, b = np.sort(dice.uniform(-1, 1, 2)).astype(np.float32)
        limit = float(dice.uniform(-3, 4))
        x0 = {low, high, *(np.float32(k) for k in range(SIZE) if low <= k <= high)}
        points = np.array([[u, v, 1.0] for u, v in itertools.product(x0, (a, b))])
        worst = run(model, points).min()
        query = asked(repr(float(low)), repr(float(high)), f"(<= Y_0 {limit})", (a, b))
        verdict = verifier.verify(model, query).verdict
        assert isinstance(verdict, Violated if worst <= limit else Verified)


def test_cells_that_the_cheap_boxes_leave_open_are_bounded_by_intervals(net, monkeypatch):
    """Boxes that say nothing for every other cell."""
    calls = list[tuple[int, int]]()

    def poor(graph, region):
        box = nearby(graph, region)
        box.lower[::2], box.upper[::2] = np.nan, np.nan
        calls.append((len(box.lower), 0))
        return box

    def counted(graph, region):
        calls.append((0, len(region.lower)))
        return whole_interval(graph, region)

    monkeypatch.setattr(by_cells, "nearby", poor)
    monkeypatch.setattr(by_cells, "whole_interval", counted)
    safe = asked("0", "5.5", "(<= Y_0 -4.0)")
    assert isinstance(verifier.verify(net, safe).verdict, Verified)
    assert np.sum(calls, axis=0).tolist() == [6, 3]
    reached = asked("0", "5.5", "(<= Y_0 -2.4)")
    assert isinstance(verifier.verify(net, reached).verdict, Violated)
