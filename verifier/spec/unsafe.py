"""The ways to be unsafe: clauses of linear rows that all cases of a query share."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from verifier.errors import PropertyError
from verifier.records import dataclass
from verifier.spec.choices import Choice
from verifier.spec.query import Booleans, Floats, Query
from verifier.spec.ragged import Integers, gather_pieces, starts_of
from verifier.tensors import distinct

MAX_CLAUSES = 100_000
MAX_COEFFICIENTS = 200_000_000


@dataclass(frozen=True, eq=False)
class UnsafeRows:
    """The rows of all clauses, shared by all cases; the bounds differ between cases.

    Every clause has a row: what always holds is a row of zeros with the bound 0.

    Attributes:
        output_coefficients: float64 [rows, n_outputs]
        input_coefficients: float64 [rows, n_inputs], None where no row mentions an input
        clause: int64 [rows], ascending, 0 .. clauses - 1
        strict: bool [rows], where the property says < rather than <=
    """

    output_coefficients: Floats
    input_coefficients: Floats | None
    clause: Integers
    strict: Booleans

    @property
    def n_clauses(self) -> int:
        return int(self.clause[-1]) + 1


def canonical_order(rows: UnsafeRows, present: Booleans) -> tuple[Integers, Integers]:
    """Numbers of rows and clauses that follow from a case's meaning alone.

    Only clauses that are ``present`` (bool [rows]) count; in each, rows go by their coefficients
    over all inputs and then all outputs, lexicographically, and rows of the same coefficients are
    one. Returns int64 [rows] and int64 [clauses]; -1 where there is none.
    """
    parts = [rows.output_coefficients]
    if rows.input_coefficients is not None:
        parts.insert(0, rows.input_coefficients)
    matrix = np.concatenate(parts, axis=1) + 0.0
    number = np.full(len(matrix), -1, dtype=np.int64)
    clause_number = np.full(rows.n_clauses, -1, dtype=np.int64)
    clauses = distinct(rows.clause[present])
    clause_number[clauses] = np.arange(len(clauses))
    members = np.flatnonzero(clause_number[rows.clause] >= 0)
    matrix, clause = matrix[members], rows.clause[members]
    matrix = matrix[:, (matrix != matrix[:1]).any(axis=0)]
    order = np.lexsort((*matrix.T[::-1], clause))
    matrix, clause = matrix[order], clause[order]
    new = (np.diff(clause) != 0) | (matrix[1:] != matrix[:-1]).any(axis=1)
    number[members[order]] = np.concatenate([[0], np.cumsum(new)])[: len(order)]
    return number, clause_number


@dataclass(frozen=True, eq=False)
class BoundColumns:
    """The bounds that one choice gives to the rows at `place`: float64 [alternatives, columns]."""

    place: Integers
    bounds: Floats
    nearest: Floats


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the rows come from: row s is row `element[s]` of choice `owner[s]`, in clause[s]."""

    clause: Integers
    owner: Integers
    element: Integers

    def of(self, owner: int) -> tuple[Integers, Integers]:
        """The rows that one choice owns: their place, and their number in the choice."""
        place = np.flatnonzero(self.owner == owner)
        return place, self.element[place]


def combine_rows(
    choices: tuple[Choice, ...], query: Query
) -> tuple[UnsafeRows, tuple[BoundColumns, ...]]:
    """One clause for each combination of one shape of every choice: the rows of all of them.

    Raises:
        PropertyError: there are too many combinations, or too many coefficients.
    """
    layout = _layout(choices, query)
    n_rows = max(1, len(layout.clause))
    width = query.n_inputs + query.n_outputs + len(query.monomials)
    if n_rows * width > MAX_COEFFICIENTS:
        raise PropertyError(
            f"{query.source} needs {n_rows} rows over {width} "
            f"variables; at most {MAX_COEFFICIENTS} coefficients are supported"
        )
    coefficients = np.zeros((n_rows, width))
    strict = np.zeros(n_rows, dtype=np.bool_)
    columns = []
    for number, choice in enumerate(choices):
        place, element = layout.of(number)
        columns.append(
            BoundColumns(place, choice.bounds[:, element], choice.nearest_bounds[:, element])
        )
        template = choice.template[element]
        place, template = place[template >= 0], template[template >= 0]
        position, entry = gather_pieces(choice.assertion.row_start, template)
        variable = choice.assertion.variable[entry]
        coefficients[place[position], variable] = choice.assertion.coefficient[entry]
        strict[place] = choice.assertion.strict[template]

    inputs = coefficients[:, : query.n_inputs]
    rows = UnsafeRows(
        output_coefficients=np.ascontiguousarray(coefficients[:, query.n_inputs :]),
        input_coefficients=np.ascontiguousarray(inputs) if inputs.any() else None,
        clause=layout.clause if len(layout.clause) else np.zeros(1, dtype=np.int64),
        strict=strict,
    )
    return _in_order(rows, tuple(columns))


def _in_order(
    rows: UnsafeRows, columns: tuple[BoundColumns, ...]
) -> tuple[UnsafeRows, tuple[BoundColumns, ...]]:
    """The rows of each clause in the order that certificates give them.

    Joint cuts of boxes go through rows in turn: in another order they find other multipliers, and a
    checker's boxes differ from those of the search.
    """
    count = len(rows.clause)
    if rows.n_clauses == count:
        return rows, columns
    number, _ = canonical_order(rows, np.ones(count, dtype=np.bool_))
    order = np.argsort(number, kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    inputs = rows.input_coefficients
    rows = UnsafeRows(
        rows.output_coefficients[order],
        None if inputs is None else inputs[order],
        rows.clause[order],
        rows.strict[order],
    )
    return rows, tuple(replace(c, place=place[c.place]) for c in columns)


def _layout(choices: tuple[Choice, ...], query: Query) -> _Layout:
    n_clauses = prod(choice.n_shapes for choice in choices)
    if n_clauses > MAX_CLAUSES:
        raise PropertyError(
            f"{query.source} combines its assertions to {n_clauses} ways to be unsafe; "
            f"at most {MAX_CLAUSES} are supported"
        )
    empty = np.zeros(0, dtype=np.int64)
    clauses, owners, elements = [empty], [empty], [empty]
    shape = np.arange(n_clauses)
    for owner in reversed(range(len(choices))):
        choice = choices[owner]
        shape, digit = np.divmod(shape, max(1, choice.n_shapes))
        start = starts_of(np.bincount(choice.row_shape, minlength=choice.n_shapes))
        clause, element = gather_pieces(start, digit)
        clauses.append(clause)
        owners.append(np.full(len(clause), owner))
        elements.append(element)
    clause, owner, element = (np.concatenate(part) for part in (clauses, owners, elements))
    order = np.lexsort((owner, clause))
    return _Layout(clause[order], owner[order], element[order])
