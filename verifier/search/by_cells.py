"""Decide a problem cell by cell, where a network truncates some inputs to integers.

Within a cell the integers are constant, and with them the settings that they determine; the network
is an ordinary one there. Most cells are decided together, by interval arithmetic; a search of their
own takes those that are not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from math import prod

import numpy as np

from verifier.attack import Candidates, Judge
from verifier.bounds import nearby, whole_interval
from verifier.certify import Certificate
from verifier.errors import UnsupportedModel
from verifier.graph import Graph
from verifier.graph.passes import restrict_inputs
from verifier.records import dataclass
from verifier.search.context import Network, Progress
from verifier.search.strategy import decide
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.spec import Assertion, CaseBatch, Cases, Problem, Query, cases_of
from verifier.tensors import distinct, numpy_backend, torch_backend
from verifier.verdict import Reason, Unknown, Verdict, Verified, Violated

log = logging.getLogger(__name__)

MOST_CELLS = 1_000_000
MOST_INTEGER = 2.0**24
"""Up to so large, all integers are numbers of the network's type."""
NUMBERS_AT_ONCE, CELLS_AT_ONCE = 6_000_000, 1000
"""The size of a batch of cells. Between two there is a look at the clock."""
ROUNDOFF = 2.0**-52
UNCERTIFIED = "not certified: the network truncates inputs to integers"


@dataclass(frozen=True, eq=False)
class CellNetwork:
    """A network that truncates some inputs.

    Attributes:
        graph: over its inputs and, after them, its settings
        inputs: int64 [k], the inputs that are truncated
        extended: ``[points, n] -> [points, n + settings]``
        network: for replay
    """

    graph: Graph
    inputs: np.ndarray
    extended: Callable[[np.ndarray], np.ndarray]
    network: Network


@dataclass(frozen=True, eq=False)
class CellBatch:
    """Some cells: boxes over the inputs [cells, n], cases, and the truncated inputs [cells, k]."""

    lower: np.ndarray
    upper: np.ndarray
    case: np.ndarray
    integers: np.ndarray

    def __len__(self) -> int:
        return len(self.case)

    def __getitem__(self, index: np.ndarray) -> CellBatch:
        parts = (self.lower, self.upper, self.case, self.integers)
        return CellBatch(*(part[index] for part in parts))

    def middle(self, truncated: np.ndarray) -> np.ndarray:
        """A point of each cell; truncated inputs are their integers where the box holds these."""
        points = self.lower / 2 + self.upper / 2
        points[:, truncated] = self.integers
        return np.clip(points, self.lower, self.upper)


def _outputs(graph: Graph, region: Box) -> Box:
    """Boxes of the output over boxes of the input."""
    return whole_interval(graph, region).boxes[graph.output]


def _some(batches: Iterator[CellBatch], count: int) -> Iterator[list[CellBatch]]:
    """So many batches at a time."""
    while parts := list(islice(batches, count)):
        yield parts


