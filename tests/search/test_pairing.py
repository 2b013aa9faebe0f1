"""Searches with neurons in pairs: they lose no point, and say what searches without say, sooner."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from onnx import helper

from tests.bounds.graphs import mlp
from tests.cli.made import save
from tests.search.test_refresh import (
    NEURONS,
    SMALL_PROBLEMS,
    loses_no_low_point,
    problem_in,
)
from tests.soundness.queries import Clause, outputs_at_least, text_of
from verifier import Options, verify
from verifier.search import deep, hulling, pairing
from verifier.search.pairing import PAIRED, paired
from verifier.search.strategy import decide
from verifier.search.workers import Workers
from verifier.verdict import Verified, Violated


@pytest.fixture
def at_once(monkeypatch):
    """Pairs from the second round on."""
    monkeypatch.setattr(deep, "PARTS", ())
    monkeypatch.setattr(deep, "PATIENCE", 0.0)
    monkeypatch.setattr(hulling, "STEPS", 0)
    monkeypatch.setattr(hulling, "FIRST", 0.0)
    monkeypatch.setattr(pairing, "UNTIL", 0.0)
    monkeypatch.setattr(pairing, "LEAST", 0.0)
    monkeypatch.setattr(pairing, "PROMISING", -1.0)


@settings(deadline=None, max_examples=8)
@given(**SMALL_PROBLEMS)
def test_no_point_is_lost_that_has_low_rows(seed, make, sizes, rows, leak):
    xp = make("float64")
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        plain = replace(problem_in(seed, sizes, xp, workers, rows, leak), refreshing=None)
        problem = paired(plain, xp.ints([0]), workers)
        assume(problem is not None)
        assert problem is not None
        assert loses_no_low_point(problem, seed, workers)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [-0.02, 0.1])
@pytest.mark.parametrize("sizes", [(20, 12, 10, 1), (16, 8, 8, 6, 1)])
def test_the_verdict_is_the_same_with_pairs_and_without(seed, share, sizes, at_once, monkeypatch):
    problem, network = outputs_at_least(mlp(seed, sizes), seed, share)
    with_pairs = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(pairing, "paired", lambda *_: None)
    plain = decide(problem, network, 60.0, NEURONS)
    assert isinstance(plain, Verified | Violated)
    assert type(plain) is type(with_pairs)


def test_pairs_take_no_more_subproblems(at_once, monkeypatch):
    counts = []
    for make in (paired, lambda *_: None):
        monkeypatch.setattr(pairing, "paired", make)
        problem, network = outputs_at_least(mlp(5, (30, 20, 20, 1)), 5, 0.1)
        verdict = decide(problem, network, 120.0, NEURONS)
        assert isinstance(verdict, Verified)
        assert verdict.proof is not None
        counts.append(verdict.proof.count)
        assert (verdict.proof.lacking == PAIRED) is (make is paired)
    assert counts[0] < counts[1]


def test_where_pairs_close_little_the_search_goes_on_without(at_once, monkeypatch):
    monkeypatch.setattr(pairing, "PROMISING", 1.1)
    tried = []

    def would_close(*given):
        tried.append(real(*given))
        return tried[-1]

    real = pairing.would_close
    monkeypatch.setattr(pairing, "would_close", would_close)
    problem, network = outputs_at_least(mlp(5, (30, 20, 20, 1)), 5, 0.1)
    assert isinstance(decide(problem, network, 120.0, NEURONS), Verified)
    assert tried


@pytest.mark.parametrize(
    ("options", "certified"),
    [(Options(semantics="float32"), True), (Options(keep=True), True), (Options(), False)],
)
def test_pairs_come_later_where_a_certificate_is_wanted(options, certified, at_once, tmp_path):
    numbers = np.random.default_rng(1)
    shapes = {"a": (16, 12), "b": (12,), "c": (12, 10), "d": (10,), "e": (10, 1)}
    arrays = {k: numbers.normal(size=s).astype(np.float32) / 4 for k, s in shapes.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "c", "d"], ["i"]),
        helper.make_node("Relu", ["i"], ["s"]),
        helper.make_node("MatMul", ["s", "e"], ["y"]),
    ]
    ends = {"x": [1, 16]}, {"y": [1, 1]}
    net = save(tmp_path / "net.onnx", nodes, arrays, inputs=ends[0], outputs=ends[1])
    low, high = -np.ones(16), np.ones(16)
    prop = tmp_path / "p.vnnlib"
    prop.write_text(text_of([(low, high)], [Clause(-np.ones((1, 1)), np.array([-0.75]))]))
    verdict = verify(net, prop, timeout=30.0, options=options).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert (verdict.certificate.semantics is not None) is certified
    assert (PAIRED in verdict.certificate.note) is not certified
