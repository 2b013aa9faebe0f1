"""Nodes in the whole box of a root: what was found of it holds, and no more is taken from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.checker.handmade import HIDDEN, INPUT, NEURON, ROWS, certificate
from tests.checker.proofs import Net, Statement, samples, statement
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.container import read_container
from verifier.checker.network import read_network
from verifier.checker.nodes import Open
from verifier.checker.proof import read_proof
from verifier.checker.property import read_property
from verifier.checker.rows import Rows
from verifier.checker.statement import groups
from verifier.checker.walk import Walk

SIZES = (4, 3)
COLUMNS: dict[str, Any] = {
    "neurons": [("r0", 4), ("r1", 3)],
    "column_atom": [0] * 4 + [1] * 3,
    "column_neuron": [0, 1, 2, 3, 0, 1, 2],
}
TREE: dict[str, Any] = COLUMNS | {
    "node": [NEURON | HIDDEN, NEURON, ROWS, ROWS, ROWS],
    "split_axis": [1, 5],
    "split_point": [0.0, 0.0],
}


def walk_of(net: Net, told: Statement, tree: dict[str, Any], *, exact: bool) -> Walk:
    """A walk through a tree of the first group of cases."""
    network, text, number = net.file(), told.text(), Arithmetic(exact)
    found = read_network(network, number)
    arrays = {k: v for k, v in tree.items() if k != "neurons"}
    container = read_container(certificate(network, text, neurons=tree["neurons"], **arrays))
    proof = read_proof(container, found)
    (group,) = groups(read_property(text), proof["roots"], number)
    return Walk(found, proof, group, number, single=not exact)


def walked(
    net: Net, told: Statement, tree: dict[str, Any], *, exact: bool
) -> tuple[Walk, list[Open]]:
    """The same, which has seen all nodes of the only case, one state after another."""
    walk, states = walk_of(net, told, tree, exact=exact), list[Open]()
    (state,) = walk.roots(1)
    while len(state):
        states.append(state)
        _, state = walk.look(state)
    return walk, states


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("exact", [True, False])
def test_boxes_losses_and_bounds_hold(seed, exact):
    g = np.random.default_rng(seed)
    net = Net.random(g, (2, *SIZES, 1))
    told = statement(net, g, 1, 1, 1)
    walk, states = walked(net, told, TREE, exact=exact)
    if len(states) < 3:
        return
    region, inside = told.regions[0], 0
    points, root = samples(region, g, 300), walk.known[0]
    for state in states[1:]:
        assert walk._like(state).tolist() == [0] * len(state)
        near, own = walk._within(state, root), walk._enclose(state, 0)
        # Sums are taken in another order where there are other numbers of rows.
        off = 0 if exact else 1e-12
        for value in range(len(own.lower)):
            assert (near.lower[value] <= own.lower[value] + off).all()
            assert (near.upper[value] >= own.upper[value] - off).all()
        for name in ("noise", "noise32", "slack"):
            for value, array in getattr(own, name).items():
                assert (getattr(near, name)[value] >= array - off * abs(array)).all()
        inside += _hold(near, state, walk, net, points)
    assert inside


def _hold(near: Enclosure, state: Open, walk: Walk, net: Net, points: np.ndarray) -> int:
    """How many points, in the nodes that they belong to, have values in the boxes, above bounds."""
    count, number = 0, walk.arithmetic
    ones, none = number.numbers(np.ones((len(state), 1))), number.zeros(len(state))
    least = near.least(Rows({walk.network.output: ones}, none, np.arange(len(state))))
    layers = [Net(net.layers[: k + 1]).outputs(points) for k in range(len(net.layers))]
    values = np.concatenate(layers[:-1], 1)
    for i in range(len(state)):
        low, high = (state.neurons[i, k].astype(float) for k in (0, 1))
        some = ((values >= low) & (values <= high)).all(1)
        count += int(some.sum())
        assert (layers[-1][some, 0] >= float(least[i]) - 1e-9).all()
    return count


@pytest.mark.parametrize("change", ["input", "hidden", "none"])
def test_other_boxes_are_not_taken_for_the_root(change):
    """Where inputs are split, or neurons bounded anew, nothing is taken over."""
    g, seen = np.random.default_rng(3), 0
    node = [NEURON | HIDDEN, ROWS, ROWS]
    axis = 1
    if change == "input":
        node, axis = [INPUT | HIDDEN, ROWS, ROWS], 0
    if change == "hidden":
        node = [NEURON | HIDDEN, ROWS | HIDDEN, ROWS | HIDDEN]
    for _ in range(20):
        net = Net.random(g, (2, *SIZES, 1))
        told = statement(net, g, 1, 1, 1)
        middle = float(sum(map(float, (told.regions[0].lower[0], told.regions[0].upper[0]))) / 2)
        tree = COLUMNS | {"node": node, "split_axis": [axis], "split_point": [middle]}
        if change != "input":
            tree["split_point"] = [0.0]
        walk, states = walked(net, told, tree, exact=False)
        if len(states) > 1:
            like = walk._like(states[1])
            assert ((like == 0) == (change == "none")).all()
            seen += 1
    assert seen > 5


def test_of_many_cases_no_roots_are_kept():
    g = np.random.default_rng(5)
    net = Net.random(g, (2, *SIZES, 1))
    for regions in (2, 40):
        told = statement(net, g, 1, 1, regions)
        tree = COLUMNS | {"node": [ROWS | HIDDEN] * regions, "roots": list(range(regions))}
        walk = walk_of(net, told, tree, exact=False)
        for state in walk.roots(1):
            walk.look(state)
        assert len(walk.known) == (2 if regions == 2 else 0)


def test_what_only_boxes_of_its_own_refute_is_refuted(monkeypatch):
    """Nodes that the root's boxes leave open are bounded in theirs."""
    seen = 0
    tree = COLUMNS | {
        "node": [NEURON | HIDDEN, ROWS, ROWS],
        "split_axis": [1],
        "split_point": [0.0],
    }
    for seed in range(40):
        g = np.random.default_rng(seed)
        net = Net.random(g, (2, *SIZES, 1))
        told = statement(net, g, 1, 1, 1)
        verdicts = list[bool]()
        for most in (16, 0):
            monkeypatch.setattr("verifier.checker.walk.KNOWN_CASES", most)
            walk, states = walked(net, told, tree, exact=False)
            assert bool(walk.known) == (most > 0)
            still = walk.look(states[-1])[1] if len(states) > 1 else states[0]
            verdicts.append(bool(states[-1].live.any()) or bool(len(still)))
            seen += not states[-1].live.any()
        assert verdicts[0] <= verdicts[1]
    assert seen > 2
