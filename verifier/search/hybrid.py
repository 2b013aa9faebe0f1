"""Boxes of a search over inputs, closed by searches over the signs of the neurons in them.

Of a deep network with few inputs, boxes cost seconds, and most of what they lack is the loss of
hidden neurons' bounds: with slopes of their own these are far tighter, and some hundred subproblems
close what many more boxes would. What neither closes is bisected.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

from verifier.attack import Target
from verifier.bounds import Enclosure, HiddenOptimiser, Tiler, crown, first_bounds
from verifier.bounds.reducible import is_reducible
from verifier.bounds.root import refine_root
from verifier.certify import ProofTree
from verifier.certify.proof_tree import MOST_BYTES
from verifier.records import dataclass
from verifier.search.context import Context
from verifier.search.hunt import Hunt
from verifier.search.input_problem import InputProblem
from verifier.search.input_split import inherited
from verifier.search.neuron_split import NeuronProblem
from verifier.search.neuron_tree import Begin, NeuronTree
from verifier.search.subproblems import Subproblems
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import DeadlinePassed
from verifier.tensors import Array, Int, single_precision
from verifier.verdict import Violated

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Counted seconds for a box, and as many more each time that half of what is open is closed."""
NEARER = 0.5
"""After a box that was not closed, another must lack at most such a share of what that lacked."""
ROOM = 3.0
"""The time left must be so many times what the last box took."""


@dataclass(eq=False)
class Hybrid:
    """Closes boxes by their neurons; nothing of it is recorded for certificates."""

    context: Context
    target: Target
    workers: Workers
    tiler: Tiler | None
    failed: float = -float("inf")
    """The margin of the last box that was not closed."""
    able: bool = True
    """Can the network be reduced to its neurons?"""
    took: float = 0.0
    """Seconds of the last box."""

    @staticmethod
    def of(context: Context, workers: Workers) -> Hybrid:
        """Nothing tried yet."""
        graph, xp = context.graph, context.graph.xp
        target = Target.of(graph, context.problem.rows)
        tiles = graph.source is not None and xp.supports_convolution
        return Hybrid(context, target, workers, Tiler.of(graph.source, xp) if tiles else None)

    def close(
        self, problem: InputProblem, boxes: Subproblems, tree: ProofTree
    ) -> Violated | Int[Array, " left"]:
        """Close some of what a round left open; where the others are, or a counterexample."""
        xp, left = problem.graph.xp, list[int]()
        for i in xp.numpy(xp.argsort(-boxes.margin)).tolist():
            box = boxes[i : i + 1]
            found = self._close(box, inherited(problem, box)) if self._worth(box) else False
            if isinstance(found, Violated):
                return found
            if found:
                tree.close(box.node)
            else:
                left.append(i)
        return xp.ints(sorted(left))

    def _worth(self, box: Subproblems) -> bool:
        """Is a box worth a try? Those that lack least come first."""
        margin, late = float(box.margin[0]), ROOM * self.took > self.context.left
        return self.able and not late and math.isfinite(margin) and margin >= NEARER * self.failed

    def _close(self, box: Subproblems, known: dict[int, Box]) -> Violated | bool:
        """Is no live clause met in a box (one row)? Or a counterexample."""
        begun, context, xp = time.monotonic(), self.context, self.context.graph.xp
        try:
            problem = self._problem(box, self._enclosure(box, known))
        except DeadlinePassed:
            return False
        if problem is None:
            self.able = False
            return False
        scratch = ProofTree(xp, 1, hidden_bytes=2 * MOST_BYTES)
        clauses = xp.nonzero(box.live[0])[0]
        roots = problem.roots(clauses, scratch.by_clause(xp.ints(xp.zeros(1)), clauses))
        case = int(box.case[0])
        tree = NeuronTree(context, scratch, self.target, self.workers, Hunt(context, case), case)
        # The search over inputs has its own attack.
        tree.attacked, tree.hunt.counted = True, float("inf")
        found = tree.run(problem, Begin(roots, context.bounds.objective_steps), PATIENCE)
        self.took = time.monotonic() - begun
        if isinstance(found, Violated):
            return found
        margin = float(box.margin[0])
        if found is not None:
            self.failed = margin
        what = "closed" if found is None else "left open"
        log.info("box lacking %.4g: %s, %d subproblems", margin, what, tree.bounded)
        return found is None

    def _enclosure(self, box: Subproblems, known: dict[int, Box]) -> Enclosure:
        """Plain CROWN over the box."""
        region, graph = Box(box.lower, box.upper), self.context.graph
        bounds = replace(self.context.bounds, spread=self.workers)
        first = first_bounds(graph, region, bounds, known) or known
        if self.tiler is not None:
            self.tiler.move(region, single=bounds.single)
        optimiser = HiddenOptimiser(0, tiler=self.tiler)
        return crown(graph, region, bounds, first, optimiser=optimiser).enclosure

    def _problem(self, box: Subproblems, plain: Enclosure) -> NeuronProblem | None:
        """What is searched: hidden neurons have bounds with slopes of their own."""
        if not is_reducible(plain):
            return None
        context, graph = self.context, self.context.graph
        how = single_precision(graph.xp), self.workers
        reducer = refine_root(graph, context.bounds, plain, None, how)
        settings = context.bounds, context.settings
        root, objective = reducer.enclosure, context.objective
        found = NeuronProblem.of(root, objective, box.thresholds[0], settings, reducer)
        return None if found.reduced is None else found
