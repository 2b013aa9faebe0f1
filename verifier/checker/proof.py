"""The arrays of a certificate, checked for shape and range: a tree, and numbers for its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.checker.arithmetic import Arithmetic, Ints
from verifier.checker.atoms import Atom, Relu
from verifier.checker.container import Container
from verifier.checker.errors import Rejected
from verifier.checker.groups import Product
from verifier.checker.members import LENGTHS, MEMBERS, OPTIONAL, WIDTHS
from verifier.checker.network import Network
from verifier.checker.parts import Parts, read_parts
from verifier.checker.rows import Choice, Multipliers

LEAF, INPUT, NEURON, CLAUSE = range(4)
"""Kinds of nodes: the low two bits."""
CLIP, JOINTLY, HIDDEN, ROWS = 4, 8, 16, 32
"""What is done at a node before it is split or closed."""
MIX = 2**32 - 1
"""In place of a row: a sum of rows with weights."""


@dataclass(frozen=True, eq=False)
class Proof:
    """A tree in the order of its levels, and what was chosen at its nodes."""

    arrays: dict[str, Ints]
    starts: dict[str, Ints]
    """Where lists start that lie one after the other: list k is entries starts[k] to starts[k + 1].

    Of each node the ``clause`` entries, its records in ``row_node`` (row) and ``hidden_node``
    (hidden); of each record of a row its entries in ``row_beta`` (beta) and ``mix_row`` (mix); of
    each hidden record its entries in ``hidden_beta`` (part); of each plane those in ``hull_reads``
    (hull).
    """
    first_child: Ints
    """int64 [nodes]: its children are numbered from here on, in order"""
    split: Ints
    """int64 [nodes]: which entry of ``split_axis`` and ``split_point`` is the node's"""
    columns: dict[int, tuple[Ints, Ints]]
    """atom's value -> (columns, neurons)"""
    hidden_value: Ints
    """int64 [records]: the value that ``hidden_neuron`` is about"""
    parts: Parts
    """Of each hidden record"""

    def __getitem__(self, name: str) -> Ints:
        return self.arrays[name]

    @property
    def nodes(self) -> int:
        """How many nodes the tree has."""
        return len(self.arrays["node"])

    @property
    def kind(self) -> Ints:
        """uint8 [nodes]."""
        return self.arrays["node"] & 3

    def does(self, action: int) -> bool:
        """Is an action done at any node?"""
        return bool((self.arrays["node"] & action).any())

    def entries(self, name: str, some: Ints) -> tuple[Ints, Ints]:
        """The entries of some lists: each one's place in ``some``, and its number."""
        start, count = self.starts[name][some], self.count(name, some)
        shift = np.repeat(start - np.cumsum(count) + count, count)
        return np.repeat(np.arange(len(some)), count), np.arange(len(shift)) + shift

    def count(self, name: str, some: Ints) -> Ints:
        """How many entries some lists have."""
        return self.starts[name][some + 1] - self.starts[name][some]

    def rounds(self, some: Ints) -> int:
        """How often some nodes go through the values: their hidden records may be about each."""
        some = some[self["node"][some] & HIDDEN > 0]
        return 1 + int(self["hidden_round"][self.entries("hidden", some)[1]].max(initial=0))

    def multipliers(self, alpha: Ints, beta: Ints | None, arithmetic: Arithmetic) -> Multipliers:
        """The multipliers of some rows: alpha [rows, columns] of 255ths, beta [rows, columns]."""
        slopes, added = Choice(), Choice()
        for value, (columns, neurons) in self.columns.items():
            slopes[value] = neurons, arithmetic.numbers(alpha[:, columns] / 255)
            if beta is not None:
                added[value] = neurons, arithmetic.numbers(beta[:, columns])
        return Multipliers(slopes, added)


def _require(holds: object, message: str) -> None:
    if not holds:
        raise Rejected(message)


