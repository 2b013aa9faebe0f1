"""What an attack looks for, and what it finds."""

from __future__ import annotations

import math

import numpy as np

from verifier.attack.gradient import points_at_once
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.spec import UnsafeRows
from verifier.tensors import Array, Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Target:
    """A network and its unsafe condition: or over clauses of: and over rows s of: g_s <= 0.

    ``g_s = C_s y + D_s x - bound_s``. Bounds belong to a point's box, not to the target: a bound of
    -inf makes g_s = inf, so that its clause is never met; +inf makes its row hold everywhere.
    The *margin* of a point is the least over clauses of the greatest g_s: unsafe where it is <= 0.
    Rows that say < are raised by next to nothing, so that a tie is no violation.
    """

    graph: Graph
    output_coefficients: Float[Array, "rows m"]
    input_coefficients: Float[Array, "rows n"] | None
    clause: Int[Array, " rows"]
    members: Int[Array, "clauses width"]
    """The rows of each clause; shorter ones repeat a row."""
    strictness: Float[Array, " rows"] | None
    """A number too small to change any g_s but 0, where the row says g_s < 0."""

    @staticmethod
    def of(graph: Graph, rows: UnsafeRows) -> Target:
        """From rows over the graph's own input and output, for a graph on a backend."""
        xp = graph.xp
        first, size = np.unique(rows.clause, return_index=True, return_counts=True)[1:]
        members = np.minimum(first[:, None] + np.arange(size.max()), (first + size - 1)[:, None])
        inputs = rows.input_coefficients
        strictness = np.where(rows.strict, xp.tiny, 0.0)
        return Target(
            graph=graph,
            output_coefficients=xp.floats(rows.output_coefficients),
            input_coefficients=None if inputs is None else xp.floats(inputs),
            clause=xp.ints(rows.clause),
            members=xp.ints(members),
            strictness=xp.floats(strictness) if rows.strict.any() else None,
        )

    @property
    def clauses(self) -> int:
        """How many ways there are to be unsafe."""
        return self.members.shape[0]

    def violations(
        self, points: Float[Array, "batch n"], outputs: Float[Array, "batch m"], bounds: Array
    ) -> Float[Array, "batch rows"]:
        """g_s at points, given the network's outputs there."""
        g = outputs @ self.output_coefficients.T - bounds
        if self.input_coefficients is not None:
            g = g + points @ self.input_coefficients.T
        return g if self.strictness is None else g + self.strictness

    def worst(self, g: Float[Array, "batch rows"]) -> Float[Array, "batch clauses"]:
        """The greatest g_s of each clause."""
        if self.members.shape[1] == 1:
            return g[:, self.members[:, 0]]
        return self.graph.xp.amax(g[:, self.members], -1)

    def sharp(
        self, g: Float[Array, "batch rows"], clause: Int[Array, " batch"]
    ) -> Float[Array, "batch rows"]:
        """Row weights: all on the greatest g_s of each point's clause, shared where several are."""
        xp = self.graph.xp
        member = clause[:, None] == self.clause[None, :]
        if self.members.shape[1] == 1:
            return xp.floats(member)
        inside = xp.where(member, g, xp.full((1,), -math.inf))
        greatest = xp.floats(member & (inside >= xp.amax(inside, 1)[:, None]))
        return greatest / greatest.sum(1)[:, None].clip(min=1)

    def seeds(self, weights: Float[Array, "batch rows"]) -> dict[int, Array]:
        """Row weights as seeds of ``backward``: on the output, and on the input if rows read it."""
        seeds = {self.graph.output: weights @ self.output_coefficients}
        if self.input_coefficients is not None:
            direct = weights @ self.input_coefficients
            known = seeds.get(0)
            seeds[0] = direct if known is None else known + direct
        return seeds

    def margins(
        self, points: Float[Array, "batch n"], bounds: Float[Array, "batch rows"]
    ) -> Float[Array, " batch"]:
        """The margin of each point; NaN, or +inf, where the outputs are not numbers."""
        xp = self.graph.xp
        parts = []
        for start in range(0, points.shape[0], 4 * points_at_once(self.graph)):
            part = slice(start, start + 4 * points_at_once(self.graph))
            x = points[part]
            g = self.violations(x, self.graph.evaluate(x), bounds[part])
            parts.append(xp.amin(self.worst(g), 1))
        return xp.cat(parts, 0) if parts else xp.zeros(0)


def evaluate_candidates(
    target: Target, points: Float[Array, "batch n"], bounds: Float[Array, "batch rows"]
) -> Int[Array, " found"]:
    """The numbers of the points that are unsafe in the working precision: one forward pass."""
    (found,) = target.graph.xp.nonzero(target.margins(points, bounds) <= 0)
    return found


@dataclass(frozen=True, eq=False)
class Regions:
    """Where to look: finite input boxes, and the rows' bounds in each of them."""

    box: Box
    bounds: Float[Array, "boxes rows"]

    @property
    def count(self) -> int:
        """How many boxes."""
        return self.bounds.shape[0]

    def open(self, target: Target) -> Bool[Array, "boxes clauses"]:
        """Which clauses can be met in which boxes: no row of theirs is bounded by -inf."""
        return -target.worst(-self.bounds) > -math.inf

    def free(self) -> Int[np.ndarray, " free"]:
        """The coordinates that vary in some box."""
        return np.flatnonzero(np.asarray((self.box.lower < self.box.upper).any(0).tolist()))

    def take(self, index: Array) -> Regions:
        """Some of the boxes."""
        return Regions(self.box[index], self.bounds[index])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Points on the host with the box they were found in and their margins, least margin first."""

    points: Float[np.ndarray, "found n"]
    case: Int[np.ndarray, " found"]
    margins: Float[np.ndarray, " found"]

    @staticmethod
    def none(size: int) -> Candidates:
        """No points of this length."""
        return Candidates(np.zeros((0, size)), np.zeros(0, dtype=np.int64), np.zeros(0))

    @staticmethod
    def of(points: np.ndarray, case: np.ndarray, margins: np.ndarray) -> Candidates:
        """Sorted; points with margins that are no numbers are left out."""
        margins = np.asarray(margins, dtype=np.float64)
        order = np.argsort(margins, kind="stable")
        order = order[np.isfinite(margins[order]) | (margins[order] < 0)]
        case = np.asarray(case, dtype=np.int64)[order]
        return Candidates(np.asarray(points, dtype=np.float64)[order], case, margins[order])

    def __len__(self) -> int:
        return len(self.case)

    def best(self, count: int) -> Candidates:
        """The first ones."""
        return Candidates(self.points[:count], self.case[:count], self.margins[:count])

    def unsafe(self, goal: float = 0.0) -> Candidates:
        """Those with a margin of at most ``goal``."""
        return self.best(int(np.searchsorted(self.margins, goal, side="right")))

    def join(self, other: Candidates) -> Candidates:
        """Both together."""
        return Candidates.of(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.case, other.case]),
            np.concatenate([self.margins, other.margins]),
        )

    def repeated(self, count: int) -> Candidates:
        """``count`` points: all of them in turns (none, if there are none)."""
        turns = np.arange(count if len(self) else 0) % max(1, len(self))
        return Candidates(self.points[turns], self.case[turns], self.margins[turns])

    def spread(self, count: int) -> Candidates:
        """The best of each box, at most ``count``."""
        _, first = np.unique(self.case, return_index=True)
        first = np.sort(first)[:count]
        return Candidates(self.points[first], self.case[first], self.margins[first])
