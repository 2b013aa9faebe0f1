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
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 2.5))")
    found = verifier.verify(twice(tmp_path / "net.onnx"), prop, timeout=20.0)
    assert isinstance(found.verdict, Verified)
    assert order == ["attack", "bounds"]


def test_later_seconds_are_not_spent_on_attacks():
    early, late = hunt.EARLY_SECONDS, 10 * hunt.EARLY_SECONDS
    assert hunt.hunting_time(0.2, early) == pytest.approx(0.2 * early)
    spent = hunt.hunting_time(0.2, late) - hunt.hunting_time(0.2, early)
    assert spent == pytest.approx(hunt.LATER * 0.2 * (late - early))
