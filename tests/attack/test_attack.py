"""The whole hunt, with real queries where it matters."""

import time

import numpy as np
import pytest

from tests.attack.nets import Case, certain, dense, identity, replay_of, unsafe_rows
from verifier.attack import Attack, Candidates, Effort, Judge, Regions, Target, falsify
from verifier.load.vnnlib import parse_query
from verifier.sets import Box
from verifier.spec import cases_of
from verifier.tensors import numpy_backend, torch_backend


def generator(seed=0):
    return np.random.default_rng(seed)


def quantile_case(seed: int, level: float) -> Case:
    """A random network; both rows of the clause hold for a share ``level`` of the outputs each."""
    graph = dense((5, 30, 30, 4), seed)
    rows = unsafe_rows([[1.0, 0, 0, -1.0], [0, 1.0, -1.0, 0]], [0, 0])
    points = generator(seed).uniform(-1, 1, (5000, 5))
    outputs = graph.on(numpy_backend()).evaluate(points) @ rows.output_coefficients.T
    return Case.of(graph, rows, ([-1] * 5, [1] * 5), np.quantile(outputs, level, axis=0))


@pytest.mark.parametrize("backend", [numpy_backend("float32"), torch_backend("float32")])
@pytest.mark.parametrize("seed", range(5))
def test_planted_counterexamples_are_found_and_hold(seed, backend):
    case = quantile_case(seed, 0.1)
    problem = case.problem(backend)
    witness = certain(falsify(problem, Effort(steps=600), generator()))
    assert problem[2].query.holds(witness.inputs, witness.outputs)
    assert np.array_equal(witness.inputs, witness.inputs.astype(np.float32))
    assert np.array_equal(witness.outputs, replay_of(case.graph)(witness.inputs[None])[0])


def test_nothing_is_found_where_there_is_nothing():
    case = Case.of(identity(2), unsafe_rows([[1, 1]], [0]), ([0, 0], [1, 1]), [-1e-3])
    attack = Attack(*case.problem(numpy_backend()), generator())
    assert attack.run(Effort(steps=200)) is None
    assert attack.nearest.margins[0] == pytest.approx(1e-3)


@pytest.mark.parametrize("strict", [False, True])
def test_ties_are_counterexamples_to_strict_rows_only(strict):
    """y0 = y1 = relu(-1) = 0 everywhere: y0 <= y1 holds, y0 < y1 does not."""
    rows = unsafe_rows([[1, -1]], [0], strict=[strict])
    case = Case.of(identity(2), rows, ([0.5, 0.5], [0.5, 0.5]), [0])
    witness = falsify(case.problem(numpy_backend()), Effort(steps=100), generator())
    assert (witness is None) == strict


def test_strict_rows_are_passed_strictly():
    rows = unsafe_rows([[1, -1]], [0], strict=[True])
    case = Case.of(identity(2), rows, ([0.5, 0.25], [1, 0.75]), [0])
    witness = certain(falsify(case.problem(numpy_backend()), Effort(steps=100), generator()))
    assert witness.outputs[0] < witness.outputs[1]


def test_a_replay_that_disagrees_is_never_believed_and_costs_no_more_than_the_effort():
    case = quantile_case(0, 0.3)
    replays = []

    def replay(points):
        replays.append(len(points))
        return np.full((len(points), 4), 7.0) * [1, 1, 0, 0]

    problem = (*case.on(numpy_backend()), case.judge(replay))
    assert falsify(problem, Effort(steps=300), generator()) is None
    assert 0 < sum(replays) < 2000


def test_a_replay_that_disagrees_a_little_is_satisfied_by_a_deeper_point():
    """The runtime's outputs are 0.01 higher than ours: witnesses must be that much deeper."""
    case = Case.of(identity(2), unsafe_rows([[1, 0]], [0]), ([0, 0], [1, 1]), [0.5])
    problem = (*case.on(numpy_backend()), case.judge(lambda points: points + 0.01))
    start = Candidates(np.array([[0.495, 0.5]]), np.array([0]), np.array([-0.005]))
    witness = certain(falsify(problem, Effort(steps=300), generator(), start))
    assert witness.outputs[0] <= 0.5


def test_shallow_witnesses_are_made_deeper():
    case = Case.of(identity(2), unsafe_rows([[1, 0]], [0]), ([0, 0], [1, 1]), [0.5])
    attack = Attack(*case.problem(numpy_backend()), generator())
    start = Candidates(np.array([[0.5, 0.5]]), np.array([0]), np.array([0.0]))
    assert certain(attack.offer(start, Effort())).outputs[0] < 0.499


def test_boxes_without_a_number_of_the_type_are_left_alone():
    rows = unsafe_rows([[1.0]], [0])
    case = Case.of(identity(1), rows, ([[0.1], [0.75]], [[0.1], [1.0]]), [[0.5], [0.8]])
    witness = certain(falsify(case.problem(numpy_backend()), Effort(steps=100), generator()))
    assert 0.75 <= witness.inputs[0] <= 0.8
    alone = Case.of(identity(1), rows, ([0.1], [0.1]), [0.5])
    start = time.monotonic()
    assert falsify(alone.problem(numpy_backend()), Effort(steps=10**6), generator()) is None
    assert time.monotonic() - start < 1


def test_a_hunt_goes_on_where_it_stopped():
    case = Case.of(identity(2), unsafe_rows([[1, 1]], [0]), ([0, 0], [1, 1]), [-1])
    attack = Attack(*case.problem(numpy_backend()), generator())
    for rounds in (1, 2):
        assert attack.run(Effort(steps=40)) is None
        assert attack.rounds == rounds


def test_equal_seeds_give_equal_witnesses():
    problem = quantile_case(3, 0.1).problem(numpy_backend())
    first, second = (
        certain(falsify(problem, Effort(steps=600), generator(5))).inputs for _ in range(2)
    )
    assert np.array_equal(first, second)


QUERY = """
(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (or (and (>= X_0 0.1) (<= X_0 0.3) (>= X_1 0.7) (<= X_1 0.7))
            (and (>= X_0 0.5) (<= X_0 0.6) (>= X_1 -0.1) (<= X_1 0.4))))
(assert (or (and (<= Y_0 -9.0) (>= Y_1 0.0)) (and (>= Y_0 0.55) (<= Y_1 -0.09999999))))
"""


def test_a_query_from_a_file():
    """Two boxes, of which one holds no float32 number; two clauses, of which one can be met."""
    query = parse_query(QUERY.encode(), "query")
    cases = cases_of(query)
    batch, nearest = cases.take(0, 2), cases.take(0, 2, nearest=True)
    graph = identity(2)
    judge = Judge(query, replay_of(graph), ((2, "float32"),), nearest.lower, nearest.upper)
    xp = numpy_backend()
    regions = Regions(Box(xp.floats(batch.lower), xp.floats(batch.upper)), xp.floats(batch.bounds))
    target = Target.of(graph.on(xp), cases.rows)
    witness = certain(falsify((target, regions, judge), Effort(steps=400), generator()))
    assert query.holds(witness.inputs, witness.outputs)
    assert witness.exact
