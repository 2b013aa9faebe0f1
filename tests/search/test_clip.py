"""Clipping loses no point that may be unsafe, in exact arithmetic, whatever the planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.exact import rational
from verifier.bounds import Objective
from verifier.search.clip import clip
from verifier.sets import Box
from verifier.tensors import Backend, numpy_backend, torch_backend

SEEDS = st.integers(0, 10**6)
BATCH, ROWS, SIZE, POINTS = 6, 4, 3, 40
SCALES = (1.0, 1.0, 1e-300, 1e-310, 5e-324, 1e-30, 1e30, 1e150, 1e300, 0.0)
over_clauses = pytest.mark.parametrize("clause", [(0, 0, 0, 0), (0, 0, 1, 2), (0, 1, 2, 3)])


def objective_of(clause: tuple[int, ...], xp: Backend) -> Objective:
    return Objective.of(np.ones((len(clause), 1)), None, np.array(clause), xp)


def random_planes(generator: np.random.Generator, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Planes that pass near the boxes, of all sizes, some of which say nothing."""
    scale = generator.choice(SCALES, size=(BATCH, ROWS, 1))
    each = generator.choice([1.0, 1.0, 0.0, 1e-9, 1e9], size=(BATCH, ROWS, SIZE))
    with np.errstate(all="ignore"):
        coefficients = scale * each * generator.normal(size=(BATCH, ROWS, SIZE))
        inside = box.lower + generator.random((BATCH, SIZE)) * (box.upper - box.lower)
        constant = -(coefficients * inside[:, None, :]).sum(-1)
        push = generator.choice([0.0, 0.0, 0.5, -0.5, 1e-9], size=constant.shape)
        constant = constant + push * abs(coefficients).sum(-1)
    wrong = ~np.isfinite(constant) | (generator.random(constant.shape) < 0.1)
    return np.where(wrong[..., None], 0.0, coefficients), np.where(wrong, -np.inf, constant)


def random_box(generator: np.random.Generator) -> Box:
    center = generator.normal(size=(BATCH, SIZE)) * generator.choice([1.0, 0.0, 1e6], (BATCH, 1))
    radius = generator.random((BATCH, SIZE)) * generator.choice([1.0, 0.0, 1e-12], (BATCH, 1))
    return Box(center - radius, center + radius)


def points_near(box: Box, cut: Box, generator: np.random.Generator) -> np.ndarray:
    """[points, batch, n]: corners, random ones, and ones just outside the smaller boxes."""
    share = generator.random((POINTS, BATCH, SIZE))
    share = np.where(generator.random(share.shape) < 0.4, np.round(share), share)
    points = box.lower + share * (box.upper - box.lower)
    pick = generator.random(points.shape) < 0.4
    outside = np.where(
        generator.random(points.shape) < 0.5,
        np.nextafter(cut.lower, -np.inf),
        np.nextafter(cut.upper, np.inf),
    )
    return np.clip(np.where(pick, outside, points), box.lower, box.upper)


def met(coefficients: np.ndarray, constant: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[points, batch, rows]: is the plane at most 0, exactly?"""
    says = np.isfinite(constant)
    terms = rational(coefficients)[None] * rational(points)[:, :, None, :]
    return (terms.sum(-1) + rational(np.where(says, constant, 0.0)) <= 0) | ~says


@pytest.mark.parametrize("jointly", [False, True])
@over_clauses
@given(seed=SEEDS)
def test_no_unsafe_point_is_cut_off(jointly: bool, clause: tuple[int, ...], seed: int):
    generator, xp = np.random.default_rng(seed), numpy_backend()
    box = random_box(generator)
    planes = random_planes(generator, box)
    objective = objective_of(clause, xp)
    live = generator.random((BATCH, objective.clauses)) < 0.8
    with np.errstate(all="ignore"):
        found = clip(box, *planes, objective, live, jointly=jointly)
    assert not (found.live & ~live).any()
    assert (found.box.lower >= box.lower).all()
    assert (found.box.upper <= box.upper).all()
    points = points_near(box, found.box, generator)
    rows = met(*planes, points)
    inside = ((points >= found.box.lower) & (points <= found.box.upper)).all(-1)
    for k in range(objective.clauses):
        unsafe = rows[:, :, np.array(clause) == k].all(-1) & live[:, k]
        assert not (unsafe & ~inside).any(), "cut off"
        assert not (unsafe & ~found.live[:, k]).any(), "refuted"


@given(seed=SEEDS)
def test_boxes_that_planes_leave_nothing_of_are_refuted(seed: int):
    generator, xp = np.random.default_rng(seed), numpy_backend()
    box = random_box(generator)
    coefficients = generator.normal(size=(BATCH, 1, SIZE))
    corner = np.where(coefficients[:, 0] > 0, box.lower, box.upper)
    least = (coefficients[:, 0] * corner).sum(-1, keepdims=True)
    size = abs(coefficients[:, 0] * corner).sum(-1, keepdims=True)
    for share, alive in ((1e-9, False), (-1e-9, True)):
        constant = -least + share * (1 + size)
        planes, live = (coefficients, constant), np.ones((BATCH, 1), bool)
        for jointly in (False, True):
            found = clip(box, *planes, objective_of((0,), xp), live, jointly=jointly)
            assert (found.live == alive).all()


def test_a_half_plane_cuts_as_far_as_it_can():
    """x_0 + x_1 - 1 <= 0 in [0, 4] x [0.25, 4], and x_0 >= 0.5 as a second row of the clause."""
    for xp in (numpy_backend(), torch_backend("float64")):
        box = Box(xp.doubles([[0.0, 0.25]]), xp.doubles([[4.0, 4.0]]))
        coefficients = xp.doubles([[[1.0, 1.0], [-1.0, 0.0]]])
        constant = xp.doubles([[-1.0, 0.5]])
        live = xp.bools([[True]])
        found = clip(box, coefficients, constant, objective_of((0, 0), xp), live, jointly=False)
        lower, upper = xp.numpy(found.box.lower), xp.numpy(found.box.upper)
        np.testing.assert_allclose(lower, [[0.5, 0.25]], rtol=1e-12)
        np.testing.assert_allclose(upper, [[0.75, 0.5]], rtol=1e-12)
        both = xp.bools([[True, True]])
        found = clip(box, coefficients, constant, objective_of((0, 1), xp), both, jointly=False)
        np.testing.assert_allclose(xp.numpy(found.box.lower), [[0.0, 0.25]], rtol=1e-12)
        np.testing.assert_allclose(xp.numpy(found.box.upper), [[4.0, 4.0]], rtol=1e-12)


@given(seed=SEEDS)
def test_planes_together_cut_no_less_than_one_by_one(seed: int):
    generator, xp = np.random.default_rng(seed), numpy_backend()
    box = random_box(generator)
    planes, live = random_planes(generator, box), np.ones((BATCH, 2), dtype=bool)
    objective = objective_of((0, 0, 0, 1), xp)
    with np.errstate(all="ignore"):
        alone = clip(box, *planes, objective, live, jointly=False)
        both = clip(box, *planes, objective, live, jointly=True)
    assert not (both.live & ~alone.live).any()
    whole = both.live.all(1)
    assert (both.box.lower >= alone.box.lower)[whole].all()
    assert (both.box.upper <= alone.box.upper)[whole].all()
