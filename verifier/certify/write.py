"""Write the record of a search down as a certificate: docs/certificate.md describes the format."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from verifier.bounds.optimise import TILT_STEPS
from verifier.certify.container import pack
from verifier.certify.parts import Parts
from verifier.certify.proof_tree import MOST_BYTES, Chosen, ProofTree, Tightened, Tilts
from verifier.records import dataclass
from verifier.spec import Problem
from verifier.spec.ragged import Integers, gather_pieces, starts_of
from verifier.spec.unsafe import canonical_order
from verifier.tensors import distinct
from verifier.version import VERSION

LEAF, INPUT, NEURON, CLAUSE = range(4)
MIX = 2**32 - 1
TERM_BYTES = 8
"""What a slope of a plane takes, and the number of what it is of."""
TOO_LARGE = "the slopes that prove the leaves take more than 1 GiB"


@dataclass(frozen=True)
class Subject:
    """What a certificate is about."""

    network: str
    """The name of the network's file, without folders."""
    network_sha256: str
    prop: str
    property_sha256: str
    semantics: str = "float32"


class NoCertificateError(Exception):
    """The record cannot be written down; one line says why."""


def certificate(
    tree: ProofTree | None, problem: Problem, subject: Subject
) -> tuple[bytes, Integers]:
    """The bytes of the certificate of a finished search, and its nodes' numbers in the tree.

    ``tree`` is None for an empty region.

    Raises:
        NoCertificateError: too much was to be recorded, or what has no place in the format, or an
            operator splits a tensor that the file does not name.
    """
    if tree is not None and tree.full:
        raise NoCertificateError(TOO_LARGE)
    if tree is not None and tree.lacking:
        raise NoCertificateError(tree.lacking)
    writer = _Writer(tree or _empty(problem), problem)
    arrays = writer.arrays()
    neurons = arrays.pop("neurons").tolist()
    manifest = {
        "network": subject.network,
        "property": subject.prop,
        "network_sha256": subject.network_sha256,
        "property_sha256": subject.property_sha256,
        "semantics": subject.semantics,
        "tool": f"verifier {VERSION}",
        "neurons": [_tensor(problem, value) for value in neurons],
    }
    return pack(manifest, arrays), np.argsort(writer.number)


def _empty(problem: Problem) -> ProofTree:
    from verifier.tensors import numpy_backend

    return ProofTree(numpy_backend(), len(problem.cases))


def _tensor(problem: Problem, value: int) -> list[str | int]:
    """A value's tensor in the file, and its size."""
    tensor, size, _ = problem.named(value)
    if not tensor:
        name = problem.graph.node(value).name
        message = f"node {name!r} computes no tensor of the file, so that none can be named"
        raise NoCertificateError(message)
    return [tensor, size]


