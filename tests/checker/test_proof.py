"""The arrays of a certificate fit one another and the network, or one line says which do not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checker.containers import FIELDS
from tests.checker.handmade import CLAUSE, INPUT, MIX, NEURON, ROWS, SIZE
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.container import Container
from verifier.checker.errors import Rejected
from verifier.checker.network import read_network
from verifier.checker.proof import MEMBERS, read_proof

NETWORK = read_network(SIZE, Arithmetic())
GOOD = {
    "roots": [0, 5],
    "node": [CLAUSE | ROWS, INPUT, NEURON, 0, ROWS, 0, 0, 0, 0],
    "split_axis": [0, 1],
    "split_point": [0.5, 0.0],
    "clause_count": [3],
    "clause": [0, 2, 1],
    "column_atom": [0, 0],
    "column_neuron": [0, 1],
    "row_node": [1, 6, 6],
    "row": [0, MIX, MIX],
    "row_alpha": [(0, 255), (51, 0), (1, 2)],
    "beta_count": [0, 2, 1],
    "row_beta": [1, 2, 3],
    "mix_count": [2, 1],
    "mix_row": [0, 1, 0],
    "mix_weight": [1, 0, 3],
    "hidden_node": [0, 0, 8],
    "hidden_atom": [0, 0, 0],
    "hidden_neuron": [0, 1, 7],
    "hidden_sign": [1, -1, 1],
    "hidden_alpha": [(0, 0), (0, 1), (2, 3)],
}
"""Root 0 names three clauses, root 1 splits an input; node 2 splits a neuron."""


def read(neurons=(("r", 2),), **changes):
    arrays = {}
    for name, values in {**GOOD, **changes}.items():
        if values is not None:
            plain = isinstance(values, np.ndarray)
            arrays[name] = values if plain else np.array(values, dtype=MEMBERS[name][0])
    manifest = {**FIELDS, "neurons": [list(n) for n in neurons], "members": {}}
    return read_proof(Container(manifest, arrays), NETWORK)


def bare(neurons=(), **arrays):
    """No other arrays than these."""
    return read(neurons, **(dict.fromkeys(GOOD) | arrays))


def entries(proof, name, *some):
    place, entry = proof.entries(name, np.array(some, dtype=np.int64))
    return list(zip(place.tolist(), entry.tolist(), strict=True))


def test_where_children_and_records_are():
    proof = read()
    assert proof.nodes == 9
    assert proof.kind.tolist() == [CLAUSE, INPUT, NEURON, 0, 0, 0, 0, 0, 0]
    assert proof.first_child[:3].tolist() == [2, 5, 7]
    assert proof.split[1:3].tolist() == [0, 1]
    assert entries(proof, "clause", 0, 1) == [(0, 0), (0, 1), (0, 2)]
    assert entries(proof, "row", 6, 0, 1) == [(0, 1), (0, 2), (2, 0)]
    assert entries(proof, "hidden", 8, 0) == [(0, 2), (1, 0), (1, 1)]
    assert entries(proof, "beta", 1, 2) == [(0, 0), (0, 1), (1, 2)]
    assert entries(proof, "mix", 0, 2, 1) == [(1, 2), (2, 0), (2, 1)]
    assert proof.count("row", np.array([0, 1, 6])).tolist() == [0, 1, 2]
    assert {k: [x.tolist() for x in v] for k, v in proof.columns.items()} == {2: [[0, 1], [0, 1]]}
    assert proof.hidden_value.tolist() == [1, 1, 1]
    assert proof.does(ROWS)
    assert not proof.does(16)


def test_multipliers_are_255ths():
    proof = read()
    for number in (Arithmetic(), Arithmetic(exact=True)):
        chosen = proof.multipliers(proof["row_alpha"][:2], None, number)
        neurons, slopes = chosen.slopes[2]
        assert neurons.tolist() == [0, 1]
        assert slopes.astype(float).tolist() == [[0, 1], [0.2, 0]]
        assert not chosen.added
        beta = np.array([[0.5, 0], [0, -2]])
        assert proof.multipliers(proof["row_alpha"][:2], beta, number).added[2][1].tolist() == (
            beta.tolist()
        )


def test_arrays_without_elements_may_be_absent():
    proof = bare(roots=[0], node=[0])
    assert (proof.nodes, proof.columns) == (1, {})
    assert proof["row_alpha"].shape == (0, 0)
    assert proof["row"].dtype == np.uint32
    proof = bare((("r", 2),), roots=[0], node=[0], column_atom=[0], column_neuron=[1])
    assert proof["row_alpha"].shape == (0, 1)
    assert bare().nodes == 0
    proof = bare(roots=[0], node=[0], row_node=[0, 0], row=[0, 1], beta_count=[0, 0])
    assert proof["row_alpha"].shape == (2, 0)


WRONG = {
    "an action that is none": ({"node": [*GOOD["node"][:-1], 64]}, "node [8]: unknown actions"),
    "no node": ({"node": None}, "split_axis: need one entry for each split"),
    "a node less": ({"node": GOOD["node"][:-1]}, "row_node|hidden_node|node: its length"),
    "a node more": ({"node": [*GOOD["node"], 0]}, "node: its length must be that of"),
    "an axis less": ({"split_axis": [0]}, "split_axis: need one entry for each split"),
    "a point more": ({"split_point": [0.5, 0, 0]}, "split_point: need one entry"),
    "a count less": ({"clause_count": None}, "clause_count: need 1 entries"),
    "a count more": ({"clause_count": [3, 0]}, "clause_count: need 1 entries"),
    "another count": ({"clause_count": [2]}, "clause: its length must be the sum of"),
    "a column without neuron": ({"column_neuron": [0]}, "column_neuron: its length must be"),
    "columns that fall": ({"column_neuron": [1, 0]}, "column_neuron: columns must ascend"),
    "columns twice": ({"column_neuron": [1, 1]}, "column_neuron: columns must ascend"),
    "a column of nothing": ({"column_neuron": [0, 2]}, "a tensor of 2 elements has fewer"),
    "a column of no atom": ({"column_atom": [0, 1]}, "column_atom: numbers of named tensors"),
    "a row less": ({"row": [0, MIX]}, "row: its length must be row_node's"),
    "slopes less": ({"row_alpha": [(0, 0)]}, "row_alpha: its length must be row_node's"),
    "slopes of other columns": ({"row_alpha": [(0,)] * 3}, "row_alpha: need 2 columns"),
    "records that fall": ({"row_node": [6, 1, 6]}, "row_node: node numbers must ascend, below 9"),
    "a record of no node": ({"row_node": [1, 6, 9]}, "row_node: node numbers must ascend, below"),
    "a beta less": ({"row_beta": [1, 2]}, "row_beta: its length must be the sum of beta_count"),
    "a beta count less": ({"beta_count": [0, 3]}, "beta_count: need 3 entries"),
    "a mix count more": ({"mix_count": [2, 1, 0]}, "mix_count: need 2 entries"),
    "a mix row less": ({"mix_row": [0, 1]}, "mix_weight: its length must be mix_row's"),
    "a negative weight": ({"mix_weight": [1, -1e-9, 3]}, "mix_weight: a weight is negative"),
    "a sign of 0": ({"hidden_sign": [1, 0, 1]}, "hidden_sign: 1 or -1"),
    "a sign of -128": ({"hidden_sign": [1, -128, 1]}, "hidden_sign: 1 or -1"),
    "a sign less": ({"hidden_sign": [1, 1]}, "hidden_sign: its length must be hidden_node's"),
    "an atom less": ({"hidden_atom": [0, 0]}, "hidden_atom: its length must be hidden_node's"),
    "no such atom": ({"hidden_atom": [0, 0, 1]}, "hidden_atom: not the number of a named tensor"),
    "hidden records that fall": ({"hidden_node": [0, 8, 0]}, "hidden_node: node numbers must"),
    "more roots": ({"roots": [0, 5, 6]}, "node: its length must be that of the roots and of all"),
    "two axes": ({"roots": np.zeros((2, 1), "<i8")}, "roots: need 1 axes of type <i8"),
    "another type": ({"roots": np.zeros(2, "<i4")}, "roots: need 1 axes of type <i8"),
    "another array": ({"more": np.zeros(2, "<i4")}, "members: more unknown"),
    "another size": ({"neurons": [("r", 3)]}, "neurons: 'r' has 2 elements, not 3"),
    "no such tensor": ({"neurons": [("q", 2)]}, "computes no nonlinear tensor 'q'"),
    "a linear tensor": ({"neurons": [("z", 2)]}, "computes no nonlinear tensor 'z'"),
    "a tensor twice": ({"neurons": [("r", 2)] * 2}, "neurons: a tensor is named twice"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_rejected(name):
    changes, message = WRONG[name]
    with pytest.raises(Rejected) as caught:
        read(**changes)
    assert any(part in str(caught.value) for part in message.split("|"))


def test_a_child_before_its_parent():
    """Nodes that are children of themselves, or of nodes that nothing reaches."""
    for node, roots in (([INPUT, 0], []), ([INPUT], []), ([0, INPUT, 0], [0])):
        with pytest.raises(Rejected, match=r"^node: "):
            bare(node=node, roots=roots, split_axis=[0], split_point=[0.0])
    splits = {"split_axis": [0, 0], "split_point": [0.0, 0.0]}
    with pytest.raises(Rejected, match=r"^node: a child comes before its parent$"):
        bare(**splits, node=[0, INPUT, INPUT, 0, 0], roots=[0])
