"""One assertion as a choice: between boxes, which make cases, and between clauses of rows."""

from __future__ import annotations

import numpy as np

from verifier.errors import PropertyError
from verifier.records import dataclass
from verifier.spec.boxes import SparseBoxes, boxes_from_rows, outward
from verifier.spec.query import Assertion, Booleans, Floats
from verifier.spec.ragged import Integers, gather_pieces, starts_of
from verifier.tensors import distinct

MAX_BOUNDS = 50_000_000


@dataclass(frozen=True, eq=False)
class Choice:
    """An assertion, true where some alternative's box holds x and one of its shapes holds (x, y).

    Shape q is the conjunction of the rows r with row_shape[r] == q, of which row r has the
    coefficients of row template[r] of `assertion` (a row of zeros where that is -1) and, in
    alternative a, the bound bounds[a, r]; all of them are -inf where a shape is not open to a.

    Attributes:
        assertion: what the templates refer to
        boxes: one per alternative
        n_shapes: at least 1, unless the assertion cannot hold
        row_shape: int64 [rows], ascending
        template: int64 [rows]
        nearest_bounds: float64 [alternatives, rows]
        bounds: the same, rounded up where the file's number may not be a double
    """

    assertion: Assertion
    boxes: SparseBoxes
    n_shapes: int
    row_shape: Integers
    template: Integers
    nearest_bounds: Floats
    bounds: Floats

    def __len__(self) -> int:
        return len(self.boxes)


def choice_of(assertion: Assertion, n_inputs: int) -> Choice:
    """Rows over a single input make boxes; all other rows make shapes."""
    constant, boxed = _row_kinds(assertion, n_inputs)
    if constant.any():
        assertion = _without_constants(assertion, constant)
        constant, boxed = _row_kinds(assertion, n_inputs)
    rows = _tightest(assertion, np.flatnonzero(~boxed))
    if boxed.any():
        boxes = boxes_from_rows(assertion, np.flatnonzero(boxed), n_inputs)
        return _one_shape_per_alternative(assertion, rows, boxes)
    return _one_alternative(assertion, rows, n_inputs)


def _row_kinds(assertion: Assertion, n_inputs: int) -> tuple[Booleans, Booleans]:
    """Which rows mention no variable, and which mention one input and nothing else."""
    entries = np.diff(assertion.row_start)
    boxed = entries == 1
    boxed[boxed] = assertion.variable[assertion.row_start[:-1][boxed]] < n_inputs
    return entries == 0, boxed


