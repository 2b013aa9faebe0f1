"""What a check says of a whole certificate, and what it refuses to look at."""

from __future__ import annotations

import gzip
import runpy
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from tests.checker.containers import build
from tests.checker.handmade import (
    CLIP,
    HIDDEN,
    INPUT,
    JOINTLY,
    ROWS,
    SIZE,
    certificate,
    prop,
    relus,
    split,
    verdict,
)
from tests.checker.onnx_files import DOUBLE, file
from verifier.checker import check as module
from verifier.checker.__main__ import main, run
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.cases import Alternative, Row
from verifier.checker.check import Effort, check
from verifier.checker.container import read_container
from verifier.checker.errors import OutOfTimeError, Rejected, Unsupported
from verifier.checker.network import read_network
from verifier.checker.property import read_property

HOLDS, FAILS = prop("(<= Y_0 -0.5)"), prop("(<= Y_0 0.5)")


def test_a_report_counts_nodes_and_leaves():
    tree = {"node": [INPUT, ROWS, ROWS], "split_axis": [0], "split_point": [0.0]}
    report = verdict(SIZE, HOLDS, **tree)
    assert (report.semantics, report.failures, report.accepted) == ("float32", (), True)
    assert (report.nodes, report.leaves) == (3, 2)
    assert 0 <= report.seconds < 60


def test_a_certificate_is_that_of_its_network_and_property():
    data = certificate(SIZE, HOLDS, node=[ROWS])
    assert check(SIZE, HOLDS, data).accepted
    with pytest.raises(Rejected, match=r"^network_sha256: .* another network$"):
        check(SIZE + b"\0", HOLDS, data)
    with pytest.raises(Rejected, match=r"^property_sha256: .* another property$"):
        check(SIZE, HOLDS + b" ", data)


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 2), (1, 1), (1, 3)])
def test_the_property_is_about_as_many_numbers(inputs, outputs):
    text = prop("(<= Y_0 -0.5)", inputs=inputs, outputs=outputs)
    with pytest.raises(Rejected, match=r"^the property has . (inputs|outputs), the network .$"):
        verdict(SIZE, text, node=[ROWS])


def test_tensors_of_vnnlib_2_are_those_of_the_network():
    text = "(vnnlib-version <2.0>)(declare-network N (declare-input X {} [1, 1])"
    text += "(declare-output Y real [1, 2]))"
    text += "(assert (<= X[0,0] 1.0))(assert (>= X[0,0] -1.0))(assert (<= Y[0,0] -0.5))"
    assert verdict(SIZE, text.format("float32").encode(), node=[ROWS]).semantics == "float32"
    with pytest.raises(Rejected, match=r"the property declares X float64\[1, 1\], the network"):
        verdict(SIZE, text.format("float64").encode(), node=[ROWS])


def test_exact_arithmetic_is_for_the_real_function():
    data = certificate(SIZE, HOLDS, node=[ROWS])
    assert check(SIZE, HOLDS, data, Effort(exact=True), semantics="real").semantics == "real"
    with pytest.raises(Unsupported, match="exact arithmetic is for the real function"):
        check(SIZE, HOLDS, data, Effort(exact=True))


def test_the_semantics_that_is_asked_for_is_the_one_that_is_checked():
    claims = certificate(SIZE, HOLDS, semantics="real", node=[ROWS])
    assert check(SIZE, HOLDS, claims).semantics == "real"
    assert check(SIZE, HOLDS, claims, semantics="float32").semantics == "float32"
    more = certificate(SIZE, HOLDS, node=[ROWS])
    assert check(SIZE, HOLDS, more, semantics="real").semantics == "real"


def test_networks_of_doubles_are_never_proved_for_float32_execution():
    model = onnx.ModelProto.FromString(file([node("Identity", ["x"], ["y"])], [1, 1]))
    model.graph.input[0].type.tensor_type.elem_type = DOUBLE
    text = prop("(<= Y_0 -2)", outputs=1)
    report = verdict(model.SerializeToString(), text, node=[ROWS])
    assert report.semantics == "real"
    assert not report.accepted


