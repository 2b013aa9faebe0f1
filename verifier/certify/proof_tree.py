"""The record of a search: every split, every closed leaf, and the slopes that closed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import IntFlag
from typing import Any

import numpy as np

from verifier.bounds.optimise import TILT_STEPS
from verifier.certify.parts import Parts
from verifier.records import dataclass
from verifier.tensors import Array, Backend

MOST_BYTES = 1 << 30
"""Above so many bytes of slopes nothing more is recorded: there will be no certificate."""


class Action(IntFlag):
    """What was done at a node before it was split or closed, in this order."""

    CLIP = 4
    """Its box was cut by the planes that it inherited, row by row."""
    JOINTLY = 8
    """And then by all rows of each clause together."""
    HIDDEN = 16
    """Its neurons were bounded; its children inherit them."""
    ROWS = 32
    """The rows of the clauses still open were bounded; its children inherit their planes."""


@dataclass(frozen=True, eq=False)
class Tilts:
    """Slopes of some rows: uint8 [rows, columns] over neurons.

    ``column`` [columns] holds value * 2^32 + neuron, ascending; a value is that of the nonlinear
    node.
    """

    column: np.ndarray
    alpha: np.ndarray
    passing: np.ndarray | None = None
    """Columns of neurons that are their own input: checkers may find them unstable by a hair."""

    @staticmethod
    def of(
        tilts: Mapping[int, Array], neurons: Mapping[int, np.ndarray], rows: int, xp: Backend
    ) -> Tilts:
        """Some neurons' tilts in [0, 1]; 0 where a layer has none. ``tilts[v]`` is [rows, n]."""
        columns, parts = [np.zeros(0, dtype=np.int64)], [np.zeros((rows, 0), dtype=np.uint8)]
        for value, index in sorted(neurons.items()):
            columns.append((value << 32) + index.astype(np.int64))
            if value not in tilts:
                parts.append(np.zeros((rows, len(index)), dtype=np.uint8))
                continue
            part = xp.numpy(tilts[value])[:, index]
            parts.append(np.rint(np.clip(part, 0, 1) * TILT_STEPS).astype(np.uint8))
        return Tilts(np.concatenate(columns), np.concatenate(parts, 1))


@dataclass(frozen=True, eq=False)
class Hulls:
    """Planes y <= a . z + b above neurons, at the root of a case: b is for the checker to find."""

    case: int
    column: np.ndarray
    """int64 [hulls]: value * 2^32 + neuron"""
    gamma: np.ndarray
    """float32 [hulls, 2]: what is added to the slopes of the two pieces, below 0 and above"""
    unit: np.ndarray
    """float32 [hulls]: steps of their multipliers"""
    count: np.ndarray
    """int64 [hulls]: how many values each reads"""
    reads: np.ndarray
    """int64 [terms]: z, one plane after another; value 0 is the input"""
    slope: np.ndarray
    """float32 [terms]: a"""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Slopes that were chosen for rows of the property at some nodes."""

    node: np.ndarray
    row: np.ndarray
    """int64 [rows]: numbers of the problem's rows; -1 for a weighted sum of rows"""
    tilts: Tilts
    beta: np.ndarray | None = None
    """float32 [rows, columns]: added to the multipliers of the neurons that were split."""
    weights: tuple[np.ndarray, np.ndarray] | None = None
    """For a weighted sum: the numbers of its rows, and their weights."""
    hulls: tuple[Hulls, np.ndarray] | None = None
    """Planes, and how many units of each are used: uint8 [rows, hulls]"""


@dataclass(frozen=True, eq=False)
class Tightened:
    """Slopes that bounded neurons of a value at a node: of the reader ``atom``."""

    node: int
    atom: int
    neuron: np.ndarray
    sign: np.ndarray
    tilts: Tilts
    parts: Parts | None = None
    """Of bounds in parts, which are one after the other: each row is about one of them."""
    turn: int = 0
    """They hold in the boxes that all bounds of the turns before leave."""

    @property
    def bytes(self) -> int:
        """About what the slopes take."""
        return self.tilts.alpha.nbytes + (0 if self.parts is None else self.parts.beta.nbytes)


