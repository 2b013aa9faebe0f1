"""What the search does about leaves that the checker does not accept."""

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.cli.made import flat, save, twice
from verifier import Options, Unknown, Verified, sealing, verify
from verifier.certify import Certificate, Leaf, ProofTree, Sealed
from verifier.checker import check
from verifier.checker.errors import OutOfTimeError
from verifier.search import (
    by_inputs,
    by_neurons,
    extension,
    product_root,
    strategy,
    weighing,
)
from verifier.verdict import Reason

BARELY = "(assert (>= Y_0 2.0000000001))"
"""y = relu(2 x) reaches 2: unsat by less than what float32 execution may be off by."""


@pytest.fixture
def net(tmp_path):
    return twice(tmp_path / "net.onnx")


@pytest.fixture
def prop(tmp_path):
    return flat(tmp_path / "p.vnnlib", BARELY)


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(extension, "SECONDS", 0.05)
    monkeypatch.setattr(extension, "SHARE", 0.0)
    monkeypatch.setattr(extension, "SHARE_OF_TIME", 0.0)


@pytest.mark.usefixtures("hurry")
def test_what_holds_for_the_real_function_only_is_said_so(net, prop):
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.semantics == "real"
    assert "not proved for float32 execution" in verdict.certificate.note


def test_what_must_hold_for_float32_is_not_said_without(net, prop):
    verdict = verify(net, prop, timeout=1.0, options=Options(semantics="float32")).verdict
    assert isinstance(verdict, Unknown)


def test_a_leaf_is_opened_again_until_it_is_accepted(net, tmp_path, monkeypatch):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    whole = sealing.Seal.__call__
    calls = list[int]()

    def doubting(self: sealing.Seal, tree: ProofTree | None) -> Sealed:
        sealed = whole(self, tree)
        assert sealed.certificate.semantics == "float32"
        assert tree is not None
        calls.append(tree.count)
        if len(calls) > 2:
            return sealed
        cases = self.problem.cases.take(0, 1)
        leaf = Leaf(0 if len(calls) == 1 else tree.count - 1, 0, cases.lower[0], cases.upper[0])
        return Sealed(Certificate(None), (leaf,), single=False, required=True)

    monkeypatch.setattr(sealing.Seal, "__call__", doubting)
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert calls == [1, 3, 5]
    assert verdict.certificate is not None
    assert verdict.certificate.leaves == 3


def test_nothing_rests_on_a_certificate_that_is_rejected(net, tmp_path, monkeypatch):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    monkeypatch.setattr(
        sealing, "certificate", lambda *_: (b"rubbish", np.zeros(0, dtype=np.int64))
    )
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Unknown)
    assert verdict.reason is Reason.NOT_SEALED
    assert verdict.note.startswith("our own certificate is rejected: ")


def test_what_the_checker_has_no_rule_for_is_named_where_float32_is_required(tmp_path):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    net = twice(tmp_path / "net.onnx", "float64")
    verdict = verify(net, prop, timeout=20.0, options=Options(semantics="float32")).verdict
    assert isinstance(verdict, Unknown)
    assert verdict.note == sealing.REAL_ONLY


def test_leaves_that_cannot_be_split_are_counted(tmp_path, net, monkeypatch):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")

    def doubting(self: sealing.Seal, _: ProofTree | None) -> Sealed:
        cases = self.problem.cases.take(0, 1)
        leaf = Leaf(0, 0, cases.lower[0], cases.lower[0])
        certificate = Certificate(None, note="1 leaves are not proved for the semantics real")
        return Sealed(certificate, (leaf,), single=False, required=True)

    monkeypatch.setattr(sealing.Seal, "__call__", doubting)
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Unknown)
    assert verdict.reason is Reason.NOT_SEALED
    assert verdict.note.endswith("semantics real, and their boxes are too thin to split")


