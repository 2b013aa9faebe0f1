"""Verdicts, witnesses and notes of ``verifier verify``."""

import gzip
import re

import numpy as np
import pytest

from tests.cli.made import (
    BOX,
    FLAT_BOX,
    TENSORS,
    flat,
    read_tensor,
    run_onnx,
    tensors,
    twice,
    two_ports,
)
from verifier.load.vnnlib import read_query

SAT, UNSAT = "(assert (>= Y_0 1.5))", "(assert (>= Y_0 5.0))"


@pytest.fixture
def net(tmp_path):
    return twice(tmp_path / "net.onnx")


@pytest.fixture
def prop(tmp_path):
    return tmp_path / "p.vnnlib"


# ---------------------------------------------------------------------------- what must be handled


@pytest.mark.parametrize("write", [flat, tensors])
def test_an_empty_region_is_unsat_and_says_so(cli, net, prop, write):
    empty = FLAT_BOX.replace("(<= X_0 1.0)", "(<= X_0 -0.5)")
    if write is tensors:
        empty = BOX.replace("(<= X[0,0] 1.0)", "(<= X[0,0] -0.5)")
    write(prop, "", empty)
    done = cli("verify", net, prop)
    assert (done.status, done.out) == (0, "unsat\n")
    assert "the region is empty" in done.line()


def test_one_empty_box_of_several_does_not_make_the_region_empty(cli, net, prop):
    either = (
        "(assert (or (and (>= X_0 0.6) (<= X_0 0.5)) (and (>= X_0 0.8) (<= X_0 1.0))))"
        "(assert (>= X_1 0.0)) (assert (<= X_1 1.0))"
    )
    flat(prop, SAT, either)
    assert cli("verify", net, prop).word == "sat"
    flat(prop, UNSAT, either)
    done = cli("verify", net, prop)
    assert done.word == "unsat"
    assert "proved for the real function and every float32 execution (1 leaves" in done.line()


@pytest.mark.parametrize(
    ("unsafe", "allowed"),
    [
        ("(> Y[0,0] 1.5)", {"sat"}),
        ("(> Y[0,0] 2.5)", {"unsat"}),
        ("(> Y[0,0] 2.0)", {"unsat", "unknown", "timed-out"}),
        ("(< Y[0,0] 0.0)", {"unsat", "unknown", "timed-out"}),
        ("(< 1.5 Y[0,0])", {"sat"}),
        ("(== X[0,0] 0.75)) (assert (>= Y[0,0] 1.25)", {"sat"}),
        ("(== X[0,0] 0.5)) (assert (>= Y[0,0] 1.25)", {"unsat"}),
        ("(== Y[0,0] 3.0)", {"unsat"}),
    ],
)
def test_strict_inequalities_and_equations(cli, net, prop, unsafe, allowed):
    tensors(prop, f"(assert {unsafe})")
    assert cli("verify", net, prop, "--timeout", 1).word in allowed


# --------------------------------------------------------------------------------------- witnesses


def numbers(lines):
    return np.array([float(line) for line in lines])


def test_a_witness_of_version_1(cli, net, prop):
    flat(prop, SAT)
    done = cli("verify", net, prop)
    assert done.status == 0
    first, _, witness = done.out.partition("\n")
    assert first == "sat"
    assert re.fullmatch(r"\((\([XY]_\d+ [^ ()\n]+\)\n?)+\)\n", witness)
    pairs = re.findall(r"\((\w+) ([^ ()]+)\)", witness)
    assert [name for name, _ in pairs] == ["X_0", "X_1", "Y_0", "Y_1"]
    values = numbers(value for _, value in pairs)
    (replayed,) = run_onnx(net, values[None, :2].astype(np.float32))
    assert replayed[0].tolist() == values[2:].tolist()
    assert read_query(prop).holds(values[:2], values[2:])


def test_a_witness_of_version_2(cli, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 1.5))")
    lines = cli("verify", net, prop).out.splitlines()
    assert lines[:2] == ["sat", "X float32 [1,2]"]
    assert lines[4] == "Y float32 [1,2]"
    assert len(lines) == 7
    x, y = numbers(lines[2:4]), numbers(lines[5:])
    (replayed,) = run_onnx(net, x[None].astype(np.float32))
    assert replayed[0].tolist() == y.tolist()
    assert read_query(prop).holds(x, y)


