"""The parts that the ablation switches off are where it looks for them."""

import pkgutil

import pytest

from scripts.ablation import SWITCHES


@pytest.mark.parametrize("part", SWITCHES)
def test_what_a_switch_changes_is_there(part):
    for name, change in SWITCHES[part].changes:
        path, attribute = name.rsplit(".", 1)
        assert callable(change)
        assert hasattr(pkgutil.resolve_name(path), attribute), name


def test_searches_are_where_runs_are_noted():
    from verifier.search import by_neurons, strategy

    assert callable(strategy.search_inputs)
    assert callable(by_neurons.search_neurons)
