"""What every search needs: the problem on a backend, a clock, and a judge for counterexamples."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import field
from functools import cached_property

import numpy as np

from verifier.attack import Candidates, Judge, Witness
from verifier.bounds import Objective, bound_objective, interval
from verifier.certify import Sealer
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.settings import BoundSettings, SearchSettings
from verifier.spec import Problem, Query
from verifier.tensors import Array
from verifier.verdict import Violated

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25
CERTIFIED = 0.4
"""Where a certificate is wanted, at least this share of the time is for proofs that have one."""
CONFIRMED_AT_ONCE = 8


@dataclass(frozen=True)
class Progress:
    """How far a search is."""

    open: int
    closed: int
    margin: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Network:
    """What replay needs to know of a network's file."""

    replay: Callable[[np.ndarray], np.ndarray]
    """float64 [points, inputs] -> float64 [points, outputs], by ONNX Runtime."""
    types: tuple[tuple[int, str], ...]
    """For each input tensor its size and NumPy type."""


@dataclass(eq=False)
class Context:
    """One problem under search."""

    problem: Problem
    network: Network
    graph: Graph
    """The problem's graph on the backend of the search."""
    deadline: float
    """On ``time.monotonic``'s clock."""
    allowed: float
    """Seconds in all, as the user gave them: decisions that are the same each time rest on it."""
    generator: np.random.Generator
    bounds: BoundSettings = field(default_factory=BoundSettings)
    settings: SearchSettings = field(default_factory=SearchSettings)
    report: Callable[[Progress], None] | None = None
    started: float = field(default_factory=time.monotonic)
    seal: Sealer | None = None
    """Writes a finished proof down and has it checked."""
    thorough: bool = False
    """Is the proof to be checked, whatever that costs?"""
    spent: float = 0.0
    """Seconds that searches over neurons may have taken so far: counted, so that their turns do not
    depend on the clock where that is not far slower, and a tree is the same each time."""
    near_miss: bool = False
    """Was a point unsafe in our arithmetic, but not in ONNX Runtime's?"""
    _reported: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    @property
    def strict(self) -> bool:
        """Is only a proof of use that a certificate can hold?"""
        return self.seal is not None and self.seal.strict

    @property
    def objective(self) -> Objective:
        """The property's rows on the backend."""
        rows = self.problem.rows
        return Objective.of(
            rows.output_coefficients, rows.input_coefficients, rows.clause, self.graph.xp
        )

    def for_certificates(self, seconds: float) -> float:
        """How long a search keeps to what certificates hold: so many counted seconds, at least.

        All of the time where a proof without one would not count.
        """
        if self.strict:
            return float("inf")
        asked = CERTIFIED * (self.allowed - self.spent) if self.thorough else 0.0
        return max(seconds, asked)

    def tell(self, open_rows: int, closed: int, margin: float) -> None:
        """Report progress, not too often."""
        now = time.monotonic()
        if self.report is not None and now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self.report(Progress(open_rows, closed, margin, now - self.started))

    @cached_property
    def cautious_query(self) -> Query:
        """What a counterexample must meet."""
        return self.problem.query.cautious()

    def judge(self, cases: np.ndarray) -> Judge:
        """A judge for candidates whose ``case`` counts through ``cases``."""
        taken = [self.problem.cases.take(int(c), int(c) + 1, nearest=True) for c in cases]
        lower = np.concatenate([t.lower for t in taken])
        upper = np.concatenate([t.upper for t in taken])
        network = self.network
        return Judge(
            self.cautious_query,
            network.replay,
            network.types,
            lower,
            upper,
            self.problem.free,
            strict=False,
        )

    def confirm(self, points: Array, margins: Array, cases: np.ndarray) -> Violated | None:
        """The first of some candidate points (least margin first) that ONNX Runtime confirms."""
        xp = self.graph.xp
        order = np.argsort(xp.numpy(margins), kind="stable")[:CONFIRMED_AT_ONCE]
        chosen = xp.numpy(points[xp.ints(order)]).astype(np.float64)
        unique, place = np.unique(cases[order], return_inverse=True)
        candidates = Candidates.of(chosen, place, xp.numpy(margins)[order])
        witness = self.judge(unique).confirm(candidates)
        found = None if witness is None else self.accept(witness, unique)
        self.near_miss = self.near_miss or found is None
        return found

    def accept(self, witness: Witness, cases: np.ndarray) -> Violated | None:
        """A confirmed witness as a verdict.

        Where the property fixes an input to a number that the network's type lacks, ONNX Runtime
        can only replay a point beside the region. Then the violation must also be proved over the
        reals, at the witness itself.
        """
        if not witness.exact and not self._unsafe_over_the_reals(witness.inputs, cases):
            return None
        return Violated(witness.inputs, witness.outputs, witness.exact)

    def _unsafe_over_the_reals(self, inputs: np.ndarray, cases: np.ndarray) -> bool:
        """Does the real network meet some clause of one of the cases at a point of its box?"""
        xp, rows = self.graph.xp, self.problem.rows
        point = inputs[self.problem.free][None]
        enclosure = interval(self.graph, Box(*xp.outward(point, point)))
        for value in self.graph.nonlinear:
            enclosure.relax(value)
        negated = None if rows.input_coefficients is None else -rows.input_coefficients
        objective = Objective.of(-rows.output_coefficients, negated, rows.clause, xp)
        for case in cases:
            batch = self.problem.cases.take(int(case), int(case) + 1, nearest=True)
            if not ((batch.lower[0] <= inputs) & (inputs <= batch.upper[0])).all():
                continue
            thresholds = xp.doubles(-batch.bounds)
            asked = thresholds < float("inf")
            found = bound_objective(enclosure, objective, thresholds, asked)
            # -row + bound > 0, rounding included, for every row of some clause.
            met = xp.numpy(found.least)[0] > 0
            met = met & np.isfinite(batch.bounds[0])
            first = np.flatnonzero(np.diff(rows.clause, prepend=-1))
            if np.logical_and.reduceat(met, first).any():
                return True
        return False
