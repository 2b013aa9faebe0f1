"""Rows, clauses, margins and losses."""

import numpy as np
import pytest

from tests.attack.nets import Case, dense, identity, mixed, unsafe_rows
from verifier.attack import Candidates, Target, backward, evaluate_candidates
from verifier.attack.loss import Loss
from verifier.tensors import numpy_backend, torch_backend

INF = np.inf


def plane_target(**options):
    """Outputs = inputs (two); clause 0: y0 <= b and y1 <= b, clause 1: -y0 <= b."""
    rows = unsafe_rows([[1, 0], [0, 1], [-1, 0]], [0, 0, 1], **options)
    return Target.of(identity(2).on(numpy_backend()), rows)


def test_the_margin_is_the_least_over_clauses_of_the_greatest_row():
    target = plane_target()
    bounds = np.array([[0.0, 0.0, -5.0]] * 3)
    points = np.array([[-1.0, 2.0], [-1.0, -3.0], [6.0, 1.0]])
    assert target.clauses == 2
    assert target.margins(points, bounds).tolist() == [2.0, -1.0, -1.0]
    assert evaluate_candidates(target, points, bounds).tolist() == [1, 2]


def test_a_bound_of_minus_infinity_closes_its_clause_and_plus_infinity_opens_its_row():
    target = plane_target()
    points = np.array([[-1.0, -3.0], [-1.0, 3.0]])
    bounds = np.array([[-INF, 0.0, -INF], [0.0, INF, -INF]])
    assert target.margins(points, bounds).tolist() == [INF, -1.0]


def test_rows_may_read_the_inputs():
    target = plane_target(inputs=[[0, -1], [0, 0], [0, 0]])
    points = np.array([[1.0, 2.0]])
    g = target.violations(points, points, np.array([[0.0, 0.0, 0.0]]))
    assert g.tolist() == [[-1.0, 2.0, -1.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tie_meets_a_row_unless_it_is_strict(dtype):
    xp = numpy_backend(dtype)
    for strict in (False, True):
        rows = unsafe_rows([[1, -1]], [0], strict=[strict])
        target = Target.of(identity(2).on(xp), rows)
        found = evaluate_candidates(target, xp.floats([[3.0, 3.0], [2.0, 3.0]]), xp.zeros(2, 1))
        assert found.tolist() == ([1] if strict else [0, 1])


def test_nan_is_no_violation():
    target = plane_target()
    points = np.array([[np.nan, 0.0]])
    assert evaluate_candidates(target, points, np.zeros((1, 3))).tolist() == []


def test_clauses_of_different_lengths():
    rows = unsafe_rows([[1, 0], [1, 0], [0, 1], [1, 1]], [0, 1, 1, 1])
    target = Target.of(identity(2).on(numpy_backend()), rows)
    g = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, -2.0, -3.0, -4.0]])
    assert target.worst(g).tolist() == [[1.0, 4.0], [1.0, -2.0]]


def test_sharp_weights_choose_the_greatest_row_of_the_clause():
    target = plane_target()
    g = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]])
    assert target.sharp(g, np.array([0, 1])).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert target.sharp(np.ones((1, 3)), np.array([0])).tolist() == [[0.5, 0.5, 0]]


def test_smooth_weights_fall_on_unmet_rows_of_the_clause():
    target = plane_target()
    loss = Loss(target)
    relative = loss.observe(np.array([[1.0, -20.0, 9.0], [3.0, 20.0, 9.0]]))
    assert relative[0].tolist() == [0.5, -1.0, 1.0]
    weights = loss.smooth(relative, np.array([0, 0]))
    assert weights[0, 0] > 0.99
    assert weights[0, 1] < 0.01
    assert weights[:, 2].tolist() == [0, 0]


def test_infinite_rows_do_not_spoil_the_scale():
    loss = Loss(plane_target())
    relative = loss.observe(np.array([[-INF, 2.0, INF], [-INF, 4.0, 1.0]]))
    assert np.asarray(loss.scale).tolist() == [1.0, 3.0, 1.0]
    assert not np.isnan(loss.smooth(relative, np.array([0, 0]))).any()


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_of_a_row_by_seeds(seed):
    rng = np.random.default_rng(seed)
    rows = unsafe_rows(rng.normal(size=(3, 4)), [0, 0, 1], inputs=rng.normal(size=(3, 4)))
    target = Target.of(mixed(seed).on(numpy_backend()), rows)
    x, step = rng.normal(size=(1, 4)), 1e-6 * rng.normal(size=(1, 4))
    weights = np.array([[0.0, 1.0, 0.0]])
    slope = backward(target.graph, target.graph.values(x), target.seeds(weights))
    ends = np.concatenate([x - step, x + step])
    g = target.violations(ends, target.graph.evaluate(ends), np.zeros((2, 3)))
    assert (slope * 2 * step).sum() == pytest.approx(g[1, 1] - g[0, 1], rel=1e-3, abs=1e-11)


def test_backends_agree_and_batches_equal_their_points():
    case = Case.of(
        dense((3, 20, 4), 1), unsafe_rows(np.eye(4), [0, 0, 1, 2]), ([-1] * 3, [1] * 3), [0] * 4
    )
    points = np.random.default_rng(0).uniform(-1, 1, (5000, 3))
    bounds = np.zeros((5000, 4))
    found = []
    for xp in (numpy_backend(), torch_backend("float64")):
        target, _ = case.on(xp)
        found.append(xp.numpy(target.margins(xp.floats(points), xp.floats(bounds))))
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    target, _ = case.on(numpy_backend())
    assert target.margins(points[3000:3001], bounds[:1]) == pytest.approx(found[0][3000:3001])
    assert target.margins(points[:0], bounds[:0]).shape == (0,)


def test_candidates_are_sorted_and_hold_no_nan():
    points = np.arange(8.0).reshape(4, 2)
    found = Candidates.of(points, np.array([1, 0, 1, 2]), np.array([3.0, np.nan, -1.0, np.inf]))
    assert found.margins.tolist() == [-1.0, 3.0]
    assert found.case.tolist() == [1, 1]
    assert len(found.unsafe()) == 1
    assert len(found.unsafe(-2.0)) == 0
    assert found.join(found).margins.tolist() == [-1.0, -1.0, 3.0, 3.0]
    assert found.spread(5).margins.tolist() == [-1.0]
    assert found.repeated(3).margins.tolist() == [-1.0, 3.0, -1.0]
    assert len(Candidates.none(2).repeated(3)) == 0