def test_planes_that_no_certificate_holds_are_left_alone_where_it_is_required(
    tmp_path, monkeypatch
):
    """Products of factors that move together."""
    monkeypatch.setattr(weighing, "PLAIN_BOXES", 0)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("MatMul", ["h", "p"], ["l"]),
        helper.make_node("MatMul", ["h", "q"], ["r"]),
        helper.make_node("Mul", ["l", "r"], ["y"]),
    ]
    arrays = {"w": [[1, 1.25], [0.5, 0.25]], "b": [0, 0.5], "p": [[1], [0]], "q": [[0], [1]]}
    constants = {name: np.array(array, np.float32) for name, array in arrays.items()}
    net = save(tmp_path / "net.onnx", nodes, constants, outputs={"y": [1, 1]})
    box = "(assert (and (>= X_0 -1) (<= X_0 1) (>= X_1 -1) (<= X_1 1)))"
    prop = tmp_path / "p.vnnlib"
    consts = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0"))
    prop.write_text(f"{consts}{box}(assert (<= Y_0 -0.155))")
    found = []
    for semantics in ("float32", "real"):
        verdict = verify(net, prop, timeout=20.0, options=Options(semantics=semantics)).verdict
        assert isinstance(verdict, Verified)
        assert verdict.certificate is not None
        found.append(verdict.certificate.semantics)
    assert found == ["float32", None]


# ------------------------------------------------------- float32 errors counted from the start


def slack(folder):
    """y_0 = x_1 - relu(x_0 + x_1 - 1), at least 0: bounds say -1/2 at the root, -1/3 of halves."""
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "c"], ["y"]),
    ]
    arrays = {"a": [[1, 0], [1, 1]], "b": [-1, 0], "c": [[-1, 0], [1, 0]]}
    constants = {name: np.array(array, np.float32) for name, array in arrays.items()}
    net = save(folder / "slack.onnx", nodes, constants)
    return net, flat(folder / "slack.vnnlib", "(assert (<= Y_0 -0.500000001))")


class Told:
    """How the search went on, and how often its proof was checked."""

    def __init__(self, monkeypatch):
        self.single, self.checks = list[bool](), list[str]()
        bound, run = by_inputs.bound_round, sealing.Seal._run

        def bounding(problem, part, efforts):
            self.single.append(problem.bounds.single)
            return bound(problem, part, efforts)

        def checking(seal, data, semantics, known=None):
            report = run(seal, data, semantics, known)
            self.checks.append(str(report.semantics))
            return report

        monkeypatch.setattr(by_inputs, "bound_round", bounding)
        monkeypatch.setattr(sealing.Seal, "_run", checking)


def test_a_proof_that_float32_needs_more_splits_for_is_checked_once(tmp_path, monkeypatch):
    """At the root the margin is less than what float32 execution may be off by."""
    net, prop = slack(tmp_path)
    told = Told(monkeypatch)
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.semantics == "float32"
    assert set(told.single) == {True}
    assert told.checks == ["float32"]


@pytest.mark.parametrize(("semantics", "check"), [("real", True), ("auto", False)])
def test_errors_that_nobody_asks_for_are_not_counted(tmp_path, monkeypatch, semantics, check):
    net, prop = slack(tmp_path)
    told = Told(monkeypatch)
    options = Options(semantics=semantics, check=check)
    assert isinstance(verify(net, prop, timeout=20.0, options=options).verdict, Verified)
    assert set(told.single) == {False}


def test_errors_of_float32_are_not_counted_in_a_network_of_another_type(tmp_path, monkeypatch):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    net = twice(tmp_path / "net.onnx", "float64")
    told = Told(monkeypatch)
    assert isinstance(verify(net, prop, timeout=20.0).verdict, Verified)
    assert set(told.single) == {False}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(("rounds", "low", "first"), [(2, "0", 2), (1000, "0.999999999999999", 4)])
def test_errors_that_keep_boxes_open_are_counted_later(
    net, tmp_path, monkeypatch, rounds, low, first
):
    """At a trial, or where a box can be split no more."""
    box = f"(assert (and (>= X_0 {low}) (<= X_0 1) (>= X_1 0.5) (<= X_1 0.5)))"
    prop = flat(tmp_path / "p.vnnlib", BARELY, box)
    monkeypatch.setattr(by_inputs, "TRIAL_ROUNDS", rounds)
    told = Told(monkeypatch)
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.semantics == "real"
    assert told.single.index(False) == first


@pytest.mark.parametrize(("shift", "checked"), [(4.0, True), (0.0, False)])
def test_a_check_that_takes_more_than_the_search_is_not_begun(
    tmp_path, monkeypatch, shift, checked
):
    """Of neurons that forward bounds show to be linear the checker needs no rows either."""
    monkeypatch.setattr(by_inputs, "CHECKED_WORK", 0)
    g = np.random.default_rng(0)
    nodes, constants, sizes = [], dict[str, np.ndarray](), (2, 8, 1100, 2)
    for k, (before, after) in enumerate(pairwise(sizes)):
        read = "x" if k == 0 else f"r{k - 1}"
        written = "y" if after == 2 else f"h{k}"
        nodes.append(helper.make_node("Gemm", [read, f"w{k}", f"b{k}"], [written]))
        nodes += [helper.make_node("Relu", [written], [f"r{k}"])] if written != "y" else []
        constants[f"w{k}"] = (g.uniform(-1, 1, (before, after)) / before).astype(np.float32)
        constants[f"b{k}"] = np.full(after, shift, np.float32)
    net = save(tmp_path / "wide.onnx", nodes, constants)
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 1000))")
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.semantics == ("float32" if checked else None)
    assert verdict.certificate.note == ("" if checked else by_inputs.LABORIOUS)


