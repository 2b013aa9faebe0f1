"""The distinct numbers of an array are those that NumPy finds."""

import numpy as np
import pytest

from verifier.tensors import distinct


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint32", "uint8"])
def test_they_are_those_of_numpy(dtype: str):
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    for count in (0, 1, 2, 50, 1000):
        for low, high in ((0, 7), (limits.min, limits.max)):
            numbers = rng.integers(low, high, count, dtype=dtype, endpoint=True)
            found, expected = distinct(numbers), np.unique(numbers)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(distinct(numbers.reshape(-1, 1)), expected)
    ends = np.array([limits.max, limits.min, limits.max], dtype=dtype)
    np.testing.assert_array_equal(distinct(ends), np.unique(ends))
