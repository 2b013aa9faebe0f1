"""Exact linear expressions, rows and formulas, as the general path builds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np

from verifier.load.vnnlib.table import Table

MAX_ROWS = 1_000_000
MAX_BITS = 20_000


class TooLarge(Exception):
    """A number or a formula beyond our limits; the message says which."""


@dataclass(frozen=True)
class Linear:
    """sum of terms[v] * x[v] + constant."""

    terms: dict[int, Fraction]
    constant: Fraction

    def times(self, factor: Fraction) -> Linear:
        if factor.numerator.bit_length() + factor.denominator.bit_length() > MAX_BITS:
            raise TooLarge("met a product of too many digits; need a shorter one")
        terms = {variable: factor * coefficient for variable, coefficient in self.terms.items()}
        return Linear(terms, factor * self.constant)


def combine(parts: list[tuple[int, Linear]]) -> Linear:
    """The sum of the expressions, each times its factor."""
    terms: dict[int, Fraction] = {}
    for factor, part in parts:
        for variable, coefficient in part.terms.items():
            terms[variable] = terms.get(variable, Fraction(0)) + factor * coefficient
    return Linear(terms, sum((factor * part.constant for factor, part in parts), Fraction(0)))


class Row(NamedTuple):
    """sum of coefficients * x[variables] <= bound, or < where strict."""

    variables: tuple[int, ...]
    coefficients: tuple[Fraction, ...]
    bound: Fraction
    strict: bool


def row_of(smaller: Linear, larger: Linear, *, strict: bool) -> Row:
    """smaller <= larger, without vanishing terms; over one variable, with the coefficient +-1."""
    difference = combine([(1, smaller), (-1, larger)])
    terms = sorted((v, c) for v, c in difference.terms.items() if c)
    scale = abs(terms[0][1]) if len(terms) == 1 else 1
    variables = tuple(variable for variable, _ in terms)
    coefficients = tuple(coefficient / scale for _, coefficient in terms)
    return Row(variables, coefficients, -difference.constant / scale, strict)


class Disjunction(NamedTuple):
    """An or over clauses of rows, which starts at a position of the text."""

    position: int
    clauses: list[list[Row]]


# A conjunction of disjunctions: `and` joins them; only an `or` around them multiplies them out.
Formula = list[Disjunction]


def distribute(formula: Formula) -> list[list[Row]]:
    """The clauses of a conjunction of disjunctions."""
    n_clauses = 1
    for disjunction in formula:
        n_clauses *= len(disjunction.clauses)
        if n_clauses > MAX_ROWS:
            raise TooLarge(f"or over and makes more than {MAX_ROWS} clauses; need fewer")
    largest = sum(max(len(clause) for clause in part.clauses) for part in formula)
    if n_clauses * largest > MAX_ROWS:
        raise TooLarge(f"or over and makes more than {MAX_ROWS} rows; need fewer")
    combinations = product(*(disjunction.clauses for disjunction in formula))
    return [[row for clause in combination for row in clause] for combination in combinations]


@dataclass
class Collector:
    """Collects exact disjunctions, and turns them into arrays."""

    disjunctions: list[Disjunction] = field(default_factory=list)

    def table(self) -> Table:
        """Everything collected, in doubles."""
        clauses = [clause for part in self.disjunctions for clause in part.clauses]
        keys = [part.position for part in self.disjunctions for _ in part.clauses]
        rows = [row for clause in clauses for row in clause]
        exact = [row.bound for row in rows]
        bound = [nearest(value) for value in exact]
        return Table(
            key=np.array(keys, dtype=np.int64),
            rows=np.array([len(clause) for clause in clauses], dtype=np.int64),
            entries=np.array([len(row.variables) for row in rows], dtype=np.int64),
            variable=np.array([v for row in rows for v in row.variables], dtype=np.int32),
            coefficient=np.array(
                [nearest(c) for row in rows for c in row.coefficients], dtype=float
            ),
            bound=np.array(bound, dtype=float),
            strict=np.array([row.strict for row in rows], dtype=np.bool_),
            rounded=np.array([a != b for a, b in zip(bound, exact, strict=True)], dtype=np.bool_),
        )


def nearest(value: Fraction) -> float:
    """The nearest double."""
    try:
        rounded = float(value)
    except OverflowError:
        rounded = float("inf")
    if abs(rounded) == float("inf") or (rounded == 0) != (value == 0):
        raise TooLarge("met a number beyond the range of doubles; need one within")
    return rounded
