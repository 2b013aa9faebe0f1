"""Two searches over neurons by turns: with the root's boxes, and with boxes of each subproblem."""

from __future__ import annotations

import logging
from dataclasses import replace

from verifier.search.hulling import Rest, with_cuts
from verifier.search.neuron_split import NeuronProblem, Refreshing
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

TIGHTENED = Refreshing(64, 10)
"""How boxes are tightened in subproblems."""
UNTIL = 0.4
"""Counted seconds of a search before they are."""
TURN = 2.0
"""Turns are so many times as long as the one before."""
SUPPOSED = "boxes of neurons where the property fails are not in certificates yet"


def race(tree: NeuronTree, problem: NeuronProblem, rest: Rest) -> Violated | Unknown | None:
    """Go on with a search; where that lasts, begin another that tightens boxes of subproblems.

    Either may be better by far, and what is open says little of what is left to do: their turns get
    longer and longer. The first has planes of hulls as cuts. No certificate has a place for boxes
    of subproblems: where one must be, they are left alone.
    """
    steps, proof, mark = problem.bounds, tree.tree, rest.mark
    context = tree.context
    patience = context.for_certificates(UNTIL)
    problems = with_cuts(problem, rest.hulled), replace(problem, refreshing=TIGHTENED)
    begins = [rest.begin, Begin(problems[1].roots(*rest.clauses), steps.objective_steps)]
    branch = proof.restart(mark)
    branches = [branch, replace(proof.restart(mark), lacking=SUPPOSED)]
    proof.resume(mark, branch)
    side = 0
    while True:
        found = tree.run(problems[side], begins[side], patience)
        if not isinstance(found, Paused):
            return found
        log.info("%.3g of the tree of search %d is open", found.share, side)
        branches[side] = proof.restart(mark)
        begins[side] = found.again(steps.split_steps)
        side, patience = 1 - side, TURN * patience
        proof.resume(mark, branches[side])
