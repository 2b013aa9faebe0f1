"""When a search over neurons attacks."""

import pytest

import verifier
from tests.cli.made import flat, twice
from verifier.search import by_neurons, hunt, strategy
from verifier.verdict import Verified, Violated


@pytest.fixture
def order(monkeypatch):
    """What happens, in order; neurons are split, whatever the network."""
    seen = list[str]()
    bound, attack = by_neurons.crown, hunt.Hunt.run

    def crown(*given, **named):
        seen.append("bounds")
        return bound(*given, **named)

    def run(self, seconds, steps=400):
        seen.append("attack")
        return attack(self, seconds, steps)

    monkeypatch.setattr(by_neurons, "crown", crown)
    monkeypatch.setattr(hunt.Hunt, "run", run)
    monkeypatch.setattr(strategy, "FEW_INPUTS", 0)
    monkeypatch.setattr(strategy, "SOME_INPUTS", 0)
    return seen


@pytest.mark.parametrize(("large", "said"), [(0, ["attack"]), (10**6, ["bounds", "attack"])])
def test_where_bounds_take_long_a_counterexample_comes_first(
    tmp_path, monkeypatch, order, large, said
):
    monkeypatch.setattr(hunt, "LARGE_WORK", large)
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 1.9))")
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=20.0)
    assert isinstance(found.verdict, Violated)
    assert order == said


def test_what_the_first_bounds_prove_is_attacked_before_at_most(tmp_path, monkeypatch, order):
    monkeypatch.setattr(hunt, "LARGE_WORK", 0)
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= (- Y_0 X_0) 1.5))")
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=20.0)
    assert isinstance(found.verdict, Verified)
    assert order == ["attack", "bounds"]


def test_what_intervals_prove_is_neither_attacked_nor_bounded(tmp_path, monkeypatch, order):
    monkeypatch.setattr(hunt, "LARGE_WORK", 0)
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=20.0)
    assert isinstance(found.verdict, Verified)
    assert found.verdict.certificate is not None
    assert found.verdict.certificate.semantics == "float32"
    assert order == []


def test_a_proof_by_intervals_leaves_room_for_float32(tmp_path, order):
    """y is at most 2: what is nearer than float32 rounds is left to better bounds."""
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.00000001))")
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=20.0)
    assert isinstance(found.verdict, Verified)
    assert order[0] == "bounds"


def test_later_seconds_are_not_spent_on_attacks():
    early, late = hunt.EARLY_SECONDS, 10 * hunt.EARLY_SECONDS
    assert hunt.hunting_time(0.2, early) == pytest.approx(0.2 * early)
    spent = hunt.hunting_time(0.2, late) - hunt.hunting_time(0.2, early)
    assert spent == pytest.approx(hunt.LATER * 0.2 * (late - early))
