"""Nodes of a tree on the way down: what is known in each, and what is wrong with one."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.checker.arithmetic import Floats, Ints, Table


@dataclass(frozen=True, eq=False)
class Open(Table):
    """Nodes to look at, and what is known in each, as a struct of arrays.

    Law: every point of a case that is unsafe lies in the box of an open node, with all neurons in
    its boxes, and meets a clause that is live there.
    """

    node: Ints
    case: Ints
    """int64 [batch]: its place in the group"""
    lower: Floats
    """[batch, n]"""
    upper: Floats
    live: Ints
    """bool [batch, clauses, 2]: not refuted yet, for the real function and for float32 execution"""
    planes: Floats
    """[batch, rows, n + 1]: coefficients and constants of lower bounds of the rows less their
    bounds; a constant of -inf where none is known"""
    neurons: Floats
    """[batch, 2, hidden]: lower and upper bounds of the values that atoms read"""
    split: Ints
    """bool [batch, columns]: neurons that were split on the way"""


@dataclass(frozen=True)
class Failure:
    """A leaf that is not closed."""

    node: int
    step: str
    single: bool
    """Is it closed for the real function, only not for float32 execution?"""
    root: int
    lower: Floats
    """[n]: what is left of its box"""
    upper: Floats
