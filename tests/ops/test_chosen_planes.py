"""Products whose rows choose between McCormick's planes: sound for all tilts, with gradients."""

import numpy as np
import pytest

from tests.ops.cases import Case, nonlinear, operators
from tests.ops.test_every_nonlinear import KINDS, boxes_of, margins, over_backends, placed, rows_of
from verifier.families import MatrixProduct, Nonlinear, Product
from verifier.tensors import numpy_backend

PRODUCTS = [
    (name, case, value)
    for name, case, value in operators(Nonlinear)
    if isinstance(nonlinear(case, value), Product | MatrixProduct)
]
over_products = pytest.mark.parametrize(
    ("case", "value"), [p[1:] for p in PRODUCTS], ids=[p[0] for p in PRODUCTS]
)


def bent(operator, boxes, xp):
    sides = placed(boxes, xp)
    return operator.bend(operator.relax(*sides), *sides)


def tilts_of(relaxation, rows, seed):
    """Random ones, and some at the ends."""
    middle = relaxation.middle_tilt()
    assert middle is not None
    tilt = np.random.default_rng(seed).uniform(-0.2, 1.2, size=(rows, middle.shape[1])).clip(0, 1)
    return np.round(tilt * 255) / 255


def test_there_are_both_kinds():
    kinds = {type(nonlinear(case, value)) for _, case, value in PRODUCTS}
    assert kinds == {Product, MatrixProduct}


@over_backends
@over_products
def test_chosen_planes_enclose_the_product(case: Case, value: int, make):
    xp = make[0](make[1])
    plain = nonlinear(case, value)
    operator = plain.on(xp)
    for seed, kind in enumerate(KINDS):
        boxes = boxes_of(operator, kind, xp)
        relaxation = bent(operator, boxes, xp)
        batch = boxes[0][0].shape[0]
        tilt = xp.floats(tilts_of(relaxation, rows_of(operator, batch, xp)[0].shape[0], seed))
        margin, size = margins(plain, boxes, relaxation, xp, tilt)
        assert (margin >= -8 * np.finfo(np.longdouble).eps * size).all(), kind


@over_products
def test_the_middle_tilt_is_the_mean_of_the_planes(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    rows, owner = rows_of(operator, boxes[0][0].shape[0], xp)
    relaxation, plain = bent(operator, boxes, xp), operator.relax(*placed(boxes, xp))
    middle = 0 * tilts_of(relaxation, len(rows), 0) + 0.5
    for tilt in (middle, None):
        found, expected = (
            relaxation.pull_back(rows, owner, tilt),
            plain.pull_back(rows, owner, None),
        )
        for part, other in zip(found[0], expected[0], strict=True):
            np.testing.assert_allclose(part, other)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-9)


@over_products
def test_the_end_tilts_touch_the_product_at_two_corners(case: Case, value: int):
    """With all tilts 0 a unit row's plane is exact where all factors are at their lower ends."""
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    batch = boxes[0][0].shape[0]
    rows, owner = rows_of(operator, batch, xp)
    relaxation = bent(operator, boxes, xp)
    for tilt, side in ((0.0, 0), (1.0, 1)):
        given = 0 * tilts_of(relaxation, len(rows), 0) + tilt
        (left, right), constant = relaxation.pull_back(rows, owner, given)
        corner = [np.repeat(box[side], len(rows) // batch, 0) for box in boxes]
        line = (left * corner[0]).sum(1) + (right * corner[1]).sum(1) + constant
        exact = (rows * operator.evaluate(*corner)).sum(1)
        positive = (rows >= 0).all(1)
        np.testing.assert_allclose(line[positive], exact[positive], rtol=1e-9, atol=1e-9)


@over_products
def test_lines_and_gradients_belong_to_what_is_pulled_back(case: Case, value: int):
    xp = numpy_backend()
    operator = nonlinear(case, value).on(xp)
    boxes = boxes_of(operator, "ordinary", xp)
    rows, owner = rows_of(operator, boxes[0][0].shape[0], xp)
    relaxation = bent(operator, boxes, xp)
    tilt = tilts_of(relaxation, len(rows), 1).clip(0.1, 0.9)
    numbers = np.random.default_rng(2)
    inputs = tuple(numbers.normal(size=(len(rows), size)) for size in operator.sizes)

    def line(tilt):
        parts, constant = relaxation.pull_back(rows, owner, tilt)
        return sum((a * x).sum(1) for a, x in zip(parts, inputs, strict=True)) + constant

    pushed = (rows * relaxation.push_forward(rows, owner, tilt, inputs)).sum(1)
    np.testing.assert_allclose(pushed, line(tilt), rtol=1e-8, atol=1e-8)
    way = numbers.normal(size=tilt.shape)
    step = 1e-5
    rise = (line(tilt + step * way) - line(tilt - step * way)) / (2 * step)
    gradient = (relaxation.steer(rows, owner, tilt, inputs) * way).sum(1)
    np.testing.assert_allclose(gradient, rise, rtol=1e-5, atol=1e-5)


@over_products
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
    found, expected = (r.pull_back(rows, owner, tilt) for r in (taken, alone))
    np.testing.assert_array_equal(found[1], expected[1])
    for part, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(part, other)
