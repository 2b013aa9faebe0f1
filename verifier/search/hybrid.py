"""Boxes of a search over inputs, closed by searches over the signs of the neurons in them.

Of a deep network with few inputs, boxes cost seconds, and most of what they lack is the loss of
hidden neurons' bounds: with slopes of their own these are far tighter, and some hundred
subproblems close what many more boxes would. What neither closes is bisected. Boxes take over a
network that was reduced to its neurons over a region around them: no rows are swept through the
graph for them.
"""

from __future__ import annotations

import logging
from dataclasses import field, replace

from verifier.attack import Target
from verifier.bounds import Enclosure, HiddenOptimiser, crown, first_bounds
from verifier.bounds.reduced import Reduced, Reducer
from verifier.bounds.reducible import is_reducible
from verifier.bounds.root import refine_outer, refine_within
from verifier.bounds.sweep import Ascent, gaps, sweep_in_parts
from verifier.bounds.within import Outer, Slopes
from verifier.certify import ProofTree
from verifier.certify.proof_tree import MOST_BYTES
from verifier.records import dataclass
from verifier.search.context import Context
from verifier.search.hunt import Hunt
from verifier.search.input_problem import InputProblem
from verifier.search.input_split import inherited
from verifier.search.neuron_split import NeuronProblem
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.search.sign_patterns import SignPatterns
from verifier.search.subproblems import Subproblems
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.tensors import Array, Float, single_precision
from verifier.verdict import Violated

log = logging.getLogger(__name__)

PATIENCE = 0.2
"""Counted seconds for a box, and as many more each time that half of what is open is closed."""
TRIED = 16
"""Once so many boxes were tried, some must have been closed."""
HELD_BYTES = 1_000_000_000
"""So much memory may networks that halves are to take over have."""
LINE = 0.5
"""What lower lines lose, as a share of the most that they can."""


@dataclass(frozen=True, eq=False)
class Left:
    """A box that was not closed."""

    box: Subproblems
    scores: Float[Array, "1 n"]
    """Which input to split."""
    outer: Outer | None
    """What its halves are to take over."""