def test_numbers_beyond_float64_are_unsupported():
    data = certificate(SIZE, HOLDS, node=[ROWS])
    subject = read_property(HOLDS)
    row = Row(((1, Fraction(1)),), Fraction(10) ** 400)
    choices = (*subject.choices[:1], (Alternative({}, {}, ((row,),)),))
    subject = read_network(SIZE, Arithmetic()), replace(subject, choices=choices)
    with pytest.raises(Unsupported, match="beyond those of float64"):
        module.check_parsed(read_container(data), subject, Effort(), "real")


def test_exact_numbers_may_be_beyond_those_of_float64():
    large = relus([[1e20], [-1e20]], [[1, 1], [1, -1]])
    text = prop("(and (<= (* 1e300 (+ Y_0 Y_1)) 1) (<= (* 1e300 (- Y_1 X_0)) -1))")
    tree = split(actions=ROWS, children=(CLIP | JOINTLY, CLIP | JOINTLY))
    report = verdict(large, text, Effort(exact=True), semantics="real", **tree)
    assert report.semantics is None


def test_a_deadline_is_kept():
    for late in (True, False):
        effort = Effort(deadline=time.monotonic() + (-1 if late else 60))
        if late:
            with pytest.raises(OutOfTimeError):
                verdict(SIZE, HOLDS, effort, node=[ROWS])
        else:
            assert verdict(SIZE, HOLDS, effort, node=[ROWS]).accepted


def test_a_deadline_is_kept_within_a_joint_cut():
    """500 inputs and 60 rows: many seconds for one pair of nodes."""
    g, size, rows = np.random.default_rng(0), 500, 60
    network = relus(g.normal(size=(2, size)), np.eye(2))
    sums = [
        "(+ " + " ".join(f"(* {c:.3f} X_{i})" for i, c in enumerate(g.normal(size=size))) + ")"
        for _ in range(rows)
    ]
    text = prop("(and " + " ".join(f"(<= {s} 3)" for s in sums) + ")", inputs=size)
    tree = split(actions=ROWS, children=(CLIP | JOINTLY, CLIP | JOINTLY))
    data = read_container(certificate(network, text, semantics="real", **tree))
    subject = read_network(network, Arithmetic()), read_property(text)
    started = time.monotonic()
    with pytest.raises(OutOfTimeError):
        module.check_parsed(data, subject, Effort(deadline=started + 0.5), "real")
    assert time.monotonic() - started < 4


def test_memory_does_not_grow_with_the_number_of_cases(monkeypatch):
    """2,000 cases know the boxes of 2,000 neurons: 64 MB at once."""
    count = 2000
    monkeypatch.setattr(module.Walk, "batch", lambda _: 50)
    network = relus(np.ones((count, 1)), np.ones((1, count)), np.zeros(count))
    cases = " ".join(f"(and (>= X_0 0) (<= X_0 {k}))" for k in range(1, count + 1))
    text = prop(f"(or {cases})", "(<= Y_0 -1)", outputs=1, box=(0, count))
    roots = {"roots": range(count), "node": [HIDDEN | ROWS] * count}
    data = certificate(network, text, semantics="real", **roots)
    subject = read_network(network, Arithmetic()), read_property(text)
    tracemalloc.start()
    try:
        report = module.check_parsed(read_container(data), subject, Effort(), "real")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.accepted
    assert peak < 40e6


def test_failures_are_named_in_the_order_of_their_nodes(monkeypatch):
    count = 6
    tree = {
        "node": [INPUT] * (count - 1) + [0] * count,
        "split_axis": [0] * (count - 1),
        "split_point": [0.0] * (count - 1),
    }
    report = verdict(SIZE, FAILS, **tree)
    assert [f.node for f in report.failures] == list(range(count - 1, 2 * count - 1))
    monkeypatch.setattr(module, "FAILURES_NAMED", 2)
    assert [f.node for f in verdict(SIZE, FAILS, **tree).failures] == [5, 6]


