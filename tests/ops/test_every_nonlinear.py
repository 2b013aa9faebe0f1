"""What every nonlinear operator must do, on the operators of every registered example."""

import numpy as np
import pytest

from tests.ops.cases import Case, nonlinear, operators
from tests.ops.reference import reference
from verifier.families import Elementwise, Nonlinear, Planes
from verifier.families.curve import Curve
from verifier.ops.order import ArgGreatest
from verifier.ops.periodic import Tangent
from verifier.ops.reciprocal import Reciprocal
from verifier.ops.relu import Relu
from verifier.sets import Box, Owner
from verifier.tensors import numpy_backend, torch_backend

NONLINEAR = [pytest.param(case, value, id=label) for label, case, value in operators(Nonlinear)]
CONTRACTING = [
    pytest.param(case, value, id=label)
    for label, case, value in operators(Nonlinear)
    if nonlinear(case, value).contracts
]
BACKENDS = [(numpy_backend, "float64"), (numpy_backend, "float32"), (torch_backend, "float32")]
KINDS = {
    "ordinary": (3.0, 2.0),
    "wide": (5.0, 12.0),
    "point": (3.0, 0.0),
    "sliver": (2.0, 1e-6),
    "at zero": (0.0, 1e-5),
    "tiny": (1e-12, 1e-12),
    "huge": (1e4, 1e5),
    "far": (60.0, 1.0),
}
"""Centres up to the first number in size, radii up to the second."""
BATCH, SAMPLES = 6, 100
over_all = pytest.mark.parametrize(("case", "value"), NONLINEAR)
over_backends = pytest.mark.parametrize(
    "make", BACKENDS, ids=[f"{b.__name__}-{dtype}" for b, dtype in BACKENDS]
)


def limits(operator):
    """Where a function of one variable is defined, and fits into float32."""
    if not isinstance(operator, Curve):
        return -np.inf, np.inf
    low, high = operator.function.domain
    if operator.function.name in {"exp", "sinh", "cosh"}:
        return -40.0, 40.0
    if isinstance(operator, Tangent):
        return -1.5, 1.5
    return low + 2.0**-10, high - 2.0**-10


def boxes_of(operator, kind, xp, batch=BATCH):
    """Boxes in the working precision, as NumPy pairs, one for each input."""
    centre, radius = KINDS[kind]
    generator = np.random.default_rng(sorted(KINDS).index(kind))
    dtype = np.dtype(xp.dtype)
    result = []
    for size in operator.sizes:
        middle = generator.uniform(-centre, centre, (batch, size))
        if isinstance(operator, Reciprocal):
            # Away from 0, on one side for each box.
            side = np.where(np.arange(batch) % 2 == 0, 1.0, -1.0)[:, None]
            middle = side * (abs(middle) + 1.5 * radius + 1e-3)
        spread = radius * generator.uniform(0.0, 1.0, (batch, size))
        low, high = limits(operator)
        lower, upper = (np.clip(x, low, high) for x in (middle - spread, middle + spread))
        lower, upper = lower.astype(dtype), upper.astype(dtype)
        result.append((lower, upper))
    return result


def placed(boxes, xp):
    return [Box(xp.floats(lower), xp.floats(upper)) for lower, upper in boxes]


def samples_of(operator, boxes, seed=0):
    """[samples, batch, n] for each input: ends, the middle, kinks, and random points in between."""
    kinks = (0.0, getattr(operator, "low", 0.0), getattr(operator, "high", 0.0))
    kinks += tuple(getattr(operator, "kinks", ()))
    generator = np.random.default_rng(seed)
    result = []
    for lower, upper in boxes:
        steps = generator.random((SAMPLES, *lower.shape)).astype(lower.dtype)
        corners = generator.random(steps.shape) < 0.15
        steps = np.where(corners, np.round(steps), steps)
        steps[:3] = np.array([0.0, 1.0, 0.5], dtype=lower.dtype)[:, None, None]
        points = lower + steps * (upper - lower)
        for place, kink in enumerate(kinks, start=3):
            points[place] = kink
        points[8:14] = np.round(points[8:14])
        for start, way in ((14, -np.inf), (20, np.inf)):
            whole = np.round(points[start : start + 6])
            points[start : start + 6] = np.nextafter(whole, points.dtype.type(way))
        points[26:44] = np.floor(points[26:44]) + 0.5
        for start, way in ((32, -np.inf), (38, np.inf)):
            points[start : start + 6] = np.nextafter(
                points[start : start + 6], points.dtype.type(way)
            )
        result.append(np.clip(points, lower, upper))
    return result


