"""Search trees of tiny problems, against those on file (see ``trees.py`` for how to renew them)."""

import json

import pytest

from tests.golden.trees import FILE, PROBLEMS, summary, tree_of


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
