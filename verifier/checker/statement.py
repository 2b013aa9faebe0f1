"""What is to be proved, as arrays: the cases of a property, grouped by the rows they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from verifier.checker.arithmetic import UNIT, Arithmetic, Floats, Ints, round_down, round_up
from verifier.checker.cases import Case, Property, Row
from verifier.checker.errors import Rejected, require_time

MAX_LOOKS = 1_000_000
"""Cases that a certificate leaves out must be empty: so many steps are taken to see it."""


@dataclass(frozen=True, eq=False)
class Group:
    """Cases whose clauses have the same rows, and differ in boxes and bounds only.

    Case g is unsafe where for some clause all its rows have coefficients . (x, y) <= bounds[g].
    """

    coefficients: Floats
    """[rows, n + m]"""
    error: Floats
    """[rows, n + m]: what rounding the coefficients to doubles changed, at most"""
    clause: Ints
    """int64 [rows], ascending"""
    clauses: int
    root: Ints
    """int64 [cases]: the tree's root of each case"""
    lower: Floats
    """[cases, n], rounded outward"""
    upper: Floats
    bounds: Floats
    """[cases, rows], rounded up"""


def groups(
    prop: Property, roots: Ints, arithmetic: Arithmetic, deadline: float = float("inf")
) -> list[Group]:
    """The cases that are the roots of a tree; all others must be empty.

    Raises:
        Rejected: the roots are not ascending case numbers, or leave out a case with a point.
        OutOfTimeError: the deadline has passed.
    """
    numbers: list[int] = roots.tolist()
    if not all(a < b for a, b in pairwise([-1, *numbers, prop.n_cases])):
        raise Rejected(f"roots: the case numbers must ascend, from 0 to {prop.n_cases - 1} at most")
    if len(numbers) < prop.n_cases:
        _require_listed(prop, set(numbers), deadline)
    members: dict[object, list[tuple[int, Case]]] = {}
    for root, number in enumerate(numbers):
        require_time(deadline)
        case = prop.case(number)
        pattern = tuple(tuple(row.coefficients for row in clause) for clause in case.clauses)
        members.setdefault(pattern, []).append((root, case))
    return [_group(prop, part, arithmetic) for part in members.values()]


def _require_listed(prop: Property, listed: set[int], deadline: float) -> None:
    """Every case with a point must be listed."""
    looks = iter(range(MAX_LOOKS + len(listed) * len(prop.choices)))

    def tick() -> None:
        require_time(deadline)
        if next(looks, None) is None:
            raise Rejected("roots: too many cases are left out to see that they are empty")

    for number in prop.nonempty(tick):
        if number not in listed:
            prop.case(number)  # says what of it is not supported
            raise Rejected(f"roots: case {number} is left out, though its box is not empty")


def _group(prop: Property, members: list[tuple[int, Case]], arithmetic: Arithmetic) -> Group:
    cases = [case for _, case in members]
    rows = [[row for clause in case.clauses for row in clause] for case in cases]
    sizes = [len(clause) for clause in cases[0].clauses]
    return Group(
        *_coefficients(rows[0], prop.n_inputs + prop.n_outputs, arithmetic),
        np.repeat(np.arange(len(sizes)), sizes),
        len(sizes),
        np.array([root for root, _ in members]),
        arithmetic.rounded([case.lower for case in cases], round_down),
        arithmetic.rounded([case.upper for case in cases], round_up),
        arithmetic.rounded([[row.bound for row in part] for part in rows], round_up),
    )


def _coefficients(rows: Sequence[Row], size: int, arithmetic: Arithmetic) -> tuple[Floats, Floats]:
    values, error = arithmetic.zeros(len(rows), size), arithmetic.zeros(len(rows), size)
    for place, row in enumerate(rows):
        for variable, coefficient in row.coefficients:
            nearest = coefficient if arithmetic.exact else float(coefficient)
            values[place, variable] = nearest
            if nearest != coefficient:
                error[place, variable] = 2 * UNIT * abs(nearest) + arithmetic.tiny
    return values, error
