"""The tree of a certificate as objects, to be cut and grafted, and back as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verifier.checker.members import LENGTHS, MEMBERS, OPTIONAL, WIDTHS
from verifier.checker.proof import CLAUSE, INPUT, LEAF, MIX, NEURON

Record = dict[str, Any]
ROW = ("row", "row_alpha", "row_hulls", "row_beta", "mix_row", "mix_weight")
HIDDEN = ("hidden_atom", "hidden_neuron", "hidden_sign", "hidden_alpha", "hidden_round")
KEPT = ("roots", "column_atom", "column_neuron")
PARTS = ("hidden_column", "hidden_beta")


@dataclass(eq=False)
class Tree:
    """A node, what is done there, and its children."""

    kind: int = LEAF
    actions: int = 0
    axis: int = 0
    point: float = 0.0
    clauses: list[int] = field(default_factory=list[int])
    children: list[Tree] = field(default_factory=list["Tree"])
    rows: list[Record] = field(default_factory=list[Record])
    hidden: list[Record] = field(default_factory=list[Record])

    def all(self) -> Iterator[Tree]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.all()

    def copy(self) -> Tree:
        """With copies of all children; records are shared."""
        children = [child.copy() for child in self.children]
        parts = (list(self.clauses), children, list(self.rows), list(self.hidden))
        return Tree(self.kind, self.actions, self.axis, self.point, *parts)

    def become(self, other: Tree) -> None:
        """Be a copy of another node."""
        self.__dict__.update(other.copy().__dict__)

    def close(self) -> None:
        """Be a leaf, without what is below."""
        self.kind, self.children, self.clauses = LEAF, [], []


def grow(arrays: dict[str, np.ndarray]) -> list[Tree]:
    """The trees of a valid certificate's arrays: one for each root."""
    a = complete(arrays)
    nodes = [Tree(int(x) & 3, int(x) & ~3) for x in a["node"]]
    waiting = iter(nodes[len(a["roots"]) :])
    split, clause, named = 0, 0, 0
    for node in nodes:
        if node.kind in {INPUT, NEURON}:
            node.axis, node.point = int(a["split_axis"][split]), float(a["split_point"][split])
            node.children = [next(waiting), next(waiting)]
            split += 1
        elif node.kind == CLAUSE:
            count = int(a["clause_count"][clause])
            node.clauses = a["clause"][named : named + count].tolist()
            node.children = [next(waiting) for _ in range(count)]
            clause, named = clause + 1, named + count
    beta, mixes, mixed = 0, 0, 0
    for i, owner in enumerate(a["row_node"].tolist()):
        count, rows = int(a["beta_count"][i]), 0
        if a["row"][i] == MIX:
            rows, mixes = int(a["mix_count"][mixes]), mixes + 1
        parts = (*(a[name][i] for name in ROW[:3]), a["row_beta"][beta : beta + count])
        some = slice(mixed, mixed + rows)
        record = dict(zip(ROW, (*parts, a["mix_row"][some], a["mix_weight"][some]), strict=True))
        nodes[owner].rows.append(record)
        beta, mixed = beta + count, mixed + rows
    a |= {name: np.zeros(len(a["hidden_node"]), int) for name in OPTIONAL if not len(a[name])}
    splits = a["hidden_splits"]
    path, column, beta = list[bool](), 0, 0
    for i, owner in enumerate(a["hidden_node"].tolist()):
        path += [False] * int(splits[i])
        parts = {
            "hidden_column": a["hidden_column"][column : column + int(splits[i])],
            "hidden_beta": a["hidden_beta"][beta : beta + len(path)],
        }
        nodes[owner].hidden.append({name: a[name][i] for name in HIDDEN} | parts)
        column, beta = column + int(splits[i]), beta + len(path)
        while path and path[-1]:
            path.pop()
        path[-1:] = [True] * bool(path)
    return nodes[: len(a["roots"])]


def complete(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With the arrays that have no elements."""
    result: dict[str, np.ndarray] = {}
    for name, (dtype, axes) in MEMBERS.items():
        width = len(arrays.get(WIDTHS.get(name, ""), ()))
        rows = len(arrays.get(LENGTHS[name], ())) if axes > 1 and not width else 0
        result[name] = np.zeros((rows, width)[:axes], dtype)
    return result | arrays


def flatten(roots: list[Tree], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of trees; the roots' cases and the columns are those of ``arrays``."""
    order, level = list[Tree](), roots
    while level:
        order += level
        level = [child for node in level for child in node.children]
    split = [node for node in order if node.kind in {INPUT, NEURON}]
    clauses = [node.clauses for node in order if node.kind == CLAUSE]
    rows = [(i, record) for i, node in enumerate(order) for record in node.rows]
    hidden = [(i, record) for i, node in enumerate(order) for record in node.hidden]
    mixes = [record for _, record in rows if record["row"] == MIX]
    columns = {
        "node": [node.kind | node.actions for node in order],
        "split_axis": [node.axis for node in split],
        "split_point": [node.point for node in split],
        "clause_count": [len(part) for part in clauses],
        "clause": [clause for part in clauses for clause in part],
        "row_node": [i for i, _ in rows],
        "beta_count": [len(record["row_beta"]) for _, record in rows],
        "row_beta": [beta for _, record in rows for beta in record["row_beta"]],
        "mix_count": [len(record["mix_row"]) for record in mixes],
        "hidden_node": [i for i, _ in hidden],
    }
    columns |= {name: [record[name] for _, record in rows] for name in ROW[:3]}
    columns |= {name: [x for record in mixes for x in record[name]] for name in ROW[4:]}
    columns |= {name: [record[name] for _, record in hidden] for name in HIDDEN}
    columns |= {name: [x for _, record in hidden for x in record[name]] for name in PARTS}
    if not any(columns["hidden_round"]):
        del columns["hidden_round"]
    if columns["hidden_column"]:
        columns["hidden_splits"] = [len(record["hidden_column"]) for _, record in hidden]
    result = complete({n: x for n, x in arrays.items() if n in KEPT or n.startswith("hull_")})
    for name, values in columns.items():
        if values:
            result[name] = np.array(values).astype(MEMBERS[name][0])
    return result


def random_parts(
    g: np.random.Generator, columns: int, depth: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """The parts of a random tree, in order, as (depth, new splits), and the columns it splits."""
    parts, named = list[tuple[int, int]](), list[int]()

    def split(level: int, met: int) -> None:
        if level >= depth or (level and g.random() < 0.2):
            parts.append((level, level - met))
            return
        named.append(int(g.integers(columns)))
        split(level + 1, met)
        split(level + 1, level + 1)

    split(0, 0)
    return parts, named
