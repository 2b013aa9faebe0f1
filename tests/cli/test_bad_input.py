"""Every kind of bad input: one line that says what is wrong, and the exit status for it."""

import errno
import gzip
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.made import FLAT, TENSORS, flat, save, tensors, twice, unsupported

UNSAFE = "(assert (>= Y_0 5.0))"


@pytest.fixture
def prop(tmp_path):
    return flat(tmp_path / "p.vnnlib", UNSAFE)


def refused(done, status, *words):
    assert done.status == status
    assert done.out == ""
    line = done.line()
    assert line.startswith("verifier: ")
    for word in words:
        assert word in line


# ------------------------------------------------------------------------------------- networks


def test_truncated_onnx(cli, net, prop):
    whole = net.read_bytes()
    net.write_bytes(whole[: len(whole) * 2 // 3])
    refused(cli("verify", net, prop), 65, "net.onnx", "not ONNX")


def test_text_that_is_not_onnx(cli, net, prop):
    net.write_text("this is no network\n")
    refused(cli("verify", net, prop), 65, "net.onnx", "not ONNX")


def test_an_empty_network_file(cli, net, prop):
    net.write_bytes(b"")
    refused(cli("verify", net, prop), 65, "net.onnx")


def test_a_truncated_gzip_network(cli, net, prop):
    packed = net.with_name("net.onnx.gz")
    packed.write_bytes(gzip.compress(net.read_bytes())[:-30])
    refused(cli("verify", packed, prop), 65, "net.onnx.gz", "cannot be read")


def test_shapes_that_do_not_fit(cli, tmp_path, prop):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="misfit")]
    net = save(tmp_path / "net.onnx", nodes, {"w": np.ones((3, 2), dtype=np.float32)})
    refused(cli("verify", net, prop), 65, "net.onnx", "'misfit' (MatMul)")


def test_nan_weights(cli, tmp_path, prop):
    net = twice(tmp_path / "net.onnx", factor=np.nan)
    refused(cli("verify", net, prop), 65, "net.onnx", "'w' holds 4 numbers", "NaN", "need finite")


def test_unsupported_operators_are_listed_with_all_their_nodes(cli, tmp_path, prop):
    net = unsupported(tmp_path / "net.onnx")
    refused(cli("verify", net, prop), 69, "net.onnx", "NonZero (first, second)", "Det (third)")


def test_a_missing_network(cli, tmp_path, prop):
    refused(cli("verify", tmp_path / "no.onnx", prop), 65, "no.onnx", "No such file")


def test_a_folder_as_network(cli, tmp_path, prop):
    (tmp_path / "dir.onnx").mkdir()
    refused(cli("verify", tmp_path / "dir.onnx", prop), 65, "Is a directory; need an ONNX file")


@pytest.mark.parametrize("command", ["verify", "info"])
@pytest.mark.parametrize("name", ["pipe.onnx", "pipe.vnnlib", "pipe"])
def test_pipes_are_not_waited_for(cli, tmp_path, net, prop, command, name):
    pipe = tmp_path / name
    os.mkfifo(pipe)
    files = (pipe, net) if name.endswith("lib") else (pipe, prop)
    refused(cli(command, *files[: 1 if command == "info" else 2]), 65, name, "a pipe or a device")


# ----------------------------------------------------------------------------------- properties


def test_a_missing_property(cli, tmp_path, net):
    refused(cli("verify", net, tmp_path / "no.vnnlib"), 65, "no.vnnlib", "No such file")


def test_a_folder_as_property(cli, tmp_path, net):
    (tmp_path / "dir.vnnlib").mkdir()
    refused(cli("verify", net, tmp_path / "dir.vnnlib"), 65, "dir.vnnlib", "Is a directory")


def test_a_truncated_gzip_property(cli, net, prop):
    packed = prop.with_name("p.vnnlib.gz")
    packed.write_bytes(gzip.compress(prop.read_bytes())[:-10])
    refused(cli("verify", net, packed), 65, "p.vnnlib.gz", "need the whole file")


@pytest.mark.parametrize("text", ["", "; nothing\n", "hello", "(assert (>= X_0"])
def test_no_property_at_all(cli, net, prop, text):
    prop.write_text(text)
    refused(cli("verify", net, prop), 65, "p.vnnlib:1:")


def test_an_unknown_variable(cli, net, prop):
    flat(prop, "(assert (>= Y_2 5.0))")
    refused(cli("verify", net, prop), 65, "p.vnnlib:6:", "Y_2")


def test_an_unknown_tensor(cli, net, prop):
    tensors(prop, "(assert (>= Z[0,0] 5.0))")
    refused(cli("verify", net, prop), 65, "p.vnnlib:4:", "Z")


