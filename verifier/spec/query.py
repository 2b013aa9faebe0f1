"""What a property file says, as arrays: a conjunction of disjunctions over linear rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from math import prod

import numpy as np
import numpy.typing as npt

from verifier.errors import PropertyError
from verifier.records import dataclass
from verifier.spec.monomials import Monomials, exact_values, products_at
from verifier.spec.ragged import Integers, reduce_pieces

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

# A sum of n products, minus a bound, is off by at most (n + 1) half units in the last place of the
# sum of the magnitudes; one whole unit for each of n + 2 covers it. TINY covers underflow.
UNIT = 2.0**-52
TINY = 1e-300

# Others may evaluate products in floating point, in any order: a counterexample has to meet rows
# over products by this share of the size of their terms.
CAUTION = Fraction(1, 2**40)

# Entries evaluated at once for a batch of points: bounds the memory that a batch takes.
BATCH_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Declaration:
    """One declared tensor. 1.0 files declare flat variables: one `X` and one `Y`, of shape [n]."""

    name: str
    element_type: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class NetworkDeclaration:
    """The network that a property speaks about; 1.0 files leave it unnamed.

    Several networks count as one, whose inputs are all of theirs, and so are its outputs; ``parts``
    are the networks as they are declared.
    """

    name: str
    inputs: tuple[Declaration, ...]
    outputs: tuple[Declaration, ...]
    parts: tuple[NetworkDeclaration, ...] = ()
    equal_to: str = ""
    """The name of the earlier network that this one is."""
    isomorphic_to: str = ""
    """The name of the earlier network whose shapes this one has."""

    @property
    def networks(self) -> tuple[NetworkDeclaration, ...]:
        """The networks as they are declared, one or several."""
        return self.parts or (self,)


@dataclass(frozen=True, eq=False)
class Assertion:
    """Or over clauses of: and over rows of: sum of coefficient * x[variable] <= bound.

    Clause k holds the rows clause_start[k] .. clause_start[k + 1], row r the entries
    row_start[r] .. row_start[r + 1]. A row says < where `strict`. Law: the variables of a row
    ascend, no coefficient is 0, and the coefficient of a row over one variable is +1 or -1.

    Attributes:
        clause_start: int64 [clauses + 1]
        row_start: int64 [rows + 1]
        variable: int32 [entries], inputs first, then outputs
        coefficient: float64 [entries]
        bound: float64 [rows], the double nearest to the number in the file
        strict: bool [rows]
        rounded: bool [rows], False only where `bound` is exactly the number in the file
    """

    clause_start: Integers
    row_start: Integers
    variable: npt.NDArray[np.int32]
    coefficient: Floats
    bound: Floats
    strict: Booleans
    rounded: Booleans

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)
        alone = np.diff(self.row_start) == 1
        if (np.abs(self.coefficient[self.row_start[:-1][alone]]) != 1).any():
            raise ValueError("a row over one variable needs the coefficient +1 or -1")

    @property
    def n_clauses(self) -> int:
        return len(self.clause_start) - 1

    @property
    def n_rows(self) -> int:
        return len(self.row_start) - 1

    def clause_of_row(self) -> Integers:
        """The clause of each row: int64 [rows]."""
        return np.repeat(np.arange(self.n_clauses), np.diff(self.clause_start))

    def row_of_entry(self) -> Integers:
        """The row of each entry: int64 [entries]."""
        return np.repeat(np.arange(self.n_rows), np.diff(self.row_start))

    def clauses_hold(self, point: Floats) -> Booleans:
        """Which clauses are true at the point, exactly: bool [clauses] from float64 [variables]."""
        rows = self._rows_hold(point)
        return reduce_pieces(np.logical_and, rows, self.clause_start, empty=True)

    def clauses_hold_nearly(self, points: Floats) -> Booleans:
        """The same in plain floating point: bool [points, clauses] from [points, variables]."""
        terms = self.coefficient * points[:, self.variable]
        totals = reduce_pieces(np.add, terms, self.row_start, empty=0.0)
        rows = np.where(self.strict, totals < self.bound, totals <= self.bound)
        return reduce_pieces(np.logical_and, rows, self.clause_start, empty=True)

    def _rows_hold(self, point: Floats) -> Booleans:
        """Floating point decides where its error cannot matter, rational arithmetic elsewhere."""
        entries = np.diff(self.row_start)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = self.coefficient * point[self.variable]
            gap = reduce_pieces(np.add, terms, self.row_start, empty=0.0) - self.bound
            size = reduce_pieces(np.add, np.abs(terms), self.row_start, empty=0.0) + np.abs(
                self.bound
            )
            error = (entries + 2) * UNIT * size + TINY
            unsure = ~(np.abs(gap) > error)
        held = np.where(self.strict, gap < 0, gap <= 0)

        # The sign of one floating-point subtraction is that of the exact difference.
        unit = reduce_pieces(
            np.logical_and, np.abs(self.coefficient) == 1, self.row_start, empty=True
        )
        unsure &= ~(unit & ((entries <= 1) | ((entries == 2) & (self.bound == 0))))
        for row in np.flatnonzero(unsure).tolist():
            held[row] = self._total_holds(row, self._terms(row, point.tolist()))
        return held

    def clauses_hold_exactly(
        self, values: Sequence[Fraction], plain: int, caution: Fraction
    ) -> Booleans:
        """Which clauses are true in rational arithmetic: bool [clauses].

        Args:
            values: of all variables, products included
            plain: the number of the first product
            caution: by which share of the size of its terms a row over products must hold
        """
        held = np.zeros(self.n_rows, dtype=np.bool_)
        for row in range(self.n_rows):
            terms = self._terms(row, values)
            if caution and self.variable[self.row_start[row + 1] - 1] >= plain:
                size = sum(map(abs, terms)) + abs(Fraction(float(self.bound[row])))
                terms.append(caution * size)
            held[row] = self._total_holds(row, terms)
        return reduce_pieces(np.logical_and, held, self.clause_start, empty=True)

    def _terms(self, row: int, values: Sequence[Fraction | float]) -> list[Fraction]:
        entries = slice(self.row_start[row], self.row_start[row + 1])
        pairs = zip(self.coefficient[entries], self.variable[entries], strict=True)
        return [Fraction(float(c)) * Fraction(values[v]) for c, v in pairs]

    def _total_holds(self, row: int, terms: Sequence[Fraction]) -> bool:
        total, bound = sum(terms, Fraction(0)), Fraction(float(self.bound[row]))
        return total < bound if self.strict[row] else total <= bound

    def cautious(self, n_inputs: int) -> Assertion:
        """Stricter by one unit in the last place where a bound on outputs is no double.

        What holds of this holds of the file's own decimals, and of the doubles nearest to them.
        """
        of_output = np.zeros(self.n_rows, dtype=np.bool_)
        of_output[self.row_of_entry()[self.variable >= n_inputs]] = True
        below = np.nextafter(self.bound, -np.inf)
        return replace(self, bound=np.where(self.rounded & of_output, below, self.bound))


@dataclass(frozen=True, eq=False)
class Query:
    """A property: a counterexample is a point at which every assertion holds.

    Variables are numbered: all inputs in the order of declaration, flattened in C order, then all
    outputs, then the products of variables that it uses. A conjunction over several `assert` may be
    one `Assertion` with one clause.

    Attributes:
        monomials: the variables that each product multiplies, ascending
        caution: by which share of the size of its terms a row over products must hold
    """

    version: str
    network: NetworkDeclaration
    assertions: tuple[Assertion, ...]
    source: str = "property"
    monomials: Monomials = ()
    caution: Fraction = Fraction(0)

    def cautious(self) -> Query:
        """The query with every assertion made cautious: what a counterexample has to meet."""
        assertions = tuple(a.cautious(self.n_inputs) for a in self.assertions)
        return replace(self, assertions=assertions, caution=CAUTION)

    @property
    def n_inputs(self) -> int:
        return sum(declaration.size for declaration in self.network.inputs)

    @property
    def n_outputs(self) -> int:
        return sum(declaration.size for declaration in self.network.outputs)

    def holds(self, inputs: Floats, outputs: Floats) -> bool:
        """Is every assertion true at the point? No tolerance, no rounding; < is strict.

        Constants are the doubles nearest to those in the file. False where a number is not finite.

        Args:
            inputs: float64 [n_inputs]
            outputs: float64 [n_outputs]
        """
        return next(self._unmet(inputs, outputs), None) is None

    def unmet(self, inputs: Floats, outputs: Floats) -> tuple[int, ...]:
        """The numbers of the assertions that are false at the point; none: it is a counterexample.

        All of them where a number is not finite.
        """
        return tuple(self._unmet(inputs, outputs))

    def holds_nearly(self, inputs: Floats, outputs: Floats) -> Booleans:
        """`holds` for many points in plain floating point: a fast filter, not a proof.

        Args:
            inputs: float64 [points, n_inputs]
            outputs: float64 [points, n_outputs]
        """
        points = np.concatenate([inputs, outputs], axis=1, dtype=np.float64)
        points = np.concatenate([points, products_at(points, self.monomials)], axis=1)
        held = np.array(np.isfinite(points).all(axis=1))
        for assertion in self.assertions:
            step = max(1, BATCH_ENTRIES // max(1, len(assertion.variable)))
            for start in range(0, len(points), step):
                part = slice(start, start + step)
                held[part] &= assertion.clauses_hold_nearly(points[part]).any(axis=1)
        return held

    def variable_name(self, variable: int) -> str:
        """The variable as the property writes it: `X_3` in 1.0, `X[0,3]` in 2.0."""
        if self.version.startswith("1"):
            inputs = variable < self.n_inputs
            return f"X_{variable}" if inputs else f"Y_{variable - self.n_inputs}"
        for declaration in (*self.network.inputs, *self.network.outputs):
            if variable < declaration.size:
                index = np.unravel_index(variable, declaration.shape) if declaration.shape else ()
                inside = ",".join(str(int(i)) for i in index)
                return f"{declaration.name}[{inside}]" if declaration.shape else declaration.name
            variable -= declaration.size
        if variable < len(self.monomials):
            return "*".join(self.variable_name(factor) for factor in self.monomials[variable])
        raise IndexError("no variable of that number")

    def _unmet(self, inputs: Floats, outputs: Floats) -> Iterator[int]:
        point = np.concatenate([np.ravel(inputs), np.ravel(outputs)], dtype=np.float64)
        if (np.size(inputs), np.size(outputs)) != (self.n_inputs, self.n_outputs):
            raise PropertyError(
                f"{self.source} speaks about {self.n_inputs} inputs and {self.n_outputs} outputs, "
                f"but the point has {np.size(inputs)} and {np.size(outputs)}"
            )
        finite = bool(np.isfinite(point).all())
        for number, assertion in enumerate(self.assertions):
            if not finite or not self._clauses_hold(assertion, point).any():
                yield number

    def _clauses_hold(self, assertion: Assertion, point: Floats) -> Booleans:
        if self.monomials:
            values = exact_values(point, self.monomials)
            return assertion.clauses_hold_exactly(values, len(point), self.caution)
        return assertion.clauses_hold(point)
