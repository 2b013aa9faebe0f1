"""What is bounded: linear functions of values, the lines and numbers that do it, and forms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.checker.arithmetic import Floats, Ints, Table
from verifier.checker.atoms import Pair


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


@dataclass(frozen=True, eq=False)
class Lines:
    """n phi(x) >= A x + c over each box for A = n slope + |n| half, c = n rest + |n| gap.

    All are [batch, n]. ``rest`` and ``gap`` make up for what rounding A and summing up c lose.
    """

    below: Floats
    """slope + half, of a line below phi"""
    above: Floats
    """slope - half"""
    slope: Floats
    half: Floats
    rest: Floats
    gap: Floats

    def in_parts(self, parts: int, where: tuple[Ints, Ints], own: Pair) -> Lines:
        """Those of an only box for parts of it; some elements have their own slopes."""
        below, above = (np.repeat(x, parts, 0) for x in (self.below, self.above))
        below[where], above[where] = own
        return replace(self, below=below, above=above)


@dataclass(frozen=True, eq=False)
class Held:
    """An affine function of the input, in a few moving inputs: weight . x + middle +- spread."""

    moving: Ints
    weight: Floats
    """[n, moving], exact"""
    middle: Floats
    """[batch, n]: the rest in the middle of the box; the rounding is not part of ``spread``"""
    spread: Floats
