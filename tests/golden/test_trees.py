"""Search trees of tiny problems, against those on file (see ``trees.py`` for how to renew them)."""

import json

import numpy as np
import pytest

from tests.golden import neuron_trees
from tests.golden.trees import FILE, PROBLEMS, summary, tree_of
from verifier.certify import ProofTree


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_tree_is_the_one_on_file(name: str):
    expected = json.loads(FILE.read_text())[name]
    found = summary(tree_of(name))
    assert list(found) == list(expected)
    for field, value in expected.items():
        assert found[field] == value, field
    assert found["open"] == 0


def test_the_file_has_every_problem():
    assert list(json.loads(FILE.read_text())) == list(PROBLEMS)


@pytest.mark.parametrize("name", neuron_trees.PROBLEMS)
def test_the_tree_over_neurons_is_the_one_on_file_each_time(name: str):
    expected = json.loads(neuron_trees.FILE.read_text())[name]
    found, again = neuron_trees.tree_of(name), neuron_trees.tree_of(name)
    assert neuron_trees.summary(found) == expected
    assert splits_of(again) == splits_of(found)
    # What certificates hold, bit for bit.
    for first, second in zip(found.chosen, again.chosen, strict=True):
        np.testing.assert_array_equal(first.tilts.alpha, second.tilts.alpha)
        np.testing.assert_array_equal(first.beta, second.beta)


def splits_of(tree: ProofTree) -> list[list[int]]:
    return [[*s.node.tolist(), *s.coordinate.tolist()] for s in tree.splits]
