"""What is to be proved, as arrays: the cases of a property, grouped by the rows they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.checker.arithmetic import UNIT, Arithmetic, Floats, Ints, round_down, round_up
from verifier.checker.cases import Case, Property, Row
from verifier.checker.errors import Rejected

MAX_UNLISTED = 10_000_000
"""Cases that a certificate may leave out, since they are empty, are looked at one by one."""


@dataclass(frozen=True, eq=False)
class Group:
    """Cases whose clauses have the same rows, and differ in boxes and bounds only.

    Case g is unsafe where for some clause all its rows have outputs . y + inputs . x <= bounds[g].
    """

    outputs: Floats
    """[rows, m]"""
    inputs: Floats
    """[rows, n]"""
    error: tuple[Floats, Floats]
    """What rounding the coefficients to doubles changed, at most: as outputs and inputs."""
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


def groups(prop: Property, roots: Ints, arithmetic: Arithmetic) -> list[Group]:
    """The cases that are the roots of a tree; all others must be empty.

    Raises:
        Rejected: the roots are not ascending case numbers, or leave out a case with a point.
    """
    numbers = roots.tolist()
    ascending = all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
    if numbers and not (ascending and numbers[0] >= 0 and numbers[-1] < prop.n_cases):
        raise Rejected(f"roots: the case numbers must ascend, from 0 to {prop.n_cases - 1} at most")
    if prop.n_cases - len(numbers) > MAX_UNLISTED:
        raise Rejected(f"roots: {prop.n_cases - len(numbers)} cases are left out: too many")
    listed = set(numbers)
    for number in range(prop.n_cases):
        if number not in listed and not _empty(prop.case(number)):
            raise Rejected(f"roots: case {number} is left out, though its box is not empty")
    members: dict[object, list[tuple[int, Case]]] = {}
    for root, number in enumerate(numbers):
        case = prop.case(number)
        pattern = tuple(tuple(row.coefficients for row in clause) for clause in case.clauses)
        members.setdefault(pattern, []).append((root, case))
    return [_group(prop, part, arithmetic) for part in members.values()]


def _empty(case: Case) -> bool:
    return any(low > high for low, high in zip(case.lower, case.upper, strict=True))


def _group(prop: Property, members: list[tuple[int, Case]], arithmetic: Arithmetic) -> Group:
    clauses = members[0][1].clauses
    rows = [row for clause in clauses for row in clause]
    coefficients, error = _coefficients(rows, prop.n_inputs + prop.n_outputs, arithmetic)
    cases = [case for _, case in members]
    bounds = [[_upward(row.bound, arithmetic) for c in case.clauses for row in c] for case in cases]
    n = prop.n_inputs
    return Group(
        coefficients[:, n:],
        coefficients[:, :n],
        (error[:, n:], error[:, :n]),
        np.repeat(np.arange(len(clauses)), [len(clause) for clause in clauses]),
        len(clauses),
        np.array([root for root, _ in members]),
        _array([[_downward(x, arithmetic) for x in case.lower] for case in cases], arithmetic),
        _array([[_upward(x, arithmetic) for x in case.upper] for case in cases], arithmetic),
        _array(bounds, arithmetic).reshape(len(cases), len(rows)),
    )


def _coefficients(rows: Sequence[Row], size: int, arithmetic: Arithmetic) -> tuple[Floats, Floats]:
    values, error = arithmetic.zeros(len(rows), size), arithmetic.zeros(len(rows), size)
    for place, row in enumerate(rows):
        for variable, coefficient in row.coefficients:
            nearest = coefficient if arithmetic.exact else float(coefficient)
            values[place, variable] = nearest
            if nearest != coefficient:
                error[place, variable] = 2 * UNIT * abs(float(coefficient)) + arithmetic.tiny
    return values, error


def _array(x: list[list[object]], arithmetic: Arithmetic) -> Floats:
    return np.array(x, dtype=object if arithmetic.exact else np.float64)


def _downward(x: object, arithmetic: Arithmetic) -> object:
    return x if arithmetic.exact else round_down(x)  # type: ignore[arg-type]


def _upward(x: object, arithmetic: Arithmetic) -> object:
    return x if arithmetic.exact else round_up(x)  # type: ignore[arg-type]
