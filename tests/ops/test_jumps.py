"""Functions with jumps: boxes that begin or end at one, points, boxes without end, no numbers."""

import numpy as np
import pytest

from verifier.families import Nonlinear
from verifier.families.example import Example
from verifier.graph import Builder
from verifier.load.onnx.importer import import_graph
from verifier.ops.logic import scaled
from verifier.ops.mul import multiply
from verifier.ops.order import ArgGreatest
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.staircase import Staircase
from verifier.ops.steps import is_whole, step
from verifier.sets import Box
from verifier.tensors import numpy_backend, torch_backend

SIGN = (-1, 0, 1)
INF = np.inf


def step_at_zero(levels, dtype="float64"):
    below, here, above = levels
    operator = PiecewiseLinear.of(1, [0.0], [0, 0], [below, above], [here])
    return operator.on(numpy_backend(dtype))


def box(operator, lower, upper):
    xp = operator.xp
    return Box(xp.floats([[lower]]), xp.floats([[upper]]))


def lines(operator, lower, upper):
    """(slope, offset) below and above, on one box."""
    planes = operator.relax(box(operator, lower, upper))
    parts = planes.below[0], planes.lower_offset, planes.above[0], planes.upper_offset
    return [float(x[0, 0]) for x in parts]


def image(operator, lower, upper):
    found = operator.interval(box(operator, lower, upper))
    return float(found.lower[0, 0]), float(found.upper[0, 0])


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((-2.0, 3.0), (-1, 1)),
        ((0.0, 3.0), (0, 1)),
        ((-2.0, 0.0), (-1, 0)),
        ((0.0, 0.0), (0, 0)),
        ((5e-324, 3.0), (1, 1)),
        ((-INF, INF), (-1, 1)),
        ((-INF, -1.0), (-1, -1)),
        ((0.0, INF), (0, 1)),
    ],
)
def test_sign_at_the_ends_of_boxes(ends, expected):
    assert image(step_at_zero(SIGN), *ends) == expected


def test_no_number_bounds_nothing():
    for operator in (
        step_at_zero(SIGN),
        Staircase.of(1, "floor").on(numpy_backend()),
        PiecewiseLinear.of(1, [0.0], [-1, 1], [0, 0]).on(numpy_backend()),
    ):
        for ends in ((np.nan, 1.0), (-1.0, np.nan), (np.nan, np.nan)):
            assert np.isnan(image(operator, *ends)).any()
            assert np.isnan(lines(operator, *ends)).any()


def test_lines_of_sign_pass_its_corners():
    slope, offset, steep, high = lines(step_at_zero(SIGN), -1.0, 3.0)
    # Below: from (0, -1) to (3, 1). Above: from (-1, -1) to (0, 1) is left of the middle: flat.
    np.testing.assert_allclose([slope, offset, steep, high], [2 / 3, -1, 0, 1], atol=1e-12)
    slope, offset, *_ = lines(step_at_zero(SIGN), 0.0, 2.0)
    # At 0 the value is 0, not -1.
    np.testing.assert_allclose([slope, offset], [0.5, 0], atol=1e-12)
    assert lines(step_at_zero(SIGN), 0.5, 2.0) == [0, 1, 0, 1]


def test_lines_over_boxes_without_end_are_flat():
    for operator in (step_at_zero(SIGN), Staircase.of(1, "ceil").on(numpy_backend())):
        slope, offset, steep, high = lines(operator, -INF, 0.5)
        assert (slope, steep) == (0, 0)
        assert high == 1
        assert offset <= -1


