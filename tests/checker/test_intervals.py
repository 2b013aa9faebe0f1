"""Rows are spared only where interval arithmetic tells as much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.onnx_files import file
from verifier.checker.affine import Affine, Dense, Sparse
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import NARROW, Enclosure
from verifier.checker.network import Network, read_network
from verifier.checker.rows import Rows

G = np.random.default_rng(0)
FLOAT = Arithmetic()


def weights(*shape: int) -> np.ndarray:
    return G.normal(size=shape).astype(np.float32)


CONV: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
IMAGE = file(
    [
        node("Conv", ["x", "w"], ["a"], **CONV),
        node("Relu", ["a"], ["b"]),
        node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["c", "v"], ["d"], **CONV),
        node("Relu", ["d"], ["y"]),
    ],
    (1, 2, 4, 4),
    {"w": weights(3, 2, 3, 3), "v": weights(2, 3, 3, 3)},
)
DIFFERENCES = file(
    [
        node("MatMul", ["x", "w"], ["a"]),
        node("Mul", ["a", "s"], ["b"]),
        node("Sub", ["b", "x"], ["c"]),
        node("Relu", ["c"], ["d"]),
        node("Sigmoid", ["b"], ["e"]),
        node("Sigmoid", ["c"], ["f"]),
        node("Mul", ["d", "e"], ["g"]),
        node("Mul", ["f", "e"], ["h"]),
        node("Add", ["g", "h"], ["y"]),
    ],
    (1, 3),
    {"w": weights(3, 3), "s": weights(3)},
)


ONE = file(
    [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "v"], ["b"]),
        node("Relu", ["b"], ["y"]),
    ],
    (1, 1),
    {"w": weights(1, 2), "v": weights(2, 2)},
)
CHANNEL = file(
    [
        node("Conv", ["x", "w"], ["a"]),
        node("Conv", ["a", "v"], ["b"]),
        node("Relu", ["b"], ["y"]),
    ],
    (1, 1, 3, 2),
    {"w": weights(3, 1, 1, 1), "v": weights(2, 3, 1, 1)},
)


def enclosed(network: Network, low: np.ndarray, high: np.ndarray) -> Enclosure:
    """Boxes, of which rows have made tight what is not told by intervals."""
    enclosure = Enclosure(network, FLOAT, False, [low[None]], [high[None]])
    for step in network.nodes:
        value = enclosure.step()
        if not isinstance(step.rule, Affine):
            enclosure.relax(value)
        if value not in network.by_intervals:
            ends = by_rows(enclosure, value)
            enclosure.narrow(value, ends[0][None], ends[1][None])
    return enclosure


def by_rows(enclosure: Enclosure, value: int) -> tuple[np.ndarray, np.ndarray]:
    size = enclosure.network.sizes[value]
    zero = np.zeros(size, dtype=np.int64)
    ends = [enclosure.least(Rows({value: s * np.eye(size)}, 0.0 * zero, zero)) for s in (1, -1)]
    return ends[0], -ends[1]


@pytest.mark.parametrize("data", [IMAGE, DIFFERENCES, ONE, CHANNEL])
@pytest.mark.parametrize("seed", range(4))
def test_rows_would_tell_no_more(data, seed):
    g, network = np.random.default_rng(seed), read_network(data, FLOAT)
    low = g.normal(size=network.sizes[0])
    enclosure = enclosed(network, low, low + g.uniform(0, 1, low.shape))
    for value in network.by_intervals:
        low, high = by_rows(enclosure, value)
        assert (low <= enclosure.lower[value][0] + 1e-9).all(), value
        assert (high >= enclosure.upper[value][0] - 1e-9).all(), value


def told(data: bytes) -> dict[str, bool]:
    network = read_network(data, FLOAT)
    names = enumerate(network.nodes, 1)
    return {step.name: value in network.by_intervals for value, step in names}


def test_what_intervals_tell():
    assert told(IMAGE) == {
        "a:patches": True,
        "a": True,
        "b": True,
        "c:members": True,
        "c": False,
        "d:patches": False,
        "d": False,
        "y": False,
    }
    # Each output of the second matrix meets the one input twice, or one channel three times.
    assert told(ONE) == {"a": True, "b": False, "y": False}
    assert told(CHANNEL)["b"] is False
    # c = b - x meets every input twice; of a ReLU that is linear by its box nothing is bounded.
    assert told(DIFFERENCES) == {
        "a": True,
        "b": True,
        "c": False,
        "d": False,
        "e": True,
        "f": True,
        "g:factors": False,
        "g": False,
        "h:factors": True,
        "h": False,
        "y": False,
    }


def test_nearly_constant_numbers_get_no_rows():
    """What rounding makes of a number that does not move is no box to be narrowed."""
    network = read_network(
        file([node("Mul", ["x", "x"], ["y"])], (1, 5)),
        FLOAT,
    )
    low = np.array([3.0, 3.0, 0.0, 0.0, -np.inf])
    high = low + np.array([NARROW, 16 * NARROW, 1e-31, 1e-20, 0.0])
    high[4] = 0.0
    enclosure = Enclosure(network, FLOAT, False, [low[None]], [high[None]])
    assert enclosure.unstable(0)[0].tolist() == [False, True, False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_nearly_empty_matrices_are_taken_by_their_entries(seed):
    g = np.random.default_rng(seed)
    weight = np.zeros((160, 240))
    for _ in range(3):
        weight[np.arange(160), g.permutation(240)[:160]] = g.normal(size=160)
    weight[5] = 0
    weight[:, 7] = 0
    dense = Dense(weight[None])
    thin = dense.thinned()
    assert isinstance(thin, Sparse)
    x, a = g.normal(size=(2, 240)), g.normal(size=(2, 160))
    np.testing.assert_allclose(thin.apply(x), x @ weight.T, atol=1e-14)
    np.testing.assert_allclose(thin.absolute().apply(x), x @ abs(weight).T, atol=1e-14)
    np.testing.assert_allclose(thin.transposed().apply(a), a @ weight, atol=1e-14)
    assert thin.terms <= 3
    assert thin.occupied.tolist() == (weight != 0).any(1).tolist()


def test_full_matrices_stay_so():
    weight = G.normal(size=(1, 40, 40))
    weight[:, :, 1:] = 0
    for dense in (
        Dense(weight),
        Dense(weight.swapaxes(1, 2)),
        Dense(0 * weight, 2),
        Dense(weight, 1, 2),
    ):
        assert dense.thinned() is dense
