"""Where interval arithmetic is exact, or as good as rows that go back to the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.checker.affine import Affine, Indices, Sparse
from verifier.checker.tensors import Node


def told_by_intervals(nodes: Sequence[Node], inputs: int) -> set[int]:
    """The values of which interval arithmetic tells as much as rows do; 0 is the input.

    Affine functions of inputs that each meet once; functions of single numbers whose boxes are
    as tight as can be, since a line below phi is no higher at a box's ends than phi is somewhere
    in it; and arrangements of such values. Nothing is unsound about a wrong answer.
    """
    told, origin = {0}, {0: np.arange(inputs)}
    for value, node in enumerate(nodes, 1):
        known, rule = told.issuperset(node.inputs), node.rule
        if not isinstance(rule, Affine):
            exact = rule.arity == 1 and (known or not rule.tilted)
        elif all(i in origin for i in node.inputs):
            terms = _terms(rule, np.concatenate([origin[i] for i in node.inputs]))
            if len(terms) == 1:
                origin[value] = terms[0]
            ordered = np.sort(terms, 0)
            exact = not ((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)).any()
        else:
            exact = known and rule.separate
        if exact:
            told.add(value)
    return told


def _terms(rule: Affine, origin: Indices) -> Indices:
    """Of which inputs the terms of each element are: [terms, ...]; -1: of none.

    Of a full matrix, whose rows have the same terms, for one of them, unless that is only one term.
    """
    matrix = rule.matrix
    if isinstance(matrix, Sparse):
        terms = np.where(matrix.scale != 0, origin[matrix.index], -1)
        return terms.max(0, keepdims=True) if rule.separate else terms
    groups, m, k = matrix.weight.shape
    laid = origin.reshape(matrix.copies, groups, k, matrix.columns)
    if k > 1:
        return np.moveaxis(laid, 2, 0)
    return np.broadcast_to(laid, (matrix.copies, groups, m, matrix.columns)).reshape(1, -1)
