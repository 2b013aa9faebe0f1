"""Decide a problem by splitting the signs of its ReLUs, one case after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from verifier.attack import Target
from verifier.bounds import (
    Enclosure,
    HiddenOptimiser,
    Objective,
    Tiler,
    bound_objective,
    crown,
    first_bounds,
    interval,
    sharpen,
)
from verifier.bounds.reducible import is_reducible
from verifier.bounds.root import refine_root
from verifier.certify import Action, Certificate, Chosen, ProofTree, Tightened, Tilts
from verifier.records import dataclass
from verifier.search import deep
from verifier.search.by_curves import CurveSearch
from verifier.search.by_inputs import LABORIOUS
from verifier.search.context import Context
from verifier.search.curve_split import is_curved
from verifier.search.fringe import Fringe
from verifier.search.hulling import Rest, try_hulls
from verifier.search.hunt import Hunt
from verifier.search.neuron_split import NeuronProblem
from verifier.search.neuron_tree import Begin, NeuronTree, Paused, decided
from verifier.search.product_root import (
    MOST_HIDDEN_WORK,
    UNRECORDED,
    first_rows,
    has_products,
    hidden_work,
    left_out,
    product_root,
)
from verifier.search.race import race
from verifier.search.record import HiddenRecorder
from verifier.search.room import room_for_single
from verifier.search.settle import Settler
from verifier.search.sign_patterns import unstable_neurons
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import DeadlinePassed
from verifier.tensors import Array, single_precision
from verifier.verdict import Reason, Unknown, Verdict, Verified, Violated

log = logging.getLogger(__name__)

SETTLED = "not certified: the sides of some neurons were found by searches of their own"
UNSHARED = "unchecked: the checker sweeps all of the network for each neuron, the search a window"
LONG, MANY = 10.0, 60
"""After so many counted seconds, or leaves, a proof is not checked for float32 execution, too: that
takes long, and of 28 proofs with more leaves the least margin was too small in all."""
CHECKED_WORK = 200_000_000_000
"""Up to so many multiply-adds that tiles left out, a proof is checked nevertheless."""
CHECKED_ROWS = 50_000_000_000
"""The same for rows of neurons inside funnels: about a minute."""
FRINGE = 0.35
"""The share of the time left for bounds of the numbers that products and curves read."""


@dataclass(eq=False)
class NeuronSearch:
    """The state of one search over neurons."""

    context: Context
    objective: Objective
    tree: ProofTree
    target: Target
    workers: Workers
    closed: int = 0
    bounded: int = 0
    case: int = 0
    """The case at work."""
    tight: bool = False
    """Was something closed by less than what float32 execution loses?"""
    settled: int = 0
    """How many neurons were settled by searches of their own."""
    spared: int = 0
    """Multiply-adds of rows inside funnels that the checker needs and the search did not."""
    tiler: Tiler | None = None
    """Cuts large networks into what tiles of neurons depend on."""

    def run(self) -> Verdict:
        """All cases, one after another."""
        cases = len(self.context.problem.cases)
        for case in range(cases):
            self.case = case
            if self.context.left <= 0:
                raise DeadlinePassed
            verdict = self._case(case)
            if isinstance(verdict, Unknown):
                return Unknown(verdict.reason, verdict.margin, verdict.open + cases - case - 1)
            if verdict is not None:
                return verdict
        log.info("proved with %d subproblems, %d leaves", self.bounded, self.closed)
        return self._sealed()

    def _sealed(self) -> Verified | Unknown:
        """Have the proof checked."""
        seal, context = self.context.seal, self.context
        if seal is None:
            return Verified(self.tree)
        if note := self._unchecked:
            return Verified(self.tree, certificate=Certificate(None, note=note))
        # Leaves are not split again: one that lacks is as many as all.
        seal.most_failures = 0
        hopeless = self.tight or context.spent > LONG or self.closed > MANY
        seal.single &= context.thorough or not hopeless
        sealed = seal(self.tree)
        if sealed.reopen and not (sealed.refused or sealed.required):
            sealed = seal.settle()
        if sealed.refused or sealed.reopen:
            note = sealed.certificate.note
            return Unknown(Reason.NOT_SEALED, 0.0, len(sealed.reopen), note)
        return Verified(self.tree, certificate=sealed.certificate)

    @property
    def _unchecked(self) -> str:
        """Why a proof is not checked; empty: it is."""
        if self.settled or self._unshared:
            return SETTLED if self.settled else UNSHARED
        much = self.spared > CHECKED_ROWS and not self.context.thorough
        return LABORIOUS if much and not self.tree.lacking else ""

    @property
    def _unshared(self) -> bool:
        """Would the checker sweep so much more than the search that it is not begun?"""
        spared = 0 if self.tiler is None else self.tiler.spared
        return spared > CHECKED_WORK and not self.context.thorough

    def _case(self, case: int) -> Violated | Unknown | None:
        """Decide one case; None: proved."""
        context, hunt, xp = self.context, Hunt(self.context, case), self.context.graph.xp
        batch = context.problem.take(case, case + 1)
        region = Box(*xp.outward(batch.lower, batch.upper))
        thresholds, node = xp.doubles(batch.bounds), xp.ints(xp.zeros(1)) + case
        if not self._unclear(interval(context.graph, region, single=True), thresholds):
            # The checker has no tables: it may need more than intervals where there are some.
            few = context.problem.folded and first_rows(self.context.graph) is None
            self.tree.act(node, Action.HIDDEN | Action.ROWS if few else Action.ROWS)
            return self._close(node)
        if (found := hunt.before_bounds()) is not None:
            return found
        begun, first = time.monotonic(), first_bounds(context.graph, region, context.bounds)
        bounds = replace(context.bounds, spread=self.workers)
        if self.tiler is not None:
            self.tiler.move(region, single=context.bounds.single)
        some = HiddenOptimiser(0, only=first_rows(self.context.graph), tiler=self.tiler)
        plain = crown(context.graph, region, bounds, first, optimiser=some).enclosure
        self.spared += left_out(plain)
        self.tree.act(node, Action.HIDDEN | Action.ROWS)
        clauses, slack = self._left(plain, thresholds, case)
        if clauses.shape[0] == 0:
            self._close(node)
            self._weigh(plain, thresholds, slack)
            return None
        if (found := hunt.after_bounds(time.monotonic() - begun)) is not None:
            return found
        tree = NeuronTree(context, self.tree, self.target, self.workers, hunt, case)
        try:
            found = self._split(tree, plain, thresholds, clauses)
        finally:
            self.closed, self.bounded = self.closed + tree.closed, self.bounded + tree.bounded
        if found is None:
            self._weigh(plain, thresholds, tree.slack)
        return found

    def _weigh(self, plain: Enclosure, thresholds: Array, slack: float) -> None:
        """Is what closed a case less than what float32 execution loses, at least?"""
        if slack < float("inf"):
            self.tight |= slack < room_for_single(plain, self.objective, thresholds)

    def _close(self, node: Array) -> None:
        """Some nodes are proved."""
        self.tree.close(node)
        self.closed += node.shape[0]

    def _split(
        self, tree: NeuronTree, plain: Enclosure, thresholds: Array, clauses: Array
    ) -> Violated | Unknown | None:
        """Decide the clauses that are left by a search."""
        xp, problem = self.context.graph.xp, None
        node = xp.ints(xp.zeros(1)) + tree.case
        if not self._settled(plain, thresholds):
            if is_curved(plain):
                return self._cut(tree, plain, thresholds[0], clauses)
            problem, clauses = self._root(tree.case, plain, thresholds[0], clauses)
            log.info("%d clauses left, %d unstable neurons", clauses.shape[0], problem.neurons)
        if problem is None or clauses.shape[0] == 0:
            return self._close(node)
        children = self.tree.by_clause(node, clauses)
        return self._search(tree, problem.propagating(clauses), (clauses, children))

    def _search(
        self, tree: NeuronTree, problem: NeuronProblem, clauses: tuple[Array, Array]
    ) -> Violated | Unknown | None:
        """Split some clauses (with their nodes), and bound neurons better where it lasts."""
        settings, mark = self.context.bounds, self.tree.mark()
        begin = Begin(problem.roots(*clauses), settings.objective_steps)
        if problem.reduced is None or problem.propagator is not None:
            return self._behind_fringe(tree, problem, begin, clauses)
        if deep.has_hidden(problem.root.graph):
            return deep.search_deep(tree, (problem, begin), clauses, self._recorder)
        rest = try_hulls(tree, (problem, begin), clauses, mark)
        return race(tree, problem, rest) if isinstance(rest, Rest) else rest

    def _behind_fringe(
        self, tree: NeuronTree, problem: NeuronProblem, begin: Begin, clauses: tuple[Array, Array]
    ) -> Violated | Unknown | None:
        """Split, and narrow the few numbers that products read where that closes little."""
        settings, mark = problem.bounds, self.tree.mark()
        fringe, xp = self._fringe(problem), problem.xp
        if fringe is None:
            return decided(tree.run(problem, begin))
        found = tree.run(problem, begin, deep.PATIENCE)
        if not isinstance(found, Paused):
            return found
        until = time.monotonic() + FRINGE * max(0.0, self.context.left)
        left = fringe.run(self.objective, problem.thresholds, clauses[0], until)
        # The root has the narrowed boxes, whoever finds the proof.
        self.settled += fringe.narrowed
        if left.shape[0] == clauses[0].shape[0]:
            return decided(tree.run(problem, found.again(settings.split_steps)))
        self.tree.restart(mark, ())
        still = (clauses[0][:, None] == left[None, :]).any(1)
        proved, rest = xp.nonzero(~still)[0], xp.nonzero(still)[0]
        self._close(clauses[1][proved])
        if rest.shape[0] == 0:
            return None
        roots = problem.roots(clauses[0][rest], clauses[1][rest])
        return decided(tree.run(problem, Begin(roots, settings.objective_steps)))

    def _fringe(self, problem: NeuronProblem) -> Fringe | None:
        """The numbers between the network's ReLUs and its products, if there are few."""
        if self.tiler is None or self.objective.inputs is not None or self.context.strict:
            return None
        settings = problem.bounds, problem.settings
        graph = self.context.problem.graph
        return Fringe.of(graph, problem.root, self.tiler, settings, self.workers)

    def _cut(
        self, tree: NeuronTree, plain: Enclosure, thresholds: Array, clauses: Array
    ) -> Violated | Unknown | None:
        """Search over cuts of neurons' boxes."""

        def examine(points: Array) -> Violated | None:
            return tree.examine(points, thresholds)

        search = CurveSearch(self.context, self.objective, self.tree, examine, tree.attack)
        bounds = replace(self.context.bounds, spread=self.workers)
        found = search.run(plain, tree.case, thresholds, clauses, bounds)
        self.bounded, self.closed = self.bounded + search.bounded, self.closed + search.closed
        return found

    def _settled(self, plain: Enclosure, thresholds: Array) -> bool:
        """Do neurons before jumps, settled by searches of their own, prove the property?"""
        context = self.context
        if self.tiler is None or context.strict:
            return False
        settler = Settler(plain, self.tiler, context.bounds, context.settings, self.workers)

        def enough() -> bool:
            known = dict(enumerate(plain.boxes))
            again = interval(plain.graph, plain.boxes[0], known, single=plain.single)
            return not self._unclear(again, thresholds)

        proved = settler.run(plain.boxes[0].center, enough)
        # From here on all rests on their boxes, whoever finds the proof.
        self.settled += settler.settled
        if settler.settled:
            log.info("settled %d neurons before jumps", settler.settled)
        return proved

    def _unclear(self, enclosure: Enclosure, thresholds: Array) -> bool:
        """Is there a clause that the boxes of the outputs do not refute?"""
        return bool((~(self.objective.by_boxes(enclosure, thresholds)[0] > 0)).any())

    def _root(
        self, case: int, plain: Enclosure, thresholds: Array, clauses: Array
    ) -> tuple[NeuronProblem, Array]:
        """The problem that is split, with hidden neurons that optimised their bounds.

        And the clauses that this left open.
        """
        context, graph, region = self.context, self.context.graph, plain.boxes[0]
        record = self._recorder((case, 0), plain, self.tree.tighten)
        settings = context.bounds, context.settings
        if is_reducible(plain):
            how = single_precision(graph.xp), self.workers
            if self._unshared:
                record, self.tree.lacking = None, UNSHARED
            reducer = refine_root(graph, context.bounds, plain, record, how)
            root = reducer.enclosure, self.objective, thresholds, settings
            return NeuronProblem.of(*root, reducer), clauses
        if has_products(plain):
            self.tree.lacking = UNRECORDED
            bounds = replace(context.bounds, spread=self.workers)
            found = product_root(plain, self.objective, thresholds, clauses, bounds)
            bounds = replace(context.bounds, learning_rate=bounds.product_rate)
            settings = (bounds, context.settings)
            made = NeuronProblem.of(found.enclosure, self.objective, thresholds, settings)
            return replace(made, start=found.tilts), found.clauses
        if hidden_work(plain, context.bounds.hidden_steps) > MOST_HIDDEN_WORK:
            return NeuronProblem.of(plain, self.objective, thresholds, settings), clauses
        inherited = {v: plain.boxes[v] for v in graph.relaxed_inputs}
        optimiser = HiddenOptimiser(context.bounds.hidden_steps, record)
        root = crown(graph, region, context.bounds, inherited, optimiser=optimiser).enclosure
        return NeuronProblem.of(root, self.objective, thresholds, settings), clauses

    def _recorder(
        self, where: tuple[int, int], plain: Enclosure, tell: Callable[[Tightened], object]
    ) -> HiddenRecorder:
        """Hands over what bounds hidden neurons in a turn of a node, as proof trees record it."""
        return HiddenRecorder(self.context.graph, where, unstable_neurons(plain), tell)

    def _left(self, enclosure: Enclosure, thresholds: Array, case: int) -> tuple[Array, float]:
        """The clauses that plain CROWN does not refute, nor optimised slopes of its lines.

        And the least bound of the others; +inf: nothing is known of what it rests on.
        """
        context, xp = self.context, self.context.graph.xp
        asked = thresholds > -float("inf")
        found = bound_objective(enclosure, self.objective, thresholds, asked)
        if not is_reducible(enclosure):
            settings = (context.bounds, context.bounds.objective_steps)
            better = sharpen(enclosure, self.objective, found, thresholds, settings)
            if better is not None:
                neurons = unstable_neurons(enclosure)
                tilts = Tilts.of(better.tilts, neurons, better.batch.shape[0], xp)
                node = np.full(better.batch.shape[0], case)
                self.tree.choose(Chosen(node, xp.numpy(better.row), tilts))
        best = self.objective.best_of_clauses(found.least)[0]
        refuted = best > 0
        if is_reducible(enclosure):
            slack = float(xp.numpy(best[refuted]).min(initial=np.inf))
            return xp.nonzero(~refuted)[0], slack
        # A function's own range may say more than lines do.
        refuted = refuted | (self.objective.by_boxes(enclosure, thresholds)[0] > 0)
        return xp.nonzero(~refuted)[0], float("inf")


def search_neurons(context: Context) -> Verdict:
    """Branch and bound over the signs of ReLUs."""
    xp = context.graph.xp
    tree = ProofTree(xp, len(context.problem.cases))
    target = Target.of(context.graph, context.problem.rows)
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        search = NeuronSearch(context, context.objective, tree, target, workers)
        search.tiler = Tiler.of(context.problem.graph, xp)
        try:
            return search.run()
        except DeadlinePassed:
            left = len(context.problem.cases) - search.case
            return Unknown(Reason.OUT_OF_TIME, -float("inf"), left)