@pytest.mark.parametrize("place", ["Y[0,2]", "Y[1,0]", "Y[0]", "Y"])
def test_an_index_out_of_range(cli, net, prop, place):
    tensors(prop, f"(assert (>= {place} 5.0))")
    refused(cli("verify", net, prop), 65, "p.vnnlib:4:", "[1,2]" if "," in place else "Y")


@pytest.mark.parametrize(
    ("missing", "side"), [("(<= X_1 1.0)", "upper"), ("(>= X_1 0.0)", "lower")]
)
def test_an_unbounded_input(cli, net, prop, missing, side):
    text = prop.read_text()
    assert missing in text
    prop.write_text(text.replace(f"(assert {missing})", ""))
    refused(cli("verify", net, prop), 65, "p.vnnlib", f"X_1 has no {side} bound")


def test_more_inputs_than_the_network(cli, net, prop):
    more = "(declare-const X_2 Real) (assert (>= X_2 0.0)) (assert (<= X_2 1.0))\n"
    prop.write_text(more + prop.read_text())
    refused(cli("verify", net, prop), 65, "declares 3 inputs, but the network has 2")


# ----------------------------------------------------------------- properties and their networks


def test_another_element_type_than_the_networks(cli, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 5.0))", declared=TENSORS.replace("X float32", "X float64"))
    refused(cli("verify", net, prop), 65, "the input X as float64", "x is float32")


@pytest.mark.parametrize("declared", ["X real", "X Real"])
def test_real_fits_every_type(cli, net, prop, declared):
    tensors(prop, "(assert (>= Y[0,0] 5.0))", declared=TENSORS.replace("X float32", declared))
    assert cli("verify", net, prop).word == "unsat"


def test_another_shape_than_the_networks(cli, net, prop):
    swapped = TENSORS.replace("Y float32 [1,2]", "Y float32 [2,2]")
    tensors(prop, "(assert (>= Y[0,0] 5.0))", declared=swapped)
    refused(cli("verify", net, prop), 65, "the output Y of shape [2, 2]", "y has [1, 2]")


def test_fewer_tensors_than_the_network(cli, net, prop):
    extra = TENSORS.replace("(declare-output", "(declare-input Z float32 [1]) (declare-output")
    box = "(assert (>= X[0,0] 0.0)) (assert (<= X[0,0] 1.0))"
    tensors(prop, "(assert (>= Y[0,0] 5.0))", box, extra)
    refused(cli("verify", net, prop), 65, "declares 2 input tensors, but the network has 1 (x)")


def test_several_networks_of_which_one_is_declared(cli, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 5.0))")
    literal = f"[('N', '{net}'), ('g', '{net}')]"
    refused(cli("verify", literal, prop), 65, "networks 'N', 'g', but", "declares one")


@pytest.mark.parametrize(
    "literal",
    ["[", "[]", "[1]", "[__import__('os')]", "[('f',)]", "[('f', 'a.onnx'), ('f', 'b.onnx')]"],
)
def test_a_list_of_networks_that_is_none(cli, prop, literal):
    refused(cli("verify", literal, prop), 65, "need a list of pairs")


def test_a_network_under_another_name(cli, net, prop):
    tensors(prop, "(assert (>= Y[0,0] 5.0))")
    refused(cli("verify", prop, "--network", f"M={net}"), 65, "'M'", "declares 'N'")


@pytest.mark.parametrize("write", [flat, tensors])
def test_a_network_too_many(cli, net, prop, write):
    write(prop, "(assert (>= X_0 5.0))" if write is flat else "(assert (>= Y[0,0] 5.0))")
    done = cli("verify", prop, "--network", f"N={net}", "--network", f"M={net}")
    refused(done, 65, "'N', 'M'", "declares one")


# ----------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["p.vnnlib"], "need --network"),
        (["net.onnx", "p.vnnlib", "--network", "N=net.onnx"], "two files and --network"),
        (["p.vnnlib", "--network", "net.onnx"], "need NAME=MODEL"),
        (["a.onnx", "b.onnx", "p.vnnlib"], "3 files"),
        ([], "Missing argument"),
        (["net.onnx", "p.vnnlib", "--timeout", "0"], "need more than 0 seconds"),
        (["net.onnx", "p.vnnlib", "--timeout", "nan"], "need more than 0 seconds"),
        (["net.onnx", "p.vnnlib", "--timeout", "soon"], "--timeout"),
        (["net.onnx", "p.vnnlib", "--device", "tpu"], "--device"),
        (["net.onnx", "p.vnnlib", "--frobnicate"], "--frobnicate"),
    ],
)
def test_usage(cli, arguments, words):
    refused(cli("verify", *arguments), 2, words, "see verifier verify --help")


