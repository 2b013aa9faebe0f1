"""Convolutions with windows that never leave the padding."""

import numpy as np
import pytest

from verifier.ops.convolution import Convolution
from verifier.tensors import Backend, numpy_backend, torch_backend


@pytest.mark.parametrize("xp", [numpy_backend(), torch_backend("float64")], ids=["numpy", "torch"])
def test_windows_of_padding_only_have_an_adjoint(xp: Backend):
    """Along the last axis the only window lies before the first cell."""
    geometry = ((2, 3), (1, 2, 1, 0), (1, 2), 1)
    weight = np.random.default_rng(0).normal(size=(1, 2, 2, 1))
    operator = Convolution.of(weight, np.ones(1), (2, 3, 1), geometry).on(xp)
    assert operator.out_shape == (1, 2, 1)
    x = xp.floats(np.random.default_rng(1).normal(size=(3, 6)))
    np.testing.assert_array_equal(xp.numpy(operator.evaluate(x)), np.ones((3, 2)))
    (rows,) = operator.adjoint(xp.floats(np.eye(2)))
    np.testing.assert_array_equal(xp.numpy(rows), np.zeros((2, 6)))
    (units,) = operator.unit_rows(xp.arange(2))
    np.testing.assert_array_equal(xp.numpy(units), np.zeros((2, 6)))