@pytest.mark.parametrize("rule", ["floor", "ceil", "round"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_staircases_far_out(rule, dtype):
    operator = Staircase.of(1, rule).on(numpy_backend(dtype))
    for centre in (2.0**22, 2.0**23, 2.0**24, -(2.0**23) - 1, 1e15, 2.0**52):
        lower, upper = (float(np.dtype(dtype).type(centre + d)) for d in (-1.5, 1.5))
        slope, offset, steep, high = lines(operator, lower, upper)
        step = {"floor": np.floor, "ceil": np.ceil, "round": np.rint}[rule]
        for x in np.linspace(np.longdouble(lower), np.longdouble(upper), 201):
            y = step(x)
            error = 64 * operator.xp.unit_roundoff * abs(centre)
            assert np.longdouble(slope) * x + offset <= y + error
            assert np.longdouble(steep) * x + high >= y - error


def test_an_inexact_kink_counts_on_both_sides():
    """0.1 is no float32: near it a float32 box may lie on either side."""
    operator = PiecewiseLinear.of(1, [0.1], [0, 0], [0, 1], [0]).on(numpy_backend("float32"))
    kink = float(np.float32(0.1))
    assert image(operator, kink, kink) == (0, 1)
    assert image(operator, 0.11, 0.2) == (1, 1)


def test_a_step_of_a_step_is_one_step():
    """Sign(Sign(x) + 0.1), as in binarised networks, knows no third value."""
    builder = Builder(3)
    value = builder.rearrange("x", _entry(3), np.arange(3)[::-1])
    inner = step("inner", builder, value, SIGN, np.zeros(1))
    outer = step("outer", builder, scaled("shift", builder, inner, 1.0, 0.1), SIGN, np.zeros(1))
    operator = builder.nodes[outer.number - 1].operator
    assert isinstance(operator, PiecewiseLinear)
    assert builder.nodes[outer.number - 1].inputs == (value.number,)
    placed = operator.on(numpy_backend())
    assert placed.evaluate(np.array([[-1.0, 0.0, 1.0]])).tolist() == [[-1.0, 1.0, 1.0]]
    found = placed.interval(Box(np.zeros((1, 3)), np.ones((1, 3))))
    assert found.lower.tolist() == [[1.0] * 3]
    assert is_whole(builder, inner)
    assert not is_whole(builder, scaled("half", builder, inner, 0.5))


def _entry(size):
    return Builder(size).rearrange("x", _value(size), np.arange(size))


def _value(size):
    from verifier.graph import Value

    return Value(0, (size,))


def test_a_product_with_itself_is_a_square():
    builder = Builder(2)
    product = multiply("y", builder, _value(2), _value(2))
    operator = builder.nodes[product.number - 1].operator
    assert isinstance(operator, Nonlinear)
    operator = operator.on(numpy_backend())
    found = operator.interval(Box(np.full((1, 2), -1.0), np.full((1, 2), 2.0)))
    assert (found.lower >= -1e-6).all()


def test_argmax_reaches_each_end_of_its_range():
    generator = np.random.default_rng(0)
    for make in (numpy_backend, torch_backend):
        operator = ArgGreatest.of(np.arange(5)[None, :], 5, last=False).on(make("float64"))
        xp = operator.xp
        for _ in range(50):
            middle, radius = generator.normal(size=(1, 5)), generator.uniform(0, 0.5, (1, 5))
            lower, upper = middle - radius, middle + radius
            found = operator.interval(Box(xp.floats(lower), xp.floats(upper)))
            corners = np.where(np.eye(5, dtype=bool), upper, lower)
            greatest = corners.argmax(1)
            assert float(found.lower[0, 0]) == greatest.min()
            assert float(found.upper[0, 0]) == greatest.max()


def test_argmax_over_no_numbers_is_unknown():
    operator = ArgGreatest.of(np.arange(3)[None, :], 3, last=True).on(numpy_backend())
    found = operator.interval(Box(np.array([[0.0, np.nan, 1.0]]), np.array([[0.5, 0.1, 2.0]])))
    assert np.isnan(found.lower).all()


def test_softmax_over_wide_boxes_stays_between_0_and_1():
    from verifier.bounds import interval

    graph = import_graph(Example("Softmax", ((1, 4),)).model()).graph
    for backend in (numpy_backend("float64"), numpy_backend("float32")):
        placed = graph.on(backend)
        for reach in (1.0, 100.0, 1e4, 1e8):
            ends = Box(backend.full((1, 4), -reach), backend.full((1, 4), reach))
            found = interval(placed, ends).boxes[placed.output]
            rounding = 100 * backend.unit_roundoff
            assert (found.lower >= -rounding).all()
            assert (found.upper <= 1 + rounding).all()
            assert (found.lower <= 0.25).all()
            assert (found.upper >= 0.25).all()
