"""Certificates on the command line: written, checked, described, and refused."""

import gzip
import os

import numpy as np
import pytest
from onnx import helper

from tests.cli.made import flat, save, twice
from verifier import Options, Verified, check, sealing, verify
from verifier.checker.__main__ import main as checker
from verifier.errors import BadInput

UNSAT = "(assert (>= Y_0 5.0))"
BARELY = "(assert (>= Y_0 2.0000000001))"


@pytest.fixture
def prop(tmp_path):
    return flat(tmp_path / "p.vnnlib", UNSAT)


@pytest.fixture
def proof(cli, net, prop, tmp_path):
    path = tmp_path / "proof.cert"
    done = cli("verify", net, prop, "--certificate", path)
    assert (done.status, done.word) == (0, "unsat")
    assert f"certificate in {path}" in done.line()
    return path


def test_a_certificate_is_found_beside_its_files_and_accepted(cli, proof):
    done = cli("check", proof)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("accepted for the real function and for every float32 execution")


def test_the_files_can_be_named(cli, proof, net, prop):
    for more in ((), ("--semantics", "real"), ("--exact",)):
        done = cli("check", proof, "--network", net, "--property", prop, *more)
        assert (done.status, done.out.split()[0]) == (0, "accepted")


def test_the_same_proof_gives_the_same_bytes(cli, proof, net, prop, tmp_path):
    again = tmp_path / "again.cert"
    cli("verify", net, prop, "--certificate", again)
    assert again.read_bytes() == proof.read_bytes()


def test_another_property_or_network_is_rejected(cli, proof, net, tmp_path):
    other = flat(tmp_path / "other.vnnlib", "(assert (>= Y_0 4.0))")
    done = cli("check", proof, "--property", other)
    assert (done.status, done.out.split(":")[0]) == (1, "rejected")
    more = twice(tmp_path / "more.onnx", factor=3.0)
    done = cli("check", proof, "--network", more)
    assert (done.status, done.out.split(":")[0]) == (1, "rejected")


