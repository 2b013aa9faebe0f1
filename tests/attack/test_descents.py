"""Projected gradient descent, polishing, and points without gradients."""

import time

import numpy as np
import pytest

from tests.attack.nets import Case, dense, identity, unsafe_rows
from verifier.attack import Candidates, Effort, pgd
from verifier.attack.gradient import points_at_once
from verifier.attack.pgd import Launcher
from verifier.attack.polish import polish
from verifier.attack.sample import Walk, corners, even_spread, examine, refine, scan
from verifier.graph import Builder, Value
from verifier.ops.clip import Clip
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.tensors import numpy_backend, torch_backend


def generator(seed=0):
    return np.random.default_rng(seed)


def tent(size: int, width: float) -> Case:
    """Unsafe where every input is within ``width`` of 0.7: |x_i - 0.7| by two ReLUs each."""
    eye = np.eye(size)
    builder = Builder(size)
    both = Linear.of(np.concatenate([eye, -eye]), np.repeat([-0.7, 0.7], size))
    value = builder.add("sides", both, [Value(0, (size,))], (2 * size,))
    value = builder.add("relu", Relu.of(2 * size), [value])
    value = builder.add("sum", Linear.of(np.concatenate([eye, eye], axis=1)), [value], (size,))
    rows = unsafe_rows(eye, [0] * size)
    return Case.of(builder.finish(value), rows, ([0] * size, [1] * size), [width] * size)


