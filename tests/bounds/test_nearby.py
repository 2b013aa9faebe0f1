"""Boxes of the output over batches of boxes that are nearly points."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import BACKENDS, Trial, contains
from tests.bounds.exact import exact_values, rational
from tests.bounds.graphs import mlp
from verifier.bounds import nearby, whole_interval
from verifier.graph import Builder, Value
from verifier.ops.relu import Relu
from verifier.ops.sum import Sum
from verifier.sets import Box
from verifier.tensors import numpy_backend

module = importlib.import_module("verifier.bounds.nearby")


@pytest.mark.parametrize("longest", [0, module.SHARED_SIZE])
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(BACKENDS)))
def test_the_output_is_in_its_box(longest: int, name: str, seed: int):
    trial = Trial.of(seed, name)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(module, "SHARED_SIZE", longest)
        box = nearby(trial.placed, trial.box)
    assert box.lower.shape == (trial.batch, trial.graph.output_size)
    assert contains(box, trial.values[trial.graph.output], trial.xp)


def points(seed: int, batch: int, size: int) -> Box:
    x = np.random.default_rng(seed).normal(size=(batch, size))
    return Box(x, x.copy())


@pytest.mark.parametrize("size", [60, 90])
def test_the_rounding_of_sums_is_in_the_radius(size: int):
    """Where terms cancel, the sums are far off as seen from their size."""
    graph, region = mlp(size, (size, 5)), points(size, 200, size)
    values = exact_values(graph, region.lower)[graph.output]
    box = nearby(graph.on(numpy_backend()), region)
    assert (rational(box.lower) <= values).all()
    assert (values <= rational(box.upper)).all()


@pytest.mark.parametrize("seed", range(8))
def test_points_have_boxes_about_as_small_as_by_intervals(seed: int):
    """Also where the radii are shared, since neurons that are off in all boxes are exact."""
    graph = mlp(seed, (70, 80, 90, 80, 3)).on(numpy_backend())
    near = points(seed, 1, 70)
    region = Box(*(near.lower + np.linspace(0, 1e-6, 30)[:, None] for _ in range(2)))
    plain = whole_interval(graph, region).boxes[graph.output]
    box = nearby(graph, region)
    assert (box.upper - box.lower).max() < 2 * (plain.upper - plain.lower).max() < 1e-9


@pytest.mark.parametrize("size", [8, 80])
def test_sums_of_whole_numbers_are_exact(size: int):
    """In a batch with a shared radius only where they are whole in all of it."""
    builder = Builder(size)
    x = Value(0, (size,))
    total = builder.add("sum", Sum.of(size, (1, -1)), [builder.add("relu", Relu.of(size), [x]), x])
    graph = builder.finish(total).on(numpy_backend())
    numbers = np.random.default_rng(size).integers(-9, 9, size=(5, size)).astype(np.float64)
    numbers[0, 0] = 2.25
    box = nearby(graph, Box(numbers, numbers.copy()))
    exact = np.maximum(numbers, 0) - numbers
    assert (box.lower[:, 1:] == exact[:, 1:]).all()
    assert (box.upper[:, 1:] == exact[:, 1:]).all()
    # The others share a radius with the first only where radii are shared.
    assert ((box.lower < box.upper)[:, 0] == [True, *[size > module.SHARED_SIZE] * 4]).all()
