"""What is bounded: linear functions of values, numbers that choose lines for them, and forms."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.checker.arithmetic import Floats, Ints, Table


@dataclass(frozen=True, eq=False)
class Form(Table):
    """Lower bounds of rows: row(x) >= coefficients . x + constant on the owner's box."""

    coefficients: Floats
    """[rows, n]"""
    constant: Floats
    """[rows]"""
    single: Floats
    """[rows]: what was taken from ``constant`` for float32 execution: the real function has more"""


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear functions of some values, to be bounded from below."""

    start: dict[int, Floats]
    """value -> [rows, n]: exact coefficients."""
    constant: Floats
    """[rows]"""
    owner: Ints
    """int64 [rows]: the box of each row."""

    def __getitem__(self, some: slice) -> Rows:
        start = {value: part[some] for value, part in self.start.items()}
        return Rows(start, self.constant[some], self.owner[some])


Choice = dict[int, tuple[Ints, Floats]]
"""atom's value -> columns, and a number for each: [rows, columns]"""


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Choices of a certificate for some rows: none of them can make a bound wrong."""

    slopes: Choice
    """Of the lower lines of neurons that are unstable."""
    added: Choice
    """To the multipliers of neurons that were split."""

    def __getitem__(self, some: slice) -> Multipliers:
        parts = (
            {value: (columns, part[some]) for value, (columns, part) in choice.items()}
            for choice in (self.slopes, self.added)
        )
        return Multipliers(*parts)
