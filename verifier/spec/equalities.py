"""Inputs that a property equates, and assertions over one of each instead."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from verifier.spec.query import Assertion, Query
from verifier.spec.ragged import Integers, starts_of


class InexactError(Exception):
    """A sum of coefficients is no double."""


class _Row(NamedTuple):
    """sum of terms[v] * x[v] <= bound, or < where strict."""

    terms: tuple[tuple[int, float], ...]
    bound: float
    strict: bool
    rounded: bool

    @property
    def most(self) -> float:
        """No less than the bound in the file."""
        return float(np.nextafter(self.bound, np.inf)) if self.rounded else self.bound

    @property
    def mirrored(self) -> tuple[tuple[int, float], ...]:
        return tuple((v, -c) for v, c in self.terms)


def equated(query: Query) -> Integers:
    """The number, among the distinct inputs, of each input: int64 [n_inputs].

    Two inputs are one where x - y <= 0 and y - x <= 0 hold in every counterexample.
    """
    pairs = _pairs(query)
    if not pairs:
        return np.arange(query.n_inputs)
    leader = list(range(query.n_inputs))

    def find(variable: int) -> int:
        while leader[variable] != variable:
            variable = leader[variable]
        return variable

    for first, second in pairs:
        one, other = sorted((find(first), find(second)))
        leader[other] = one
    leaders = np.array([find(v) for v in range(query.n_inputs)], dtype=np.int64)
    _, place = np.unique(leaders, return_inverse=True)
    return place.reshape(-1).astype(np.int64)


def _pairs(query: Query) -> list[tuple[int, int]]:
    """Inputs that are not above each other."""
    below: set[tuple[int, int]] = set()
    for assertion in query.assertions:
        if assertion.n_clauses != 1:
            continue
        rows = np.flatnonzero(np.diff(assertion.row_start) == 2)
        entry = assertion.row_start[rows]
        first, second = assertion.variable[entry], assertion.variable[entry + 1]
        a, b = assertion.coefficient[entry], assertion.coefficient[entry + 1]
        plain = (assertion.bound[rows] == 0) & ~assertion.rounded[rows] & ~assertion.strict[rows]
        wanted = plain & (second < query.n_inputs) & (a == -b)
        for x, y, c in zip(*(z[wanted].tolist() for z in (first, second, a)), strict=True):
            below.add((x, y) if c > 0 else (y, x))
    return [(x, y) for x, y in sorted(below) if (y, x) in below]


def renamed(assertion: Assertion, number: Integers) -> Assertion:
    """The assertion over other variables: ``number`` is int64 [variables].

    Variables that become one add up. Rows that always hold are dropped, and clauses whose rows
    contradict each other.

    Raises:
        InexactError: a sum of coefficients is no double.
    """
    clauses = []
    for start, stop in zip(assertion.clause_start, assertion.clause_start[1:], strict=False):
        rows = [_renamed_row(assertion, row, number) for row in range(start, stop)]
        rows = [row for row in rows if row.terms or not _always(row)]
        if not _contradictory(rows):
            clauses.append(rows)
    return _assertion(clauses)


def _renamed_row(assertion: Assertion, row: int, number: Integers) -> _Row:
    entries = slice(assertion.row_start[row], assertion.row_start[row + 1])
    totals: dict[int, Fraction] = {}
    for variable, coefficient in zip(
        number[assertion.variable[entries]].tolist(),
        assertion.coefficient[entries].tolist(),
        strict=True,
    ):
        totals[variable] = totals.get(variable, Fraction(0)) + Fraction(coefficient)
    terms = tuple((v, float(c)) for v, c in sorted(totals.items()) if c)
    if any(c != totals[v] for v, c in terms):
        raise InexactError
    bound, strict = float(assertion.bound[row]), bool(assertion.strict[row])
    rounded = bool(assertion.rounded[row])
    if len(terms) == 1 and abs(terms[0][1]) != 1:
        ((variable, coefficient),) = terms
        exact = Fraction(bound) / abs(Fraction(coefficient))
        bound = float(exact)
        if Fraction(bound) != exact or (rounded and abs(coefficient) != 2):
            # Errors of the file's number and of the quotient add up.
            bound, rounded = float(np.nextafter(bound, np.inf)), True
        terms = ((variable, 1.0 if coefficient > 0 else -1.0),)
    return _Row(terms, bound, strict, rounded)


def _always(row: _Row) -> bool:
    """Does a row without variables hold, whatever its rounding?"""
    return row.bound > 0 or (row.bound == 0 and not row.strict and not row.rounded)


def _contradictory(rows: Sequence[_Row]) -> bool:
    """Do some two rows leave nothing: a x <= b and -a x <= c, where b + c < 0?"""
    least: dict[tuple[tuple[int, float], ...], float] = {}
    for row in rows:
        least[row.terms] = min(row.most, least.get(row.terms, np.inf))
    for row in rows:
        total = Fraction(row.most) + Fraction(least.get(row.mirrored, -row.most + 1.0))
        if total < 0 or (total == 0 and row.strict):
            return True
    return False


def _assertion(clauses: Sequence[Sequence[_Row]]) -> Assertion:
    rows = [row for clause in clauses for row in clause]
    return Assertion(
        clause_start=starts_of(np.array([len(c) for c in clauses], dtype=np.int64)),
        row_start=starts_of(np.array([len(row.terms) for row in rows], dtype=np.int64)),
        variable=np.array([v for row in rows for v, _ in row.terms], dtype=np.int32),
        coefficient=np.array([c for row in rows for _, c in row.terms], dtype=np.float64),
        bound=np.array([row.bound for row in rows], dtype=np.float64),
        strict=np.array([row.strict for row in rows], dtype=np.bool_),
        rounded=np.array([row.rounded for row in rows], dtype=np.bool_),
    )
