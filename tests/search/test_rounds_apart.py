"""Rounds of a search over inputs, in threads and in processes: the same proof."""

import os
from itertools import pairwise

import numpy as np
import pytest
from onnx import helper

from tests.cli.made import flat, save
from verifier import Options, Unknown, Verified, verify
from verifier.search import apart, by_inputs
from verifier.settings import DeadlinePassed
from verifier.verdict import Reason

CASES = 12
HERE = os.getpid()
pytestmark = pytest.mark.skipif(not apart.possible, reason="processes are copied on Linux only")


@pytest.fixture
def net(tmp_path):
    """Two hidden layers of 16 neurons."""
    generator, nodes, value = np.random.default_rng(1), [], "x"
    shapes = ((2, 16), (16, 16), (16, 2))
    weights = {f"w{k}": generator.normal(size=s).astype(np.float32) for k, s in enumerate(shapes)}
    for k in range(2):
        nodes += [
            helper.make_node("MatMul", [value, f"w{k}"], [f"h{k}"]),
            helper.make_node("Relu", [f"h{k}"], [f"r{k}"]),
        ]
        value = f"r{k}"
    nodes.append(helper.make_node("MatMul", [value, "w2"], ["y"]))
    return save(tmp_path / "net.onnx", nodes, weights)


@pytest.fixture
def prop(tmp_path):
    """Just out of reach (2.74), in each of many boxes."""
    ends = np.linspace(-1, 1, CASES + 1)
    cells = [
        f"(and (>= X_0 {a}) (<= X_0 {b}) (>= X_1 {c}) (<= X_1 {d}) (>= Y_0 2.8))"
        for a, b in pairwise(ends)
        for c, d in pairwise(ends)
    ]
    return flat(tmp_path / "p.vnnlib", f"(assert (or {' '.join(cells)}))", "")


@pytest.fixture
def forks(monkeypatch):
    """How many processes were made."""
    made, fork = list[int](), os.fork

    def noted():
        pid = fork()
        made.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", noted)
    monkeypatch.setattr("verifier.search.workers._cores", lambda: 3)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_proof_is_the_same(net, prop, monkeypatch, forks, dtype):
    found = []
    for long in (1e9, 0.0):
        monkeypatch.setattr(by_inputs, "LONG_ROUND", long)
        verdict = verify(net, prop, timeout=60.0, options=Options(dtype=dtype)).verdict
        assert isinstance(verdict, Verified)
        assert verdict.certificate is not None
        assert verdict.certificate.data is not None
        found.append((verdict.certificate.data, len(forks)))
    assert found[0][0] == found[1][0]
    assert found[0][1] == 0 < found[1][1]


def test_the_time_ends_in_processes_too(net, prop, monkeypatch, forks):
    monkeypatch.setattr(by_inputs, "LONG_ROUND", 0.0)
    whole = by_inputs.bound_round

    def late(*given):
        if os.getpid() != HERE:
            raise DeadlinePassed
        return whole(*given)

    monkeypatch.setattr(by_inputs, "bound_round", late)
    verdict = verify(net, prop, timeout=60.0).verdict
    assert forks
    assert isinstance(verdict, Unknown)
    assert verdict.reason == Reason.OUT_OF_TIME
    assert verdict.open > 0