@dataclass(eq=False)
class _Writer:
    """One tree on its way into arrays; nodes are renumbered level by level."""

    tree: ProofTree
    problem: Problem
    maps: dict[int, tuple[Integers, Integers]] = field(
        default_factory=dict[int, tuple[Integers, Integers]]
    )
    patterns: dict[bytes, tuple[Integers, Integers]] = field(
        default_factory=dict[bytes, tuple[Integers, Integers]]
    )

    def arrays(self) -> dict[str, np.ndarray]:
        """Every member of the certificate, and ``neurons``: the values that columns refer to."""
        tree = self.tree
        self._gather_hulls()
        blocks = [c.tilts.column for c in (*tree.chosen, *tree.tightened)]
        blocks += [h.column for h in self.hulls] + [h.reads[h.reads >> 32 > 0] for h in self.hulls]
        blocks += [s.coordinate for s in tree.splits if s.of_neurons]
        columns = distinct(np.concatenate([np.zeros(0, dtype=np.int64), *blocks]))
        self.columns = columns
        rows = sum(len(block.tilts.alpha) for block in (*tree.chosen, *tree.tightened))
        terms = sum(len(h.slope) for h in self.hulls)
        if rows * (len(columns) + self.hull_count) + TERM_BYTES * terms > MOST_BYTES:
            raise NoCertificateError(TOO_LARGE)
        atoms = np.array([t.atom for t in tree.tightened], dtype=np.int64)
        values = distinct(np.concatenate([columns >> 32, atoms]))
        self.kind = np.zeros(tree.count, dtype=np.uint8)
        self._gather_splits()
        order = self._order()
        self.number = np.empty(len(order), dtype=np.int64)
        self.number[order] = np.arange(len(order))
        result = {
            "neurons": values,
            "roots": self.problem.cases.numbers(),
            "column_atom": np.searchsorted(values, columns >> 32).astype(np.uint32),
            "column_neuron": self._elements(columns >> 32, columns & 0xFFFFFFFF),
        }
        result |= self._nodes(order) | self._rows() | self._hidden(values) | self._planes()
        return result

    def _elements(self, value: Integers, neuron: Integers) -> np.ndarray:
        """The numbers that neurons of some values have in the file's tensors: uint32."""
        result = neuron.copy()
        if self.problem.crop is not None:
            for v in distinct(value).tolist():
                _, _, elements = self.problem.named(v)
                mine = value == v
                if elements is not None:
                    result[mine] = elements[neuron[mine]]
        return result.astype(np.uint32)

    def _gather_splits(self) -> None:
        """For each node its first and second child, its axis and its point."""
        tree, total = self.tree, self.tree.count
        self.child = np.zeros((total, 2), dtype=np.int64)
        self.axis, self.point = np.zeros(total, dtype=np.int64), np.zeros(total)
        for s in tree.splits:
            self.kind[s.node] = NEURON if s.of_neurons else INPUT
            self.child[s.node, 0], self.child[s.node, 1] = s.children
            self.point[s.node] = s.point
            axis = s.coordinate
            named = np.searchsorted(self.columns, axis) if s.of_neurons else self.problem.free[axis]
            self.axis[s.node] = named
        self.by_clause = {node: (clauses, first) for node, clauses, first in tree.clauses}
        self.kind[list(self.by_clause)] = CLAUSE

    def _order(self) -> Integers:
        """All nodes, level by level; children in the order of their parents."""
        level = np.arange(self.tree.roots)
        levels = [np.zeros(0, dtype=np.int64)]
        while len(level):
            levels.append(level)
            kind = self.kind[level]
            if (kind == CLAUSE).any():
                parts = [self._children(node) for node in level.tolist()]
                level = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
            else:
                level = self.child[level[kind != LEAF]].reshape(-1)
        return np.concatenate(levels)

    def _children(self, node: int) -> Integers:
        if self.kind[node] == CLAUSE:
            clauses, first = self.by_clause[node]
            return first + np.arange(len(clauses))
        return self.child[node] if self.kind[node] != LEAF else np.zeros(0, dtype=np.int64)

    def _nodes(self, order: Integers) -> dict[str, np.ndarray]:
        actions = np.zeros(self.tree.count, dtype=np.uint8)
        for node, action in self.tree.actions:
            actions[node] |= np.uint8(action)
        kind = self.kind[order]
        split = order[(kind == INPUT) | (kind == NEURON)]
        named, counts = [np.zeros(0, dtype=np.uint32)], list[int]()
        for node in order[kind == CLAUSE].tolist():
            clauses = self._clause_map(node)[self.by_clause[node][0]]
            named.append(clauses.astype(np.uint32))
            counts.append(len(clauses))
        return {
            "node": kind | actions[order],
            "split_axis": self.axis[split].astype(np.uint32),
            "split_point": self.point[split].astype(np.float64),
            "clause_count": np.array(counts, dtype=np.uint32),
            "clause": np.concatenate(named),
        }

    def _rows(self) -> dict[str, np.ndarray]:
        """The records of the property's rows, in the order of their nodes."""
        width = len(self.columns)
        node, row = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        alpha, beta = [np.zeros((0, width), dtype=np.uint8)], list[np.ndarray]()
        mixes = list[tuple[Integers, np.ndarray]]()
        for chosen in self.tree.chosen:
            node.append(self.number[chosen.node])
            row.append(self._canonical(chosen, mixes))
            alpha.append(self._widen(chosen.tilts))
            beta += self._betas(chosen)
        nodes = np.concatenate(node)
        order = np.argsort(nodes, kind="stable")
        beta = [beta[int(i)] for i in order]
        taken = [np.zeros((0, self.hull_count), dtype=np.uint8)]
        taken += [self._taken(chosen) for chosen in self.tree.chosen]
        rows = np.concatenate(row)[order]
        # A mix has been given the number -1 - its place.
        mixed = [mixes[-1 - int(place)] for place in rows[rows < 0]]
        return {
            "row_node": nodes[order].astype(np.uint32),
            "row": np.where(rows < 0, MIX, rows).astype(np.uint32),
            "row_alpha": np.concatenate(alpha)[order],
            "row_hulls": np.concatenate(taken)[order],
            "beta_count": np.array([len(b) for b in beta], dtype=np.uint32),
            "row_beta": np.concatenate([np.zeros(0, dtype=np.float32), *beta]),
            "mix_count": np.array([len(m[0]) for m in mixed], dtype=np.uint32),
            "mix_row": np.concatenate(
                [np.zeros(0, dtype=np.uint32), *(m[0].astype(np.uint32) for m in mixed)]
            ),
            "mix_weight": np.concatenate([np.zeros(0), *(m[1] for m in mixed)]),
        }

    def _gather_hulls(self) -> None:
        """The planes that records use, and where each block of them begins."""
        blocks = {id(c.hulls[0]): c.hulls[0] for c in self.tree.chosen if c.hulls is not None}
        self.hulls = list(blocks.values())
        starts = np.cumsum([0, *(len(h.column) for h in self.hulls)])
        *places, self.hull_count = starts.tolist()
        self.place = dict(zip(blocks, places, strict=True))

    def _taken(self, chosen: Chosen) -> np.ndarray:
        """How many units of all planes the rows of a record use."""
        result = np.zeros((len(chosen.node), self.hull_count), dtype=np.uint8)
        if chosen.hulls is not None:
            planes, taken = chosen.hulls
            start = self.place[id(planes)]
            result[:, start : start + len(planes.column)] = taken
        return result

    def _planes(self) -> dict[str, np.ndarray]:
        """The planes of hulls; nothing where there are none."""
        if not self.hulls:
            return {}
        every = np.concatenate([h.reads for h in self.hulls])
        inputs = self.problem.free[np.where(every >> 32, 0, every)]
        named = self.problem.query.n_inputs + np.searchsorted(self.columns, every)
        column, gamma = (
            np.concatenate([getattr(h, name) for h in self.hulls]) for name in ("column", "gamma")
        )
        roots = [np.full(len(h.column), self.number[h.case]) for h in self.hulls]
        return {
            "hull_root": np.concatenate(roots).astype(np.uint32),
            "hull_column": np.searchsorted(self.columns, column).astype(np.uint32),
            "hull_below": gamma[:, 0].astype(np.float32),
            "hull_above": gamma[:, 1].astype(np.float32),
            "hull_unit": np.concatenate([h.unit for h in self.hulls]),
            "hull_count": np.concatenate([h.count for h in self.hulls]).astype(np.uint32),
            "hull_reads": np.where(every >> 32, named, inputs).astype(np.uint32),
            "hull_slope": np.concatenate([h.slope for h in self.hulls]),
        }

    def _canonical(self, chosen: Chosen, mixes: list[tuple[Integers, np.ndarray]]) -> Integers:
        """The numbers that the format gives to the rows of some records."""
        if chosen.weights is not None:
            rows, weights = chosen.weights
            numbers, place = np.unique(
                self._row_map(int(chosen.node[0]))[rows], return_inverse=True
            )
            mixes.append((numbers, np.bincount(place, weights, len(numbers))))
            return np.array([-len(mixes)])
        result = np.empty(len(chosen.node), dtype=np.int64)
        if len(self.problem.cases) == 1:
            return self._row_map(0)[chosen.row]
        for i, node in enumerate(chosen.node.tolist()):
            result[i] = self._row_map(node)[chosen.row[i]]
        return result

    def _betas(self, chosen: Chosen) -> list[np.ndarray]:
        """For each row the multipliers of its split neurons, in the order of the columns."""
        if chosen.beta is None:
            return [np.zeros(0, dtype=np.float32)] * len(chosen.node)
        return [row[~np.isnan(row)] for row in chosen.beta]

    def _hidden(self, values: Integers) -> dict[str, np.ndarray]:
        width, blocks = len(self.columns), self.tree.tightened
        none = np.zeros(0, dtype=np.int64)
        node = [np.full(len(b.neuron), self.number[b.node]) for b in blocks]
        atom = [np.full(len(b.neuron), np.searchsorted(values, b.atom)) for b in blocks]
        nodes = np.concatenate([none, *node])
        order = np.argsort(nodes, kind="stable")
        alpha = [self._widen(b.tilts) for b in blocks]
        turns = np.concatenate([none, *(np.full(len(b.neuron), b.turn) for b in blocks)])
        return {
            "hidden_round": turns[order if turns.any() else none].astype(np.uint8),
            "hidden_node": nodes[order].astype(np.uint32),
            "hidden_atom": np.concatenate([none, *atom])[order].astype(np.uint32),
            "hidden_neuron": np.concatenate(
                [none, *(self._elements(np.full(len(b.neuron), b.atom), b.neuron) for b in blocks)]
            )[order].astype(np.uint32),
            "hidden_sign": np.concatenate([none, *(b.sign for b in blocks)])[order].astype(np.int8),
            "hidden_alpha": np.concatenate([np.zeros((0, width), dtype=np.uint8), *alpha])[order],
        } | self._parts(blocks, order)

    def _parts(self, blocks: list[Tightened], order: Integers) -> dict[str, np.ndarray]:
        """What the parts of hidden bounds split; nothing where there are none."""
        if not any(block.parts for block in blocks):
            return {}
        parts = [block.parts or Parts.whole(len(block.neuron)) for block in blocks]
        further, depth = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("further", "depth")
        )
        column = np.searchsorted(self.columns, np.concatenate([p.column for p in parts]))
        beta = np.concatenate([p.beta for p in parts])
        return {
            "hidden_splits": further[order].astype(np.uint32),
            "hidden_column": column[_gathered(further, order)].astype(np.uint32),
            "hidden_beta": beta[_gathered(depth, order)].astype(np.float32),
        }

    def _widen(self, tilts: Tilts) -> np.ndarray:
        """Rows over some columns as rows over all of them."""
        column, alpha, every = tilts.column, tilts.alpha, self.columns
        none = np.zeros(0, dtype=np.int64)
        passing = np.flatnonzero(np.isin(every, none if tilts.passing is None else tilts.passing))
        if len(column) == len(every) and not len(passing):
            return alpha
        result = np.zeros((len(alpha), len(every)), dtype=np.uint8)
        result[:, np.searchsorted(every, column)] = alpha
        result[:, passing] = TILT_STEPS
        return result

    def _case(self, node: int) -> int:
        """The case that a node belongs to."""
        if len(self.problem.cases) == 1:
            return 0
        if not hasattr(self, "case_of"):
            self.case_of = self._cases()
        return int(self.case_of[node])

    def _cases(self) -> Integers:
        result = np.arange(self.tree.count)
        for splits in self.tree.splits:
            for side in splits.children:
                result[side] = splits.node
        for node, clauses, first in self.tree.clauses:
            result[first : first + len(clauses)] = node
        # Parents have smaller numbers: follow them up, all at once.
        while (result != result[result]).any():
            result = result[result]
        return result

    def _maps(self, node: int) -> tuple[Integers, Integers]:
        """The format's numbers of rows and clauses in a node's case."""
        case = self._case(node)
        if case not in self.maps:
            bounds = self.problem.cases.take(case, case + 1).bounds[0]
            present = bounds > -np.inf
            key = present.tobytes()
            if key not in self.patterns:
                self.patterns[key] = canonical_order(self.problem.cases.rows, present)
            self.maps[case] = self.patterns[key]
        return self.maps[case]

    def _row_map(self, node: int) -> Integers:
        return self._maps(node)[0]

    def _clause_map(self, node: int) -> Integers:
        return self._maps(node)[1]


def _gathered(sizes: Integers, order: Integers) -> Integers:
    """Where the elements of pieces lie, one piece after the other in an order."""
    return gather_pieces(starts_of(sizes), order)[1]