def test_a_check_that_ends_early_says_nothing_of_what_it_has_not_seen(monkeypatch):
    monkeypatch.setattr(module.Walk, "batch", lambda _: 1)
    close = "(and (>= X_0 0) (<= X_0 1) (<= Y_0 -1e-12))"
    wrong = "(and (>= X_0 -1) (<= X_0 0) (<= Y_0 0.5))"
    for cases, sound in ((f"{close} {close}", True), (f"{close} {wrong}", False)):
        text, whole = prop(f"(or {cases})"), Effort(fall_back=False)
        data = certificate(SIZE, text, roots=range(2), node=[ROWS] * 2)
        report = check(SIZE, text, data, whole)
        assert report.semantics == ("real" if sound else None)
        assert [f.single for f in report.failures] == [True, sound]
        report = check(SIZE, text, data, replace(whole, most_failures=0))
        assert report.semantics is None
        assert [f.single for f in report.failures] == [True]
        assert check(SIZE, text, data, replace(whole, most_failures=-1)).semantics is None
        # Nobody has to look again: with fall_back it does so itself.
        report = check(SIZE, text, data, Effort(most_failures=0))
        assert report.semantics == ("real" if sound else None)


def deep_tree(levels):
    """All splits at 0, but for leaves on the last level."""
    inner = 2**levels - 1
    return {
        "node": [INPUT] * inner + [ROWS] * (inner + 1),
        "split_axis": [0] * inner,
        "split_point": (np.arange(inner) / inner * 2 - 1).tolist(),
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch", [1, 3, 2048])
def test_every_node_is_looked_at_once(monkeypatch, threads, batch):
    seen = list[int]()
    look = module.Walk.look

    def counting(self, state):
        seen.extend(state.node.tolist())
        assert len(state) <= batch * (1 if threads == 1 else module.CROWD)
        return look(self, state)

    monkeypatch.setattr(module.Walk, "look", counting)
    monkeypatch.setattr(module.Walk, "batch", lambda _: batch)
    tree = deep_tree(4)
    report = verdict(SIZE, prop(), Effort(threads=threads), semantics="real", **tree)
    assert sorted(seen) == list(range(31))
    assert len(report.failures) == 16


def test_cases_of_several_groups_are_all_checked():
    text = prop(
        "(or (and (<= X_0 0) (<= Y_0 -1)) (and (>= X_0 0) (<= Y_1 -1)) (and (>= X_0 2) (<= Y_0 5)))"
    )
    report = verdict(SIZE, text, roots=[0, 1], node=[ROWS, ROWS])
    assert report.semantics == "float32"
    for roots, nodes in (([0, 1], [ROWS, 0]), ([0, 1], [0, ROWS])):
        report = verdict(SIZE, text, roots=roots, node=nodes)
        assert [f.root for f in report.failures] == [nodes.index(0)]
    with pytest.raises(Rejected, match="case 1 is left out"):
        verdict(SIZE, text, roots=[0], node=[ROWS])


TENTH = relus([[0.1], [0.1]], [[1, 0], [0, 1]])
BARELY = prop("(<= Y_0 0.1)", box=(1, 1))
"""True of the real function, by less than what float32 execution may be off by."""


def test_what_fails_for_float32_execution_is_tried_for_the_real_function():
    """In node 1 rounding is too much for the planes of node 0: there the failure is not single."""
    report = verdict(TENTH, BARELY, node=[ROWS])
    assert report.semantics == "real"
    assert not report.accepted
    assert all(f.single for f in report.failures)
    both = prop("(or (<= Y_0 0.1) (<= Y_1 0.2))", box=(1, 1))
    report = verdict(TENTH, both, node=[ROWS])
    assert report.semantics is None
    assert {(f.step, f.single) for f in report.failures} == {
        ("node 0: clause 1 is not refuted", False)
    }


def wide_for_float32():
    """y = relu(relu(1e30 x) - ... ): noise of float32 makes a neuron unstable that is not."""
    constants = {
        "w": np.array([[0.1, 0.1]], np.float32),
        "v": np.array([[1], [-1]], np.float32),
        "c": np.array([-1e-12], np.float32),
        "d": np.array([[1e12]], np.float32),
    }
    nodes = [
        node("MatMul", ["x", "w"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["u"]),
        node("Relu", ["u"], ["s"]),
        node("MatMul", ["s", "d"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


def test_boxes_that_are_too_wide_for_the_real_function_are_made_again():
    network, text = wide_for_float32(), prop("(>= Y_0 0.5)", outputs=1, box=(1, 1))
    report = verdict(network, text, node=[ROWS | HIDDEN])
    assert report.semantics == "real"
    assert report.failures
    report = verdict(network, text, Effort(fall_back=False), node=[ROWS | HIDDEN])
    assert report.semantics is None
    false = prop("(>= Y_0 0)", outputs=1, box=(1, 1))
    assert verdict(network, false, node=[ROWS | HIDDEN]).semantics is None


# --------------------------------------------------------------------------------------- command


@pytest.fixture
def files(tmp_path):
    def write(network, text, data):
        paths = [tmp_path / name for name in ("net.onnx.gz", "p.vnnlib", "proof.cert")]
        contents = gzip.compress(network), text, data
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return list(map(str, paths))

    return write


def said(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_the_command_accepts(files, capsys):
    names = files(SIZE, HOLDS, certificate(SIZE, HOLDS, node=[ROWS]))
    assert main(names) == 0
    assert said(capsys)[0].startswith(
        "accepted for the real function and for every float32 execution (1 nodes, 1 leaves, "
    )
    for more in (["--semantics", "real"], ["--exact"], ["--exact", "--semantics", "real"]):
        assert main([*names, *more]) == 0
        assert said(capsys)[0].startswith("accepted for the real function (1 nodes, 1 leaves, ")


def test_a_certificate_may_be_given_as_bytes(files):
    data = certificate(SIZE, HOLDS, node=[ROWS])
    network, text = map(Path, files(SIZE, HOLDS, data)[:2])
    for exact in (False, True):
        report = run((network, text), data, semantics=None, exact=exact)
        assert (report.accepted, report.semantics) == (True, "real" if exact else "float32")


def test_the_command_rejects(files, capsys):
    names = files(SIZE, FAILS, certificate(SIZE, FAILS, node=[ROWS]))
    assert main(names) == 1
    assert said(capsys)[0].startswith("rejected: node 0: clause 0 is not refuted (1 failures; 1 n")
    names = files(SIZE, FAILS, build())
    assert main(names) == 1
    assert (
        said(capsys)[0] == "rejected: network_sha256: the certificate is that of another network\n"
    )


def test_the_command_does_not_accept_half_of_what_is_claimed(files, capsys):
    names = files(TENTH, BARELY, certificate(TENTH, BARELY, node=[ROWS]))
    assert main(names) == 1
    out = said(capsys)[0]
    assert out.startswith("rejected: ")
    assert "proved for the real function" in out
    assert "clause 0 is not refuted under float32 execution" in out
    assert main([*names, "--semantics", "real"]) == 0


def test_the_command_says_what_it_cannot_read(files, capsys, monkeypatch):
    data = certificate(b"rubbish", HOLDS, node=[ROWS])
    assert main(files(b"rubbish", HOLDS, data)) == 65
    assert said(capsys)[1].startswith("unreadable: the network cannot be read: ")
    names = files(SIZE, HOLDS, certificate(SIZE, HOLDS, node=[ROWS]))
    assert main([names[0], "absent", names[2]]) == 65
    assert main([*names[:2], "absent"]) == 65
    assert all(line.startswith("unreadable: ") for line in said(capsys)[1].splitlines())
    assert main([*names, "--exact", "--semantics", "float32"]) == 69
    assert said(capsys)[1].startswith("unsupported: exact arithmetic ")

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("verifier.checker.check.read_container", no_memory)
    assert main(names) == 75
    assert said(capsys)[1] == "out of memory\n"


def test_the_command_says_that_a_network_is_not_single_precision(files, capsys):
    model = onnx.ModelProto.FromString(file([node("Identity", ["x"], ["y"])], [1, 1]))
    model.graph.input[0].type.tensor_type.elem_type = DOUBLE
    network, text = model.SerializeToString(), prop("(<= Y_0 -2)", outputs=1)
    assert main(files(network, text, certificate(network, text, node=[ROWS]))) == 1
    assert "not every tensor of the network is float32" in said(capsys)[0]


def test_the_package_is_a_program(files, capsys, monkeypatch):
    names = files(SIZE, HOLDS, certificate(SIZE, HOLDS, node=[ROWS]))
    monkeypatch.setattr("sys.argv", ["checker", *names])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(Path(module.__file__).with_name("__main__.py")), run_name="__main__")
    assert caught.value.code == 0
    assert said(capsys)[0].startswith("accepted ")
