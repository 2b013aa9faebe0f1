"""Products of variables, which count as variables of their own."""

from __future__ import annotations

from dataclasses import field

from verifier.load.vnnlib.formula import Linear, TooLarge, combine
from verifier.records import dataclass

MAX_FACTORS = 32
MAX_PRODUCTS = 10_000


@dataclass
class Products:
    """The products that a property uses, numbered after its variables in the order of their use.

    Attributes:
        first: the number of the first one: how many variables there are
        numbers: by their factors, which ascend
        found: the factors, in the order of the numbers
    """

    first: int
    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)
    found: list[tuple[int, ...]] = field(default_factory=list)

    def multiply(self, left: Linear, right: Linear) -> Linear:
        """A product of two expressions, as a sum over products of variables.

        Raises:
            TooLarge: it has too many factors or terms.
        """
        if not (left.terms and right.terms):
            return left.times(right.constant) if left.terms else right.times(left.constant)
        sides = left.times(right.constant), right.times(left.constant)
        terms = combine([(1, side) for side in sides]).terms
        for first, factor in left.terms.items():
            for second, coefficient in right.times(factor).terms.items():
                number = self._number((*self._factors(first), *self._factors(second)))
                terms[number] = terms.get(number, 0) + coefficient
        return Linear(terms, left.constant * right.constant)

    def _factors(self, variable: int) -> tuple[int, ...]:
        if variable < self.first:
            return (variable,)
        return self.found[variable - self.first]

    def _number(self, factors: tuple[int, ...]) -> int:
        factors = tuple(sorted(factors))
        if len(factors) > MAX_FACTORS:
            message = f"met a product of {len(factors)} variables; need at most {MAX_FACTORS}"
            raise TooLarge(message)
        if factors not in self.numbers:
            if len(self.found) == MAX_PRODUCTS:
                message = f"met more than {MAX_PRODUCTS} products of variables; need fewer"
                raise TooLarge(message)
            self.numbers[factors] = self.first + len(self.found)
            self.found.append(factors)
        return self.numbers[factors]