def read_proof(container: Container, network: Network) -> Proof:
    """The arrays of a container, checked against one another and the network.

    Raises:
        Rejected: what does not fit, and where.
    """
    arrays = _members(container.arrays)
    node, kind = arrays["node"], arrays["node"] & 3
    odd = np.flatnonzero(node >= 64)
    _require(not len(odd), f"node {odd[:1].tolist()}: unknown actions")
    splits = (kind == INPUT) | (kind == NEURON)
    for name in ("split_axis", "split_point"):
        _require(len(arrays[name]) == splits.sum(), f"{name}: need one entry for each split")
    starts = {
        "clause": _starts(arrays, kind == CLAUSE, ("clause_count", "clause")),
        "row": _owners(arrays["row_node"], len(node), "row_node"),
        "hidden": _owners(arrays["hidden_node"], len(node), "hidden_node"),
        "beta": _starts(arrays, arrays["row"] >= 0, ("beta_count", "row_beta")),
        "mix": _starts(arrays, arrays["row"] == MIX, ("mix_count", "mix_row")),
        "hull": _starts(arrays, arrays["hull_root"] >= 0, ("hull_count", "hull_reads")),
    }
    children = np.diff(starts["clause"]) + 2 * splits
    first = len(arrays["roots"]) + np.cumsum(children) - children
    whole = len(arrays["roots"]) + int(children.sum())
    _require(whole == len(node), "node: its length must be that of the roots and of all children")
    late = (first > np.arange(len(node))) | (children == 0)
    _require(late.all(), "node: a child comes before its parent")
    values = _atoms(container, network)
    columns = _columns(arrays, values, network)
    split = arrays["split_axis"][kind[splits] == NEURON]
    pairs = [isinstance(network.nodes[value - 1].rule, Product) for value in values]
    pair = np.array(pairs, dtype=bool)[arrays["column_atom"]]
    _require(not pair[split[split < len(pair)]].any(), "split_axis: a product is no neuron")
    hidden = arrays["hidden_atom"]
    _require(not (hidden >= len(values)).any(), "hidden_atom: not the number of a named tensor")
    source = np.array([network.nodes[value - 1].inputs[0] for value in values], dtype=np.int64)
    parts, hidden_value = read_parts(arrays), source[hidden]
    starts["part"], split = parts.start, parts.column
    _require((split < len(pair)).all(), "hidden_column: there is no such column")
    before = source[arrays["column_atom"][split]] < np.repeat(hidden_value, np.diff(parts.start))
    _require((before & ~pair[split]).all(), "hidden_column: not a neuron before the one bounded")
    relus = [isinstance(network.nodes[value - 1].rule, Relu) for value in values]
    _require_hulls(arrays, np.array(relus, dtype=bool)[arrays["column_atom"]], network.sizes[0])
    return Proof(arrays, starts, first, np.cumsum(splits) - 1, columns, hidden_value, parts)


def _require_hulls(arrays: dict[str, Ints], relu: Ints, inputs: int) -> None:
    """Planes are those of roots and ReLUs, and read what there is."""
    roots, column = len(arrays["roots"]), arrays["hull_column"]
    _require((arrays["hull_root"] < roots).all(), f"hull_root: there are {roots} roots")
    _require((column < len(relu)).all(), "hull_column: there is no such column")
    _require(relu[column].all(), "hull_column: not a ReLU")
    known = (arrays["hull_reads"] < inputs + len(relu)).all()
    _require(known, "hull_reads: neither an input nor a column")
    for name in ("hull_below", "hull_above", "hull_unit"):
        _require((arrays[name] >= 0).all(), f"{name}: a number is negative")


