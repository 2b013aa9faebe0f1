"""Properties over several networks, with products of variables, and with related inputs."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import verifier
from tests.cli.made import read_tensor, run_onnx, save, twice

TWO = """(vnnlib-version <2.0>)
(declare-network f (declare-input X real [1,2]) (declare-output Y real [1,2]))
(declare-network g {relation} (declare-input U real [1,2]) (declare-output V real [1,2]))
"""
BOX = "".join(
    f"(assert (and (>= {name}[0,{i}] 0.0) (<= {name}[0,{i}] 1.0)))"
    for name in ("X", "U")
    for i in range(2)
)
SHARED = "(assert (== X[0,0] U[0,0])) (assert (== X[0,1] U[0,1]))"


def shifted(path: Path) -> Path:
    """y = relu(2 x + 0.25)."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    two = np.eye(2, dtype=np.float32) * np.float32(2)
    return save(path, nodes, {"w": two, "b": np.full(2, 0.25, np.float32)})


@pytest.fixture
def nets(tmp_path):
    return twice(tmp_path / "f.onnx"), shifted(tmp_path / "g.onnx")


@pytest.fixture
def ask(cli, nets, tmp_path):
    """``ask(asserts, relation)``: the verdict, and the blocks of the witness by name."""

    def call(asserts, relation="(isomorphic-to f)", *arguments):
        prop = tmp_path / "p.vnnlib"
        prop.write_text(TWO.format(relation=relation) + BOX + asserts)
        networks = ["--network", f"f={nets[0]}"]
        if "equal" not in relation:
            networks += ["--network", f"g={nets[1]}"]
        done = cli("verify", prop, *networks, *arguments)
        assert done.status == 0, done.err
        return done.word, blocks(done.out), done.err

    return call


def blocks(text):
    found, name = {}, None
    for line in text.splitlines()[1:]:
        if "[" in line:
            name = line.split()[0]
            found[name] = []
        elif name:
            found[name].append(float(line))
    return found


def test_two_networks_of_shared_inputs_differ_by_what_they_say(ask, nets):
    word, _, said = ask(f"{SHARED}(assert (>= V[0,0] (+ Y[0,0] 0.251)))")
    assert word == "unsat"
    assert "not certified: the property speaks about several networks" in said
    word, _, _ = ask(f"{SHARED}(assert (<= V[0,0] (+ Y[0,0] 0.249)))")
    assert word == "unsat"
    word, found, _ = ask(f"{SHARED}(assert (<= V[0,0] (+ Y[0,0] 0.251)))")
    assert word == "sat"
    assert list(found) == ["X", "Y", "U", "V"]
    assert found["X"] == found["U"]
    for net, x, y in ((nets[0], "X", "Y"), (nets[1], "U", "V")):
        (outputs,) = run_onnx(net, np.array([found[x]], dtype=np.float32))
        assert outputs.ravel().tolist() == found[y]


def test_one_network_twice_is_monotone(ask):
    above = "(assert (<= X[0,0] U[0,0]))(assert (== X[0,1] U[0,1]))"
    assert ask(f"{above}(assert (> Y[0,0] (+ V[0,0] 0.001)))", "(equal-to f)")[0] == "unsat"
    word, found, _ = ask(f"{above}(assert (Y[0,0] < V[0,0]))", "(equal-to f)")
    assert word == "sat"
    assert found["X"][0] < found["U"][0]


def test_bounds_come_through_relations(cli, nets, tmp_path):
    """U[0,0] is bounded from below by X[0,0] only, and U[0,1] by both bounds of X[0,1]."""
    prop = tmp_path / "p.vnnlib"
    box = (
        "(assert (and (>= X[0,0] 0.0) (<= X[0,0] 1.0)))"
        "(assert (and (>= X[0,1] 0.0) (<= X[0,1] 1.0)))"
        "(assert (and (<= X[0,0] U[0,0]) (<= U[0,0] 1.0)))"
        "(assert (and (<= (+ X[0,1] U[0,1]) 1.0) (>= (+ X[0,1] U[0,1]) 0.5)))"
    )
    networks = ["--network", f"f={nets[0]}", "--network", f"g={nets[1]}"]
    for asked, word in (("2.26", "unsat"), ("2.2", "sat")):
        text = f"(assert (>= V[0,1] {asked}))"
        prop.write_text(TWO.format(relation="") + box + text)
        assert cli("verify", prop, *networks).word == word


def test_contradicting_rows_leave_nothing(ask):
    word, _, said = ask(f"{SHARED}(assert (and (> V[0,0] (+ Y[0,0] 1)) (< V[0,0] (- Y[0,0] 1))))")
    assert word == "unsat"
    assert "the region is empty" in said