@dataclass(eq=False)
class Hybrid:
    """Closes boxes by their neurons; nothing of it is recorded for certificates."""

    context: Context
    problem: InputProblem
    workers: Workers
    outer: dict[int, Outer] = field(default_factory=dict[int, Outer])
    """What open boxes take over, by their number in the proof tree."""
    tried: int = 0
    closed: int = 0
    unable: bool = False
    """Can the network not be reduced to its neurons?"""

    @property
    def pays(self) -> bool:
        """Is it worth going on?"""
        return not self.unable and (self.tried < TRIED or self.closed > 0)

    def begin(self, boxes: Subproblems) -> None:
        """Reduce the network over all that is open, for these boxes to take over.

        Raises:
            DeadlinePassed: before that.
        """
        xp = self.context.graph.xp
        # What holds in each of the boxes is known, though not for what lies between them.
        hull = replace(
            boxes[:1],
            lower=xp.amin(boxes.lower, 0)[None, :],
            upper=xp.amax(boxes.upper, 0)[None, :],
            hidden_lower=xp.amin(boxes.hidden_lower, 0)[None, :],
            hidden_upper=xp.amax(boxes.hidden_upper, 0)[None, :],
        )
        log.info("boxes are closed by searches over their neurons from here on")
        made = self._reduced(hull, None)
        self.unable = made is None
        if made is not None:
            self.hand_over(boxes, Outer.of(*made))

    def hand_over(self, boxes: Subproblems, outer: Outer | None) -> None:
        """Keep what open boxes take over."""
        if outer is not None:
            self.outer.update(dict.fromkeys(boxes.node.tolist(), outer))

    def close(self, box: Subproblems) -> Violated | Left | None:
        """Decide a box (one row); None: no clause is met there.

        Raises:
            DeadlinePassed: before the network was reduced over it.
        """
        outer = self.outer.pop(int(box.node[0]), None)
        made = self._reduced(box, outer)
        problem = None if made is None else self._searched(box, made[0])
        if made is None or problem is None:
            self.unable = True
            return Left(box, box.lower * 0, None)
        self.tried += 1
        xp = problem.root.graph.xp
        scratch = ProofTree(xp, 1, hidden_bytes=2 * MOST_BYTES)
        clauses = xp.nonzero(box.live[0])[0]
        roots = problem.roots(clauses, scratch.by_clause(xp.ints(xp.zeros(1)), clauses))
        tree = self._tree(box, scratch)
        found = tree.run(problem, Begin(roots, problem.bounds.objective_steps), PATIENCE)
        before, count = float(box.margin[0]), tree.bounded
        if found is None or isinstance(found, Violated):
            self.closed += found is None
            log.info("box lacking %.4g: closed, %d subproblems", before, count)
            return found
        margin = found.root_margin if isinstance(found, Paused) else found.margin
        log.info("box lacking %.4g: %.4g left, %d subproblems", before, margin, count)
        box = self._narrowed(box, made[0].enclosure, margin)
        held = sum({id(x): x.bytes for x in self.outer.values()}.values())
        passed_on = Outer.of(*made) if held < HELD_BYTES else outer
        return Left(box, self._scores(problem, roots), passed_on)

    def _reduced(self, box: Subproblems, outer: Outer | None) -> tuple[Reducer, Slopes] | None:
        """The network over a box, hidden neurons bounded by slopes of their own."""
        graph, region = self.context.graph, Box(box.lower, box.upper)
        bounds = replace(self.context.bounds, spread=self.workers)
        how, tiler = (single_precision(graph.xp), self.workers), self.problem.tiler
        if outer is not None:
            return refine_within(outer, bounds, region, how)
        known = inherited(self.problem, box)
        known = first_bounds(graph, region, bounds, known) or known
        if tiler is not None:
            tiler.move(region, single=bounds.single)
        optimiser = HiddenOptimiser(0, tiler=tiler)
        plain = crown(graph, region, bounds, known, optimiser=optimiser).enclosure
        return refine_outer(plain, bounds, how) if is_reducible(plain) else None

    def _searched(self, box: Subproblems, reducer: Reducer) -> NeuronProblem | None:
        """What is searched over signs; None: that is none."""
        context = self.context
        settings, root = (context.bounds, context.settings), reducer.enclosure
        found = NeuronProblem.of(root, context.objective, box.thresholds[0], settings, reducer)
        return None if found.reduced is None else replace(found, recorded=False)

    def _tree(self, box: Subproblems, scratch: ProofTree) -> NeuronTree:
        """A search of its own, without attacks: the search over inputs has those."""
        context, case = self.context, int(box.case[0])
        target = Target.of(context.graph, context.problem.rows)
        tree = NeuronTree(context, scratch, target, self.workers, Hunt(context, case), case)
        tree.attacked, tree.hunt.counted = True, float("inf")
        return tree

    def _narrowed(self, box: Subproblems, root: Enclosure, margin: float) -> Subproblems:
        """The box with what is known of its hidden neurons now."""
        xp, boxes = root.graph.xp, [root.boxes[v] for v in self.problem.hidden_values]
        known = min(0.0, max(float(box.margin[0]), margin))
        box = replace(box, margin=xp.doubles(xp.full((1,), known)))
        if not boxes:
            return box
        lower, upper = ([getattr(b, side) for b in boxes] for side in ("lower", "upper"))
        return replace(box, hidden_lower=xp.cat(lower, 1), hidden_upper=xp.cat(upper, 1))

    def _scores(self, problem: NeuronProblem, roots: SignPatterns) -> Float[Array, "1 n"]:
        """What each input has to do with what the clauses' rows lose at neurons."""
        net, bounds = problem.reduced, problem.bounds
        assert net is not None
        xp, patterns = net.xp, roots.patterns(problem.members[roots.clause])
        ascent = Ascent(bounds.objective_steps, bounds.split_rate, bounds.learning_rate_decay)
        found = sweep_in_parts(net, patterns, ascent, self.workers)
        chord, line = gaps(net, patterns, found.passed)
        cost = ((chord + LINE * line) * (1 - found.proved)[:, None]).sum(0)
        moved = abs(_moved(net))
        share = moved / (moved.sum(1)[:, None] + xp.tiny)
        return problem.root.graph.xp.floats(xp.numpy(cost[None, :] @ share))


def _moved(net: Reduced) -> Float[Array, "neurons n"]:
    """How far inputs move neurons, about: if all passed on what their chords do."""
    moved = net.xp.copy(net.weights)
    for layer in net.layers:
        before = slice(layer.start)
        passed = net.chord[before, None] * moved[before]
        moved[layer] = moved[layer] + net.links[layer, before] @ passed
    return moved
