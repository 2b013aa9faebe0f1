"""Networks of all operators: what a sampled point refutes is never verified."""

from fractions import Fraction

import numpy as np
import pytest

from tests.bounds.exact import exact_rows
from tests.bounds.graphs import mixed
from tests.soundness.queries import Clause, settle, text_of
from verifier.tensors import numpy_backend
from verifier.verdict import Verified, Violated

SAMPLES = 4000


def least_sample(seed: int) -> tuple:
    """(graph, box, rows, the point of least margin among many, its exact rows)."""
    generator = np.random.default_rng(seed)
    graph = mixed(seed, steps=5)
    size = graph.input_size
    center, radius = generator.normal(size=size), generator.uniform(0.05, 0.8, size=size)
    lower, upper = center - radius, center + radius
    share = generator.random((SAMPLES, size))
    share = np.where(generator.random(share.shape) < 0.3, np.round(share), share)
    points = np.clip(lower + share * (upper - lower), lower, upper)
    rows = generator.normal(size=(1 + seed % 2, graph.output_size))
    values = graph.on(numpy_backend()).evaluate(points) @ rows.T
    best = points[values.max(1).argmin()]
    return graph, (lower, upper), rows, exact_rows(graph, best[None], rows, None)[0]


def above(exact: np.ndarray) -> np.ndarray:
    near = exact.astype(float)
    low = np.array([Fraction(x) < e for x, e in zip(near, exact, strict=True)])
    return np.where(low, np.nextafter(near, np.inf), near)


@pytest.mark.parametrize("seed", range(24))
def test_a_property_that_a_sample_violates_is_not_verified(seed: int):
    graph, box, rows, exact = least_sample(seed)
    how = ("numpy", ("float64", "float32")[seed % 2])
    thresholds = above(exact)
    search = ("inputs", "neurons")[seed % 3 == 2]
    text = text_of([box], [Clause(rows, thresholds)])
    assert not isinstance(settle(graph, text, search, how, 0.3), Verified)
    far = text_of([box], [Clause(rows, thresholds + 0.05 * (1 + abs(thresholds)))])
    assert isinstance(settle(graph, far, search, how, 10.0), Violated)
