"""S-shaped functions whose rows choose their tangents, and multipliers for the ends of boxes."""

from functools import partial

import numpy as np
import pytest

from tests.ops.cases import Case, nonlinear, operators
from tests.ops.test_chosen_planes import bent, tilts_of
from tests.ops.test_every_nonlinear import KINDS, boxes_of, margins, over_backends, placed, rows_of
from verifier.families import Elementwise, Nonlinear, Sided
from verifier.ops.s_shaped import SShaped
from verifier.tensors import gamma, numpy_backend

SHAPES = [
    (name, case, value)
    for name, case, value in operators(Nonlinear)
    if isinstance(nonlinear(case, value), SShaped)
]
CUT = [
    (name, case, value)
    for name, case, value in operators(Nonlinear)
    if isinstance(nonlinear(case, value), Elementwise)
]


def over(found):
    return pytest.mark.parametrize(
        ("case", "value"), [p[1:] for p in found], ids=[p[0] for p in found]
    )


def sided(operator, boxes, xp, seed):
    """With multipliers for two boxes in three."""
    inner, (box,) = bent(operator, boxes, xp), placed(boxes, xp)
    numbers = np.random.default_rng(seed)
    scale = xp.floats(numbers.integers(0, 3, box.lower.shape) * 0.7)
    noise = 4 * gamma(operator.size + 16, xp.unit_roundoff) * box.magnitude(xp)
    return Sided(xp, inner, box, scale, noise)


def some_tilts(relaxation, rows, seed):
    middle = relaxation.middle_tilt()
    tilt = np.random.default_rng(seed).normal(size=(rows, middle.shape[1]))
    place = relaxation.bounded_tilts
    tilt[:, :place] = np.round(abs(tilt[:, :place]).clip(0, 1) * 255) / 255
    tilt[:, place:][abs(tilt[:, place:]) < 0.3] = 0
    return tilt


@over_backends
@over(SHAPES)
def test_chosen_tangents_enclose_the_function(case: Case, value: int, make):
    xp = make[0](make[1])
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for seed, kind in enumerate(KINDS):
        boxes = boxes_of(operator, kind, xp)
        relaxation = bent(operator, boxes, xp)
        count = rows_of(operator, boxes[0][0].shape[0], xp)[0].shape[0]
        for tilt in (tilts_of(relaxation, count, seed), np.zeros((count, operator.size))):
            for given in (tilt, 1 - tilt):
                margin, size = margins(plain, boxes, relaxation, xp, xp.floats(given))
                assert (margin >= -8 * np.finfo(np.longdouble).eps * size).all(), kind


@over(SHAPES)
def test_some_tangent_is_exact_anywhere_on_the_envelope(case: Case, value: int):
    """Boxes that do not cross 0: unit rows' tangents touch at every tilt, on the curved side."""
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    low = np.full((1, operator.size), -2.5)
    boxes = [(low, low + 2)]
    relaxation = bent(operator, boxes, xp)
    rows, owner = rows_of(operator, 1, xp)
    rows = rows[: operator.size]
    for share in (0.0, 0.2, 0.5, 1.0):
        (slope,), constant = relaxation.pull_back(rows, owner, rows * 0 + share)
        point = low + share * 2
        line = (slope * point).sum(1) + constant
        np.testing.assert_allclose(line, operator.evaluate(point)[0], atol=1e-10)


@over(SHAPES)
@pytest.mark.parametrize(("low", "high"), [(-60.0, 3.0), (-3.0, 300.0), (-800.0, 50.0)])
def test_tangents_may_touch_where_boxes_reach_far_out(
    case: Case, value: int, low: float, high: float
):
    """There the lines are nearly flat, and all of them hold on the whole box."""
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    ends = np.full((1, operator.size), low), np.full((1, operator.size), high)
    relaxation = bent(operator, [ends], xp)
    rows, owner = rows_of(operator, 1, xp)
    rows = rows[: 2 * operator.size]
    points = np.linspace(low, high, 2001)
    values = operator.evaluate(points[:, None] + np.zeros(operator.size))[:, 0]
    flattest = np.full(2, np.inf)
    for share in np.linspace(0, 1, 52):
        (slope,), constant = relaxation.pull_back(rows, owner, rows * 0 + share)
        for side, sign in enumerate((1, -1)):
            row = side * operator.size
            line = slope[row, 0] * points + constant[row]
            assert (sign * values >= line - 1e-15).all()
            flattest[side] = min(flattest[side], abs(slope[row, 0]))
    far_out = np.array([low < -40, high > 40])
    assert (flattest[far_out] < 1e-12).all()