EXAMPLES = Path(__file__).parents[2] / "benchmarks" / "examples"


@pytest.mark.parametrize(
    ("limits", "asked", "semantics"),
    [
        ((60.0, 1), "auto", "float32"),
        ((-1.0, 1), "auto", "real"),
        ((60.0, 0), "auto", "real"),
        ((-1.0, 0), "float32", "float32"),
    ],
)
def test_proofs_that_took_long_or_have_many_leaves_are_checked_for_the_real_function_only(
    limits, asked, semantics, monkeypatch
):
    for name, limit in zip(("LONG", "MANY"), limits, strict=True):
        monkeypatch.setattr(by_neurons, name, limit)
    files = EXAMPLES / "onnx/digits_mlp.onnx", EXAMPLES / "vnnlib/digits_mlp_image3_eps0.01.vnnlib"
    verdict = verify(*files, timeout=30.0, options=Options(semantics=asked)).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.semantics == semantics


def test_what_the_checker_doubted_is_not_believed_when_its_time_is_up(net, prop, monkeypatch):
    """Leaves that it does not accept are split; then there is no time to look at them."""
    whole, calls = sealing.Seal._run, list[str]()

    def run(self: sealing.Seal, data: bytes, semantics: str, known: np.ndarray | None = None):
        assert known is None or len(calls) == 1
        calls.append(semantics)
        if len(calls) > 1:
            raise OutOfTimeError
        return replace(whole(self, data, "float32"), semantics="none")

    monkeypatch.setattr(sealing.Seal, "_run", run)
    options = Options(semantics="real")
    verdict = verify(net, prop, timeout=20.0, options=options).verdict
    assert len(calls) == 2
    assert isinstance(verdict, Unknown)
    assert verdict.note == sealing.DOUBTED


@pytest.mark.parametrize(("timeout", "kept"), [(500.0, 1.0), (20.0, 0.4)])
def test_checks_end_before_the_answer_is_due(net, prop, monkeypatch, timeout, kept):
    """Even if they may go on to the end."""
    plain, left = check.check_parsed, list[float]()
    monkeypatch.setattr(sealing, "CHECK_SHARE", float("inf"))

    def watched(container, read, effort, semantics):
        left.append(started + timeout - effort.deadline)
        return plain(container, read, effort, semantics)

    monkeypatch.setattr(check, "check_parsed", watched)
    started = time.monotonic()
    assert isinstance(verify(net, prop, timeout=timeout).verdict, Verified)
    assert left
    assert all(kept * 0.9 < seconds < kept + 1.0 for seconds in left)


@pytest.mark.parametrize("many", [True, False])
def test_nor_one_that_needs_rows_inside_funnels(tmp_path, monkeypatch, many):
    """Of a Softmax' own numbers the search bounds none by rows, where there are many."""
    monkeypatch.setattr(strategy, "FEW_INPUTS", 0)
    monkeypatch.setattr(strategy, "SOME_INPUTS", 0)
    monkeypatch.setattr(product_root, "MOST_FIRST_WORK", 0)
    monkeypatch.setattr(by_neurons, "CHECKED_ROWS", 0 if many else 10**12)
    g = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Softmax", ["h"], ["s"]),
        helper.make_node("Gemm", ["s", "v", "c"], ["t"]),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Sub", ["r", "t"], ["y"]),
    ]
    arrays = {
        "w": g.uniform(-1, 1, (2, 6)),
        "b": g.normal(size=6),
        "v": [[1, -1]] * 3 + [[-1, 1]] * 3,
    }
    constants = {k: np.asarray(x, np.float32) for k, x in arrays.items()}
    net = save(tmp_path / "soft.onnx", nodes, constants | {"c": np.zeros(2, np.float32)})
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 1.1))")
    verdict = verify(net, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert (verdict.certificate.semantics is None) == many
    assert (verdict.certificate.note == by_inputs.LABORIOUS) == many
