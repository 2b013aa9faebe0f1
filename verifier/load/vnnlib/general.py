"""The general path: any assertion, token by token, with an explicit stack."""

from __future__ import annotations

import re
from functools import reduce
from typing import NamedTuple

from verifier.load.vnnlib.formula import (
    Disjunction,
    Formula,
    Linear,
    TooLarge,
    combine,
    distribute,
    row_of,
)
from verifier.load.vnnlib.names import Resolver, UnknownName, looks_like_number, number
from verifier.load.vnnlib.products import Products
from verifier.load.vnnlib.text import Form, Text, shown
from verifier.records import dataclass

MAX_DEPTH = 1000

TOKEN = re.compile(rb"[()]|[^\s()\[\]]*\[[^\[\]()]*\]|[^\s()\[\]]+|[\[\]]")

COMPARISONS = frozenset({b"<=", b"<", b">=", b">", b"=", b"==", b"!="})
CONNECTIVES = frozenset({b"and", b"or"})
ARITHMETIC = frozenset({b"+", b"-", b"*"})


class Word(NamedTuple):
    """A token that is no parenthesis, and where it starts."""

    position: int
    text: bytes


class Value(NamedTuple):
    """A list that was read: an expression or a formula, and where it starts."""

    position: int
    meaning: Linear | Formula


Item = Word | Value


def _prefix(items: list[Item]) -> list[Item]:
    """A comparison that is written infix, as one published set does, put into order."""
    middle = items[1] if len(items) == 3 else None
    if isinstance(middle, Word) and middle.text in COMPARISONS:
        return [middle, items[0], items[2]]
    return items


@dataclass(frozen=True, eq=False)
class AssertionReader:
    """Reads `(assert FORMULA)`; every list is reduced to its meaning when it is closed."""

    text: Text
    resolver: Resolver
    products: Products

    def read(self, form: Form) -> Formula:
        """The formula of an assertion.

        Raises:
            PropertyError: it is malformed, or names what is not declared.
        """
        stack: list[tuple[int, list[Item]]] = []
        for match in TOKEN.finditer(self.text.data, form.start, form.stop):
            token, position = match[0], match.start()
            if token == b"(":
                if len(stack) >= MAX_DEPTH:
                    raise self.text.error(position, f"lists nest deeper than {MAX_DEPTH}")
                stack.append((position, []))
            elif token != b")":
                stack[-1][1].append(Word(position, token))
            elif len(stack) > 1:
                start, items = stack.pop()
                stack[-1][1].append(Value(start, self._reduce(start, items)))
        return self._asserted(*stack[0])

    def _asserted(self, position: int, items: list[Item]) -> Formula:
        if len(items) != 2:
            raise self.text.error(
                position, f"assert has {len(items) - 1} operands; need one formula"
            )
        return self._formula(items[1])

    def _reduce(self, position: int, items: list[Item]) -> Linear | Formula:
        items = _prefix(items)
        head = items[0] if items else None
        if not isinstance(head, Word):
            raise self.text.error(position, "met a list without operator; need (OPERATOR ...)")
        operands = items[1:]
        try:
            if head.text in COMPARISONS:
                return self._compare(head, operands)
            if head.text in CONNECTIVES:
                return self._connect(head, operands)
            if head.text in ARITHMETIC:
                return self._calculate(head, operands)
        except TooLarge as problem:
            raise self.text.error(position, str(problem)) from None
        known = " ".join(sorted(o.decode() for o in COMPARISONS | CONNECTIVES | ARITHMETIC))
        raise self.text.error(head.position, f"operator {shown(head.text)}; supported are {known}")

    def _connect(self, head: Word, operands: list[Item]) -> Formula:
        if not operands:
            raise self.text.error(head.position, f"{head.text.decode()} has no operand; need one")
        formulas = [self._formula(operand) for operand in operands]
        if head.text == b"and":
            return [disjunction for formula in formulas for disjunction in formula]
        return [
            Disjunction(head.position, [c for formula in formulas for c in distribute(formula)])
        ]

    def _compare(self, head: Word, operands: list[Item]) -> Formula:
        if len(operands) != 2:
            raise self.text.error(
                head.position,
                f"{head.text.decode()} has {len(operands)} operands; need two",
            )
        left, right = (self._linear(operand) for operand in operands)
        if head.text in {b">", b">="}:
            left, right = right, left
        row = row_of(combine([(1, left), (-1, right)]), strict=head.text in {b"<", b">", b"!="})
        clauses = [[row]]
        if head.text in {b"=", b"=="}:
            clauses = [[row, row.mirrored()]]
        elif head.text == b"!=":
            clauses = [[row], [row.mirrored()]]
        return [Disjunction(head.position, clauses)]

    def _calculate(self, head: Word, operands: list[Item]) -> Linear:
        if not operands:
            raise self.text.error(head.position, f"{head.text.decode()} has no operand; need one")
        values = [self._linear(operand) for operand in operands]
        if head.text == b"*":
            return reduce(self.products.multiply, values)
        if len(values) == 1:
            return values[0].times(-1) if head.text == b"-" else values[0]
        sign = 1 if head.text == b"+" else -1
        return combine([(1, values[0]), *((sign, value) for value in values[1:])])

    def _linear(self, item: Item) -> Linear:
        if isinstance(item, Value):
            if isinstance(item.meaning, Linear):
                return item.meaning
            raise self.text.error(item.position, "met a formula; need a number or an expression")
        if looks_like_number(item.text):
            value = number(item.text)
            if value is None:
                raise self.text.error(
                    item.position, f"met {shown(item.text)}; need a decimal number in range"
                )
            return Linear({}, value)
        try:
            return Linear({self.resolver.variable(item.text): 1}, 0)
        except UnknownName as problem:
            raise self.text.error(item.position, f"met {shown(item.text)}; {problem}") from None

    def _formula(self, item: Item) -> Formula:
        if isinstance(item, Value) and not isinstance(item.meaning, Linear):
            return item.meaning
        met = shown(item.text) if isinstance(item, Word) else "an expression"
        raise self.text.error(item.position, f"met {met}; need a comparison, and, or or")