@over_backends
@over(CUT)
def test_multipliers_of_ends_lose_nothing(case: Case, value: int, make):
    xp = make[0](make[1])
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for seed, kind in enumerate(KINDS):
        boxes = boxes_of(operator, kind, xp)
        relaxation = sided(operator, boxes, xp, seed)
        count = rows_of(operator, boxes[0][0].shape[0], xp)[0].shape[0]
        tilt = xp.floats(some_tilts(relaxation, count, seed))
        margin, size = margins(plain, boxes, relaxation, xp, tilt)
        # Of what is infinite nothing is known.
        assert not (margin < -8 * np.finfo(np.longdouble).eps * size).any(), kind


@over(SHAPES)
@pytest.mark.parametrize("make", [bent, partial(sided, seed=1)], ids=["lines", "ends"])
def test_lines_and_gradients_belong_to_what_is_pulled_back(case: Case, value: int, make):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    rows, owner = rows_of(operator, boxes[0][0].shape[0], xp)
    relaxation = make(operator, boxes, xp)
    place = relaxation.bounded_tilts
    tilt = some_tilts(relaxation, len(rows), 1) if place else tilts_of(relaxation, len(rows), 1)
    tilt[:, :place] = tilt[:, :place].clip(0.1, 0.9)
    numbers = np.random.default_rng(2)
    inputs = (numbers.normal(size=(len(rows), operator.size)),)

    def line(tilt):
        (part,), constant = relaxation.pull_back(rows, owner, tilt)
        return (part * inputs[0]).sum(1) + constant

    if place is None:
        pushed = (rows * relaxation.push_forward(rows, owner, tilt, inputs)).sum(1)
        np.testing.assert_allclose(pushed, line(tilt), rtol=1e-8, atol=1e-8)
    way, step = numbers.normal(size=tilt.shape), 1e-6
    # At 0 the multipliers of ends have two derivatives.
    way[:, operator.size :][tilt[:, operator.size :] == 0] = 0
    rise = (line(tilt + step * way) - line(tilt - step * way)) / (2 * step)
    gradient = (relaxation.steer(rows, owner, tilt, inputs) * way).sum(1)
    np.testing.assert_allclose(gradient, rise, rtol=1e-4, atol=1e-4)


@over(SHAPES)
def test_a_multiplier_leaves_zero_only_for_points_outside(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    relaxation = sided(operator, boxes, xp, 1)
    batch, n = boxes[0][0].shape
    rows, owner = rows_of(operator, batch, xp)
    each = len(rows) // batch
    tilt = np.zeros((len(rows), 2 * n)) + 0.5
    tilt[:, n:] = 0
    low, high = (np.repeat(side, each, 0) for side in boxes[0])
    scale = np.repeat(relaxation.scale, each, 0)
    for point, expected in ((low - 1, -scale), ((low + high) / 2, 0 * low), (high + 2, 2 * scale)):
        found = relaxation.steer(rows, owner, tilt, (point,))[:, n:]
        np.testing.assert_allclose(found, expected, atol=1e-12)


@over(SHAPES)
def test_some_batch_entries_are_those_of_the_whole(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    batch = boxes[0][0].shape[0]
    index = np.array([batch - 1, 0])
    some = [(low[index], up[index]) for low, up in boxes]
    rows, owner = rows_of(operator, 2, xp)
    taken, alone = bent(operator, boxes, xp).take(index), bent(operator, some, xp)
    tilt = tilts_of(taken, len(rows), 3)
    for given in (tilt, None):
        (part,), constant = taken.pull_back(rows, owner, given)
        (other,), expected = alone.pull_back(rows, owner, given)
        np.testing.assert_array_equal(part, other)
        np.testing.assert_array_equal(constant, expected)