def worst_of_samples(case: Case, target, regions, level: float) -> np.ndarray:
    """Bounds for a single row such that only a share ``level`` of random points is unsafe."""
    points = generator(9).uniform(case.lower[0], case.upper[0], (20000, case.lower.shape[1]))
    outputs = target.graph.evaluate(points) @ target.output_coefficients.T
    return np.quantile(outputs, level, axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_rare_points_of_random_networks_are_found(seed):
    graph = dense((6, 40, 40, 3), seed)
    rows = unsafe_rows([[1.0, -1.0, 0.5]], [0])
    case = Case.of(graph, rows, ([-1] * 6, [1] * 6), [0])
    target, regions = case.on(numpy_backend())
    case = Case.of(graph, rows, ([-1] * 6, [1] * 6), worst_of_samples(case, target, regions, 1e-4))
    target, regions = case.on(numpy_backend())
    found = pgd(target, regions, Effort(steps=200), generator())
    assert len(found.unsafe())
    again = examine(target, regions, found.points, found.case)
    assert again.margins[0] == pytest.approx(found.margins[0], abs=1e-9)
    assert ((found.points >= -1) & (found.points <= 1)).all()


def test_a_conjunction_of_narrow_rows_is_met():
    target, regions = tent(8, 1e-3).on(numpy_backend())
    found = pgd(target, regions, Effort(steps=200), generator())
    assert len(found.unsafe())


def test_polishing_steps_over_the_line_where_a_step_is_a_little_too_short():
    target, regions = tent(3, 1e-9).on(numpy_backend())
    near = Candidates.of(np.full((1, 3), 0.71), np.zeros(1, dtype=int), np.array([0.01]))
    assert len(polish(target, regions, near, Effort()).unsafe())


def test_every_clause_has_its_turn():
    """Only the last of many clauses can be met, and only close to one corner."""
    rows = unsafe_rows(np.concatenate([np.ones((30, 3)), -np.ones((1, 3))]), list(range(31)))
    case = Case.of(identity(3), rows, ([0] * 3, [1] * 3), [-1.0] * 30 + [-2.9])
    target, regions = case.on(numpy_backend())
    found = pgd(target, regions, Effort(steps=300, points=16), generator())
    assert len(found.unsafe())


def test_closed_clauses_are_no_goal():
    rows = unsafe_rows([[1.0], [-1.0]], [0, 1])
    case = Case.of(identity(1), rows, ([0], [1]), [-np.inf, -0.9])
    target, regions = case.on(numpy_backend())
    launcher = Launcher(target, regions, generator())
    assert launcher.pairs.tolist() == [[0, 1]]
    assert pgd(target, regions, Effort(), generator()).points[0, 0] >= 0.9


def test_nothing_can_be_met():
    case = Case.of(identity(1), unsafe_rows([[1.0]], [0]), ([0], [1]), [-np.inf])
    target, regions = case.on(numpy_backend())
    assert len(pgd(target, regions, Effort(), generator())) == 0


def test_one_of_many_boxes():
    count = 3000
    lower = np.linspace(0, 1, count + 1)[:-1, None].repeat(2, axis=1)
    bounds = np.where(np.arange(count) == 1234, -lower[:, 0], -5.0)[:, None]
    rows = unsafe_rows([[-0.5, -0.5]], [0])
    case = Case.of(identity(2), rows, (lower, lower + 1 / count), bounds)
    target, regions = case.on(numpy_backend())
    found = pgd(target, regions, Effort(steps=300, points=512), generator())
    assert found.unsafe().case.tolist()[0] == 1234


def test_starts_are_tried_first():
    target, regions = tent(4, 1e-12).on(numpy_backend())
    start = Candidates.of(np.full((1, 4), 0.7), np.zeros(1, dtype=int), np.ones(1))
    found = pgd(target, regions, Effort(steps=1), generator(), start)
    assert found.points[0].tolist() == [0.7] * 4


@pytest.mark.parametrize("backend", [numpy_backend(), torch_backend("float64")])
def test_equal_seeds_give_equal_candidates(backend):
    target, regions = tent(5, -1.0).on(backend)
    first, second = (
        pgd(target, regions, Effort(steps=60, points=32), generator(7)) for _ in range(2)
    )
    assert np.array_equal(first.points, second.points)
    assert np.array_equal(first.margins, second.margins)
    other = pgd(target, regions, Effort(steps=60, points=32), generator(8))
    assert not np.array_equal(first.points, other.points)


def test_numpy_and_torch_agree():
    case = Case.of(dense((3, 9, 2), 0), unsafe_rows([[1, -1]], [0]), ([0] * 3, [1] * 3), [-9])
    found = [
        pgd(*case.on(xp), Effort(steps=4, descent=4), generator())
        for xp in (numpy_backend(), torch_backend("float64"))
    ]
    assert found[0].margins == pytest.approx(found[1].margins, abs=1e-9)


def test_the_deadline_is_kept():
    target, regions = tent(5, -1.0).on(numpy_backend())
    start = time.monotonic()
    pgd(target, regions, Effort(steps=10**9, deadline=start + 0.2), generator())
    assert time.monotonic() - start < 5


def test_outputs_that_are_no_numbers_do_no_harm():
    builder = Builder(2)
    huge = Linear.of(np.full((2, 2), 1e200))
    value = builder.add("huge", huge, [Value(0, (2,))])
    value = builder.add("huger", huge, [value])
    graph = builder.finish(value)
    case = Case.of(graph, unsafe_rows([[1, -1]], [0]), ([-1, -1], [1, 1]), [-1])
    target, regions = case.on(numpy_backend())
    with np.errstate(all="ignore"):
        found = pgd(target, regions, Effort(steps=20), generator())
    assert not np.isnan(found.margins).any()


def test_corners_are_all_there_and_fixed_inputs_stay():
    case = Case.of(identity(3), unsafe_rows(np.eye(3), [0] * 3), ([0, 5, 2], [1, 5, 3]), [0] * 3)
    _, regions = case.on(numpy_backend())
    shares = corners(regions, 100, generator())
    assert {tuple(share) for share in shares[1:, [0, 2]]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert (shares[:, 1] == 0.5).all()
    assert shares[0].tolist() == [0.5] * 3
    assert corners(regions, 3, generator()).shape == (4, 3)


def test_an_even_spread_is_even():
    case = Case.of(identity(2), unsafe_rows(np.eye(2), [0] * 2), ([0, 0], [1, 1]), [0] * 2)
    _, regions = case.on(numpy_backend())
    shares = even_spread(regions, 4096, generator())
    counts = np.histogram2d(*shares.T, bins=16, range=[[0, 1], [0, 1]])[0]
    assert counts.min() >= 8
    assert counts.max() <= 24


def test_a_scan_finds_the_only_box_and_stops():
    lower = np.arange(5000.0)[:, None]
    case = Case.of(
        identity(1), unsafe_rows([[-1.0]], [0]), (lower, lower + 0.5), lower * 0 - 4321.25
    )
    target, regions = case.on(numpy_backend())
    found = scan(target, regions, corners(regions, 2, generator()), Effort())
    assert found.case[0] >= 4321
    assert len(found.unsafe())
    assert 4 * points_at_once(target.graph) < 5000 * 3


def test_refining_needs_no_gradient():
    """Three staircases, as steep clips of x_i - 0.1 k: flat almost everywhere."""
    builder = Builder(3)
    starts = [(i, 0.1 * k) for i in range(3) for k in range(1, 8)]
    weight = np.array([[-1e7 * (i == j) for j in range(3)] for i, _ in starts])
    steep = Linear.of(weight, np.array([1e7 * at for _, at in starts]))
    value = builder.add("steep", steep, [Value(0, (3,))], (len(starts),))
    value = builder.add("stairs", Clip.of(len(starts), 0.0, 1.0), [value])
    value = builder.add("sum", Linear.of(np.ones((1, len(starts)))), [value], (1,))
    case = Case.of(builder.finish(value), unsafe_rows([[1]], [0]), ([0] * 3, [1] * 3), [0])
    target, regions = case.on(numpy_backend())
    start = Candidates.of(np.full((2, 3), 0.15), np.zeros(2, dtype=int), np.full(2, 18.0))
    assert len(refine(target, regions, start, Walk(rounds=40)).unsafe())
