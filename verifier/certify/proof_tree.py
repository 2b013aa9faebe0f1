"""The record of a search: every split and every closed leaf, written as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verifier.tensors import Array, Backend


@dataclass(eq=False)
class ProofTree:
    """An append-only log in blocks of arrays; nodes are numbered in the order of their making.

    Roots are the cases, 0 .. roots - 1. A split of a box makes two nodes that share one number as
    their common face; boxes are cut by the planes of their parent before they are split (the box
    that was split is on record). A neuron split is the same with the number of a value and an
    element.
    """

    xp: Backend
    roots: int
    count: int = 0
    splits: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(
        default_factory=list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    )
    """(node, coordinate, point), a block for each round; the children are numbered in order:
    all lower sides, then all upper sides."""
    clauses: list[tuple[int, np.ndarray]] = field(default_factory=list[tuple[int, np.ndarray]])
    """(node, the clauses that its children stand for); its other clauses are refuted."""
    leaves: list[np.ndarray] = field(default_factory=list[np.ndarray])
    """Closed nodes."""

    def __post_init__(self) -> None:
        self.count = self.roots

    def split(self, node: Array, coordinate: Array, point: Array) -> Array:
        """Record splits; the numbers of the lower children, then of the upper ones."""
        total = 2 * node.shape[0]
        numpy = self.xp.numpy
        self.splits.append((numpy(node), numpy(coordinate), numpy(point)))
        children = self.count + self.xp.arange(total)
        self.count += total
        return children

    def by_clause(self, node: Array, clauses: Array) -> Array:
        """Record that a node's clauses are decided one by one; the numbers of their nodes."""
        self.clauses.append((int(node[0]), self.xp.numpy(clauses)))
        children = self.count + self.xp.arange(clauses.shape[0])
        self.count += clauses.shape[0]
        return children

    def close(self, node: Array) -> None:
        """Record closed nodes."""
        if node.shape[0]:
            self.leaves.append(self.xp.numpy(node))

    @property
    def closed(self) -> int:
        """How many leaves are closed."""
        return sum(len(block) for block in self.leaves)