def test_a_changed_byte_is_rejected(cli, proof):
    content = bytearray(proof.read_bytes())
    content[len(content) // 2] ^= 1
    proof.write_bytes(content)
    done = cli("check", proof)
    assert (done.status, done.out.count("\n"), done.err) == (1, 1, "")


def test_missing_files_are_named(cli, proof, net, tmp_path, monkeypatch):
    net.rename(tmp_path / "elsewhere.onnx")
    done = cli("check", proof)
    assert done.status == 65
    assert "net.onnx, which is not beside it; name it with --network" in done.line()
    assert cli("check", tmp_path / "no.cert").status == 65


def test_every_reader_unpacks_a_certificate_and_its_files(cli, proof, net, prop, capfd):
    for path in (proof, net, prop):
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert cli("check", proof).out.startswith("accepted")
    assert cli("info", proof).out.startswith("certificate:")
    assert check(proof, net, prop).accepted
    assert checker([str(net), str(prop), str(proof)]) == 0
    assert capfd.readouterr().out.startswith("accepted")


def test_no_reader_waits_for_a_pipe(cli, proof, net, prop, tmp_path, capfd):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "need a regular file" in cli("check", pipe).line()
    for files in ([net, prop, pipe], [net, pipe, proof], [pipe, prop, proof]):
        assert checker([str(path) for path in files]) == 65
        (line,) = capfd.readouterr().err.splitlines()
        assert line == f"unreadable: {pipe} is a folder, a pipe or a device; need a regular file"
        with pytest.raises(BadInput, match="need a regular file"):
            check(files[2], files[0], files[1])
    with pytest.raises(BadInput, match="none cannot be read: No such file or directory"):
        check(tmp_path / "none", net, prop)


def test_info_describes_a_certificate(cli, proof):
    done = cli("info", proof)
    assert done.status == 0
    assert "semantics float32" in done.out
    assert "1, of which 1 are leaves" in done.out
    proof.write_bytes(b"PK\x03\x04 and more")
    assert cli("info", proof).status == 65


def test_an_operator_without_a_rule_is_not_certified(cli, tmp_path, prop):
    node = helper.make_node("Softsign", ["x"], ["y"], name="turn")
    net = save(tmp_path / "net.onnx", [node], {})
    positive = "".join(f"(assert (>= X_{i} 1.0)) (assert (<= X_{i} 2.0))" for i in range(2))
    flat(prop, UNSAT, positive)
    done = cli("verify", net, prop, "--certificate", tmp_path / "none.cert")
    assert done.word == "unsat"
    assert "not certified: " in done.line()
    assert "Softsign" in done.line()
    assert "none.cert was not written" in done.line()
    assert not (tmp_path / "none.cert").exists()


@pytest.mark.parametrize("name", ["a\tb.onnx", "a\u00a0b.onnx"])
def test_names_that_cannot_be_printed_cost_no_certificate(cli, prop, tmp_path, name):
    """Names of files, and of the tensors of a network."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h\u00a0" + 2000 * "h"]),
        helper.make_node("Relu", ["h\u00a0" + 2000 * "h"], ["y"]),
    ]
    net = save(tmp_path / name, nodes, {"w": np.array([[1, -1], [1, 1]], np.float32)})
    flat(prop, "(assert (<= Y_0 -0.1))")
    line = cli("verify", net, prop).line()
    assert "proved for the real function and every float32 execution" in line


def test_a_sat_writes_no_certificate(cli, net, tmp_path):
    sat = flat(tmp_path / "sat.vnnlib", "(assert (>= Y_0 1.5))")
    done = cli("verify", net, sat, "--certificate", tmp_path / "none.cert")
    assert done.word == "sat"
    assert not (tmp_path / "none.cert").exists()


def test_an_unwritable_certificate_is_refused_before_the_search(cli, net, prop, tmp_path):
    done = cli("verify", net, prop, "--certificate", tmp_path / "no" / "proof.cert")
    assert (done.status, done.out) == (65, "")


def test_python_says_the_same(net, prop, proof):
    verdict = verify(net, prop, options=Options(semantics="float32")).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.checked
    assert verdict.certificate.data == proof.read_bytes()
    assert check(proof, net, prop).semantics == "float32"
    with pytest.raises(BadInput, match="another network"):
        check(proof, prop, prop)


def test_the_network_of_doubles_is_proved_for_the_real_function(cli, tmp_path, prop):
    net, proof = twice(tmp_path / "double.onnx", "float64"), tmp_path / "proof.cert"
    assert "proved for the real function, not" in cli("verify", net, prop).line()
    cli("verify", net, prop, "--certificate", proof)
    assert cli("check", proof).out.startswith("accepted for the real function (")
    done = cli("check", proof, "--semantics", "float32")
    assert (done.status, done.out.split(":")[0]) == (1, "rejected")
    assert "but not for float32 execution: not every tensor of the network is float32" in done.out


def test_what_holds_for_the_real_function_only_is_no_proof_for_float32(cli, net, tmp_path):
    """y = relu(2 x) reaches 2, and is proved to stay below a number that float32 may round to."""
    prop, proof = flat(tmp_path / "p.vnnlib", BARELY), tmp_path / "proof.cert"
    assert cli("verify", net, prop, "--certificate", proof, "--semantics", "real").word == "unsat"
    assert cli("check", proof).status == 0
    done = cli("check", proof, "--semantics", "float32")
    assert (done.status, done.err) == (1, "")
    assert done.out.startswith("rejected: proved for the real function, but not for float32")


def test_a_property_too_long_to_be_read_again_in_time_is_not_begun(cli, net, prop, monkeypatch):
    monkeypatch.setattr(sealing, "READ_BYTES_PER_SECOND", 0)
    done = cli("verify", net, prop)
    assert done.word == "unsat"
    assert "unchecked: the time ran out before the check" in done.line()
    # The engine's own proof is for the real function only.
    assert cli("verify", net, prop, "--semantics", "float32").word == "unknown"


def test_float32_that_cannot_be_proved_is_not_said(cli, tmp_path, prop):
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    net = save(tmp_path / "mean.onnx", [node], {}, outputs={"y": [1]})
    text = prop.read_text().replace("(declare-const Y_1 Real)", "")
    prop.write_text(text)
    assert "proved for the real function, not for" in cli("verify", net, prop).line()
    done = cli("verify", net, prop, "--semantics", "float32")
    assert (done.status, done.word) == (0, "unknown")


def test_a_byte_order_mark_is_no_part_of_a_property(cli, net, prop):
    prop.write_bytes(b"\xef\xbb\xbf" + prop.read_bytes())
    assert "proved for the real function and every" in cli("verify", net, prop).line()
