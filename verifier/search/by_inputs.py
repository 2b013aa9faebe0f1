"""Decide a problem by splitting its input boxes."""

from __future__ import annotations

import logging
import time
from dataclasses import field, replace

import numpy as np

from verifier.attack import Target
from verifier.certify import Certificate, ProofTree, Sealed
from verifier.records import dataclass
from verifier.search.context import Context
from verifier.search.enclose import MANY_NEURONS
from verifier.search.extension import Extension
from verifier.search.frontier import Frontier
from verifier.search.hunt import LARGE_WORK, Hunt
from verifier.search.hybrid import Hybrid, Left
from verifier.search.input_problem import InputProblem
from verifier.search.input_split import Round, bisect, bound_round, splittable
from verifier.search.subproblems import Subproblems
from verifier.search.weighing import TRIAL_ROUNDS, Weighing
from verifier.search.workers import Workers
from verifier.settings import ONE_BY_ONE, DeadlinePassed
from verifier.tensors import Array
from verifier.verdict import Reason, Unknown, Verdict, Verified, Violated

log = logging.getLogger(__name__)

LABORIOUS = "unchecked: the checker bounds all neurons, of which the search could leave most out"

CHECKED_WORK = 10_000_000_000
"""Up to so many multiply-adds that the search left out, its proof is checked nevertheless."""
DEAR, FIRST_BOXES = 10_000_000_000, 7
"""From so many multiply-adds of a box on searches over neurons close them, after so many boxes."""
FIRST_BATCH = 32
LEAST_PART = 16
"""A thread gets at least so many boxes."""
CASES_AT_ONCE = 4096
TRIAL_BOXES = 8
"""Boxes per worker of a round that finds out what rows of hidden neurons are worth."""
LONG_ROUND = 0.015
"""After a round of so many seconds per worker, parts of the next go to processes."""
UNRECORDED = "not recorded: products were bounded by how their factors move together"
WORTH_COUNTING = 0.5
"""Float32 errors are counted while they keep no larger share of the open boxes open."""
FIRST_HUNT_SECONDS = 0.1
"""Time of the first attack, once the root bounds have not decided."""
HUNT_SECONDS = 0.3
"""Time of each later one."""
HUNT_SHARE = 0.2
"""Share of the first seconds that attacks may take, and much less of later ones."""
LAST_HUNT_SECONDS = 2.0
"""Time of a last one, where some boxes could be neither closed nor split."""


