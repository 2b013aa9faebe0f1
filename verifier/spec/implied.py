"""Bounds of inputs that follow from linear relations to others: 0 <= x <= y gives y >= 0."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from verifier.spec.query import Assertion, Query

SWEEPS = 8
"""Passes over the relations: one may give the bound that another one needs."""

Bounds = dict[tuple[int, int], Fraction]
"""By an input and a sign s: an upper bound of s x."""
Relation = tuple[list[tuple[int, Fraction]], Fraction]
"""Coefficients, and a bound of their sum."""


def implied_bounds(query: Query) -> Assertion | None:
    """Bounds for inputs that lack them, as one conjunction; None where nothing can be added.

    Only what holds in every counterexample counts: assertions of one clause.
    """
    bounds, relations = _known(query)
    added: Bounds = {}
    for _ in range(SWEEPS if relations else 0):
        found = [pair for relation in relations for pair in _derived(*relation, bounds)]
        new = {key: most for key, most in found if key not in bounds}
        if not new:
            break
        bounds.update(new)
        added.update(new)
    return _conjunction(added) if added else None


def _known(query: Query) -> tuple[Bounds, list[Relation]]:
    """The bounds and relations of inputs, none of them tighter than the file's."""
    bounds: Bounds = {}
    relations: list[Relation] = []
    alone = [a for a in query.assertions if a.n_clauses == 1]
    if not any(_relating(a, query.n_inputs).any() for a in alone):
        return bounds, relations
    for assertion in alone:
        of_inputs = np.ones(assertion.n_rows, dtype=np.bool_)
        of_inputs[assertion.row_of_entry()[assertion.variable >= query.n_inputs]] = False
        for row in np.flatnonzero(of_inputs):
            terms, most = _outward(assertion, int(row))
            if len(terms) > 1:
                relations.append((terms, most))
            elif terms:
                key = terms[0][0], int(terms[0][1])
                bounds[key] = min(most, bounds.get(key, most))
    return bounds, relations


def _relating(assertion: Assertion, n_inputs: int) -> np.ndarray:
    """Which rows relate several inputs, and nothing else, to each other?"""
    several = np.diff(assertion.row_start) > 1
    last = np.maximum(assertion.row_start[1:] - 1, 0)
    several[several] = assertion.variable[last[several]] < n_inputs
    return several


def _outward(assertion: Assertion, row: int) -> Relation:
    entries = slice(assertion.row_start[row], assertion.row_start[row + 1])
    pairs = zip(
        assertion.variable[entries].tolist(), assertion.coefficient[entries].tolist(), strict=True
    )
    bound = float(assertion.bound[row])
    if assertion.rounded[row]:
        bound = float(np.nextafter(bound, np.inf))
    return [(v, Fraction(c)) for v, c in pairs], Fraction(bound)


def _derived(
    terms: list[tuple[int, Fraction]], bound: Fraction, bounds: Bounds
) -> Iterator[tuple[tuple[int, int], Fraction]]:
    """What a relation says about each of its inputs, the others being at their bounds.

    c x <= bound - sum of c_i x_i, and -c_i x_i is at most |c_i| times the bound of its sign.
    """
    most = {v: bounds.get((v, -1 if c > 0 else 1)) for v, c in terms}
    for variable, coefficient in terms:
        others = [(abs(c), most[v]) for v, c in terms if v != variable]
        if all(m is not None for _, m in others):
            total = bound + sum((c * m for c, m in others if m is not None), Fraction(0))
            yield (variable, 1 if coefficient > 0 else -1), total / abs(coefficient)


def _conjunction(bounds: Bounds) -> Assertion:
    count = len(bounds)
    return Assertion(
        clause_start=np.array([0, count]),
        row_start=np.arange(count + 1),
        variable=np.array([v for v, _ in bounds], dtype=np.int32),
        coefficient=np.array([float(sign) for _, sign in bounds]),
        bound=np.array([float(most) for most in bounds.values()]),
        strict=np.zeros(count, dtype=np.bool_),
        rounded=np.ones(count, dtype=np.bool_),
    )