def rows_of(operator, batch, xp):
    """Unit rows of both signs and random ones, for each box: ([rows, m], owner)."""
    unit = np.eye(operator.size)
    mixed = np.random.default_rng(3).normal(size=(3, operator.size))
    each = np.concatenate([unit, -unit, mixed])
    rows = np.tile(each, (batch, 1)).astype(xp.dtype)
    return rows, Owner.equal(batch, len(each), xp)


def exact(arrays):
    return [x.astype(np.longdouble) for x in arrays]


def margins(operator, boxes, relaxation, xp, tilt=None):
    """[samples, batch, each]: nu . phi(x) - (A . x + c), and the size of its terms."""
    batch = boxes[0][0].shape[0]
    rows, owner = rows_of(operator, batch, xp)
    coefficients, constant = relaxation.pull_back(xp.floats(rows), owner, tilt)
    points = exact(samples_of(operator, boxes))
    values = reference(operator, points)

    def split(x):
        return xp.numpy(x).reshape(batch, -1, *x.shape[1:]).astype(np.longdouble)

    nu = rows.reshape(batch, -1, operator.size).astype(np.longdouble)
    margin = np.einsum("brm,sbm->sbr", nu, values) - split(constant)
    size = np.einsum("brm,sbm->sbr", abs(nu), abs(values)) + abs(split(constant))
    for part, x in zip(coefficients, points, strict=True):
        margin = margin - np.einsum("brn,sbn->sbr", split(part), x)
        size = size + np.einsum("brn,sbn->sbr", abs(split(part)), abs(x))
    return margin, size


@over_backends
@over_all
def test_the_interval_contains_the_image(case: Case, value: int, make):
    xp = make[0](make[1])
    operator = nonlinear(case, value).on(xp)
    plain = nonlinear(case, value)
    for kind in KINDS:
        boxes = boxes_of(operator, kind, xp)
        image = operator.interval(*placed(boxes, xp))
        values = reference(plain, exact(samples_of(operator, boxes)))
        assert (values >= xp.numpy(image.lower)).all(), kind
        assert (values <= xp.numpy(image.upper)).all(), kind


@over_backends
@pytest.mark.parametrize(("case", "value"), CONTRACTING)
def test_what_contracts_is_exact_and_moves_no_further_than_its_inputs(case: Case, value: int, make):
    xp = make[0](make[1])
    operator, plain = nonlinear(case, value).on(xp), nonlinear(case, value)
    for kind in KINDS:
        (x,) = samples_of(operator, boxes_of(operator, kind, xp))
        image = reference(plain, exact([x]))
        flat = xp.numpy(operator.evaluate(xp.floats(x.reshape(-1, x.shape[-1]))))
        assert (flat == image.reshape(flat.shape)).all(), kind
        (x,) = exact([x])
        moved = reference(plain, [abs(x - x[::-1])])
        assert (abs(image - image[::-1]) <= moved).all(), kind


