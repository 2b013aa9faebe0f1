"""Decide a problem by splitting the signs of its ReLUs, one case after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

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
    sharpen,
)
from verifier.bounds.reduced import is_reducible
from verifier.bounds.root import refine_root
from verifier.certify import Action, Certificate, Chosen, ProofTree, Tightened, Tilts
from verifier.search.context import Context
from verifier.search.deepen import Deepener
from verifier.search.frontier import Frontier
from verifier.search.hunt import Hunt
from verifier.search.leaf import finish
from verifier.search.neuron_round import NeuronRound, bound_neurons
from verifier.search.neuron_split import (
    NeuronProblem,
    SignPatterns,
    split_neurons,
    unstable_neurons,
)
from verifier.search.product_root import (
    MOST_HIDDEN_WORK,
    UNRECORDED,
    has_products,
    hidden_work,
    product_root,
)
from verifier.search.record import HiddenRecorder
from verifier.search.settle import Settler
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import DeadlinePassed
from verifier.tensors import Array, gamma, single_precision
from verifier.verdict import Reason, Unknown, Verdict, Verified, Violated

log = logging.getLogger(__name__)

SETTLED = "not certified: the sides of some neurons were found by searches of their own"
UNSHARED = "unchecked: the checker sweeps all of the network for each neuron, the search a window"
CHECKED_WORK = 200_000_000_000
"""Up to so many multiply-adds that tiles left out, a proof is checked nevertheless."""
MOST_FIRST_WORK = 30_000_000_000
"""Multiply-adds of rows of hidden neurons, above which those inside funnels get none at first."""
PATIENCE = 1.5
"""Seconds of a search before the bounds of hidden neurons get searches of their own."""
HALF_DONE = 0.5
"""Unless the share of the tree that is open has been cut so far by then."""
BETTER = 0.8
"""The worst margin must get nearer to 0 by this factor, or the search goes on as it was."""
PARTS = 256, 2048
"""In how many parts hidden neurons are bounded at most, at first and if that does not do."""
DEEPENING = 0.25
"""The share of the time left that these may take."""
HUNT_SECONDS = 1.0
HUNT_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class _Finished:
    """What linear programs left open: margins of leaves without free neurons, and the others."""

    margins: list[float]
    free: SignPatterns
    out_of_time: bool


@dataclass(frozen=True, eq=False)
class _Paused:
    """A search that closed too little in its time."""

    open: SignPatterns
    root_margin: float
    """The worst margin of the clauses, before any split."""


def _open_share(frontier: Frontier[SignPatterns], roots: int) -> float:
    """The share of the tree that is open: the sum of 2^-depth (Knuth 1975)."""
    some = frontier.take(len(frontier))
    frontier.push(some)
    depth = frontier.xp.floats(some.phase != 0).sum(1)
    return float((2.0**-depth).sum()) / roots


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
    hunted: float = 0.0
    case: int = 0
    """The case at work."""
    settled: int = 0
    """How many neurons were settled by searches of their own."""
    tiler: Tiler | None = None
    """Cuts large networks into what tiles of neurons depend on."""

    def run(self) -> Verdict:
        """All cases, one after another."""
        cases = len(self.context.problem.cases)
        for case in range(cases):
            self.case = case
            verdict = self._case(case)
            if verdict is not None:
                if isinstance(verdict, Unknown):
                    return Unknown(verdict.reason, verdict.margin, verdict.open + cases - case - 1)
                return verdict
        log.info("proved with %d subproblems, %d leaves", self.bounded, self.closed)
        return self._sealed()

    def _sealed(self) -> Verified | Unknown:
        """Have the proof checked."""
        if self.context.seal is None:
            return Verified(self.tree)
        spared = 0 if self.tiler is None else self.tiler.spared
        if self.settled or (spared > CHECKED_WORK and not self.context.thorough):
            note = SETTLED if self.settled else UNSHARED
            return Verified(self.tree, certificate=Certificate(None, note=note))
        sealed = self.context.seal(self.tree)
        certificate, note = sealed.certificate, sealed.certificate.note
        if sealed.refused or (sealed.required and sealed.reopen):
            return Unknown(Reason.NOT_SEALED, 0.0, len(sealed.reopen), note)
        certificate = self.context.seal.settle() if sealed.reopen else certificate
        if certificate is None:
            return Unknown(Reason.NOT_SEALED, 0.0, len(sealed.reopen), note)
        return Verified(self.tree, certificate=certificate)

    def _case(self, case: int) -> Violated | Unknown | None:
        """Decide one case; None: proved."""
        context = self.context
        xp, batch = context.graph.xp, context.problem.take(case, case + 1)
        region = Box(*xp.outward(batch.lower, batch.upper))
        thresholds = xp.doubles(batch.bounds)
        node = xp.ints(xp.zeros(1)) + case
        first = first_bounds(context.graph, region, context.bounds)
        bounds = replace(context.bounds, spread=self.workers)
        some = HiddenOptimiser(0, only=self._first_rows(), tiler=self.tiler)
        plain = crown(context.graph, region, bounds, first, optimiser=some).enclosure
        self.tree.act(node, Action.HIDDEN | Action.ROWS)
        clauses = self._left(plain, thresholds, case)
        if clauses.shape[0] == 0:
            self.tree.close(node)
            self.closed += 1
            return None
        hunt = Hunt(context, case)
        found = hunt.run(HUNT_SECONDS, steps=200)
        if found is not None:
            return found
        if self._settled(plain, thresholds):
            self.tree.close(node)
            self.closed += 1
            return None
        problem, clauses = self._root(case, plain, thresholds[0], clauses)
        log.info("%d clauses left, %d unstable neurons", clauses.shape[0], problem.neurons)
        if clauses.shape[0] == 0:
            self.tree.close(node)
            self.closed += 1
            return None
        children = self.tree.by_clause(node, clauses)
        begin = self.tree.mark()
        problem = problem.propagating(clauses)
        open_ = problem.roots(clauses, children)
        if not self._deepens(problem):
            return self._search(problem, open_, hunt)
        patience, steps = PATIENCE, context.bounds.objective_steps
        for parts in PARTS:
            found = self._search(problem, open_, hunt, steps=steps, patience=patience)
            if not isinstance(found, _Paused):
                return found
            patience, steps, open_ = 2 * patience, context.bounds.split_steps, found.open
            tightened = list[Tightened]()
            deeper = self._deepened(problem.root, thresholds[0], parts, tightened.append)
            begun = deeper.roots(clauses, children)
            if not self._better(deeper, begun, found.root_margin):
                break
            # The proof begins anew, from what bounds the neurons now.
            self.tree.restart(begin, tightened)
            problem, open_, steps = deeper, begun, context.bounds.objective_steps
        return self._search(problem, open_, hunt, steps=steps)

    def _deepens(self, problem: NeuronProblem) -> bool:
        """Is there a hidden layer whose neurons may be worth searches of their own?"""
        graph = problem.root.graph
        hidden = any(not graph.affine_of_input[v] for v in graph.relaxed_inputs)
        return problem.reduced is not None and hidden and problem.propagator is None

    def _better(self, problem: NeuronProblem, roots: SignPatterns, before: float) -> bool:
        """Do deeper bounds of hidden neurons raise the worst bound of a clause much?"""
        steps = self.context.bounds.objective_steps
        result = bound_neurons(problem, roots, steps, self.workers)
        worst = min(0.0, result.worst_margin)
        log.info("bounds of hidden neurons took the worst margin from %.4g to %.4g", before, worst)
        return worst > before * BETTER

    def _deepened(
        self,
        plain: Enclosure,
        thresholds: Array,
        parts: int,
        tell: Callable[[Tightened], object],
    ) -> NeuronProblem:
        """The problem anew, with hidden neurons bounded by searches of their own."""
        context, graph = self.context, self.context.graph
        how = single_precision(graph.xp), self.workers.map
        hidden = sum(not graph.affine_of_input[v] for v in graph.relaxed_inputs)
        until = time.monotonic() + DEEPENING * max(0.0, context.left)
        record = self._recorder(self.case, plain, tell)
        deepen = Deepener(self.workers, context.bounds, until, hidden, parts, record)
        region = plain.boxes[0]
        reducer = refine_root(graph, region, context.bounds, plain, record, how, deepen)
        log.info("deepened by %d subproblems", deepen.subproblems)
        settings = (context.bounds, context.settings)
        root = reducer.enclosure
        return NeuronProblem.of(root, self.objective, thresholds, settings, reducer)

    def _settled(self, plain: Enclosure, thresholds: Array) -> bool:
        """Do neurons before jumps, settled by searches of their own, prove the property?"""
        context = self.context
        if self.tiler is None:
            return False
        settler = Settler(plain, self.tiler, context.bounds, context.settings, self.workers)

        def enough() -> bool:
            again = Enclosure.over(plain.graph, plain.boxes[0], single=plain.single)
            known = dict(enumerate(plain.boxes))
            for _ in plain.graph.nodes:
                again.step(known)
            return not self._unclear(again, thresholds)

        region = plain.boxes[0]
        proved = settler.run((region.lower + region.upper) / 2, enough)
        # From here on all rests on their boxes, whoever finds the proof.
        self.settled += settler.settled
        if settler.settled:
            log.info("settled %d neurons before jumps", settler.settled)
        return proved

    def _unclear(self, enclosure: Enclosure, thresholds: Array) -> bool:
        """Is there a clause that the boxes of the outputs do not refute?"""
        objective, xp = self.objective, enclosure.graph.xp
        if objective.inputs is not None:
            return True
        box, rows = enclosure.boxes[enclosure.graph.output], xp.astype_double(objective.outputs)
        low, high = xp.astype_double(box.lower), xp.astype_double(box.upper)
        least = low @ rows.clip(min=0).T + high @ rows.clip(max=0).T
        size = box.magnitude(xp) @ abs(rows).T + abs(thresholds)
        margin = least - thresholds - gamma(rows.shape[1] + 8, 2 * xp.unit_roundoff) * size
        absent = thresholds == -float("inf")
        margin = xp.where(absent, abs(thresholds), margin)
        return bool((~(objective.best_of_clauses(margin) > 0)).any())

    def _root(
        self, case: int, plain: Enclosure, thresholds: Array, clauses: Array
    ) -> tuple[NeuronProblem, Array]:
        """The problem that is split, with hidden neurons that optimised their bounds.

        And the clauses that this left open.
        """
        context, graph, region = self.context, self.context.graph, plain.boxes[0]
        record, settings = (
            self._recorder(case, plain, self.tree.tighten),
            (context.bounds, context.settings),
        )
        if is_reducible(plain):
            how = single_precision(graph.xp), self.workers.map
            reducer = refine_root(graph, region, context.bounds, plain, record, how)
            root = reducer.enclosure
            made = NeuronProblem.of(root, self.objective, thresholds, settings, reducer)
            return made, clauses
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
        self, node: int, plain: Enclosure, tell: Callable[[Tightened], object]
    ) -> HiddenRecorder:
        """Hands over what bounds hidden neurons, as the proof tree records it."""
        return HiddenRecorder(self.context.graph, node, unstable_neurons(plain), tell)

    def _first_rows(self) -> dict[int, Array] | None:
        """The values whose neurons are bounded by rows at first; None: all.

        Where that is much work, not those inside funnels: there are many, and a few numbers tell
        nearly as much.
        """
        graph, xp = self.context.graph, self.context.graph.xp
        rows = 2 * sum(graph.size(v) for v in graph.bounded_by_rows)
        if rows * graph.work <= MOST_FIRST_WORK:
            return None
        values = set(graph.bounded_by_rows) - graph.inside_funnels
        return {v: xp.bools(xp.full((1, 1), 1.0)) for v in values}

    def _left(self, enclosure: Enclosure, thresholds: Array, case: int) -> Array:
        """The clauses that plain CROWN does not refute, nor optimised slopes of its lines."""
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
        best = self.objective.best_of_clauses(found.least)
        return xp.nonzero(~(best[0] > 0))[0]

    def _search(
        self,
        problem: NeuronProblem,
        roots: SignPatterns,
        hunt: Hunt,
        *,
        steps: int | None = None,
        patience: float = float("inf"),
    ) -> Violated | Unknown | _Paused | None:
        """Split until nothing is open.

        ``steps`` of the first round; ``patience``: so many seconds at first, and as many more each
        time that the share of the tree that is open has been halved.
        """
        context, xp, case = self.context, self.context.graph.xp, self.case
        pause, share, root_margin = time.monotonic() + patience, 1.0, -float("inf")
        steps = context.bounds.objective_steps if steps is None else steps
        frontier = Frontier(xp, context.settings.frontier_bytes, SignPatterns.cat)
        frontier.push(roots)
        size = problem.batch_size()
        exhausted, worst = 0, float("inf")
        while len(frontier):
            batch = frontier.take(size)
            try:
                context.bounds.check_time()
                result = bound_neurons(problem, batch, steps, self.workers)
            except DeadlinePassed:
                frontier.push(batch)
                return Unknown(Reason.OUT_OF_TIME, frontier.worst_margin, len(frontier))
            if steps != context.bounds.split_steps:
                steps, root_margin = context.bounds.split_steps, result.worst_margin
            self.bounded += len(batch)
            self.tree.close(result.closed)
            for chosen in result.chosen:
                self.tree.choose(chosen)
            self.closed += result.closed.shape[0]
            found = self._examine(problem, result, case) or self._hunt(hunt)
            if found is not None:
                return found
            leaves = self._finish(problem, result.exhausted, case)
            if isinstance(leaves, Violated):
                return leaves
            if leaves.out_of_time:
                frontier.push(result.exhausted)
                continue
            exhausted += len(leaves.margins)
            worst = min([worst, *leaves.margins])
            if len(leaves.free):
                frontier.push(split_neurons(problem, leaves.free, self.tree))
            if len(result.open):
                frontier.push(split_neurons(problem, result.open, self.tree))
            context.tell(len(frontier), self.closed, frontier.worst_margin)
            if time.monotonic() > pause and len(frontier):
                before, share = share, _open_share(frontier, len(roots))
                if share > HALF_DONE * before:
                    return _Paused(frontier.take(len(frontier)), root_margin)
                pause = time.monotonic() + patience
        if exhausted:
            return Unknown(Reason.NO_SPLIT, worst, exhausted)
        return None

    def _examine(self, problem: NeuronProblem, result: NeuronRound, case: int) -> Violated | None:
        """Run the network on the open rows' minimisers, and confirm the unsafe ones."""
        points, xp = result.candidates, self.context.graph.xp
        if points.shape[0] == 0:
            return None
        bounds = xp.floats(problem.thresholds)[None, :] + xp.zeros(points.shape[0], 1)
        margins = self.target.margins(points, bounds)
        unsafe = xp.nonzero(margins <= 0)[0]
        if unsafe.shape[0] == 0:
            return None
        cases = np.full(unsafe.shape[0], case)
        return self.context.confirm(points[unsafe], margins[unsafe], cases)

    def _finish(
        self, problem: NeuronProblem, leaves: SignPatterns, case: int
    ) -> Violated | _Finished:
        """Decide leaves by linear programs, one by one."""
        xp = self.context.graph.xp
        margins: list[float] = []
        free: list[SignPatterns] = []
        for i in range(len(leaves)):
            if self.context.left <= 0:
                return _Finished(margins, leaves[:0], out_of_time=True)
            one = leaves[i : i + 1]
            leaf = finish(problem, one)
            if leaf.margin > 0:
                self.tree.close(one.node)
                if leaf.chosen is not None:
                    self.tree.choose(leaf.chosen)
                self.closed += 1
                continue
            if leaf.point is not None:
                point = xp.floats(leaf.point)[None, :]
                found = self.context.confirm(point, xp.zeros(1), np.array([case]))
                if found is not None:
                    return found
            if bool((one.phase == 0).any()):
                free.append(replace(one, branch=xp.floats(one.phase == 0).argmax(1)))
            else:
                margins.append(max(leaf.margin, float(one.margin[0])))
        rest = SignPatterns.cat(free, xp) if free else leaves[:0]
        return _Finished(margins, rest, out_of_time=False)

    def _hunt(self, hunt: Hunt) -> Violated | None:
        context = self.context
        elapsed = context.deadline - context.left - context.started
        if self.hunted >= HUNT_SHARE * elapsed - HUNT_SECONDS:
            return None
        before = context.left
        found = hunt.run(HUNT_SECONDS)
        self.hunted += before - context.left
        return found


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