def _members(given: dict[str, Ints]) -> dict[str, Ints]:
    """All arrays; those that have no elements are left out of a container."""
    odd = sorted(set(given) - set(MEMBERS))
    _require(not odd, f"members: {', '.join(odd)} unknown")
    flat = sorted(name for name, array in given.items() if not array.ndim)
    _require(not flat, f"{', '.join(flat)}: a number, not an array")
    widths = {name: len(given.get(other, ())) for name, other in WIDTHS.items()}
    arrays: dict[str, Ints] = {}
    for name, (dtype, axes) in MEMBERS.items():
        # Without columns an array of slopes has no elements, however many records there are.
        width = widths.get(name, 0)
        rows = len(given.get(LENGTHS[name], ())) if axes > 1 and not width else 0
        arrays[name] = array = given.get(name, np.zeros((rows, width)[:axes], dtype=dtype))
        fits = array.dtype == np.dtype(dtype) and array.ndim == axes
        _require(fits, f"{name}: need {axes} axes of type {dtype}")
        _require(axes == 1 or array.shape[1] == width, f"{name}: need {width} columns")
    for name, other in LENGTHS.items():
        if name in OPTIONAL and not len(arrays[name]):
            arrays[name] = np.zeros(len(arrays[other]), MEMBERS[name][0])
        _require(len(arrays[name]) == len(arrays[other]), f"{name}: its length must be {other}'s")
    signs = abs(arrays["hidden_sign"].astype(np.int64)) == 1
    _require(signs.all(), "hidden_sign: 1 or -1")
    _require((arrays["mix_weight"] >= 0).all(), "mix_weight: a weight is negative")
    return arrays


def _starts(arrays: dict[str, Ints], owners: Ints, names: tuple[str, str]) -> Ints:
    """Where the list of each owner starts; the others have empty ones."""
    counts, entries = (arrays[name] for name in names)
    _require(len(counts) == owners.sum(), f"{names[0]}: need {int(owners.sum())} entries")
    every = np.zeros(len(owners), dtype=np.int64)
    every[owners] = counts
    _require(every.sum() == len(entries), f"{names[1]}: its length must be the sum of {names[0]}")
    return np.concatenate([[0], np.cumsum(every)])


def _owners(owner: Ints, nodes: int, name: str) -> Ints:
    """Where the records of each node start, from the node of each record."""
    order = owner.astype(np.int64)
    ascending = (np.diff(order) >= 0).all() and (order < nodes).all()
    _require(ascending, f"{name}: node numbers must ascend, below {nodes}")
    return np.searchsorted(order, np.arange(nodes + 1))


def _atoms(container: Container, network: Network) -> list[int]:
    """The values of the atoms that the manifest names."""
    places = {node.name: k for k, node in enumerate(network.nodes, start=1)}
    values: list[int] = []
    for name, size in container.manifest["neurons"]:
        value = places.get(name, 0)
        rule = network.nodes[value - 1].rule if value else None
        atom = isinstance(rule, Product) or (isinstance(rule, Atom) and rule.arity == 1)
        _require(atom, f"neurons: the network computes no nonlinear tensor {name!r}")
        found = network.sizes[value]
        _require(found == size, f"neurons: {name!r} has {found} elements, not {size}")
        values.append(value)
    _require(len(set(values)) == len(values), "neurons: a tensor is named twice")
    return values


def _columns(
    arrays: dict[str, Ints], values: list[int], network: Network
) -> dict[int, tuple[Ints, Ints]]:
    atom, neuron = (arrays[name].astype(np.int64) for name in ("column_atom", "column_neuron"))
    _require((atom < len(values)).all(), "column_atom: numbers of named tensors are needed")
    _require((np.diff(atom * 2**32 + neuron) > 0).all(), "column_neuron: columns must ascend")
    result: dict[int, tuple[Ints, Ints]] = {}
    for place, value in enumerate(values):
        columns = np.flatnonzero(atom == place)
        size = network.sizes[value]
        fits = (neuron[columns] < size).all()
        _require(fits, f"column_neuron: a tensor of {size} elements has fewer")
        if len(columns):
            result[value] = columns, neuron[columns]
    return result