@over_all
def test_the_interval_shrinks_with_its_box_and_is_a_point_at_a_point(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    whole = operator.interval(*placed(boxes, xp))
    inner = [((3 * low + up) / 4, (low + 3 * up) / 4) for low, up in boxes]
    part = operator.interval(*placed(inner, xp))
    assert (part.lower >= whole.lower).all()
    assert (part.upper <= whole.upper).all()
    point = operator.interval(*placed(boxes_of(operator, "point", xp), xp))
    # Each output of a product of matrices is a sum of so many products.
    roundings = operator.work / operator.size
    assert (point.upper - point.lower <= 1e-14 * roundings * (1 + abs(point.lower))).all()


@over_backends
@over_all
def test_planes_enclose_the_function(case: Case, value: int, make):
    xp = make[0](make[1])
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for kind in KINDS:
        boxes = boxes_of(operator, kind, xp)
        margin, size = margins(plain, boxes, operator.relax(*placed(boxes, xp)), xp)
        # What the test's own sums round; exact lines have a margin of 0.
        assert (margin >= -8 * np.finfo(np.longdouble).eps * size).all(), kind


@over_all
def test_planes_touch_the_function(case: Case, value: int):
    """Each unit row's plane comes close to the function somewhere, up to sampling and rounding."""
    xp = numpy_backend()
    plain = nonlinear(case, value)
    if isinstance(plain, ArgGreatest):
        return  # tests/ops/test_jumps.py goes to the corners that samples do not hit
    operator = plain.on(xp)
    for kind in ("ordinary", "wide", "point", "sliver", "huge", "far"):
        boxes = boxes_of(operator, kind, xp)
        relaxation = operator.relax(*placed(boxes, xp))
        margin, size = margins(plain, boxes, relaxation, xp)
        each = 2 * operator.size
        margin, size = margin[:, :, :each], size[:, :, :each]
        reach = margin.max(0) + size.max(0) * 1e-10 + 1e-12
        limit = 0.51 if len(operator.sizes) > 1 else 0.06
        assert (margin.min(0) <= limit * reach).all(), kind


@over_all
def test_planes_are_no_worse_than_the_box(case: Case, value: int):
    """The mean distance between the planes is at most the height of the interval."""
    xp = numpy_backend()
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for kind in ("ordinary", "wide", "huge"):
        boxes = boxes_of(operator, kind, xp)
        placed_boxes = placed(boxes, xp)
        margin, _ = margins(plain, boxes, operator.relax(*placed_boxes), xp)
        image = operator.interval(*placed_boxes)
        height = image.upper - image.lower
        distance = margin[:, :, : operator.size] + margin[:, :, operator.size : 2 * operator.size]
        # The mean of two planes is their distance in the middle, the third sample.
        assert (distance[2] <= height * (1 + 1e-9) + 1e-9 * (1 + abs(image.upper))).all(), kind


@over_backends
@over_all
def test_tilted_planes_enclose_the_function(case: Case, value: int, make):
    xp = make[0](make[1])
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for kind in KINDS:
        boxes = boxes_of(operator, kind, xp)
        relaxation = operator.relax(*placed(boxes, xp))
        if not isinstance(relaxation, Planes) or relaxation.gain is None:
            return
        rows, _ = rows_of(operator, BATCH, xp)
        tilt = np.random.default_rng(5).random(rows.shape).astype(xp.dtype)
        tilt[::3], tilt[1::3] = 0.0, 1.0
        margin, _ = margins(plain, boxes, relaxation, xp, xp.floats(tilt))
        assert margin.min() >= 0, kind


@over_all
def test_taking_and_pushing_agree_with_pulling(case: Case, value: int):
    """A . x + c is nu times the line that was chosen, up to the noise; ``take`` picks boxes."""
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    relaxation = operator.relax(*placed(boxes, xp))
    rows, owner = rows_of(operator, BATCH, xp)
    coefficients, constant = relaxation.pull_back(rows, owner, None)
    x = [part[owner.full_index(xp)] for part in (low for low, _ in boxes)]
    lines = relaxation.push_forward(rows, owner, None, tuple(x))
    pulled = constant + sum((a * part).sum(-1) for a, part in zip(coefficients, x, strict=True))
    np.testing.assert_allclose((rows * lines).sum(-1), pulled, rtol=1e-9, atol=1e-9)
    last = relaxation.take(np.array([BATCH - 1]))
    each = len(rows) // BATCH
    again, offset = last.pull_back(rows[-each:], Owner.equal(1, each, xp), None)
    np.testing.assert_array_equal(offset, constant[-each:])
    for part, whole in zip(again, coefficients, strict=True):
        np.testing.assert_array_equal(part, whole[-each:])


@over_all
def test_gradients_are_finite_differences(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    x = [(low + up) / 2 for low, up in boxes]
    step = 1e-6
    rows = np.random.default_rng(2).normal(size=(BATCH, operator.size))
    for which, gradient in enumerate(operator.gradient(rows, *x)):
        for k in range(operator.sizes[which]):
            up, down = ([part.copy() for part in x] for _ in range(2))
            up[which][:, k] += step
            down[which][:, k] -= step
            difference = (operator.evaluate(*up) - operator.evaluate(*down)) / (2 * step)
            expected = (rows * difference).sum(1)
            np.testing.assert_allclose(gradient[:, k], expected, rtol=1e-4, atol=1e-4)


@over_all
def test_unstable_neurons_are_those_a_smaller_box_would_help(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    points = placed(boxes_of(operator, "point", xp), xp)
    for which, box in enumerate(points):
        assert not operator.unstable(which, box).any()
    wide = placed(boxes_of(operator, "ordinary", xp), xp)
    shapes = {operator.unstable(i, box).shape == box.lower.shape for i, box in enumerate(wide)}
    assert shapes == {True}


@over_all
def test_backends_make_the_same_planes(case: Case, value: int):
    plain = nonlinear(case, value)
    results = []
    for xp in (numpy_backend(), torch_backend("float64")):
        boxes = boxes_of(plain, "ordinary", xp)
        relaxation = plain.on(xp).relax(*placed(boxes, xp))
        rows, owner = rows_of(plain, BATCH, xp)
        coefficients, constant = relaxation.pull_back(xp.floats(rows), owner, None)
        results.append([xp.numpy(part) for part in (*coefficients, constant)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@over_all
def test_splitting_helps(case: Case, value: int):
    """Split points of unstable neurons lie in their boxes."""
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    if not isinstance(operator, Elementwise):
        return
    for kind in ("ordinary", "wide", "huge"):
        (box,) = placed(boxes_of(operator, kind, xp), xp)
        unstable, point = operator.unstable(0, box), operator.split_point(box)
        assert ((point > box.lower) & (point < box.upper))[unstable].all()


def test_any_slope_is_sound_for_elementwise_operators():
    for _, case, value in operators(Nonlinear):
        plain = nonlinear(case, value)
        if not isinstance(plain, Elementwise):
            continue
        for make, dtype in BACKENDS:
            xp = make(dtype)
            operator = plain.on(xp)
            boxes = boxes_of(operator, "ordinary", xp)
            (box,) = placed(boxes, xp)
            slopes = np.random.default_rng(1).normal(size=(2, *boxes[0][0].shape)).astype(dtype)
            planes = operator.planes(box, xp.floats(slopes[0]), xp.floats(slopes[1]))
            margin, _ = margins(plain, boxes, planes, xp)
            assert margin.min() >= 0, (type(plain).__name__, dtype)


def test_a_stable_relu_is_exact():
    xp = numpy_backend("float32")
    planes = Relu.of(2).on(xp).relax(Box(xp.floats([[0.0, -2.0]]), xp.floats([[3.0, 0.0]])))
    rows = xp.floats([[1.5, -2.5]])
    (coefficients,), constant = planes.pull_back(rows, Owner.equal(1, 1, xp), None)
    assert coefficients.tolist() == [[1.5, 0.0]]
    assert constant.tolist() == [0.0]


@over_all
@over_backends
def test_a_batch_of_none(case: Case, value: int, make):
    make, dtype = make
    operator = nonlinear(case, value).on(make(dtype))
    xp = operator.xp
    boxes = [Box(xp.zeros(0, size), xp.zeros(0, size)) for size in operator.sizes]
    rows = xp.zeros(0, operator.size)
    assert tuple(operator.interval(*boxes).lower.shape) == (0, operator.size)
    parts, _ = operator.relax(*boxes).pull_back(rows, Owner.equal(0, 1, xp), None)
    sides = (*parts, *operator.sensitivity(rows, rows, *boxes), operator.unstable(0, boxes[0]))
    sizes = [*operator.sizes, *operator.sizes, operator.sizes[0]]
    assert [tuple(part.shape) for part in sides] == [(0, size) for size in sizes]
