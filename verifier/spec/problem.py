"""A network and a property over its free inputs: what is to be decided."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from verifier.errors import PropertyError
from verifier.graph import Graph
from verifier.graph.passes import Crop, crop, fold_integers, fold_tables, restrict_inputs
from verifier.records import dataclass
from verifier.spec.cases import CaseBatch, Cases, cases_of
from verifier.spec.query import Query
from verifier.spec.unsafe import UnsafeRows

COMPARED_ELEMENTS = 4_000_000
LEAST_FIXED = 1e-60
CROPPED = 0.8
"""A network is cropped to what the property reads if that leaves at most this share of its work, or
of the numbers that nonlinear operators read."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Is some case's box unsafe? The network is restricted to the inputs that are not fixed.

    Verified <=> no case c has an x in its box and a clause all of whose rows s have
    C_s . network(x) + D_s . x <= threshold[c, s].
    """

    query: Query
    cases: Cases
    graph: Graph
    """Over the free inputs; constants in NumPy, on no backend."""
    free: np.ndarray
    """int64 [free]: the places of the free inputs among all inputs."""
    rows: UnsafeRows
    """The rows over the free inputs, and the outputs that the graph has."""
    whole: Graph | None = None
    """The network that the graph is part of, where the property does not need all of it."""
    crop: Crop | None = None
    """And which part it is."""
    folded: bool = False
    """Do tables stand for sums of ReLUs that are in the file?"""

    @staticmethod
    def of(graph: Graph, query: Query, *, tables: bool = False) -> Problem:
        """Fit a query to the graph of its network.

        ``tables``: may functions that are sums of many ReLUs be searched as such?

        Raises:
            PropertyError: the query's variables are not the network's, or a case is unbounded.
        """
        for kind, mine, theirs in (
            ("inputs", query.n_inputs, graph.input_size),
            ("outputs", query.n_outputs, graph.output_size),
        ):
            if mine != theirs:
                raise PropertyError(
                    f"{query.source} declares {mine} {kind}, but the network has {theirs}; "
                    "use the network that the property was written for"
                )
        cases = cases_of(query)
        free = cases.free | _differing(cases, query.n_inputs)
        rows = cases.rows
        if rows.input_coefficients is not None:
            free = free | (rows.input_coefficients != 0).any(axis=0)
        fixed = cases.take(0, 1, nearest=True).lower[0] if len(cases) else np.zeros(len(free))
        # A number close to underflow has no relative rounding error: keep it as an input.
        free = free | ((fixed != 0) & (abs(fixed) < LEAST_FIXED))
        if not free.any():
            free[:1] = True
        places = np.flatnonzero(free)
        restricted = graph
        if len(places) < graph.input_size and len(cases):
            restricted = restrict_inputs(graph, free, fixed)
            if _exact(cases, ~free & (fixed == np.round(fixed))):
                restricted = fold_integers(restricted)
        whole = fold_tables(restricted) if tables else restricted
        if rows.input_coefficients is not None:
            inputs = np.ascontiguousarray(rows.input_coefficients[:, places])
            rows = UnsafeRows(rows.output_coefficients, inputs, rows.clause, rows.strict)
        folded = whole is not restricted
        return Problem(query, cases, whole, places, rows, folded=folded)._cropped()

    def _cropped(self) -> Problem:
        """The same over the part of the network that the rows depend on, where it is smaller."""
        graph, rows = self.graph, self.rows
        outputs = np.flatnonzero((rows.output_coefficients != 0).any(axis=0))
        if rows.input_coefficients is not None or not 0 < len(outputs) < graph.output_size:
            return self
        part = crop(graph, graph.output, outputs)
        if all(size(part.graph) > CROPPED * size(graph) for size in (_work, _relaxed)):
            return self
        read = np.ascontiguousarray(rows.output_coefficients[:, outputs])
        rows = UnsafeRows(read, None, rows.clause, rows.strict)
        free = self.free[part.places[0]]
        return replace(self, graph=part.graph, free=free, rows=rows, whole=graph, crop=part)

    def named(self, value: int) -> tuple[str, int, np.ndarray | None]:
        """Which tensor of the file a value is (empty: none), its size, and the elements of it.

        Elements are int64, ascending; None: all.
        """
        if self.crop is None or self.whole is None:
            return self.graph.node(value).tensor, self.graph.size(value), None
        larger = next((v for v, number in self.crop.numbers.items() if number == value), None)
        if larger is None:
            return "", self.graph.size(value), None
        tensor = self.whole.node(larger).tensor
        return tensor, self.whole.size(larger), self.crop.places[larger]

    def take(self, start: int, stop: int) -> CaseBatch:
        """Some cases over the free inputs, their boxes rounded outward, points as well."""
        batch = self.cases.take(start, stop, wide=True)
        return CaseBatch(batch.lower[:, self.free], batch.upper[:, self.free], batch.bounds)

    @cached_property
    def free_at_once(self) -> int:
        """The most inputs that have more than one value in one case."""
        if len(self.cases) < 2:
            return int(self.cases.free.sum())
        most, step = 0, max(1, COMPARED_ELEMENTS // len(self.cases.free))
        for start in range(0, len(self.cases), step):
            batch = self.cases.take(start, min(start + step, len(self.cases)))
            most = max(most, int((batch.upper > batch.lower)[:, self.free].sum(1).max()))
        return most


def _work(graph: Graph) -> int:
    return graph.work


def _relaxed(graph: Graph) -> int:
    """How many numbers nonlinear operators read."""
    return sum(graph.size(v) for v in graph.relaxed_inputs)


def _exact(cases: Cases, which: np.ndarray) -> bool:
    """Are these fixed inputs just the doubles that they were read as, in the first case?"""
    outward = cases.take(0, 1, wide=True)
    return bool((outward.lower == outward.upper)[0, which].all())


def _differing(cases: Cases, n_inputs: int) -> np.ndarray:
    """Which inputs have different bounds in different cases: bool [n_inputs]."""
    differs = np.zeros(n_inputs, dtype=bool)
    if len(cases) < 2:
        return differs
    first = cases.take(0, 1, wide=True)
    step = max(1, COMPARED_ELEMENTS // n_inputs)
    for start in range(0, len(cases), step):
        batch = cases.take(start, min(start + step, len(cases)), wide=True)
        differs |= ((batch.lower != first.lower) | (batch.upper != first.upper)).any(axis=0)
        if differs.all():
            break
    return differs
