"""A check that need not look at what an earlier one has shown."""

import numpy as np

from tests.checker.handmade import INPUT, ROWS, SIZE, certificate, prop, verdict
from verifier.checker import check as module
from verifier.checker.check import Effort, check

FAILS = prop("(<= Y_0 0.5)")


def test_what_an_earlier_check_has_shown_is_not_looked_at(monkeypatch):
    tree = {"node": [INPUT, ROWS, ROWS], "split_axis": [0], "split_point": [0.0]}
    looked, look = list[int](), module.Walk.look
    monkeypatch.setattr(module.Walk, "look", lambda w, s: looked.extend(s.node) or look(w, s))
    for known, seen in (([0, 0, 0], [0, 1, 2]), ([0, 1, 0], [0, 2]), ([1, 0, 0], [])):
        looked.clear()
        report = verdict(
            SIZE, FAILS, Effort(fall_back=False, known=np.array(known, dtype=bool)), **tree
        )
        assert looked == seen
        assert [failure.node for failure in report.failures] == [n for n in seen if n]
        assert report.leaves == 2


def test_cases_that_an_earlier_check_has_shown_are_passed_by(monkeypatch):
    """Also where so few nodes are looked at together that none is left of some."""
    monkeypatch.setattr(module.Walk, "batch", lambda _: 1)
    case = "(and (>= X_0 -1) (<= X_0 1) (<= Y_0 {}))"
    text = prop(f"(or {' '.join(case.format(most) for most in (0.5, -0.5, 0.5, -0.5))})")
    data = certificate(SIZE, text, roots=range(4), node=[ROWS] * 4)
    for known, failing in ((0b0000, [0, 2]), (0b0001, [2]), (0b0111, []), (0b1111, [])):
        effort = Effort(fall_back=False, known=np.array([known >> k & 1 for k in range(4)]) > 0)
        report = check(SIZE, text, data, effort)
        assert [failure.node for failure in report.failures] == failing
