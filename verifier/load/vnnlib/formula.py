"""Exact linear expressions, rows and formulas, as the general path builds them."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import numpy as np

from verifier.load.vnnlib.table import Table
from verifier.load.vnnlib.text import Text
from verifier.records import dataclass

MAX_ROWS = 1_000_000
MAX_BITS = 20_000


class TooLarge(Exception):
    """A number or a formula beyond our limits; the message says which."""


# Integers are kept as such: they are far quicker than fractions.
Exact = Fraction | int


@dataclass(frozen=True)
class Linear:
    """sum of terms[v] * x[v] + constant."""

    terms: dict[int, Exact]
    constant: Exact

    def times(self, factor: Exact) -> Linear:
        if factor.numerator.bit_length() + factor.denominator.bit_length() > MAX_BITS:
            raise TooLarge("met a product of too many digits; need a shorter one")
        terms = {variable: factor * coefficient for variable, coefficient in self.terms.items()}
        return Linear(terms, factor * self.constant)


def combine(parts: list[tuple[int, Linear]]) -> Linear:
    """The sum of the expressions, each times its factor."""
    terms: dict[int, Exact] = {}
    constant: Exact = 0
    for factor, part in parts:
        for variable, coefficient in part.terms.items():
            terms[variable] = terms.get(variable, 0) + factor * coefficient
        constant += factor * part.constant
    return Linear(terms, constant)


class Row(NamedTuple):
    """sum of coefficients * x[variables] <= bound, or < where strict."""

    variables: tuple[int, ...]
    coefficients: tuple[Exact, ...]
    bound: Exact
    strict: bool

    def mirrored(self) -> Row:
        """The same with >= for <=."""
        coefficients = tuple(-coefficient for coefficient in self.coefficients)
        return self._replace(coefficients=coefficients, bound=-self.bound)


def row_of(difference: Linear, *, strict: bool) -> Row:
    """difference <= 0, without vanishing terms; over one variable, with the coefficient +-1."""
    terms = sorted((v, c) for v, c in difference.terms.items() if c)
    bound = -difference.constant
    if len(terms) == 1 and abs(terms[0][1]) != 1:
        ((variable, coefficient),) = terms
        bound = Fraction(bound) / abs(coefficient)
        terms = [(variable, 1 if coefficient > 0 else -1)]
    variables = tuple(variable for variable, _ in terms)
    return Row(variables, tuple(coefficient for _, coefficient in terms), bound, strict)


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


def table_of(formula: Formula, text: Text) -> Table:
    """The clauses of a conjunction of disjunctions, in doubles.

    Raises:
        PropertyError: a number is beyond their range.
    """
    rows = [row for part in formula for clause in part.clauses for row in clause]
    coefficients, bound = [], []
    for part in formula:
        try:
            for clause in part.clauses:
                coefficients.extend(nearest(c) for row in clause for c in row.coefficients)
                bound.extend(nearest(row.bound) for row in clause)
        except TooLarge as problem:
            raise text.error(part.position, str(problem)) from None
    keys = [part.position for part in formula for _ in part.clauses]
    sizes = [len(clause) for part in formula for clause in part.clauses]
    rounded = [value != row.bound for value, row in zip(bound, rows, strict=True)]
    return Table(
        key=np.array(keys, dtype=np.int64),
        rows=np.array(sizes, dtype=np.int64),
        entries=np.array([len(row.variables) for row in rows], dtype=np.int64),
        variable=np.array([v for row in rows for v in row.variables], dtype=np.int32),
        coefficient=np.array(coefficients, dtype=np.float64),
        bound=np.array(bound, dtype=np.float64),
        strict=np.array([row.strict for row in rows], dtype=np.bool_),
        rounded=np.array(rounded, dtype=np.bool_),
    )


def nearest(value: Exact) -> float:
    """The nearest double.

    Raises:
        TooLarge: it is infinite, or zero for a number that is not.
    """
    try:
        rounded = float(value)
    except OverflowError:
        rounded = math.inf
    if math.isinf(rounded) or (rounded == 0 and value != 0):
        raise TooLarge("met a number beyond the range of doubles; need one within")
    return rounded
