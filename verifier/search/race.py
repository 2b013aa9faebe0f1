"""Two searches over neurons by turns: with the root's boxes, and with boxes of each subproblem."""

from __future__ import annotations

import logging
from dataclasses import replace

from verifier.certify import Mark
from verifier.search.neuron_split import NeuronProblem, Refreshing
from verifier.search.neuron_tree import Begin, NeuronTree, Paused
from verifier.tensors import Array
from verifier.verdict import Unknown, Violated

log = logging.getLogger(__name__)

OF_SHALLOW, OF_DEEP = Refreshing(64, 10), Refreshing(64, 5)
"""How boxes are tightened in subproblems: of networks of one hidden layer, and of others."""
UNTIL_SHALLOW, UNTIL_DEEP = 0.4, 5.0
"""Seconds of a search before they are."""
TURN = 2.0
"""Turns are so many times as long as the one before."""
SUPPOSED = "boxes of neurons where the property fails are not in certificates yet"


def race(
    tree: NeuronTree,
    begun: tuple[NeuronProblem, Begin],
    clauses: tuple[Array, Array],
    mark: Mark,
    *,
    deep: bool,
) -> Violated | Unknown | None:
    """Go on with a search; where that lasts, begin another that tightens boxes of subproblems.

    With one hidden layer either may be better by far, and what is open says little of what is left
    to do: their turns get longer and longer. Of ``deep`` networks the one goes on, after a turn of
    each, that has less open. The clauses come with their nodes, which were made at the mark.
    """
    (problem, begin), steps, proof = begun, begun[0].bounds, tree.tree
    how, patience = (OF_DEEP, UNTIL_DEEP) if deep else (OF_SHALLOW, UNTIL_SHALLOW)
    patience = float("inf") if tree.context.strict else patience
    problems = problem, replace(problem, refreshing=how)
    begins = [begin, Begin(problems[1].roots(*clauses), steps.objective_steps)]
    branch = proof.restart(mark)
    branches, shares = [branch, replace(proof.restart(mark), lacking=SUPPOSED)], [1.0, 1.0]
    proof.resume(mark, branch)
    side = turn = 0
    while True:
        found = tree.run(problems[side], begins[side], patience)
        if not isinstance(found, Paused):
            return found
        log.info("%.3g of the tree of search %d is open", found.share, side)
        branches[side] = proof.restart(mark)
        begins[side], shares[side] = found.again(steps.split_steps), found.share
        side, turn = 1 - side, turn + 1
        patience *= 1 if deep else TURN
        if deep and turn > 1:
            side, patience = int(shares[1] < shares[0]), float("inf")
        proof.resume(mark, branches[side])