@dataclass(eq=False)
class InputSearch:
    """The state of one search over inputs."""

    context: Context
    problem: InputProblem
    tree: ProofTree
    frontier: Frontier[Subproblems]
    target: Target
    workers: Workers
    taken: int = 0
    """How many cases have been opened."""
    batch: int = FIRST_BATCH
    boxes: int = 0
    closed: int = 0
    thin: int = 0
    """Boxes that could neither be closed nor split."""
    rounds: int = 0
    weighing: Weighing = field(default_factory=Weighing)
    hunt: Hunt | None = None
    worst_thin: float = field(default=float("inf"))
    apart: bool = False
    """Do rounds last so long that processes are worth being made?"""
    ahead: bool = False
    """Do bounds count float32 errors before there is a proof for the real function?"""
    hybrid: Hybrid | None = None
    """Closes boxes by their neurons, where they are dear and no certificate would be made."""
    extension: Extension | None = None
    """Of a proof that is there to float32 execution."""

    @staticmethod
    def of(context: Context, workers: Workers) -> InputSearch:
        """Nothing opened yet."""
        xp = context.graph.xp
        cases = context.problem.take(0, min(len(context.problem.cases), CASES_AT_ONCE))
        width = (cases.upper - cases.lower).max(0)
        problem = InputProblem(
            context.graph,
            context.objective,
            replace(context.bounds, spread=workers),
            context.settings,
            xp.floats(np.where(width > 0, width, 1.0)),
        )
        # Of many neurons forward bounds are wanted, which hold for the real function only.
        single = all(kind == "float32" for _, kind in context.network.types)
        few = problem.hidden_neurons <= MANY_NEURONS
        ahead = single and few and context.seal is not None and context.seal.single
        problem = replace(problem, bounds=replace(problem.bounds, single=ahead)).tiled()
        return InputSearch(
            context,
            problem,
            ProofTree(xp, len(context.problem.cases)),
            Frontier(xp, context.settings.frontier_bytes, Subproblems.cat),
            Target.of(context.graph, context.problem.rows),
            workers,
            ahead=ahead,
        )

    def run(self) -> Verdict:
        """Search until decided and sealed, or out of time."""
        if self.context.graph.work > LARGE_WORK:
            self.hunt = Hunt(self.context)
            found = self.hunt.run(HUNT_SECONDS)
            if found is not None:
                return found
        while True:
            verdict = self._exhaust() or self._seal()
            if verdict is not None:
                return verdict

    def _exhaust(self) -> Verdict | None:
        """Search until nothing is open any more: None, or the verdict if that is none."""
        while self._refill():
            if self.context.left <= 0:
                return self.unknown(Reason.OUT_OF_TIME)
            if self.extension and self.extension.hopeless(self.boxes, len(self.frontier)):
                settled = self._settle(self.extension)
                if settled is not None:
                    return settled
                continue
            verdict = self._round()
            if verdict is None and not self.extension:
                verdict = self._hunt()
            if verdict is not None:
                return verdict
            self.context.tell(len(self.frontier), self.closed, self.frontier.worst_margin)
        if self.thin and self.extension:
            return self._settle(self.extension) or self._exhaust()
        if self.thin:
            hunt = self.hunt or Hunt(self.context)
            found = hunt.run(LAST_HUNT_SECONDS, steps=4000)
            near = Reason.NEAR_MISS if self.context.near_miss else Reason.TOO_THIN
            return found or self.unknown(near)
        return None

    def _seal(self) -> Verdict | None:
        """Have the proof checked; None: some leaves were opened again."""
        log.info("proved with %d boxes, %d leaves", self.boxes, self.closed)
        if self.context.seal is None:
            return Verified(self.tree)
        if self._laborious:
            return Verified(self.tree, certificate=Certificate(None, note=LABORIOUS))
        sealed = self.context.seal(self.tree)
        if sealed.refused:
            return self.unknown(Reason.NOT_SEALED, sealed.certificate.note)
        if not sealed.reopen:
            return Verified(self.tree, certificate=sealed.certificate)
        # What must be proved anyway extends nothing.
        self.extension = None if sealed.required else self._extended(len(sealed.reopen))
        if self._reopen(sealed):
            return None
        return self._settle(self.extension) if self.extension else self._too_thin(sealed)

    @property
    def _laborious(self) -> bool:
        """Would the checker need so much that the search left out that it is not begun?"""
        return self.weighing.spared > CHECKED_WORK and not self.context.thorough

    def _extended(self, leaves: int) -> Extension:
        """The extension of the proof that was sealed just now, within the limits of the first."""
        now = self.tree.mark(), self.closed
        if self.extension is not None:
            return replace(self.extension, mark=now[0], closed=now[1])
        return Extension.of(self.boxes, self.context.started, leaves, now)

    def _too_thin(self, sealed: Sealed) -> Unknown | Verified:
        note = f"{sealed.certificate.note}, and their boxes are too thin to split"
        return self.unknown(Reason.NOT_SEALED, note)

    def _settle(self, extension: Extension) -> Unknown | Verified | None:
        """Be content with a proof for the real function.

        None: it lacks some leaves, and nothing but these is open.
        """
        assert self.context.seal is not None
        self.extension, sealed = None, self.context.seal.settle()
        if not sealed.reopen:
            return Verified(self.tree, certificate=sealed.certificate)
        self.tree.restart(extension.mark)
        self.closed, self.thin, self.worst_thin = extension.closed, 0, float("inf")
        self.ahead = False
        self.frontier.clear()
        return None if self._reopen(sealed) else self._too_thin(sealed)

    def _reopen(self, sealed: Sealed) -> bool:
        """Split leaves that the checker does not accept; could all of them be split?"""
        leaves = sealed.reopen
        log.info("%d leaves are opened again for the checker", len(leaves))
        bounds = replace(self.problem.bounds, single=sealed.single)
        self.problem = replace(self.problem, bounds=bounds)
        rows = self.problem.again(self.context.problem, leaves)
        children = bisect(self.problem, rows, rows.lower * 0, self.tree)
        self.frontier.push(children)
        return len(children) == 2 * len(leaves)

    def _refill(self) -> bool:
        """Open more cases while few boxes are open; is anything open?"""
        total = len(self.context.problem.cases)
        while self.taken < total and len(self.frontier) < self.batch:
            stop = min(total, self.taken + CASES_AT_ONCE)
            xp, cases = self.context.graph.xp, self.context.problem.take(self.taken, stop)
            lower, upper = xp.outward(cases.lower, cases.upper)
            number = self.taken + xp.arange(stop - self.taken)
            thresholds = xp.doubles(cases.bounds)
            self.frontier.push(self.problem.roots(lower, upper, thresholds, number))
            self.taken = stop
        return len(self.frontier) > 0

    def _by_neurons(self, hybrid: Hybrid) -> Violated | None:
        """Close a box by a search over its neurons, or bisect it."""
        box = self.frontier.take(1)
        self.boxes += 1
        try:
            found = hybrid.close(box)
        except DeadlinePassed:
            self.frontier.push(box)
            raise
        if isinstance(found, Left):
            children = self._bisected(found.box, found.scores)
            hybrid.hand_over(children, found.outer)
        elif found is None:
            self.tree.close(box.node)
            self.closed += 1
        return found if isinstance(found, Violated) else None

    def _bisected(self, rows: Subproblems, scores: Array) -> Subproblems:
        """Split what is open."""
        children = bisect(self.problem, rows, scores, self.tree)
        if lost := len(rows) - len(children) // 2:
            self.thin += lost
            self.worst_thin = min(self.worst_thin, float(rows.margin.min()))
        self.frontier.push(children)
        return children

    def _round(self) -> Violated | None:
        if self.hybrid is not None and self.hybrid.pays:
            return self._by_neurons(self.hybrid)
        efforts, begun = self.weighing.efforts, time.monotonic()
        wanted = self.batch * self.workers.count
        if efforts.trial:
            wanted = min(wanted, TRIAL_BOXES * self.workers.count)
        batch = self.frontier.take(wanted)
        self.boxes += len(batch)
        try:
            results = self._all_bounded(batch)
        except DeadlinePassed:
            self.frontier.push(batch)
            raise
        self.apart = time.monotonic() - begun > LONG_ROUND * self.workers.count
        extended = self.extension is not None
        certified = extended or self.context.strict
        self.weighing.weigh(
            self.problem, results, self.boxes, extended=extended, certified=certified
        )
        for result in results:
            result.log(self.tree)
            if result.closed.shape[0] and (efforts.correlate or efforts.try_products):
                self.tree.lacking = UNRECORDED
            self.closed += result.closed.shape[0]
            found = self._examine(result)
            if found is not None:
                return found
        self._go_on(results, len(batch))
        return None

    def _all_bounded(self, batch: Subproblems) -> list[Round]:
        """What bounds find out about a round's boxes, in parts."""
        count, workers = len(batch), self.workers.count
        size = max(LEAST_PART, -(-count // workers))
        parts = [batch[start : start + size] for start in range(0, count, size)]
        problem = self.problem
        if len(parts) > 1:
            # Workers must not wait for each other: one part each, or chunks of the only one.
            problem = replace(problem, bounds=replace(problem.bounds, spread=ONE_BY_ONE))
        results = self._bounded(problem, parts)
        return self._ahead(problem, parts, results) if self.ahead else results

    def _go_on(self, results: list[Round], count: int) -> None:
        """Split what is open, and leave it to searches over neurons where boxes are dear."""
        rows = sum(result.rows for result in results) / max(1, count)
        self.batch = self.problem.next_batch(self.batch, rows)
        for result in results:
            self._bisected(result.open, result.scores)
        dear = self._laborious and rows * self.problem.graph.work > DEAR
        late = dear and self.boxes >= FIRST_BOXES and len(self.frontier) > 0
        if late and self.hybrid is None and not self.context.strict:
            self.hybrid = Hybrid(self.context, self.problem, self.workers)
            self.hybrid.begin(Subproblems.cat(self.frontier.chunks(), self.context.graph.xp))

    def _bounded(self, problem: InputProblem, parts: list[Subproblems]) -> list[Round]:
        """What bounds find out about each part; it depends on nothing but the part."""
        efforts = self.weighing.efforts
        map_over = self.workers.apart if self.apart else self.workers.map
        return map_over(lambda part: bound_round(problem, part, efforts), parts)

    def _ahead(
        self, problem: InputProblem, parts: list[Subproblems], results: list[Round]
    ) -> list[Round]:
        """Now and then, and where boxes get thin, see what is open because of float32 errors.

        If that is much they are counted no longer, before there is a proof.
        """
        trial = self.weighing.rounds % (2 * TRIAL_ROUNDS) == TRIAL_ROUNDS - 1
        thin = not all(splittable(result.open).any(1).all() for result in results)
        if not trial and not thin:
            return results
        xp = problem.graph.xp
        masks = [
            np.isin(xp.numpy(part.node), xp.numpy(result.open.node))
            for part, result in zip(parts, results, strict=True)
        ]
        left = [part[xp.ints(np.flatnonzero(m))] for part, m in zip(parts, masks, strict=True)]
        real = replace(problem, bounds=replace(problem.bounds, single=False))
        found = self._bounded(real, left)
        closed, opened = sum(r.closed.shape[0] for r in found), sum(map(len, left))
        log.info("float32 errors keep %d of %d boxes open", closed, opened)
        if closed <= WORTH_COUNTING * opened and not thin:
            return results
        self.ahead = False
        self.problem = replace(self.problem, bounds=replace(self.problem.bounds, single=False))
        none = slice(0, 0)
        return [replace(r, open=r.open[none], scores=r.scores[none]) for r in results] + found

    def _examine(self, result: Round) -> Violated | None:
        """Run the network on the round's candidates, and confirm the unsafe ones."""
        if result.candidates.shape[0] == 0:
            return None
        xp = self.problem.graph.xp
        bounds = xp.floats(result.candidate_thresholds)
        margins = self.target.margins(result.candidates, bounds)
        unsafe = xp.nonzero(margins <= 0)[0]
        if unsafe.shape[0] == 0:
            return None
        cases = xp.numpy(result.candidate_cases)[xp.numpy(unsafe)]
        return self.context.confirm(result.candidates[unsafe], margins[unsafe], cases)

    def _hunt(self) -> Violated | None:
        """Attack once early, and again as the search goes on."""
        if self.hunt is not None:
            return self.hunt.go_on(HUNT_SHARE, HUNT_SECONDS)
        if len(self.frontier) == 0:
            return None
        self.hunt = Hunt(self.context)
        return self.hunt.count(FIRST_HUNT_SECONDS)

    def unknown(self, reason: Reason, note: str = "") -> Unknown | Verified:
        """How far the search got; what it proved before it looked for more."""
        settled = self._settle(self.extension) if self.extension else None
        if settled is not None:
            return settled
        margin = min(self.frontier.worst_margin, self.worst_thin)
        still = len(self.frontier) + self.thin + len(self.context.problem.cases) - self.taken
        return Unknown(reason, margin, still, note)


def search_inputs(context: Context) -> Verdict:
    """Branch and bound over the input."""
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(context.graph.xp) as workers:
        search = InputSearch.of(context, workers)
        try:
            return search.run()
        except DeadlinePassed:
            return search.unknown(Reason.OUT_OF_TIME)
