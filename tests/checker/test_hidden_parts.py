"""Bounds of neurons in parts of the region: what they prove, and that nothing of it may lack."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.handmade import (
    HIDDEN,
    ROWS,
    accepted,
    certificate,
    prop,
    split,
    verdict,
)
from tests.checker.onnx_files import file
from tests.checker.proofs import Net, samples, statement
from tests.checker.trees import random_parts
from verifier.checker import walk
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.container import read_container
from verifier.checker.errors import Rejected
from verifier.checker.network import read_network
from verifier.checker.proof import read_proof
from verifier.checker.property import read_property
from verifier.checker.statement import groups
from verifier.checker.walk import Walk


def twins(bias=-0.25):
    """y = relu(u), u = relu(x) - relu(x) + bias, which is bias +- 1/2 by lines over -1 to 1."""
    constants = {
        "w": np.array([[1, 1]], np.float32),
        "b": np.zeros(2, np.float32),
        "v": np.array([[1], [-1]], np.float32),
        "c": np.array([bias], np.float32),
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


NEVER = prop("(>= Y_0 0.001)", outputs=1)
COLUMNS = {
    "neurons": [("r", 2), ("y", 1)],
    "column_atom": [0, 0, 1],
    "column_neuron": [0, 1, 0],
}
PARTS = COLUMNS | {
    "hidden_node": [0] * 4,
    "hidden_atom": [1] * 4,
    "hidden_neuron": [0] * 4,
    "hidden_sign": [-1] * 4,
    # Sides -- -+ +- ++ of the twins: -u = relu(z1) - relu(z0) + 1/4.
    "hidden_alpha": [(0, 0, 0), (0, 255, 0), (255, 0, 0), (255, 255, 0)],
    "hidden_splits": [2, 0, 1, 0],
    "hidden_column": [0, 1, 1],
    "hidden_beta": [0, 0, 0, -1, 0, 1, 0, 0],
}


def changed(**others):
    return PARTS | others


def without(record, splits, columns, betas):
    """One record less."""
    names = "hidden_node", "hidden_atom", "hidden_neuron", "hidden_sign", "hidden_alpha"
    rest = {name: [x for i, x in enumerate(PARTS[name]) if i != record] for name in names}
    return changed(**rest, hidden_splits=splits, hidden_column=columns, hidden_beta=betas)


def twice(record, splits, columns, betas):
    names = "hidden_node", "hidden_atom", "hidden_neuron", "hidden_sign", "hidden_alpha"
    more = {name: [*PARTS[name][: record + 1], *PARTS[name][record:]] for name in names}
    return changed(**more, hidden_splits=splits, hidden_column=columns, hidden_beta=betas)


def test_parts_prove_what_one_bound_does_not():
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **COLUMNS) is None
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **PARTS) == "float32"
    assert accepted(twins(), NEVER, node=[ROWS], **PARTS) is None
    assert accepted(twins(0.01), NEVER, node=[ROWS | HIDDEN], **PARTS) is None
    # Children inherit the boxes; each node has its own records.
    tree = split(actions=HIDDEN, children=(ROWS, ROWS))
    assert accepted(twins(), NEVER, **tree, **PARTS) == "float32"
    late = changed(hidden_node=[1] * 4)
    tree = split(point=0.9, children=(ROWS | HIDDEN, ROWS | HIDDEN))
    assert accepted(twins(), NEVER, **tree, **late) == "float32"
    assert accepted(twins(), NEVER, **split(point=0.9), **late) is None


def test_the_least_of_the_parts_is_the_bound():
    """Whichever part lacks its number, or has that of the other side: nothing is proved."""
    for place in (3, 5):
        for wrong in (0.0, -PARTS["hidden_beta"][place], 0.3):
            beta = list(PARTS["hidden_beta"])
            beta[place] = wrong
            tree = changed(hidden_beta=beta)
            assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **tree) is None
    for some in range(8):
        beta = list(PARTS["hidden_beta"])
        beta[some] = 3e38
        tree = changed(hidden_beta=beta)
        assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **tree) is None


@pytest.mark.parametrize("most", [1, 15])
def test_parts_are_bounded_some_at_a_time(monkeypatch, most):
    monkeypatch.setattr(walk, "PART_ELEMENTS", most)
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **PARTS) == "float32"


def test_of_several_bounds_of_a_neuron_the_best_counts():
    weak = [0.0] * 8
    for order in ((PARTS["hidden_beta"], weak), (weak, PARTS["hidden_beta"])):
        names = [name for name in PARTS if name.startswith("hidden")]
        both = {name: [*PARTS[name], *PARTS[name]] for name in names}
        both["hidden_beta"] = [*order[0], *order[1]]
        found = accepted(twins(), NEVER, node=[ROWS | HIDDEN], **(COLUMNS | both))
        assert found == "float32"
    # One without parts goes before.
    plain = {name: [PARTS[name][0], *PARTS[name]] for name in names}
    plain["hidden_splits"] = [0, *PARTS["hidden_splits"]]
    plain |= {name: PARTS[name] for name in ("hidden_column", "hidden_beta")}
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **(COLUMNS | plain)) == "float32"


@pytest.mark.parametrize("turn", [0, 1, 3, 255])
def test_bounds_may_be_of_any_round(turn):
    late = changed(hidden_round=[turn] * 4)
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **late) == "float32"
    assert accepted(twins(), NEVER, node=[ROWS], **late) is None
    assert accepted(twins(0.01), NEVER, node=[ROWS | HIDDEN], **late) is None


def test_rounds_of_records_that_are_ignored_are_none(monkeypatch):
    enclosed, enclose = [], Walk._enclose

    def spy(self, part, turn):
        enclosed.append(turn)
        return enclose(self, part, turn)

    monkeypatch.setattr(Walk, "_enclose", spy)
    late = changed(hidden_round=[9] * 4)
    assert accepted(twins(), NEVER, node=[ROWS], **late) is None
    assert set(enclosed) == {0}
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **late) == "float32"
    assert set(enclosed) == set(range(10))


def test_later_rounds_keep_what_earlier_ones_found():
    names = [name for name in PARTS if name.startswith("hidden")]
    both = {name: [*PARTS[name], *PARTS[name]] for name in names}
    for turns in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4, [2] * 4 + [1] * 4):
        both["hidden_beta"] = [*PARTS["hidden_beta"], *[0.0] * 8]
        found = accepted(
            twins(), NEVER, node=[ROWS | HIDDEN], hidden_round=turns, **(COLUMNS | both)
        )
        assert found == "float32"
        both["hidden_beta"] = [0.0] * 16
        assert (
            accepted(twins(), NEVER, node=[ROWS | HIDDEN], hidden_round=turns, **(COLUMNS | both))
            is None
        )


def test_a_part_behind_the_last_is_a_bound_of_its_own():
    more = twice(3, [2, 0, 1, 0, 0], [0, 1, 1], PARTS["hidden_beta"])
    assert accepted(twins(), NEVER, node=[ROWS | HIDDEN], **more) == "float32"


LACKS = "hidden_splits: the last bound lacks parts"
SEVERAL = "the parts of one bound are about several neurons"
NUMBERS = "hidden_beta: need a number for each split of each part"
WRONG = {
    "the last part is missing": (without(3, [2, 0, 1], [0, 1, 1], [0] * 6), LACKS),
    "the first part is missing": (without(0, [2, 1, 0], [0, 1, 1], [0] * 8), LACKS),
    "the second part is missing": (without(1, [2, 1, 0], [0, 1, 1], [0] * 6), NUMBERS),
    "no splits for the third part": (changed(hidden_splits=[2, 0, 0, 1]), NUMBERS),
    "a number is missing": (changed(hidden_beta=[0] * 7), NUMBERS),
    "a number too many": (changed(hidden_beta=[0] * 9), NUMBERS),
    "a part twice": (twice(1, [2, 0, 0, 1, 0], [0, 1, 1], [0] * 10), NUMBERS),
    "the first part twice": (twice(0, [2, 2, 0, 1, 0], [0, 1, 0, 1, 1], [0] * 18), LACKS),
    "many that do not cover": (changed(hidden_splits=[1] * 4, hidden_column=[0] * 4), NUMBERS),
    "many lower sides": (
        changed(hidden_splits=[2, 1, 1, 1], hidden_column=[0, 1, 0, 1, 0], hidden_beta=[0] * 14),
        LACKS,
    ),
    "another neuron": (changed(hidden_neuron=[0, 0, 1, 0]), f"hidden_neuron: {SEVERAL}"),
    "another atom": (changed(hidden_atom=[1, 1, 1, 0]), f"hidden_atom: {SEVERAL}"),
    "another sign": (changed(hidden_sign=[-1, 1, -1, -1]), f"hidden_sign: {SEVERAL}"),
    "another round": (changed(hidden_round=[0, 0, 1, 0]), f"hidden_round: {SEVERAL}"),
    "a round less": (changed(hidden_round=[1] * 3), "hidden_round.npy: its size does not fit"),
    "another node": (
        changed(hidden_node=[0, 0, 0, 1]) | split(children=(ROWS, ROWS)),
        f"hidden_node: {SEVERAL}",
    ),
    "a split less": (changed(hidden_splits=[2, 0, 1]), "hidden_splits.npy: its size does not fit"),
    "a column less": (changed(hidden_column=[0, 1]), "its length must be the sum"),
    "no such column": (changed(hidden_column=[0, 1, 3]), "there is no such column"),
    "the neuron itself": (changed(hidden_column=[0, 1, 2]), "not a neuron before the one bounded"),
    "no splits": (changed(hidden_splits=[0] * 4), "its length must be the sum"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_parts_is_said(name):
    arrays, message = WRONG[name]
    with pytest.raises(Rejected, match=message):
        verdict(twins(), NEVER, **({"node": [ROWS | HIDDEN]} | arrays))


def product_before():
    """u = (x + 1) (x + 2) - relu(x), and y = relu(u)."""
    constants = {
        "w": np.array([[1, 1, 1]], np.float32),
        "b": np.array([1, 2, 0], np.float32),
        "i": np.array([0], np.int64),
        "j": np.array([1], np.int64),
        "k": np.array([2], np.int64),
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        *(node("Gather", ["z", name], [f"z{name}"], axis=1) for name in "ijk"),
        node("Mul", ["zi", "zj"], ["m"]),
        node("Relu", ["zk"], ["r"]),
        node("Sub", ["m", "r"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


def test_products_are_not_split():
    columns = {"neurons": [("m", 1), ("y", 1)], "column_atom": [0], "column_neuron": [0]}
    record = {
        "hidden_node": [0, 0],
        "hidden_atom": [1, 1],
        "hidden_neuron": [0, 0],
        "hidden_sign": [1, 1],
        "hidden_alpha": [[0], [0]],
        "hidden_splits": [1, 0],
        "hidden_column": [0],
        "hidden_beta": [0, 0],
    }
    with pytest.raises(Rejected, match="not a neuron before the one bounded"):
        verdict(product_before(), NEVER, node=[ROWS | HIDDEN], **columns, **record)


def random_records(g, sizes, count):
    """Bounds of random neurons of the second layer or the third, all by parts of random trees, in
    random rounds."""
    columns = {
        "neurons": [(f"r{k}", size) for k, size in enumerate(sizes)],
        "column_atom": np.repeat(np.arange(len(sizes)), sizes),
        "column_neuron": np.concatenate([np.arange(size) for size in sizes]),
    }
    record, turns = {name: [] for name in PARTS if name.startswith("hidden")}, []
    for place, atom in product((0, 1), sorted(g.integers(1, len(sizes), count).tolist())):
        parts, named = random_parts(g, sum(sizes[:atom]), 4)
        neuron, sign = int(g.integers(sizes[atom])), int(g.choice([-1, 1]))
        turn = int(g.choice([0, 0, 1, 3]))
        for depth, further in parts:
            entry = place, atom, neuron, sign, g.integers(0, 256, sum(sizes)), further
            for name, value in zip(record, entry, strict=False):
                record[name].append(value)
            turns.append(turn)
            record["hidden_beta"] += (g.normal(size=depth) * g.choice([0, 1, 9])).tolist()
        record["hidden_column"] += named
    return columns | record | {"hidden_round": turns}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("exact", [False, True])
def test_boxes_hold_whatever_the_parts(seed, exact):
    """Two cases, whose nodes have records of their own: samples lie in the boxes they leave."""
    g, number = np.random.default_rng(seed), Arithmetic(exact)
    sizes = (3, 4, 3)
    net = Net.random(g, (2, *sizes, 1))
    told = statement(net, g, 1, 1, 2)
    network, text = net.file(), told.text()
    proof: dict[str, Any] = {"node": [ROWS | HIDDEN] * 2, "roots": [0, 1]}
    proof |= random_records(g, sizes, 2 if exact else 6)
    found = read_network(network, number)
    tree = read_proof(read_container(certificate(network, text, **proof)), found)
    (group,) = groups(read_property(text), tree["roots"], number)
    whole = Walk(found, tree, group, number, single=not exact)
    state = next(whole.roots(9))
    whole.look(state)
    assert (state.neurons[:, 0] <= state.neurons[:, 1]).all()
    for case, region in enumerate(told.regions):
        points = samples(region, g, 400)
        at = 0
        for k in range(len(sizes)):
            values = Net(net.layers[: k + 1]).outputs(points)
            low, high = (state.neurons[case, i, at : at + sizes[k]] for i in (0, 1))
            assert (values >= low.astype(float) - 1e-9).all()
            assert (values <= high.astype(float) + 1e-9).all()
            at += sizes[k]
