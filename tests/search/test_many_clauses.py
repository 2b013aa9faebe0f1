"""Properties of very many clauses cost time for their rows, not for each clause."""

import time

import numpy as np
import pytest

from tests.search.test_clip import objective_of
from verifier.bounds import Objective
from verifier.search.clip import clip
from verifier.sets import Box
from verifier.tensors import numpy_backend, torch_backend

over_backends = pytest.mark.parametrize("make", [numpy_backend, torch_backend])
RAGGED = (0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 5)
MANY = 20_000


def ragged(numbers: np.random.Generator) -> np.ndarray:
    return np.repeat(np.arange(MANY), numbers.integers(1, 4, MANY))


@over_backends
def test_the_best_row_of_each_clause(make):
    xp = make("float64")
    objective = objective_of(RAGGED, xp)
    x = np.random.default_rng(0).normal(size=(3, len(RAGGED)))
    x[0, 1], x[1, :3] = np.inf, -np.inf
    each = [x[:, np.array(RAGGED) == k].max(1) for k in range(6)]
    assert (xp.numpy(objective.best_of_clauses(xp.doubles(x))) == np.stack(each, 1)).all()
    assert xp.numpy(objective.members).tolist()[:3] == [[0, 1, 2], [3, 3, 3], [4, 5, 4]]


@over_backends
@pytest.mark.parametrize("jointly", [True, False])
def test_a_box_is_cut_to_the_hull_of_what_each_clause_leaves(make, jointly):
    xp, numbers = make("float64"), np.random.default_rng(1)
    objective, clause = objective_of(RAGGED, xp), np.array(RAGGED)
    lower = numbers.normal(size=(8, 3))
    box = Box(xp.doubles(lower), xp.doubles(lower + 1))
    planes = numbers.normal(size=(8, len(RAGGED), 3))
    constant = -(planes * (lower + numbers.random((8, 3)) * 1.5)[:, None]).sum(-1)
    live = numbers.random((8, 6)) < 0.8
    found = clip(
        box, xp.doubles(planes), xp.doubles(constant), objective, xp.bools(live), jointly=jointly
    )
    low, high = np.full((8, 3), np.inf), np.full((8, 3), -np.inf)
    for k in range(6):
        rows = clause == k
        part = clip(
            box,
            xp.doubles(planes[:, rows]),
            xp.doubles(constant[:, rows]),
            objective_of((0,) * int(rows.sum()), xp),
            xp.bools(live[:, k : k + 1]),
            jointly=jointly,
        )
        alive = xp.numpy(part.live)
        assert (xp.numpy(found.live)[:, k : k + 1] == alive).all()
        low = np.minimum(low, np.where(alive, xp.numpy(part.box.lower), np.inf))
        high = np.maximum(high, np.where(alive, xp.numpy(part.box.upper), -np.inf))
    some = xp.numpy(found.live).any(1)
    assert some.any()
    np.testing.assert_array_equal(xp.numpy(found.box.lower)[some], low[some])
    np.testing.assert_array_equal(xp.numpy(found.box.upper)[some], high[some])


@over_backends
def test_clauses_cost_no_time_of_their_own(make):
    xp, numbers = make("float64"), np.random.default_rng(2)
    clause = ragged(numbers)
    objective = Objective.of(np.ones((len(clause), 1)), None, clause, xp)
    box = Box(xp.doubles(-np.ones((2, 3))), xp.doubles(np.ones((2, 3))))
    planes = xp.doubles(numbers.normal(size=(2, len(clause), 3)))
    constant = xp.doubles(numbers.normal(size=(2, len(clause))))
    live = xp.bools(np.ones((2, MANY)))
    begin = time.perf_counter()
    objective.best_of_clauses(constant)
    assert objective.members.shape == (MANY, 3)
    clip(box, planes, constant, objective, live, jointly=False)
    assert time.perf_counter() - begin < 3.0