@dataclass(frozen=True, eq=False)
class Splits:
    """A round of splits in two; all lower sides are numbered before all upper sides."""

    node: np.ndarray
    coordinate: np.ndarray
    point: np.ndarray
    of_neurons: bool
    """Are the coordinates neurons (value * 2^32 + element), or inputs?"""
    first: int
    """The number of the first child."""

    @property
    def children(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the lower sides, and of the upper ones."""
        lower = self.first + np.arange(len(self.node))
        return lower, lower + len(self.node)


@dataclass(frozen=True)
class Mark:
    """How far a record was: lengths of its lists."""

    count: int
    bytes: int
    lacking: str
    lengths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Branch:
    """What was recorded since a mark, and the state it led to."""

    count: int
    bytes: int
    lacking: str
    entries: tuple[list[Any], ...]


@dataclass(eq=False)
class ProofTree:
    """An append-only log in blocks of arrays; nodes are numbered in the order of their making.

    Roots are the cases, 0 .. roots - 1. A split of a box makes two nodes that share one number as
    their common face; boxes are cut by the planes of their parent before they are split. A neuron
    split is the same with the number of a value and an element.
    """

    xp: Backend
    roots: int
    count: int = 0
    splits: list[Splits] = field(default_factory=list[Splits])
    clauses: list[tuple[int, np.ndarray, int]] = field(
        default_factory=list[tuple[int, np.ndarray, int]]
    )
    """(node, the clauses that its children stand for, its first child); its other clauses are
    refuted."""
    leaves: list[np.ndarray] = field(default_factory=list[np.ndarray])
    """Closed nodes."""
    actions: list[tuple[np.ndarray, int]] = field(default_factory=list[tuple[np.ndarray, int]])
    chosen: list[Chosen] = field(default_factory=list[Chosen])
    tightened: list[Tightened] = field(default_factory=list[Tightened])
    bytes: int = 0
    """Bytes of slopes recorded for rows of the property."""
    hidden_bytes: int = 0
    """Bytes of slopes to be recorded for neurons."""
    lacking: str = ""
    """What the proof rests on that certificates cannot hold."""

    def __post_init__(self) -> None:
        self.count = self.roots

    @property
    def full(self) -> bool:
        """Is there too much to record?"""
        return self.bytes + self.hidden_bytes > MOST_BYTES

    def split(
        self, node: Array, coordinate: Array, point: Array, *, of_neurons: bool = False
    ) -> Array:
        """Record splits; the numbers of the lower children, then of the upper ones."""
        total = 2 * node.shape[0]
        numpy = self.xp.numpy
        block = Splits(numpy(node), numpy(coordinate), numpy(point), of_neurons, self.count)
        self.splits.append(block)
        children = self.count + self.xp.arange(total)
        self.count += total
        return children

    def by_clause(self, node: Array, clauses: Array) -> Array:
        """Record that a node's clauses are decided one by one; the numbers of their nodes."""
        self.clauses.append((int(node[0]), self.xp.numpy(clauses), self.count))
        children = self.count + self.xp.arange(clauses.shape[0])
        self.count += clauses.shape[0]
        return children

    def close(self, node: Array) -> None:
        """Record closed nodes."""
        if node.shape[0]:
            self.leaves.append(self.xp.numpy(node))

    def act(self, node: Array, action: int) -> None:
        """Record what is done at some nodes."""
        if node.shape[0] and action:
            self.actions.append((self.xp.numpy(node), action))

    def choose(self, chosen: Chosen) -> None:
        """Record the slopes of some rows."""
        if len(chosen.node) and not self.full:
            self.bytes += chosen.tilts.alpha.nbytes
            self.bytes += 0 if chosen.beta is None else chosen.beta.nbytes
            self.bytes += 0 if chosen.hulls is None else chosen.hulls[1].nbytes
            self.chosen.append(chosen)

    def tighten(self, tightened: Tightened) -> None:
        """Record the slopes of some neurons."""
        if not len(tightened.neuron):
            return
        self.hidden_bytes += tightened.bytes
        if not self.full:
            self.tightened.append(tightened)

    def next_turn(self, node: int) -> int:
        """Of bounds of neurons in the boxes that those known at a node leave: 1 or later."""
        return 1 + max((t.turn for t in self.tightened if t.node == node), default=0)

    def around(self, nodes: np.ndarray) -> np.ndarray:
        """bool [count]: the nodes, what lies above them, and what lies below."""
        above, below = np.zeros(self.count, dtype=bool), np.zeros(self.count, dtype=bool)
        above[nodes] = below[nodes] = True
        links = [(s.node, child) for s in self.splits for child in s.children if len(s.node)]
        links += [(np.full(len(c), n), f + np.arange(len(c))) for n, c, f in self.clauses]
        links.sort(key=lambda link: int(link[1][0]))
        for node, child in links:
            below[child] |= below[node]
        for node, child in reversed(links):
            np.logical_or.at(above, node, above[child])
        return above | below

    def mark(self) -> Mark:
        """To come back to."""
        return Mark(self.count, self.bytes, self.lacking, tuple(map(len, self._lists)))

    def restart(self, mark: Mark, tightened: Iterable[Tightened] = ()) -> Branch:
        """Take out what was recorded since, but for bounds of neurons; more of these are added."""
        taken = tuple(x[n:] for x, n in zip(self._lists, mark.lengths, strict=True))
        branch = Branch(self.count, self.bytes, self.lacking, taken)
        self.count, self.bytes, self.lacking = mark.count, mark.bytes, mark.lacking
        for entries, length in zip(self._lists, mark.lengths, strict=True):
            del entries[length:]
        for found in tightened:
            self.tighten(found)
        return branch

    def resume(self, mark: Mark, branch: Branch) -> None:
        """Put back what was taken out, in place of what was recorded since."""
        self.restart(mark)
        self.count, self.bytes, self.lacking = branch.count, branch.bytes, branch.lacking
        for entries, more in zip(self._lists, branch.entries, strict=True):
            entries.extend(more)

    @property
    def _lists(self) -> tuple[list[Any], ...]:
        return self.splits, self.clauses, self.leaves, self.actions, self.chosen

    @property
    def closed(self) -> int:
        """How many leaves are closed."""
        return sum(len(block) for block in self.leaves)
