"""``verifier info`` and ``verifier supports``."""

import pytest

from tests.cli.made import EXAMPLES, flat, tensors, twice, unsupported
from verifier.cli.supports import ANSWERS

MLP = EXAMPLES / "onnx" / "digits_mlp.onnx"
PROPERTY = EXAMPLES / "vnnlib" / "digits_mlp_image3_eps0.3_v2.vnnlib"


def fields(text):
    """Label -> value of every line."""
    return {
        label: value.strip()
        for label, _, value in (line.partition(":") for line in text.splitlines())
    }


def test_a_network(cli):
    done = cli("info", MLP)
    assert (done.status, done.err) == (0, "")
    found = fields(done.out)
    assert found["network"] == str(MLP)
    assert found["input"] == "input: float32 [1, 1, 8, 8]"
    assert found["output"] == "output: float32 [1, 10]"
    assert found["opset"] == "17"
    assert found["parameters"] == "3,466"
    assert found["operators"] == "Flatten 1, Gemm 3, Relu 2"
    assert found["neurons"] == "64"
    assert found["unsupported"] == "nothing"
    assert "strategy" not in found


def test_a_property(cli):
    found = fields(cli("info", PROPERTY).out)
    assert found["version"] == "2.0"
    assert found["network"] == "N"
    assert found["inputs"] == "64 (X float32 [1, 1, 8, 8])"
    assert found["boxes"] == "1"
    assert found["free inputs"] == "64"
    assert found["clauses"] == "9 ways to be unsafe, of 9 rows"


@pytest.mark.parametrize("order", [1, -1])
def test_both_tell_the_strategy(cli, order):
    found = fields(cli("info", *(MLP, PROPERTY)[::order]).out)
    assert found["strategy"].startswith("split ")


def test_a_property_with_an_empty_region(cli, tmp_path):
    net = twice(tmp_path / "net.onnx")
    prop = flat(tmp_path / "p.vnnlib", "(assert (<= X_0 -1.0))")
    found = fields(cli("info", net, prop).out)
    assert found["boxes"] == "0; 1 more are empty"
    assert "every box is empty" in found["strategy"]


def test_an_unsupported_network_is_described_all_the_same(cli, tmp_path):
    done = cli("info", unsupported(tmp_path / "net.onnx"), PROPERTY)
    assert done.status == 69
    found = fields(done.out)
    assert found["operators"] == "Det 1, NonZero 2"
    assert "NonZero (first, second)" in found["unsupported"]
    assert "Det (third)" in found["unsupported"]
    assert found["version"] == "2.0"


def test_a_broken_file(cli, tmp_path):
    (tmp_path / "net.onnx").write_text("nothing")
    done = cli("info", tmp_path / "net.onnx")
    assert done.status == 65
    assert "not ONNX" in done.line()


def test_a_network_and_a_property_that_do_not_fit(cli, tmp_path):
    net = twice(tmp_path / "net.onnx")
    done = cli("info", net, PROPERTY)
    assert done.status == 65
    assert "shape" in done.line()


PERMITTED = {
    "hidden-node-theories": {"NH", "H"},
    "multiple-input-output-theories": {"SIO", "MIO"},
    "multiple-network-theories": {"SNET", "MENET", "MINET", "MNET"},
    "multiple-node-comparison-theories": {"SNC", "MNC"},
    "arithmetic-complexity-theories": {"BND", "OUTC", "LIN", "POLY"},
    "optimised-disjunctive-reasoning": {"true", "false"},
    "serialise-assignments": {"true", "false"},
}


@pytest.mark.parametrize("capability", ANSWERS)
def test_capabilities_have_the_form_of_the_standard(cli, capability):
    done = cli("supports", f"--{capability}")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines
    assert len(set(lines)) == len(lines)
    words = {line.split(" * ")[0] for line in lines}
    if capability in PERMITTED:
        assert words <= PERMITTED[capability]
    if capability.endswith("-versions"):
        least, greatest = (float(line) for line in lines)
        assert least <= greatest


def test_element_types_and_operators(cli):
    types = cli("supports", "--onnx-element-types").out.splitlines()
    assert types[0] == "real"
    assert types[1] == "float32 * with --semantics float32: every execution"
    assert all(" * bounds over the reals" in line for line in types[2:])
    operators = cli("supports", "--onnx-operators").out.split()
    assert {"Conv", "Gemm", "Relu", "Constant"} <= set(operators)


def test_a_hidden_node_is_refused_as_reported(cli, tmp_path):
    hidden = (
        "(vnnlib-version <2.0>) (declare-network N (declare-input X float32 [1,2])"
        '(declare-hidden H float32 [1,2] "h") (declare-output Y float32 [1,2]))'
    )
    prop = tensors(tmp_path / "p.vnnlib", "(assert (>= Y[0,0] 5.0))", declared=hidden)
    done = cli("verify", twice(tmp_path / "net.onnx"), prop)
    assert done.status == 65
    assert "hidden nodes; not supported yet" in done.line()


@pytest.mark.parametrize("wrong", [[], ["--name"], ["--vnnlib-versions", "--onnx-operators"]])
def test_supports_wants_one_capability(cli, wrong):
    done = cli("supports", *wrong)
    assert done.status == 2
    assert done.line().startswith("verifier: ")
