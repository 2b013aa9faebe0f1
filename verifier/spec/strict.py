"""Boxes of one point that a strict bound leaves out: x < 1 and x >= 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.spec.boxes import Sides
from verifier.spec.choices import Choice
from verifier.spec.query import Booleans
from verifier.spec.ragged import Integers, gather_pieces


def has_strict_bounds(choice: Choice) -> bool:
    """Does some alternative bound an input by < or >?"""
    return bool(len(choice.boxes.variable)) and bool(choice.assertion.strict.any())


def empty_by_strictness(
    choices: Sequence[Choice], taken: Sequence[Integers], sides: Sides
) -> Booleans:
    """Which combinations bound some input from both sides by one number, and by < on one of them.

    Only numbers of the file that are doubles count: equal doubles may stand for different
    decimals. So no combination that holds a point is ever among them.

    Args:
        choices: what is combined
        taken: for each choice the alternative of each combination
        sides: the combinations' boxes [combinations, n_inputs]
    """
    point = np.where(sides.nearest_lower == sides.nearest_upper, sides.nearest_lower, np.nan)
    below, above, strict = (np.zeros(point.shape, dtype=np.bool_) for _ in range(3))
    for choice, alternative in zip(choices, taken, strict=True):
        assertion = choice.assertion
        if not len(choice.boxes.variable):
            continue
        place, row = gather_pieces(assertion.clause_start, alternative)
        entry = assertion.row_start[row]
        bounds = (np.diff(assertion.row_start)[row] == 1) & ~assertion.rounded[row]
        bounds[bounds] = assertion.variable[entry[bounds]] < point.shape[1]
        place, row, entry = place[bounds], row[bounds], entry[bounds]
        variable, sign = assertion.variable[entry], assertion.coefficient[entry]
        # The row says sign * x <= bound, and the coefficient is +1 or -1.
        meets = sign * assertion.bound[row] == point[place, variable]
        below[place[meets & (sign < 0)], variable[meets & (sign < 0)]] = True
        above[place[meets & (sign > 0)], variable[meets & (sign > 0)]] = True
        meets &= assertion.strict[row]
        strict[place[meets], variable[meets]] = True
    return np.asarray((below & above & strict).any(axis=1))