def test_the_networks_must_be_those_declared(cli, nets, tmp_path):
    prop = tmp_path / "p.vnnlib"
    prop.write_text(TWO.format(relation="") + BOX + SHARED + "(assert (<= Y[0,0] 0.0))")
    done = cli("verify", prop, "--network", f"f={nets[0]}")
    assert (done.status, "no file for 'g'" in done.line()) == (65, True)
    networks = [f"[('f', '{nets[0]}'), ('g', '{nets[1]}'), ('h', '{nets[1]}')]"]
    done = cli("verify", *networks, prop)
    assert (done.status, "'h'" in done.line()) == (65, True)
    done = cli("verify", prop, "--network", f"f={nets[0]}", "--network", f"f={nets[1]}")
    assert (done.status, "a name twice" in done.line()) == (2, True)
    prop.write_text(TWO.format(relation="(equal-to f)") + BOX + "(assert (<= Y[0,0] 0.0))")
    done = cli("verify", f"[('f', '{nets[0]}'), ('g', '{nets[1]}')]", prop)
    assert (done.status, "'g' is to equal 'f'" in done.line()) == (65, True)
    assert cli("verify", f"[('f', '{nets[0]}'), ('g', '{nets[0]}')]", prop).word == "sat"


def test_tensors_of_all_networks_are_written(ask, tmp_path):
    folder = tmp_path / "witness"
    asked = f"{SHARED}(assert (>= V[0,0] (+ Y[0,0] 0.249)))"
    word, printed, _ = ask(asked, "(isomorphic-to f)", "--serialise-assignments", folder)
    assert (word, printed) == ("sat", {})
    arrays = {name: read_tensor(folder / f"{name}.pb")[1] for name in ("X", "Y", "U", "V")}
    assert all(array.shape == (1, 2) for array in arrays.values())
    assert (arrays["X"] == arrays["U"]).all()
    assert arrays["V"][0, 0] - arrays["Y"][0, 0] == 0.25


def test_from_python(nets, tmp_path):
    prop = tmp_path / "p.vnnlib"
    prop.write_text(TWO.format(relation="") + BOX + SHARED + "(assert (>= Y[0,1] (+ V[0,1] 0)))")
    assert isinstance(verifier.verify(nets, prop).verdict, verifier.Verified)
    assert isinstance(verifier.verify(nets[::-1], prop).verdict, verifier.Violated)


def test_info_shows_what_is_searched(cli, nets, tmp_path):
    prop = tmp_path / "p.vnnlib"
    prop.write_text(TWO.format(relation="") + BOX + SHARED + "(assert (<= (* Y[0,0] V[0,0]) 0.0))")
    done = cli("info", prop)
    assert (done.status, done.err) == (0, "")
    assert "free inputs:  2" in done.out
    assert "1 of variables" in done.out


# ----------------------------------------------------------------------------------- products

POLYNOMIAL = "(vnnlib-version <2.0>)(declare-network f (declare-input X real [1,2])" + (
    "(declare-output Y real [1,2]))"
)


@pytest.mark.parametrize(
    ("formula", "word"),
    [
        # y = 2 x on [0, 1]^2
        ("(>= (* X[0,0] Y[0,0]) 2.01)", "unsat"),
        ("(>= (* X[0,0] Y[0,0]) 1.9)", "sat"),
        ("(< (* Y[0,1] Y[0,1]) -0.001)", "unsat"),
        ("(> (* X[0,0] X[0,1] Y[0,0]) 2.01)", "unsat"),
        ("(> (* X[0,0] X[0,1] Y[0,0]) 1.8)", "sat"),
        ("(<= (* (- X[0,0] X[0,1]) (- X[0,0] X[0,1])) -0.01)", "unsat"),
        ("(>= (* (- X[0,0] X[0,1]) (+ 1 X[0,0] X[0,1])) 1.9)", "sat"),
        ("(or (> (* X[0,0] Y[0,0]) 3) (and (<= (* Y[0,0] Y[0,0]) 1) (>= X[0,0] 0.6)))", "unsat"),
    ],
)
def test_products_of_variables(cli, nets, tmp_path, formula, word):
    box = "".join(f"(assert (and (>= X[0,{i}] 0.0) (<= X[0,{i}] 1.0)))" for i in range(2))
    prop = tmp_path / "p.vnnlib"
    prop.write_text(f"{POLYNOMIAL}{box}(assert {formula})")
    done = cli("verify", nets[0], prop, "--timeout", "20")
    assert (done.status, done.word) == (0, word), done.err
    if word == "sat":
        found = blocks(done.out)
        (outputs,) = run_onnx(nets[0], np.array([found["X"]], dtype=np.float32))
        assert outputs.ravel().tolist() == found["Y"]
