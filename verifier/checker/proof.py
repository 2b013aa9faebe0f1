"""The arrays of a certificate, checked for shape and range: a tree, and multipliers for its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.bounds import Multipliers
from verifier.checker.container import Container
from verifier.checker.errors import Rejected
from verifier.checker.network import Network

LEAF, INPUT, NEURON, CLAUSE = range(4)
"""Kinds of nodes: the low two bits."""
CLIP, JOINTLY, HIDDEN, ROWS = 4, 8, 16, 32
"""What is done at a node before it is split or closed."""
MIX = 2**32 - 1
"""In place of a row: a sum of rows with weights."""

MEMBERS = {
    "roots": ("<i8", 1),
    "node": ("|u1", 1),
    "split_axis": ("<u4", 1),
    "split_point": ("<f8", 1),
    "clause_count": ("<u4", 1),
    "clause": ("<u4", 1),
    "column_atom": ("<u4", 1),
    "column_neuron": ("<u4", 1),
    "row_node": ("<u4", 1),
    "row": ("<u4", 1),
    "row_alpha": ("|u1", 2),
    "beta_count": ("<u4", 1),
    "row_beta": ("<f4", 1),
    "mix_count": ("<u4", 1),
    "mix_row": ("<u4", 1),
    "mix_weight": ("<f8", 1),
    "hidden_node": ("<u4", 1),
    "hidden_atom": ("<u4", 1),
    "hidden_neuron": ("<u4", 1),
    "hidden_sign": ("|i1", 1),
    "hidden_alpha": ("|u1", 2),
}
"""Every array of a certificate: its type, and its number of axes."""


@dataclass(frozen=True, eq=False)
class Proof:
    """A tree in the order of its levels, and what was chosen at its nodes."""

    arrays: dict[str, Ints]
    first_child: Ints
    """int64 [nodes]: its children are numbered from here on, in order"""
    split: Ints
    """int64 [nodes]: which entry of ``split_axis`` and ``split_point`` is the node's"""
    clause_start: Ints
    """int64 [nodes + 1]: the clauses of a clause split, in ``clause``"""
    values: Ints
    """int64 [atoms]: the network's value of each atom that is named"""
    columns: dict[int, tuple[Ints, Ints]]
    """atom's value -> (columns, neurons)"""
    beta_start: Ints
    """int64 [records]: where the numbers of each record start, in ``row_beta``"""
    mix_start: Ints
    """int64 [mixes + 1]: the rows of each mix, in ``mix_row``"""

    def __getitem__(self, name: str) -> Ints:
        return self.arrays[name]

    @property
    def nodes(self) -> int:
        """How many nodes the tree has."""
        return len(self.arrays["node"])

    @property
    def kind(self) -> Ints:
        """uint8 [nodes]"""
        return self.arrays["node"] & 3

    def does(self, action: int) -> bool:
        """Is an action done at any node?"""
        return bool((self.arrays["node"] & action).any())

    def multipliers(self, alpha: Ints, beta: Ints | None, arithmetic: Arithmetic) -> Multipliers:
        """The multipliers of some rows: alpha [rows, columns] of 255ths, beta [rows, columns]."""
        slopes: dict[int, tuple[Ints, Floats]] = {}
        added: dict[int, tuple[Ints, Floats]] = {}
        for value, (columns, neurons) in self.columns.items():
            slopes[value] = neurons, arithmetic.numbers(alpha[:, columns] / 255)
            if beta is not None:
                added[value] = neurons, arithmetic.numbers(beta[:, columns])
        return Multipliers(slopes, added)


def read_proof(container: Container, network: Network) -> Proof:
    """The arrays of a container, checked against one another and the network.

    Raises:
        Rejected: what does not fit, and where.
    """
    arrays = _members(container.arrays)
    node = arrays["node"]
    kind = node & 3
    if (node >= 64).any():
        raise Rejected(f"node {int((node >= 64).argmax())}: unknown actions")
    splits = (kind == INPUT) | (kind == NEURON)
    clauses = np.zeros(len(node), dtype=np.int64)
    if len(arrays["clause_count"]) != int((kind == CLAUSE).sum()):
        raise Rejected("clause_count: one entry for each clause split is needed")
    clauses[kind == CLAUSE] = arrays["clause_count"]
    if int(clauses.sum()) != len(arrays["clause"]):
        raise Rejected("clause: its length must be the sum of clause_count")
    for name in ("split_axis", "split_point"):
        if len(arrays[name]) != int(splits.sum()):
            raise Rejected(f"{name}: one entry for each split is needed")
    children = clauses + 2 * splits
    first = len(arrays["roots"]) + np.cumsum(children) - children
    if len(arrays["roots"]) + int(children.sum()) != len(node):
        raise Rejected("node: its length must be that of the roots and of all children")
    if (first[children > 0] <= np.flatnonzero(children > 0)).any():
        raise Rejected("node: a child comes before its parent")
    values = _atoms(container, network)
    columns = _columns(arrays, values, network)
    _records(arrays, len(node))
    starts = np.concatenate([[0], np.cumsum(clauses)])
    return Proof(
        arrays,
        first,
        np.cumsum(splits) - 1,
        starts,
        values,
        columns,
        np.cumsum(arrays["beta_count"], dtype=np.int64) - arrays["beta_count"],
        np.concatenate([[0], np.cumsum(arrays["mix_count"], dtype=np.int64)]),
    )


