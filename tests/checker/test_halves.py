"""Multipliers of lines are computed from halves of slopes: what that rounds is charged."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verifier.checker.arithmetic import Arithmetic
from verifier.checker.atoms import Pair, Piecewise
from verifier.checker.bounds import Enclosure, Rows
from verifier.checker.network import Network
from verifier.checker.tensors import Node

ONE, OWNER = np.ones((1, 1)), np.zeros(1, dtype=np.int64)


class Apart(Piecewise):
    """phi(x) = 0, with lines of very different slopes: any are sound."""

    def __init__(self) -> None:
        super().__init__(lambda x: 0 * x, [], 1.0)

    def lines(self, lower: np.ndarray, upper: np.ndarray) -> Pair:
        return np.full_like(lower, 1.1 * 2.0**-53), np.full_like(lower, 1.0)


def test_rounding_a_multiplier_is_charged_by_the_steeper_line():
    """The lower slope is the sum of two halves, and rounds to 1.5 * 2^-53."""
    network = Network((Node("v", Apart(), (0,)),), (1, 1), 1, ("float32",), True)
    enclosure = Enclosure(network, Arithmetic(), False, [0 * ONE], [ONE])
    enclosure.relax(enclosure.step())
    form, _ = enclosure.bound(Rows({1: ONE}, np.zeros(1), OWNER))
    assert form.coefficients[0, 0] > 1.1 * 2.0**-53
    assert Fraction(form.coefficients[0, 0]) + Fraction(form.constant[0]) <= 0
    lines = enclosure.lines[1]
    assert Fraction((lines.rest + lines.gap)[0, 0]) <= -Fraction(form.coefficients[0, 0])
    row = -form.coefficients
    least = enclosure.least(Rows({1: ONE, 0: row}, np.zeros(1), OWNER))
    assert Fraction(least[0]) <= Fraction(row[0, 0])