def test_several_inputs_and_outputs_and_comparisons_between_them(cli, tmp_path, prop):
    net = two_ports(tmp_path / "net.onnx")
    declared = (
        "(vnnlib-version <2.0>) (declare-network N"
        "(declare-input A float32 [1,2]) (declare-input C float32 [1,3])"
        "(declare-output S float32 [1,1]) (declare-output T float32 [1,3]))"
    )
    names = ["A[0,0]", "A[0,1]", "C[0,0]", "C[0,1]", "C[0,2]"]
    box = "".join(f"(assert (>= {n} 0.0)) (assert (<= {n} 1.0))" for n in names)
    compared = "(assert (>= T[0,1] (+ S[0,0] 1.0))) (assert (>= A[0,0] C[0,1]))"
    tensors(prop, compared, box, declared)
    done = cli("verify", net, prop)
    lines = done.out.splitlines()
    assert lines[0] == "sat"
    headers = [line for line in lines if "[" in line]
    assert headers == ["A float32 [1,2]", "C float32 [1,3]", "S float32 [1,1]", "T float32 [1,3]"]
    values = numbers(line for line in lines[1:] if "[" not in line)
    a, c = values[:2], values[2:5]
    s, t = run_onnx(net, a[None].astype(np.float32), c[None].astype(np.float32))
    assert read_query(prop).holds(values[:5], np.concatenate([s[0], t[0]]).astype(float))

    tensors(prop, "(assert (>= T[0,1] (+ (* 2.0 C[0,1]) 0.25)))", box, declared)
    assert cli("verify", net, prop).word == "unsat"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("declared", ["own", "real"])
def test_serialised_assignments(cli, tmp_path, prop, dtype, declared):
    net = twice(tmp_path / "net.onnx", dtype)
    word = dtype if declared == "own" else "real"
    tensors(prop, "(assert (>= Y[0,0] 1.5))", declared=TENSORS.replace("float32", word))
    folder = tmp_path / "deep" / "folder"
    done = cli("verify", net, prop, "--serialise-assignments", folder)
    assert (done.status, done.out) == (0, "sat\n")
    assert sorted(path.name for path in folder.iterdir()) == ["X.pb", "Y.pb"]
    (name_x, x), (name_y, y) = (read_tensor(folder / f"{name}.pb") for name in "XY")
    assert (name_x, name_y) == ("X", "Y")
    assert x.dtype == y.dtype == np.dtype(dtype)
    assert x.shape == y.shape == (1, 2)
    (replayed,) = run_onnx(net, x)
    assert (replayed == y).all()
    assert y[0, 0] >= 1.5


def test_serialised_assignments_that_cannot_be_written_cost_no_verdict(cli, tmp_path, net, prop):
    flat(prop, SAT)
    done = cli("verify", net, prop, "--serialise-assignments", prop / "folder")
    assert done.out == "sat\n"
    assert done.status == 65
    assert "cannot be made" in done.line()


def test_no_assignments_without_a_witness(cli, tmp_path, net, prop):
    flat(prop, UNSAT)
    assert cli("verify", net, prop, "--serialise-assignments", tmp_path / "d").out == "unsat\n"
    assert not (tmp_path / "d").exists()


# ----------------------------------------------------------------------- results files and statuses


def test_the_results_file_takes_the_witness(cli, tmp_path, net, prop):
    flat(prop, SAT)
    target = tmp_path / "r.txt"
    assert cli("verify", net, prop, "--results-file", target).out == "sat\n"
    text = target.read_text()
    assert text.startswith("sat\n((X_0 ")
    assert text.endswith("))\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "p.vnnlib", "r.txt"]


def stuck(monkeypatch, reason, note=""):
    """The search gives up at once."""
    from verifier.verdict import Unknown

    def give_up(*_, **__):
        return Unknown(reason, -0.125, 3, note)

    monkeypatch.setattr("verifier.api.decide", give_up)


@pytest.mark.parametrize(
    "said", [("OUT_OF_TIME", "timed-out", "timeout", 4), ("TOO_THIN", "unknown", "unknown", 3)]
)
def test_what_is_said_where_nothing_is_known(cli, net, prop, monkeypatch, said):
    from verifier.verdict import Reason

    reason, standard, competition, status = said
    flat(prop, UNSAT)
    stuck(monkeypatch, Reason[reason])
    target = prop.with_name("r.txt")
    done = cli("verify", net, prop, "--results-file", target)
    assert (done.status, done.out) == (0, f"{standard}\n")
    assert target.read_text() == f"{competition}\n"
    advice = Reason[reason].value
    assert done.line() == f"verifier: {standard}: {advice} (3 open, worst margin -0.125)"
    assert cli("verify", net, prop, "--verdict-style", "vnncomp").word == competition
    assert cli("verify", net, prop, "--exit-code").status == status
    assert cli("verify", net, prop, "-q").err == ""


def test_what_a_refused_certificate_lacks_is_said(cli, net, prop, monkeypatch):
    from verifier.verdict import Reason

    flat(prop, UNSAT)
    stuck(monkeypatch, Reason.NOT_SEALED, "not certified: no rule for Foo")
    said = "the checker does not accept the proof that was found: not certified: no rule for Foo"
    assert said in cli("verify", net, prop).line()


@pytest.mark.parametrize(("unsafe", "status"), [(SAT, 1), (UNSAT, 0)])
def test_the_verdict_as_exit_status(cli, net, prop, unsafe, status):
    flat(prop, unsafe)
    assert cli("verify", net, prop).status == 0
    assert cli("verify", net, prop, "--exit-code").status == status


def test_unsat_over_floats_says_what_it_covers(cli, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 5.0))")
    done = cli("verify", net, prop)
    assert "proved for the real function and every float32 execution" in done.line()
    done = cli("verify", net, prop, "--semantics", "real")
    assert "proved for the real function, not for every float32 execution" in done.line()
    done = cli("verify", net, prop, "--unchecked")
    assert "unchecked, as asked" in done.line()
    assert cli("verify", net, prop, "--quiet").err == ""


