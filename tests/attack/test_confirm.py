"""From candidates to witnesses: rounding, boxes without a number, and replays that disagree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attack.nets import Case, certain, identity, replay_of, unsafe_rows
from verifier.attack import Candidates
from verifier.attack.confirm import round_into

ROWS = unsafe_rows([[1.0, 0.0]], [0])
BOX = ([0.0, 0.1], [1.0, 0.9])


def candidates(*points, case=None):
    points = np.array(points, dtype=float)
    case = np.zeros(len(points), dtype=int) if case is None else np.array(case)
    return Candidates(points, case, np.arange(len(points)) - 10.0)


def judge(bounds=0.5, box=BOX, replay=None, kind="float32", **options):
    case = Case.of(identity(2), ROWS, box, [bounds])
    return case.judge(replay or replay_of(case.graph), kind, **options)


def test_a_witness_has_the_outputs_of_the_replay():
    witness = certain(judge().confirm(candidates([0.25, 0.5])))
    assert witness.inputs.tolist() == witness.outputs.tolist() == [0.25, 0.5]
    assert witness.exact


def test_candidates_that_do_not_hold_are_passed_over():
    witness = certain(judge().confirm(candidates([0.75, 0.5], [0.6, 0.5], [0.5, 0.5], [0.1, 0.5])))
    assert witness.inputs[0] == 0.5


def test_none_holds():
    assert judge().confirm(candidates([0.75, 0.5])) is None
    assert judge().confirm(Candidates.none(2)) is None


def test_only_the_replay_counts():
    liar = judge(replay=lambda points: points * 0 + 1)
    assert liar.confirm(candidates([0.25, 0.5])) is None


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_outputs_that_are_no_numbers_are_refused(value):
    broken = judge(replay=lambda points: np.where(points < 9, value, points))
    assert broken.confirm(candidates([0.25, 0.5])) is None


def test_witnesses_are_rounded_into_the_box():
    """0.1 and 0.9 are no float32 numbers: the nearest to 0.1 is above, the one to 0.9 below."""
    for side in (0.1, 0.9, 0.0, 2.0):
        witness = certain(judge().confirm(candidates([0.0, side])))
        assert 0.1 <= witness.inputs[1] <= 0.9
        assert witness.inputs[1] == np.float32(witness.inputs[1])


def test_a_box_without_a_float32_number():
    box = ([0.0, 0.1], [1.0, 0.1])
    strict = judge(box=box)
    assert strict.possible().tolist() == [False]
    assert strict.confirm(candidates([0.25, 0.1])) is None

    seen = []

    def replay(points):
        seen.append(points)
        return points

    near = judge(box=box, replay=replay, strict=False)
    assert near.possible().tolist() == [True]
    witness = certain(near.confirm(candidates([1 / 3, 0.1])))
    assert witness.inputs.tolist() == [float(np.float32(1 / 3)), 0.1]
    assert seen[0].tolist() == [[float(np.float32(1 / 3)), float(np.float32(0.1))]]
    assert not witness.exact


def test_float64_networks_have_a_number_everywhere():
    exact = judge(box=([0.0, 0.1], [1.0, 0.1]), kind="float64", replay=lambda points: points)
    assert certain(exact.confirm(candidates([0.3, 0.1]))).inputs.tolist() == [0.3, 0.1]


def test_some_boxes_may_hold_numbers_and_others_not():
    case = Case.of(
        identity(1), unsafe_rows([[1.0]], [0]), ([[0.1], [0.5]], [[0.1], [0.5]]), [[9], [9]]
    )
    court = case.judge(replay_of(case.graph))
    assert court.possible().tolist() == [False, True]
    found = certain(court.confirm(candidates([0.1], [0.5], case=[0, 1])))
    assert found.inputs.tolist() == [0.5]


def test_fixed_inputs_are_filled_in():
    box = ([0.0, 0.25], [1.0, 0.25])
    witness = certain(judge(box=box, free=np.array([0])).confirm(candidates([0.5])))
    assert witness.inputs.tolist() == [0.5, 0.25]


def test_input_tensors_of_different_types():
    case = Case.of(identity(3), unsafe_rows([[1.0, 0, 0]], [0]), ([0] * 3, [9.5] * 3), [9])
    court = case.judge(replay_of(case.graph))
    mixed = type(court)(
        court.query, court.replay, ((2, "float32"), (1, "int64")), court.lower, court.upper
    )
    witness = certain(mixed.confirm(candidates([0.1, 9.5, 9.4])))
    assert witness.inputs.tolist() == [float(np.float32(0.1)), 9.5, 9.0]


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, numbers, st.sampled_from(["float16", "float32", "float64"]))
def test_rounding_stays_inside_wherever_a_number_is_inside(x, a, b, kind):
    lower, upper = np.array([min(a, b)]), np.array([max(a, b)])
    result = round_into(np.array([x]), lower, upper, kind)
    number = np.dtype(kind).type
    with np.errstate(over="ignore"):
        assert number(result[0]) == result[0]
        first = number(lower[0])
        first = np.nextafter(first, number(np.inf)) if first < lower[0] else first
    holds_one = lower[0] <= first <= upper[0]
    assert (lower[0] <= result[0] <= upper[0]) == holds_one


@given(st.floats(-100, 100), st.floats(-10, 10), st.floats(0, 3))
def test_rounding_to_integers(x, lower, width):
    upper = lower + width
    (result,) = round_into(np.array([x]), np.array([lower]), np.array([upper]), "int64")
    assert result == round(result)
    assert (lower <= result <= upper) == (np.ceil(lower) <= np.floor(upper))