def _without_constants(assertion: Assertion, constant: Booleans) -> Assertion:
    """Drop the rows that are always true, and the clauses that hold a row that never is."""
    bound, clause_of_row = assertion.bound, assertion.clause_of_row()
    false = constant & np.where(assertion.strict, bound <= 0, bound < 0)
    alive = np.ones(assertion.n_clauses, dtype=np.bool_)
    alive[clause_of_row[false]] = False
    keep = ~constant & alive[clause_of_row]
    sizes = np.bincount(clause_of_row[keep], minlength=assertion.n_clauses)[alive]
    kept_entries = keep[assertion.row_of_entry()]
    return Assertion(
        clause_start=starts_of(sizes),
        row_start=starts_of(np.diff(assertion.row_start)[keep]),
        variable=assertion.variable[kept_entries],
        coefficient=assertion.coefficient[kept_entries],
        bound=bound[keep],
        strict=assertion.strict[keep],
        rounded=assertion.rounded[keep],
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows that are no boxes, in the order of their clauses and then of their templates."""

    clause: Integers
    template: Integers
    row: Integers


def _tightest(assertion: Assertion, rows: Integers) -> _Rows:
    """Of rows of one clause that differ in their bounds only, keep one with the least bound."""
    clause = assertion.clause_of_row()[rows]
    template = _templates(assertion, rows)
    order = np.lexsort((assertion.rounded[rows], assertion.bound[rows], template, clause))
    clause, template, rows = clause[order], template[order], rows[order]
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = (np.diff(clause) != 0) | (np.diff(template) != 0)
    return _Rows(clause[first], template[first], rows[first])


def _templates(assertion: Assertion, rows: Integers) -> Integers:
    """Equal numbers for rows of equal coefficients and strictness: int64 [rows]."""
    sizes = np.diff(assertion.row_start)[rows]
    template = np.zeros(len(rows), dtype=np.int64)
    n_templates = 0
    for size in distinct(sizes):
        here = np.flatnonzero(sizes == size)
        entries = assertion.row_start[rows[here], None] + np.arange(size)
        description = np.concatenate(
            [
                assertion.variable[entries].astype(np.int64),
                assertion.coefficient[entries].view(np.int64),
                assertion.strict[rows[here], None].astype(np.int64),
            ],
            axis=1,
        )
        number = _number_rows(description)
        template[here] = number + n_templates
        n_templates += int(number.max()) + 1
    return template


def _number_rows(matrix: Integers) -> Integers:
    """Equal numbers for equal rows of a matrix, from 0 on."""
    if not matrix.shape[1]:
        return np.zeros(len(matrix), dtype=np.int64)
    if (matrix == matrix[0]).all():
        return np.zeros(len(matrix), dtype=np.int64)
    _, number = np.unique(matrix, axis=0, return_inverse=True)
    return number.reshape(-1).astype(np.int64)


def _one_alternative(assertion: Assertion, rows: _Rows, n_inputs: int) -> Choice:
    """No boxes: the clauses are shapes, open to the only case."""
    n_alternatives = min(1, assertion.n_clauses)
    free = boxes_from_rows(assertion, np.zeros(0, dtype=np.int64), n_inputs)
    boxes = SparseBoxes(np.zeros(n_alternatives + 1, dtype=np.int64), free.variable, free.sides)
    shape, template = _mark_empty(assertion.n_clauses, rows.clause, rows.row)
    known = template >= 0
    nearest = np.zeros((n_alternatives, len(template)))
    nearest[:, known] = assertion.bound[template[known]]
    bounds = np.zeros((n_alternatives, len(template)))
    bounds[:, known] = outward(nearest[:, known], assertion.rounded[template[known]])
    return Choice(assertion, boxes, assertion.n_clauses, shape, template, nearest, bounds)


def _one_shape_per_alternative(assertion: Assertion, rows: _Rows, boxes: SparseBoxes) -> Choice:
    """Every clause is an alternative; clauses with the same coefficients share their shape."""
    start = starts_of(np.bincount(rows.clause, minlength=len(boxes)))
    shape_of_clause, example = _signatures(start, rows.template)
    in_shape, element = gather_pieces(start, example)
    shape, template = _mark_empty(len(example), in_shape, rows.row[element])
    if len(boxes) * len(template) > MAX_BOUNDS:
        raise PropertyError(
            f"an assertion has {len(boxes)} alternatives over {len(template)} different rows; "
            f"at most {MAX_BOUNDS} bounds are supported"
        )
    nearest = np.full((len(boxes), len(template)), -np.inf)
    bounds = nearest.copy()
    first = np.searchsorted(shape, shape_of_clause)
    column = first[rows.clause] + np.arange(len(rows.clause)) - start[rows.clause]
    nearest[rows.clause, column] = assertion.bound[rows.row]
    bounds[rows.clause, column] = outward(assertion.bound[rows.row], assertion.rounded[rows.row])
    if len(template):
        bare = np.flatnonzero(np.diff(start) == 0)
        nearest[bare, first[bare]] = 0.0
        bounds[bare, first[bare]] = 0.0
    return Choice(assertion, boxes, len(example), shape, template, nearest, bounds)


def _signatures(start: Integers, number: Integers) -> tuple[Integers, Integers]:
    """The shape of each clause, and one clause of each shape.

    Args:
        start: int64 [clauses + 1], where the rows of a clause start
        number: int64 [rows], what a row looks like; it ascends within a clause
    """
    sizes = np.diff(start)
    shape = np.zeros(len(sizes), dtype=np.int64)
    n_shapes = 0
    for size in distinct(sizes):
        here = np.flatnonzero(sizes == size)
        shapes = _number_rows(number[start[here, None] + np.arange(size)])
        shape[here] = shapes + n_shapes
        n_shapes += int(shapes.max()) + 1
    _, example = np.unique(shape, return_index=True)
    return shape, example.astype(np.int64)


def _mark_empty(n_shapes: int, shape: Integers, template: Integers) -> tuple[Integers, Integers]:
    """Give every shape without rows a row of zeros, so that a bound can open and close it.

    A single shape is always open and needs none.
    """
    if n_shapes > 1:
        bare = np.flatnonzero(np.bincount(shape, minlength=n_shapes) == 0)
        shape = np.concatenate([shape, bare])
        template = np.concatenate([template, np.full(len(bare), -1)])
    order = np.argsort(shape, kind="stable")
    return shape[order], template[order]
