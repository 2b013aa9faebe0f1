"""Searches over inputs whose boxes are closed by searches over neurons."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.checker.proofs import Net, Statement, falsified, statement
from verifier.api import load
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.search import by_inputs, hybrid
from verifier.search.context import Network
from verifier.search.hybrid import Hybrid, Left
from verifier.search.strategy import Strategy, decide
from verifier.settings import DeadlinePassed
from verifier.spec import Problem
from verifier.verdict import Verdict, Verified, Violated

INPUTS = Strategy("inputs", "numpy", "float64", "cpu", "a test")


@pytest.fixture
def tried(monkeypatch) -> list[object]:
    """What became of the boxes that were tried: all are, as no certificate is wanted."""
    monkeypatch.setattr(by_inputs, "CHECKED_WORK", -1)
    monkeypatch.setattr(by_inputs, "DEAR", -1)
    monkeypatch.setattr(by_inputs, "FIRST_BOXES", 1)
    monkeypatch.setattr(by_inputs, "FIRST_HUNT_SECONDS", 0.0)
    found, close = list[object](), Hybrid.close

    def spy(self: Hybrid, *given) -> object:
        found.append(close(self, *given))
        return found[-1]

    monkeypatch.setattr(Hybrid, "close", spy)
    return found


def decided(folder: Path, net: Net, told: Statement, *, thorough: bool = False) -> Verdict:
    files = folder / "net.onnx", folder / "p.vnnlib"
    files[0].write_bytes(net.file())
    files[1].write_bytes(told.text())
    model = load(files[0])
    problem = Problem.of(model.graph, read_query(files[1]))
    types = tuple((port.size, port.dtype.name) for port in model.inputs)
    network = Network(lambda points: run(model, points), types)
    return decide(problem, network, 3.0, replace(INPUTS, thorough=thorough))


def random_problem(seed: int) -> tuple[Net, Statement, np.random.Generator]:
    g = np.random.default_rng(seed)
    net = Net.random(g, (4, *[12] * int(g.integers(1, 3)), 2))
    return net, statement(net, g, *(int(x) for x in g.integers(1, 3, 3))), g


def test_what_holds_is_proved_and_what_does_not_is_not(tried, tmp_path):
    """Each false statement comes with a point that shows it: no proof of one may be found."""
    proved = violated = 0
    for seed in range(16):
        net, told, g = random_problem(seed)
        proved += isinstance(decided(tmp_path, net, told), Verified)
        found = decided(tmp_path, net, falsified(net, told, g))
        violated += isinstance(found, Violated)
        assert not isinstance(found, Verified)
    assert tried.count(None) > 10
    assert any(isinstance(found, Left) for found in tried)
    assert proved > 8
    assert violated > 3


def test_fewer_boxes_do(tried, tmp_path, monkeypatch, caplog):
    """Where boxes are closed by their neurons, not so many are bounded."""
    counts = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "verifier.search.by_inputs"):
            for seed in range(4):
                net, told, _ = random_problem(seed)
                assert isinstance(decided(tmp_path, net, told), Verified)
        words = [r.getMessage() for r in caplog.records if "proved with" in r.getMessage()]
        counts.append(sum(int(w.split()[2]) for w in words))
        monkeypatch.setattr(by_inputs, "DEAR", float("inf"))
    assert counts[0] < counts[1]


def test_boxes_sweep_no_rows_through_the_graph(tried, tmp_path, monkeypatch):
    """Once what is open was reduced; but for those that find no room for what they take over."""
    monkeypatch.setattr(hybrid, "PATIENCE", 0.0)
    counts = {name: Counted(getattr(hybrid, name)) for name in ("refine_outer", "refine_within")}
    for name, counted in counts.items():
        monkeypatch.setattr(hybrid, name, counted)
    proved = 0
    for held in (10**9, -1):
        monkeypatch.setattr(hybrid, "HELD_BYTES", held)
        for seed in range(8):
            net, told, _ = random_problem(seed)
            proved += isinstance(decided(tmp_path, net, told), Verified)
    assert proved > 8
    assert 0 < counts["refine_outer"].times <= 16
    assert counts["refine_within"].times == len(tried) > 32


class Counted:
    """A function that counts how often it is called."""

    def __init__(self, real):
        self.real, self.times = real, 0

    def __call__(self, *given):
        self.times += 1
        return self.real(*given)


def test_boxes_of_which_none_is_closed_are_tried_no_more(tried, tmp_path, monkeypatch):
    closed = property(lambda _: 0, lambda *_: None)
    monkeypatch.setattr(Hybrid, "closed", closed, raising=False)
    monkeypatch.setattr(hybrid, "TRIED", 2)
    counts = []
    for seed in range(6):
        tried.clear()
        net, told, _ = random_problem(seed)
        assert isinstance(decided(tmp_path, net, told), Verified | Violated)
        counts.append(len(tried))
    assert max(counts) == 2


@pytest.mark.parametrize("name", ["_reduced", "_searched"])
def test_no_time_for_a_box_is_no_proof_of_it(tried, tmp_path, monkeypatch, name):
    def late(*_: object) -> None:
        raise DeadlinePassed

    monkeypatch.setattr(Hybrid, name, late)
    for seed in range(6):
        net, told, g = random_problem(seed)
        assert not isinstance(decided(tmp_path, net, falsified(net, told, g)), Verified)
    assert not tried


def test_a_proof_that_is_to_be_certified_does_without(tried, tmp_path):
    for thorough in (True, False):
        for seed in range(3):
            net, told, _ = random_problem(seed)
            assert isinstance(decided(tmp_path, net, told, thorough=thorough), Verified)
        assert bool(tried) != thorough
