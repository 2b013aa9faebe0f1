"""What a property says: boxes of inputs, and rows over inputs and outputs that are unsafe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, product
from math import prod

from verifier.checker.errors import Unsupported

MAX_CLAUSES = 100_000


@dataclass(frozen=True, slots=True)
class Row:
    """Met where sum coefficient * variable <= bound; variables ascend, outputs from n_inputs on."""

    coefficients: tuple[tuple[int, Fraction], ...]
    bound: Fraction


Clause = tuple[Row, ...]
Bounds = dict[int, Fraction]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Bounds of some inputs, and clauses, of which one has to hold."""

    lower: Bounds
    upper: Bounds
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Unsafe where lower <= x <= upper and all rows of some clause are met."""

    lower: list[Fraction]
    upper: list[Fraction]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A declared input or output of VNN-LIB 2.0; kind is declare-input or declare-output."""

    kind: str
    name: str
    shape: tuple[int, ...]
    element: str = "real"


@dataclass(frozen=True, slots=True)
class Property:
    """What is unsafe: the union of the cases. There are no tensors in VNN-LIB 1.0.

    `choices` are the alternatives of each assertion, but all assertions that only bound inputs, in
    a single way, are intersected in the first choice.
    """

    n_inputs: int
    n_outputs: int
    choices: tuple[tuple[Alternative, ...], ...]
    tensors: tuple[Tensor, ...]

    @property
    def n_cases(self) -> int:
        """How many cases there are, including those with empty boxes."""
        return prod(len(choice) for choice in self.choices)

    def nonempty(self, tick: Callable[[], None]) -> Iterator[int]:
        """The numbers of the cases whose boxes have points, ascending; each step calls ``tick``.

        Alternatives are taken one after another: what is empty already is not gone into.
        """
        common, several = Alternative({}, {}, ()), list[tuple[Alternative, ...]]()
        for choice in self.choices:
            if len(choice) == 1:
                intersect(common.lower, common.upper, choice[0])
            else:
                several.append(choice)
        waiting = [(0, 0, common, common)]
        while waiting:
            tick()
            depth, number, box, more = waiting.pop()
            inner = Alternative(box.lower.copy(), box.upper.copy(), ())
            intersect(inner.lower, inner.upper, more)
            if _is_empty(inner, more):
                continue
            if depth == len(several):
                yield number
                continue
            number *= len(several[depth])
            numbered = enumerate(several[depth], number)
            waiting += [(depth + 1, n, inner, one) for n, one in reversed([*numbered])]

    def case(self, number: int) -> Case:
        """Make one case; Unsupported if an input is unbounded, or clauses are too many."""
        if not 0 <= number < self.n_cases:
            raise ValueError(f"case {number} of {self.n_cases}")
        lower, upper, clauses = Bounds(), Bounds(), list[tuple[Clause, ...]]()
        for choice in reversed(self.choices):
            number, digit = divmod(number, len(choice))
            intersect(lower, upper, choice[digit])
            if choice[digit].clauses != ((),):
                clauses.append(choice[digit].clauses)
        if prod(map(len, clauses)) > MAX_CLAUSES:
            raise Unsupported(f"a case of the property has more than {MAX_CLAUSES} clauses")
        missing = [i for i in range(self.n_inputs) if i not in lower or i not in upper]
        if missing:
            raise Unsupported(f"input {missing[0]} lacks a bound in some case of the property")
        return Case(
            [lower[i] for i in range(self.n_inputs)],
            [upper[i] for i in range(self.n_inputs)],
            tuple(_sorted_rows(chain.from_iterable(rows)) for rows in product(*clauses[::-1])),
        )


def intersect(lower: Bounds, upper: Bounds, more: Alternative) -> None:
    """Add the bounds of an alternative."""
    for i, bound in more.lower.items():
        lower[i] = max(bound, lower[i]) if i in lower else bound
    for i, bound in more.upper.items():
        upper[i] = min(bound, upper[i]) if i in upper else bound


def _is_empty(box: Alternative, changed: Alternative) -> bool:
    """Is a box empty where some of its bounds have changed?"""
    for i in chain(changed.lower, changed.upper):
        low, high = box.lower.get(i), box.upper.get(i)
        if low is not None and high is not None and low > high:
            return True
    return False


def _order(row: Row) -> list[tuple[int, int, Fraction]]:
    """Compares as dense vectors do, with signs instead of zeros."""
    # A negative number comes before the other's zero, the earlier its variable the lower.
    signs = [(1 if c > 0 else -1, variable, c) for variable, c in row.coefficients]
    return [(sign, -sign * variable, c) for sign, variable, c in signs] + [(0, 0, Fraction(0))]


def _sorted_rows(rows: Iterable[Row]) -> Clause:
    least: dict[tuple[tuple[int, Fraction], ...], Row] = {}
    for row in rows:
        known = least.setdefault(row.coefficients, row)
        if row.bound < known.bound:
            least[row.coefficients] = row
    return tuple(sorted(least.values(), key=_order))
