"""Sums beyond the largest number."""

import numpy as np

from tests.checker.layers import Layer, Layers, enclose
from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic


def test_a_sum_that_was_too_large_is_no_number(monkeypatch):
    """Not -inf: that would be on one side of everything."""
    layers = Layers(3, (Layer((0,), (np.ones((2, 3)),), np.zeros(2)),))
    for lost in (-np.inf, np.inf):
        monkeypatch.setattr(Affine, "forward", lambda self, *x, lost=lost: np.full((1, 2), lost))
        enclosure = enclose(layers, (np.zeros((1, 3)), np.ones((1, 3))), Arithmetic())
        assert np.isnan(enclosure.lower[1]).all()
        assert np.isnan(enclosure.upper[1]).all()
