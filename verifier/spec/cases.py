"""A query as the search needs it: boxes of inputs, and shared rows that say what is unsafe."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from math import prod

import numpy as np

from verifier.errors import PropertyError
from verifier.records import dataclass
from verifier.spec.boxes import Sides
from verifier.spec.choices import Choice, choice_of
from verifier.spec.query import Booleans, Floats, Query
from verifier.spec.ragged import Integers, gather_pieces
from verifier.spec.strict import empty_by_strictness, has_strict_bounds
from verifier.spec.unsafe import BoundColumns, UnsafeRows, combine_rows
from verifier.tensors import distinct

MAX_CASES = 2**62
MAX_LISTED_CASES = 1_000_000
BATCH_ELEMENTS = 4_000_000


@dataclass(frozen=True, eq=False)
class CaseBatch:
    """Some cases: float64 lower and upper [cases, n_inputs], bounds [cases, rows]."""

    lower: Floats
    upper: Floats
    bounds: Floats


@dataclass(frozen=True, eq=False)
class Cases:
    """The boxes that a property covers, made when they are taken.

    Case c is unsafe where some x in its box has, for some clause, C_s.y + D_s.x <= bounds[c, s] in
    all rows s of the clause (C and D from `rows`). Law: over all cases, this is the set of the
    query, with < read as <=. Clauses that a case does not have are bounded by -inf.

    Attributes:
        rows: shared by all cases
        free: bool [n_inputs], which inputs have more than one value in some case
        n_empty: how many cases were dropped since no point fits their boxes
    """

    rows: UnsafeRows
    free: Booleans
    n_empty: int
    _product: _Product
    _columns: tuple[BoundColumns, ...]

    def __len__(self) -> int:
        return len(self._product)

    def take(
        self, start: int, stop: int, *, nearest: bool = False, wide: bool = False
    ) -> CaseBatch:
        """The cases start .. stop - 1, rounded outward, or to the doubles nearest to the file.

        Rounded outward, a bound moves by one unit in the last place where the file's number may not
        be a double; a box side of one number stays one number, unless all are to be ``wide``.
        """
        alternatives = self._product.alternatives(np.arange(start, stop))
        sides = self._product.sides(alternatives)
        lower, upper = (sides.lower, sides.upper) if wide else sides.outward()
        if nearest:
            lower, upper = sides.nearest_lower, sides.nearest_upper
        bounds = np.zeros((stop - start, len(self.rows.clause)))
        for columns, alternative in zip(self._columns, alternatives, strict=True):
            source = columns.nearest if nearest else columns.bounds
            bounds[:, columns.place] = source[alternative]
        return CaseBatch(lower, upper, self._close(bounds))

    def numbers(self) -> Integers:
        """The number of each case among all combinations, the empty ones included: ascending.

        Combinations count as itertools.product makes them from the assertions' alternatives.
        """
        digits = self._product.alternatives(np.arange(len(self)))
        result = np.zeros(len(self), dtype=np.int64)
        for choice, digit in zip(self._product.choices, digits, strict=True):
            result = result * len(choice) + digit
        return result

    @cached_property
    def strictly_empty(self) -> bool:
        """Does the < of some bounds leave no point in any case? Everywhere else < counts as <=."""
        product = self._product
        if not len(product) or not any(has_strict_bounds(c) for c in product.choices):
            return False
        for numbers in product.batches(len(self.free)):
            taken = product.alternatives(numbers)
            sides = product.sides(taken)
            if not empty_by_strictness(product.choices, taken, sides).all():
                return False
        return True

    def _close(self, bounds: Floats) -> Floats:
        """Where one row of a clause is closed, close all of them."""
        if self.rows.n_clauses > 1:
            first = np.searchsorted(self.rows.clause, np.arange(self.rows.n_clauses))
            closed = np.logical_or.reduceat(np.isneginf(bounds), first, axis=1)
            bounds[closed[:, self.rows.clause]] = -np.inf
        return bounds


@dataclass(frozen=True, eq=False)
class _Product:
    """All combinations of one alternative of each choice, in the order of itertools.product.

    Attributes:
        choices: the factors
        base: Sides [n_inputs], the intersection of all boxes of choices with one alternative
        kept: for each choice, the alternatives whose boxes are not empty within the base
        listed: the combinations that are not empty, where choices share inputs; else None
    """

    choices: tuple[Choice, ...]
    base: Sides
    kept: tuple[Integers, ...]
    listed: Integers | None = None

    def __len__(self) -> int:
        return self.n_combinations if self.listed is None else len(self.listed)

    @property
    def n_combinations(self) -> int:
        return prod(len(kept) for kept in self.kept)

    def alternatives(self, numbers: Integers) -> list[Integers]:
        """For each choice, the alternative that each combination takes."""
        if self.listed is not None:
            numbers = self.listed[numbers]
        taken = []
        for kept in reversed(self.kept):
            numbers, digit = np.divmod(numbers, max(1, len(kept)))
            taken.append(kept[digit])
        return taken[::-1]

    def sides(self, alternatives: list[Integers]) -> Sides:
        """The boxes [combinations, n_inputs] of some combinations."""
        every = np.zeros(len(alternatives[0]), dtype=np.int64)
        sides = replace(self.base[None])[every]
        for choice, alternative in zip(self.choices, alternatives, strict=True):
            if len(choice) > 1:
                position, entry = gather_pieces(choice.boxes.start, alternative)
                sides.put((position, choice.boxes.variable[entry]), choice.boxes.sides[entry])
        return sides

    def batches(self, n_inputs: int) -> list[Integers]:
        """All combinations, in batches that bound the memory of their boxes."""
        step = max(1, BATCH_ELEMENTS // max(1, n_inputs))
        numbers = np.arange(len(self))
        return [numbers[start : start + step] for start in range(0, len(self), step)]


def cases_of(query: Query) -> Cases:
    """Reduce a property to cases.

    Raises:
        PropertyError: an input lacks a bound in some case, or there are too many combinations.
    """
    choices = tuple(choice_of(assertion, query.n_inputs) for assertion in query.assertions)
    rows, columns = combine_rows(choices, query)
    product = _product_of(choices, query)
    total = prod(len(choice) for choice in choices)
    if len(product):
        _require_bounds(product, query)
        product = _without_empty(product, query)
    return Cases(rows, _free_inputs(product, query), total - len(product), product, columns)


def _product_of(choices: tuple[Choice, ...], query: Query) -> _Product:
    base = Sides.unbounded(query.n_inputs)
    for choice in choices:
        if len(choice) == 1:
            base.put(choice.boxes.variable, choice.boxes.sides)
    kept = []
    for choice in choices:
        boxes = choice.boxes
        empty = boxes.box_of_entry()[boxes.sides.intersect(base[boxes.variable]).empty()]
        fits = np.ones(len(choice), dtype=np.bool_)
        fits[empty] = False
        kept.append(np.flatnonzero(fits))
    product = _Product(choices, base, tuple(kept))
    if product.n_combinations > MAX_CASES:
        raise PropertyError(f"{query.source} combines its assertions to more than 2^62 cases")
    return product


def _require_bounds(product: _Product, query: Query) -> None:
    """Every input needs both bounds in the base, or in all alternatives of some choice."""
    for side, bound in (("lower", product.base.lower), ("upper", product.base.upper)):
        bounded = np.isfinite(bound)
        for choice, kept in zip(product.choices, product.kept, strict=True):
            _, entry = gather_pieces(choice.boxes.start, kept)
            finite = np.isfinite(getattr(choice.boxes.sides, side)[entry])
            variable = choice.boxes.variable[entry][finite]
            bounded |= np.bincount(variable, minlength=query.n_inputs) == len(kept)
        missing = np.flatnonzero(~bounded)
        if len(missing):
            more = f", nor do {len(missing) - 1} others" if len(missing) > 1 else ""
            raise PropertyError(
                f"{query.source}: input {query.variable_name(int(missing[0]))} has no {side} "
                f"bound in some case{more}; every input needs a lower and an upper bound"
            )


def _without_empty(product: _Product, query: Query) -> _Product:
    """List the combinations that are not empty, if choices over the same inputs can clash."""
    choosing = [choice for choice in product.choices if len(choice) > 1]
    mentioned = [distinct(choice.boxes.variable) for choice in choosing]
    together = np.concatenate([*mentioned, np.zeros(0, dtype=np.int64)])
    if len(distinct(together)) == len(together):
        return product
    if len(product) > MAX_LISTED_CASES:
        raise PropertyError(
            f"{query.source} combines assertions over the same inputs to {len(product)} cases; "
            f"at most {MAX_LISTED_CASES} are supported"
        )
    listed = [np.zeros(0, dtype=np.int64)]
    for numbers in product.batches(query.n_inputs):
        empty = product.sides(product.alternatives(numbers)).empty().any(axis=1)
        listed.append(numbers[~empty])
    return replace(product, listed=np.concatenate(listed))


def _free_inputs(product: _Product, query: Query) -> Booleans:
    free = np.zeros(query.n_inputs, dtype=np.bool_)
    if product.listed is not None:
        for numbers in product.batches(query.n_inputs):
            free |= product.sides(product.alternatives(numbers)).free().any(axis=0)
        return free
    if not len(product):
        return free
    touched = np.zeros(query.n_inputs, dtype=np.int64)
    for choice, kept in zip(product.choices, product.kept, strict=True):
        if len(choice) > 1:
            _, entry = gather_pieces(choice.boxes.start, kept)
            variable = choice.boxes.variable[entry]
            sides = choice.boxes.sides[entry].intersect(product.base[variable])
            free[variable[sides.free()]] = True
            everywhere = np.bincount(variable, minlength=query.n_inputs) == len(kept)
            touched[everywhere] = True
    return free | (product.base.free() & (touched == 0))