@pytest.mark.parametrize("option", ["-v", "-vv"])
def test_the_log_says_what_was_chosen(cli, net, prop, option):
    flat(prop, UNSAT)
    done = cli("verify", net, prop, option)
    assert done.out == "unsat\n"
    assert "strategy: " in done.err


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_precision_can_be_chosen(cli, net, prop, dtype):
    flat(prop, UNSAT)
    done = cli("verify", net, prop, "--dtype", dtype, "-v")
    assert done.out == "unsat\n"
    assert f"in {dtype}" in done.err


# -------------------------------------------------------------------------------- forms of the call


def test_every_form_of_the_call(cli, tmp_path, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 5.0))")
    literal = f"[('N', '{net}')]"
    for form in (
        [prop, "--network", f"N={net}"],
        ["--network", f"N={net}", "--timeout", "9", prop],
        [net, prop],
        [prop, net],
        [literal, prop],
        [prop, literal],
    ):
        assert cli("verify", *form).word == "unsat"


def test_the_only_network_may_have_any_name_in_version_1(cli, net, prop):
    flat(prop, UNSAT)
    assert cli("verify", prop, "--network", f"whatever={net}").word == "unsat"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_files_are_told_apart_by_their_contents(cli, tmp_path, net, prop, packed, order):
    flat(prop, UNSAT)
    pack = gzip.compress if packed else bytes
    files = [tmp_path / "first", tmp_path / "second"]
    for source, target in zip((net, prop), files, strict=True):
        target.write_bytes(pack(source.read_bytes()))
    assert cli("verify", *files[::order]).word == "unsat"


def test_gzipped_files(cli, tmp_path, net, prop):
    flat(prop, UNSAT)
    for path in (net, prop):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert cli("verify", f"{net}.gz", f"{prop}.gz").word == "unsat"


def test_assignments_of_an_earlier_run_are_removed(cli, tmp_path, net, prop):
    folder = tmp_path / "d"
    flat(prop, SAT)
    cli("verify", net, prop, "--serialise-assignments", folder)
    (folder / "Z.pb").touch()
    flat(prop, UNSAT)
    assert cli("verify", net, prop, "--serialise-assignments", folder).out == "unsat\n"
    assert [path.name for path in folder.iterdir()] == ["Z.pb"]


def test_a_link_stays_a_link(cli, tmp_path, net, prop):
    flat(prop, UNSAT)
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "r.txt"
    link.symlink_to(target)
    for before in ("", "before"):
        if before:
            target.write_text(before)
        assert cli("verify", net, prop, "--results-file", link).word == "unsat"
        assert link.is_symlink()
        assert target.read_text() == "unsat\n"
    assert [path.name for path in target.parent.iterdir()] == ["r.txt"]


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ("(assert (< X_0 1.0)) (assert (> X_0 1.0))", "unsat"),
        ("(assert (<= X_0 1.0)) (assert (> X_0 1.0))", "unsat"),
        ("(assert (= X_0 1.0)) (assert (!= X_0 1.0))", "unsat"),
        ("(assert (or (and (< X_0 1.0) (>= X_0 1.0)) (and (> X_0 2.0) (<= X_0 2.0))))", "unsat"),
        ("(assert (or (and (< X_0 1.0) (>= X_0 1.0)) (and (>= X_0 2.0) (<= X_0 2.0))))", "sat"),
        ("(assert (<= X_0 1.0)) (assert (>= X_0 1.0)) (assert (< X_0 2.0))", "sat"),
        ("(assert (= X_0 1.0)) (assert (!= X_0 0.5))", "sat"),
    ],
)
def test_a_region_that_strict_bounds_leave_empty(cli, net, prop, bounds, word):
    flat(prop, SAT, f"{bounds} (assert (>= X_1 0.0)) (assert (<= X_1 1.0))")
    done = cli("verify", net, prop, "--timeout", 5)
    assert done.word == word
    assert ("the region is empty" in done.err) == (word == "unsat")


def test_a_byte_order_mark_means_nothing(cli, net, prop):
    prop.write_text("\ufeff" + flat(prop, SAT).read_text())
    renamed = prop.with_name("property")
    prop.rename(renamed)
    assert cli("verify", renamed, net).word == "sat"
