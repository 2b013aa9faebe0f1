"""Matrices with few entries: the same operator as the dense one, by sparse products."""

from dataclasses import replace

import numpy as np
import pytest

from verifier.ops.linear import Linear
from verifier.tensors import numpy_backend


def sparse_matrix(seed: int, m: int, n: int, each: int) -> np.ndarray:
    """So many entries in each row; some columns, and the last row, are empty."""
    generator = np.random.default_rng(seed)
    weight = np.zeros((m, n))
    for row in weight[:-1]:
        row[generator.choice(n // 2, each, replace=False)] = generator.normal(size=each)
    return weight


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("positions", [1, 3])
def test_a_sparse_matrix_computes_what_the_dense_one_does(dtype: str, positions: int):
    xp = numpy_backend(dtype)
    weight = sparse_matrix(positions, 300, 200, 3)
    generator = np.random.default_rng(0)
    dense = Linear.of(weight, generator.normal(size=positions * 300), positions)
    placed = dense.on(xp)
    assert placed.entries is not None
    assert placed.work == dense.work == positions * np.count_nonzero(weight)
    x = xp.floats(generator.normal(size=(5, positions * 200)))
    rows = xp.floats(generator.normal(size=(4, positions * 300)))
    close = 1e-5 if dtype == "float32" else 1e-12
    plain = replace(placed, entries=None)
    np.testing.assert_allclose(placed.evaluate(x), plain.evaluate(x), rtol=close, atol=close)
    np.testing.assert_allclose(
        placed.absolute(abs(x)), plain.absolute(abs(x)), rtol=close, atol=close
    )
    np.testing.assert_allclose(
        placed.adjoint(rows)[0], plain.adjoint(rows)[0], rtol=close, atol=close
    )
    assert placed.evaluate(x).dtype == x.dtype
    assert placed.evaluate(x[:0]).shape == (0, positions * 300)


def test_zeros_do_not_count_as_roundings():
    weight = sparse_matrix(1, 300, 200, 3)
    most = max((weight != 0).sum(0).max(), (weight != 0).sum(1).max())
    assert Linear.of(weight).terms == most + 3
    assert Linear.of(np.ones((4, 7))).terms == 10
    assert Linear.of(np.zeros((4, 7))).terms == 3


def test_small_and_full_matrices_stay_dense():
    xp = numpy_backend("float64")
    assert Linear.of(np.eye(8)).on(xp).entries is None
    assert Linear.of(np.ones((200, 300))).on(xp).entries is None
