"""Clauses of rows while they are collected, and their assembly into assertions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verifier.records import dataclass
from verifier.spec.query import Assertion, Booleans, Floats
from verifier.spec.ragged import Integers, gather_pieces, starts_of


@dataclass(frozen=True, eq=False)
class Table:
    """Clauses; those with the same key are the alternatives of one assertion.

    Attributes:
        key: int64 [clauses], where in the text the assertion starts
        rows: int64 [clauses], how many rows each clause has
        entries: int64 [rows], how many entries each row has
        variable, coefficient: [entries]
        bound, strict, rounded: [rows]
    """

    key: Integers
    rows: Integers
    entries: Integers
    variable: npt.NDArray[np.int32]
    coefficient: Floats
    bound: Floats
    strict: Booleans
    rounded: Booleans

    def pick(self, clauses: Integers) -> Table:
        """Some clauses, in another order."""
        _, row = gather_pieces(starts_of(self.rows), clauses)
        _, entry = gather_pieces(starts_of(self.entries), row)
        return Table(
            self.key[clauses],
            self.rows[clauses],
            self.entries[row],
            self.variable[entry],
            self.coefficient[entry],
            self.bound[row],
            self.strict[row],
            self.rounded[row],
        )

    def assertion(self, *, conjunction: bool) -> Assertion:
        """All clauses as one assertion: their disjunction, or, as one clause, their conjunction."""
        sizes = np.array([self.rows.sum()]) if conjunction else self.rows
        return Assertion(
            starts_of(sizes),
            starts_of(self.entries),
            self.variable,
            self.coefficient,
            self.bound,
            self.strict,
            self.rounded,
        )


def join(tables: list[Table]) -> Table:
    """The clauses of all tables, in the order of their keys."""
    if len(tables) > 1:
        columns = zip(*(vars(table).values() for table in tables), strict=True)
        joined = Table(*(np.concatenate(column) for column in columns))
    else:
        (joined,) = tables
    if (np.diff(joined.key) < 0).any():
        joined = joined.pick(np.argsort(joined.key, kind="stable"))
    return joined


def assertions_of(table: Table) -> tuple[Assertion, ...]:
    """One conjunction of everything that has no alternative, then what has, in order."""
    first = np.flatnonzero(np.diff(table.key, prepend=-1))
    sizes = np.diff(first, append=len(table.key))
    alone, several = first[sizes == 1], np.flatnonzero(sizes > 1)
    assertions = []
    if len(alone):
        singles = table if len(alone) == len(table.key) else table.pick(alone)
        assertions.append(singles.assertion(conjunction=True))
    for number in several:
        clauses = np.arange(first[number], first[number] + sizes[number])
        part = table if len(clauses) == len(table.key) else table.pick(clauses)
        assertions.append(part.assertion(conjunction=False))
    return tuple(assertions)