def _members(given: dict[str, Ints]) -> dict[str, Ints]:
    """All arrays; those that have no elements are left out of a container."""
    odd = sorted(set(given) - set(MEMBERS))
    if odd:
        raise Rejected(f"members: {', '.join(odd)} unknown")
    width = len(given.get("column_atom", ()))
    arrays: dict[str, Ints] = {}
    for name, (dtype, axes) in MEMBERS.items():
        empty = np.zeros((0, width)[:axes], dtype=dtype)
        arrays[name] = array = given.get(name, empty)
        if array.dtype != np.dtype(dtype) or array.ndim != axes:
            raise Rejected(f"{name}: need {axes} axes of type {dtype}")
    return arrays


def _atoms(container: Container, network: Network) -> Ints:
    """The values of the atoms that the manifest names."""
    places = {node.name: k for k, node in enumerate(network.nodes, start=1)}
    values = []
    for name, size in container.manifest["neurons"]:
        value = places.get(name)
        if value is None or isinstance(network.nodes[value - 1].rule, Affine):
            raise Rejected(f"neurons: the network computes no nonlinear tensor {name!r}")
        if network.sizes[value] != size:
            raise Rejected(f"neurons: {name!r} has {network.sizes[value]} elements, not {size}")
        values.append(value)
    if len(set(values)) != len(values):
        raise Rejected("neurons: a tensor is named twice")
    return np.array(values, dtype=np.int64)


def _columns(
    arrays: dict[str, Ints], values: Ints, network: Network
) -> dict[int, tuple[Ints, Ints]]:
    atom, neuron = arrays["column_atom"], arrays["column_neuron"].astype(np.int64)
    if len(atom) != len(neuron) or (atom >= len(values)).any():
        raise Rejected("column_atom: numbers of named tensors are needed, one for each neuron")
    key = atom.astype(np.int64) * 2**32 + neuron
    if (np.diff(key) <= 0).any():
        raise Rejected("column_neuron: columns must ascend")
    result = {}
    for place, value in enumerate(values.tolist()):
        columns = np.flatnonzero(atom == place)
        if (neuron[columns] >= network.sizes[value]).any():
            raise Rejected(f"column_neuron: a tensor of {network.sizes[value]} elements has fewer")
        if len(columns):
            result[value] = columns, neuron[columns]
    return result


def _records(arrays: dict[str, Ints], nodes: int) -> None:
    width = len(arrays["column_atom"])
    groups = (
        ("row_node", ("row", "row_alpha", "beta_count")),
        ("hidden_node", ("hidden_atom", "hidden_neuron", "hidden_sign", "hidden_alpha")),
        ("mix_row", ("mix_weight",)),
    )
    for first, others in groups:
        for name in others:
            if len(arrays[name]) != len(arrays[first]):
                raise Rejected(f"{name}: its length must be that of {first}")
    for name in ("row_alpha", "hidden_alpha"):
        if arrays[name].shape[1] != width:
            raise Rejected(f"{name}: one column for each of {width} neurons is needed")
    for name in ("row_node", "hidden_node"):
        order = arrays[name].astype(np.int64)
        if (np.diff(order) < 0).any() or (order >= nodes).any():
            raise Rejected(f"{name}: node numbers must ascend, below {nodes}")
    if (abs(arrays["hidden_sign"].astype(np.int64)) != 1).any():
        raise Rejected("hidden_sign: 1 or -1")
    if len(arrays["mix_count"]) != int((arrays["row"] == MIX).sum()):
        raise Rejected("mix_count: one entry for each mix is needed")
    if int(arrays["mix_count"].sum(dtype=np.int64)) != len(arrays["mix_row"]):
        raise Rejected("mix_row: its length must be the sum of mix_count")
    if int(arrays["beta_count"].sum(dtype=np.int64)) != len(arrays["row_beta"]):
        raise Rejected("row_beta: its length must be the sum of beta_count")
    if not (arrays["mix_weight"] >= 0).all():
        raise Rejected("mix_weight: a weight is negative")