@dataclass(eq=False)
class CellSearch:
    """One search."""

    query: Query
    cells: CellNetwork
    deadline: float
    report: Callable[[Progress], None] | None = None

    def run(self) -> Verdict:
        """A point of each cell, then all cells, then those that are left one by one."""
        started, closed, left = time.monotonic(), 0, []
        with Workers(self.graph.xp) as workers:
            found = self._points(workers)
            if found is not None:
                return found
            for cells in _some(self._batches(), workers.count):
                if time.monotonic() > self.deadline:
                    return Unknown(Reason.OUT_OF_TIME, float("-inf"), self.total - closed)
                for part, refuted in zip(cells, workers.map(self._refuted, cells), strict=True):
                    left.append(part[~refuted])
                    closed += int(refuted.sum())
                if self.report is not None:
                    elapsed = time.monotonic() - started
                    self.report(Progress(self.total - closed, closed, float("-inf"), elapsed))
        log.info(
            "%d of %d cells are left to searches of their own", self.total - closed, self.total
        )
        return self._one_by_one([cells for cells in left if len(cells)])

    def _points(self, workers: Workers) -> Violated | Unknown | None:
        """A point of each cell: None where none is a counterexample."""
        for cells in _some(self._batches(), workers.count):
            if time.monotonic() > self.deadline:
                return Unknown(Reason.OUT_OF_TIME, float("-inf"), self.total)
            for found in workers.map(self._confirmed, cells):
                if found is not None:
                    return found
        return None

    @cached_property
    def whole(self) -> CaseBatch:
        """All cases."""
        return self.cases.take(0, len(self.cases))

    @cached_property
    def cases(self) -> Cases:
        """The property's boxes."""
        return cases_of(self.query)

    @cached_property
    def ranges(self) -> list[list[np.ndarray]]:
        """For each case and each truncated input, the integers that it may be.

        A number of the file that rounds to 3 may lie below it, and be 2 when truncated.
        """
        inputs = self.cells.inputs
        ends = self._widened(self.whole.lower, -np.inf), self._widened(self.whole.upper, np.inf)
        lower, upper = (np.trunc(x[:, inputs]) for x in ends)
        if max(abs(lower).max(initial=0.0), abs(upper).max(initial=0.0)) > MOST_INTEGER:
            message = f"inputs beyond {MOST_INTEGER:.0f} that are truncated to integers"
            raise UnsupportedModel(message)
        return [
            [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
            for low, high in zip(lower, upper, strict=True)
        ]

    @cached_property
    def total(self) -> int:
        """How many cells there are."""
        return sum(prod(len(part) for part in parts) for parts in self.ranges)

    def _batches(self) -> Iterator[CellBatch]:
        if self.total > MOST_CELLS:
            message = (
                f"truncated inputs with {self.total:,} cells; at most {MOST_CELLS:,} are tried"
            )
            raise UnsupportedModel(message)
        size = sum(self.graph.size(v) for v in range(len(self.graph.nodes) + 1))
        step = max(1, min(CELLS_AT_ONCE, NUMBERS_AT_ONCE // size))
        for case, parts in enumerate(self.ranges):
            shape = tuple(len(part) for part in parts)
            # Neighbours are alike: counterexamples are found sooner in no order.
            order = np.random.default_rng(case).permutation(prod(shape))
            for start in range(0, len(order), step):
                places = np.unravel_index(order[start : start + step], shape)
                chosen = [part[place] for part, place in zip(parts, places, strict=True)]
                yield self._cells(case, np.stack(chosen, axis=1))

    def _cells(self, case: int, integers: np.ndarray) -> CellBatch:
        """Cells of a case, cut with its box: closed, where trunc(x) = k leaves an end out."""
        lower = np.repeat(self.whole.lower[case : case + 1], len(integers), axis=0)
        upper = np.repeat(self.whole.upper[case : case + 1], len(integers), axis=0)
        inputs = self.cells.inputs
        least, most = integers - (integers <= 0), integers + (integers >= 0)
        lower[:, inputs] = np.maximum(lower[:, inputs], least)
        upper[:, inputs] = np.minimum(upper[:, inputs], most)
        return CellBatch(lower, upper, np.full(len(integers), case), integers)

    @cached_property
    def graph(self) -> Graph:
        """On its backend."""
        graph = self.cells.graph
        return graph.on(torch_backend("float64") if graph.wants_torch else numpy_backend("float64"))

    @cached_property
    def inexact(self) -> np.ndarray:
        """The inputs with bounds whose decimals are no doubles."""
        found = [
            assertion.variable[np.isin(assertion.row_of_entry(), np.flatnonzero(assertion.rounded))]
            for assertion in self.query.assertions
        ]
        variables = distinct(np.concatenate(found))
        return variables[variables < self.query.n_inputs]

    def _widened(self, side: np.ndarray, end: float) -> np.ndarray:
        """Bounds that also hold for the decimals of the file."""
        result = side.copy()
        result[:, self.inexact] = np.nextafter(result[:, self.inexact], end)
        return result

    def _settings(self, cells: CellBatch) -> np.ndarray:
        points = cells.middle(self.cells.inputs)
        points[:, self.cells.inputs] = cells.integers
        return self.cells.extended(points)[:, self.query.n_inputs :]

    def _region(self, cells: CellBatch) -> Box:
        """The cells as boxes over the graph's inputs."""
        settings = self._settings(cells)
        sides = self._widened(cells.lower, -np.inf), self._widened(cells.upper, np.inf)
        return Box(*self.graph.xp.outward(*(np.concatenate([x, settings], 1) for x in sides)))

    def _rows(self, cells: CellBatch, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest of the rows over outputs, thresholds subtracted: [cells, rows]."""
        xp, rows = self.graph.xp, self.cases.rows
        low, high = (np.array(xp.numpy(x), dtype=np.float64) for x in (box.lower, box.upper))
        ends = [(rows.output_coefficients, low, high)]
        if rows.input_coefficients is not None:
            ends.append((rows.input_coefficients, cells.lower, cells.upper))
        thresholds = self.whole.bounds[cells.case]
        least, most, size = -thresholds, -thresholds, abs(thresholds)
        for c, a, b in ends:
            up, down = np.maximum(c, 0.0).T, np.minimum(c, 0.0).T
            least = least + (a @ up + b @ down)
            most = most + (b @ up + a @ down)
            size = size + np.maximum(abs(a), abs(b)) @ abs(c).T
        slack = (sum(len(c[0]) for c, _, _ in ends) + 8) * ROUNDOFF * size + 1e-300
        return least - slack, most + slack

    def _of_clauses(self, rows: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        first = np.flatnonzero(np.diff(self.cases.rows.clause, prepend=-1))
        return np.asarray(reduce.reduceat(rows, first, axis=1))

    def _refuted(self, cells: CellBatch) -> np.ndarray:
        """The cells in which every clause has a row above its threshold."""
        absent, region = np.isneginf(self.whole.bounds[cells.case]), self._region(cells)
        refuted = np.zeros(len(cells), dtype=bool)
        with np.errstate(invalid="ignore", over="ignore"):
            # The cheap way first, then the better one where that is not enough.
            for outputs_of in (nearby, _outputs):
                left = np.flatnonzero(~refuted)
                if len(left):
                    outputs = outputs_of(self.graph, region[self.graph.xp.ints(left)])
                    above = self._rows(cells[left], outputs)[0] > 0
                    clauses = self._of_clauses(above | absent[left], np.logical_or)
                    refuted[left] = clauses.all(axis=1)
        return refuted

    def _confirmed(self, cells: CellBatch) -> Violated | None:
        """A counterexample among the cells' middles."""
        points = cells.middle(self.cells.inputs)
        rows, network = self.cases.rows, self.cells.network
        outputs = network.replay(points)
        g = outputs @ rows.output_coefficients.T - self.whole.bounds[cells.case]
        if rows.input_coefficients is not None:
            g = g + points @ rows.input_coefficients.T
        margins = self._of_clauses(g, np.maximum).min(axis=1)
        candidates = Candidates.of(points, cells.case, margins).unsafe()
        nearest = self.cases.take(0, len(self.cases), nearest=True)
        judge = Judge(
            self.query.cautious(), network.replay, network.types,
            nearest.lower, nearest.upper, strict=False,
        )  # fmt: skip
        witness = judge.confirm(candidates)
        if witness is None or not (witness.exact or self._unsafe_over_the_reals(witness.inputs)):
            return None
        return Violated(witness.inputs, witness.outputs, witness.exact)

    def _unsafe_over_the_reals(self, point: np.ndarray) -> bool:
        """Does the network meet some clause of a case at a point that ONNX Runtime rounds?"""
        integers = np.trunc(point[self.cells.inputs])[None]
        inside = (self.whole.lower <= point) & (point <= self.whole.upper)
        for case in np.flatnonzero(inside.all(axis=1)):
            cell = CellBatch(point[None], point[None], np.array([case]), integers)
            most = self._rows(cell, _outputs(self.graph, self._region(cell)))[1]
            met = (most <= 0) & ~np.isneginf(self.whole.bounds[[case]])
            strict = self.cases.rows.strict & (most >= 0)
            if self._of_clauses(met & ~strict, np.logical_and).any():
                return True
        return False

    def _one_by_one(self, left: list[CellBatch]) -> Verdict:
        """Search in each cell that intervals leave open."""
        count = sum(len(cells) for cells in left)
        for cells in left:
            for number in range(len(cells)):
                if time.monotonic() > self.deadline:
                    return Unknown(Reason.OUT_OF_TIME, float("-inf"), count)
                verdict = self._decided(cells[np.array([number])], count)
                if not isinstance(verdict, Verified):
                    return verdict
                count -= 1
        note = f"proved in each of {self.total:,} cells of truncated inputs"
        return Verified(None, note, Certificate(None, note=UNCERTIFIED))

    def _decided(self, cell: CellBatch, count: int) -> Verdict:
        """A fair share of the time for one cell."""
        known = np.ones(self.cells.graph.input_size, dtype=bool)
        known[self.query.n_inputs :] = False
        values = np.concatenate([cell.lower[0], self._settings(cell)[0]])
        graph = restrict_inputs(self.cells.graph, known, values)
        box = _box(self.cells.inputs, cell)
        query = replace(self.query, assertions=(*self.query.assertions, box))
        seconds = (self.deadline - time.monotonic()) / count
        return decide(Problem.of(graph, query), self.cells.network, seconds)


def _box(inputs: np.ndarray, cell: CellBatch) -> Assertion:
    """The bounds of some inputs in a cell."""
    count = 2 * len(inputs)
    bounds = np.concatenate([cell.upper[0, inputs], -cell.lower[0, inputs]])
    return Assertion(
        clause_start=np.array([0, count]),
        row_start=np.arange(count + 1),
        variable=np.concatenate([inputs, inputs]).astype(np.int32),
        coefficient=np.repeat([1.0, -1.0], len(inputs)),
        bound=bounds,
        strict=np.zeros(count, dtype=np.bool_),
        rounded=np.zeros(count, dtype=np.bool_),
    )


def search_cells(
    query: Query,
    cells: CellNetwork,
    seconds: float,
    report: Callable[[Progress], None] | None = None,
) -> Verdict:
    """Decide a query about a network that truncates inputs."""
    search = CellSearch(query, cells, time.monotonic() + seconds, report)
    if not len(search.cases):
        note = "no input satisfies the property's own bounds: the region is empty"
        return Verified(None, note, Certificate(None, note=UNCERTIFIED))
    return search.run()