def test_an_unknown_command(cli):
    refused(cli("prove"), 2, "prove", "see verifier --help")


def test_a_device_that_is_not_there(cli, net, prop, monkeypatch):
    monkeypatch.setattr("verifier.api.cuda_devices", lambda: 0)
    refused(cli("verify", net, prop, "--device", "cuda"), 65, "no CUDA device is there")


# --------------------------------------------------------------------------------- results files


def test_a_results_file_without_a_folder(cli, tmp_path, net, prop):
    target = tmp_path / "no" / "r.txt"
    refused(cli("verify", net, prop, "--results-file", target), 65, "r.txt", "there is no folder")


def test_a_results_file_that_is_a_folder(cli, tmp_path, net, prop):
    refused(cli("verify", net, prop, "--results-file", tmp_path), 65, "it is a folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "p.vnnlib"]


def test_a_full_disk_costs_the_file_but_not_the_verdict(cli, tmp_path, net, prop, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "r.txt"
    target.write_text("before")
    monkeypatch.setattr(Path, "write_bytes", full)
    done = cli("verify", net, prop, "--results-file", target)
    assert (done.status, done.out) == (65, "unsat\n")
    assert done.line() == f"verifier: the file {target} cannot be written: No space left on device"
    assert target.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "p.vnnlib", "r.txt"]


@pytest.mark.parametrize("content", ["nonsense", FLAT])
def test_an_error_is_said_in_the_results_file(cli, tmp_path, net, prop, content):
    prop.write_text(content)
    target = tmp_path / "r.txt"
    assert cli("verify", net, prop, "--results-file", target).status == 65
    assert target.read_text() == "error\n"


# ------------------------------------------------------------------------------- our own failures


def broken(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("verifier.api.verify", fail)


def test_a_bug_is_one_line(cli, net, prop, monkeypatch):
    broken(monkeypatch, ZeroDivisionError("division\nby zero"))
    done = cli("verify", net, prop)
    refused(done, 70, "internal error: ZeroDivisionError: division by zero; run with -v")


def test_a_bug_shows_its_traceback_with_v(cli, net, prop, monkeypatch):
    broken(monkeypatch, ZeroDivisionError("division by zero"))
    done = cli("verify", net, prop, "-v")
    assert done.status == 70
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("verifier: internal error: ZeroDivisionError")


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("CUDA out of memory")])
def test_memory(cli, tmp_path, net, prop, monkeypatch, error):
    broken(monkeypatch, error)
    target = tmp_path / "r.txt"
    refused(cli("verify", net, prop, "--results-file", target), 75, "out of memory")
    assert target.read_text() == "error\n"


def test_interruption_says_what_is_known(cli, tmp_path, net, prop, monkeypatch):
    broken(monkeypatch, KeyboardInterrupt())
    target = tmp_path / "r.txt"
    done = cli("verify", net, prop, "--results-file", target)
    assert (done.status, done.out) == (130, "unknown\n")
    assert done.line() == "verifier: interrupted"
    assert target.read_text() == "unknown\n"


def test_a_property_without_its_version(cli, net, prop):
    tensors(prop, UNSAFE, declared=TENSORS.split("\n", 1)[1])
    refused(cli("verify", net, prop), 65, "need (vnnlib-version <2.0>) before it")


def test_empty_file_names(cli):
    refused(cli("verify", "", ""), 2, "an empty file name; need MODEL.onnx QUERY.vnnlib")


@pytest.mark.parametrize("field", ["ir_version", "opset"])
def test_versions_that_onnx_runtime_does_not_know(cli, net, prop, field):
    model = onnx.load(net)
    if field == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    net.write_bytes(model.SerializeToString())
    done = cli("verify", net, prop)
    refused(done, 65, "ONNX Runtime refuses the network", "need one that it runs")
    assert "/onnxruntime" not in done.err


def test_unsupported_operators_come_with_a_remedy(cli, tmp_path, prop):
    done = cli("verify", unsupported(tmp_path / "net.onnx"), prop)
    refused(done, 69, "verifier supports --onnx-operators")


def test_bounds_that_overflow_are_one_line(cli, tmp_path, prop):
    net = twice(tmp_path / "net.onnx", "float64")
    far = " ".join(f"(assert (>= X_{i} -1e308)) (assert (<= X_{i} 1e308))" for i in range(2))
    refused(cli("verify", net, flat(prop, UNSAFE, far)), 65, "need finite outputs")
