"""Sums of hinges of one number as one function: values, ranges, and lines that rows choose."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from verifier.families import Hinges
from verifier.families.leaning import Leaning
from verifier.sets import Box, Owner
from verifier.tensors import numpy_backend, torch_backend

BACKENDS = [(numpy_backend, "float64"), (numpy_backend, "float32"), (torch_backend, "float32")]
over_backends = pytest.mark.parametrize("make", BACKENDS, ids=["f64", "f32", "torch"])
over_seeds = pytest.mark.parametrize("seed", range(4))
SIZE, BATCH = 6, 5
KINDS = {
    "ordinary": (3.0, 2.0),
    "wide": (5.0, 12.0),
    "point": (3.0, 0.0),
    "sliver": (2.0, 1e-6),
    "huge": (1e4, 1e5),
    "far": (60.0, 1.0),
}
"""Centres up to the first number in size, radii up to the second."""


def hinges(seed: int, count: int = 17) -> Hinges:
    """Random ones: some have no weight, some a kink together, and one element has none at all."""
    generator = np.random.default_rng(seed)
    shape = SIZE, count
    scale = generator.choice([-2.0, -1.0, 0.5, 1.0, 3.0], shape)
    weight = generator.normal(size=shape) * (generator.random(shape) < 0.8)
    weight[0] = 0
    kinks = np.round(generator.uniform(-4, 4, shape), 1)
    shift, base = -scale * kinks, generator.normal(size=SIZE)
    leak = 0.0 if seed % 2 == 0 else 0.25
    return Hinges(weight, scale, shift, abs(shift), base, abs(base), leak, terms=3)


def exactly(given: Hinges, points: np.ndarray) -> np.ndarray:
    """The sum at [points, n], in long doubles."""
    wide = np.longdouble
    z = points.astype(wide)[:, :, None] * given.scale.astype(wide) + given.shift.astype(wide)
    bent = np.where(z > 0, z, wide(given.leak) * z)
    return (given.weight.astype(wide) * bent).sum(2) + given.base.astype(wide)


def box_of(kind: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    centre, radius = KINDS[kind]
    generator = np.random.default_rng(sorted(KINDS).index(kind))
    middle = generator.uniform(-centre, centre, (BATCH, SIZE))
    spread = radius * generator.uniform(0, 1, (BATCH, SIZE))
    low, high = ((middle + side * spread).astype(dtype) for side in (-1, 1))
    return low, high


def points_of(given: Hinges, box: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """[samples, BATCH, SIZE]: the ends, kinks, their neighbours, and points between."""
    low, high = (x.astype(np.float64) for x in box)
    kinks = (-given.shift / given.scale).T[:, None, :] + 0 * low
    near = [np.nextafter(kinks, side) for side in (-np.inf, np.inf)]
    steps = np.random.default_rng(9).random((40, BATCH, SIZE))
    inner = low + steps * (high - low)
    whole = np.concatenate([low[None], high[None], kinks, *near, inner])
    return np.clip(whole, low, high)


def values_of(given: Hinges, points: np.ndarray) -> np.ndarray:
    return exactly(given, points.reshape(-1, SIZE)).reshape(points.shape)


def unit_rows(xp) -> tuple[np.ndarray, Owner]:
    each = np.concatenate([np.eye(SIZE), -np.eye(SIZE)])
    return xp.floats(np.tile(each, (BATCH, 1))), Owner.equal(BATCH, 2 * SIZE, xp)


def least_gap(given, box, relaxation, xp, tilt=None) -> np.ndarray:
    """[samples, BATCH, SIZE, 2]: f less the line below, and the line above less f."""
    rows, owner = unit_rows(xp)
    (slope,), constant = relaxation.pull_back(rows, owner, tilt)
    slope = xp.numpy(slope).astype(np.longdouble).reshape(BATCH, 2, SIZE, SIZE)
    slope = np.einsum("bsii->bis", slope)
    constant = xp.numpy(constant).astype(np.longdouble).reshape(BATCH, 2, SIZE)
    points = points_of(given, box)
    value = values_of(given, points)[..., None] * np.array([1, -1])
    line = slope * points[..., None] + constant.transpose(0, 2, 1)
    return value - line


@over_seeds
def test_a_table_is_the_sum(seed: int):
    given = hinges(seed)
    table = given.table().on(numpy_backend())
    x = points_of(given, box_of("wide", "float64")).reshape(-1, SIZE)
    size = table.bulk[:, 0] + table.steep[:, 0] * abs(x)
    assert (abs(table.evaluate(x) - exactly(given, x)) <= 1e-14 * size).all()


def test_the_stated_doubt_holds_in_fractions():
    """The table's own constants, taken as exact, against the hinges', also exact."""
    given = hinges(1, count=6)
    table = given.table()
    for i in range(SIZE):
        for x in [-7.5, *table.kinks[i], *(table.kinks[i] + 2.0**-30), 3.25]:
            point, exact = Fraction(x), Fraction(given.base[i])
            for w, a, b in zip(given.weight[i], given.scale[i], given.shift[i], strict=True):
                z = Fraction(a) * point + Fraction(b)
                exact += Fraction(w) * (z if z > 0 else Fraction(given.leak) * z)
            piece = int((table.kinks[i] < x).sum())
            found = Fraction(table.bends[i, piece]) * point + Fraction(table.offsets[i, piece])
            allowed = Fraction(table.doubtful) * (
                Fraction(table.bulk[i, 0]) + Fraction(table.steep[i, 0]) * abs(point)
            )
            assert abs(found - exact) <= allowed


@over_backends
@over_seeds
def test_ranges_and_lines_enclose_the_sum(make, seed: int):
    xp = make[0](make[1])
    given = hinges(seed)
    table = given.table().on(xp)
    for kind in KINDS:
        low, high = box_of(kind, make[1])
        box = Box(xp.floats(low), xp.floats(high))
        image, value = table.interval(box), values_of(given, points_of(given, (low, high)))
        assert (value >= xp.numpy(image.lower)).all(), kind
        assert (value <= xp.numpy(image.upper)).all(), kind
        plain = table.relax(box)
        assert (least_gap(given, (low, high), plain, xp) >= 0).all(), kind
        bent = table.bend(plain, box)
        assert isinstance(bent, Leaning)
        count = 2 * SIZE * BATCH
        ends = [np.zeros((count, SIZE)), np.ones((count, SIZE))]
        mixed = np.round(np.random.default_rng(seed).random((3, count, SIZE)) * 255) / 255
        for tilt in (*ends, *mixed):
            gap = least_gap(given, (low, high), bent, xp, xp.floats(tilt))
            assert (gap >= 0).all(), kind


@over_seeds
def test_lines_touch_and_ranges_are_exact(seed: int):
    xp, given = numpy_backend(), hinges(seed)
    table = given.table().on(xp)
    for kind in ("ordinary", "wide", "sliver", "far"):
        low, high = box_of(kind, "float64")
        box = Box(low, high)
        plain = table.relax(box)
        bent = table.bend(plain, box)
        tilts = [None, *(np.full((2 * SIZE * BATCH, SIZE), t) for t in (0.0, 0.25, 0.5, 1.0))]
        for tilt in tilts:
            relaxation = plain if tilt is None else bent
            gap = least_gap(given, (low, high), relaxation, xp, tilt)
            assert (gap.min(0) <= 1e-9 * (1 + abs(low) + abs(high))[..., None]).all(), kind
        image, value = table.interval(box), values_of(given, points_of(given, (low, high)))
        np.testing.assert_allclose(image.lower, value.min(0).astype(float), atol=1e-9)
        np.testing.assert_allclose(image.upper, value.max(0).astype(float), atol=1e-9)


@over_seeds
def test_plain_lines_support_the_envelopes_in_the_middle(seed: int):
    """No chord between two corners passes further from the function there."""
    xp, given = numpy_backend(), hinges(seed)
    low, high = box_of("wide", "float64")
    planes = given.table().on(xp).relax(Box(low, high))
    kinks = np.clip((-given.shift / given.scale).T[:, None] + 0 * low, low, high)
    x = np.concatenate([low[None], kinks, high[None]])
    y, middle = values_of(given, x).astype(float), (low + high) / 2
    for sign, slope, offset in (
        (1, planes.below[0], planes.lower_offset),
        (-1, planes.above[0], planes.upper_offset),
    ):
        best = np.full(low.shape, np.inf)
        for i in range(len(x)):
            for j in range(len(x)):
                about = (x[i] <= middle) & (middle <= x[j]) & (x[i] < x[j])
                rise = (y[j] - y[i]) / np.where(about, x[j] - x[i], 1.0)
                height = sign * (y[i] + rise * (middle - x[i]))
                best = np.where(about, np.minimum(best, height), best)
        np.testing.assert_allclose(sign * (slope * middle + offset), best, atol=1e-9)


def test_gradients_belong_to_what_is_pulled_back():
    xp, given = numpy_backend(), hinges(2)
    table = given.table().on(xp)
    low, high = box_of("wide", "float64")
    box = Box(low, high)
    relaxation, (rows, owner) = table.bend(table.relax(box), box), unit_rows(xp)
    numbers = np.random.default_rng(0)
    x, way = (numbers.normal(size=rows.shape) for _ in range(2))
    tilt = numbers.uniform(0.02, 0.98, rows.shape)
    tilt += 0.01 * (abs(tilt * 4 - np.round(tilt * 4)) < 0.02)  # between two lines of a fan

    def line(tilt: np.ndarray) -> np.ndarray:
        (slope,), constant = relaxation.pull_back(rows, owner, tilt)
        return (slope * x).sum(1) + constant

    pushed = (rows * relaxation.push_forward(rows, owner, tilt, (x,))).sum(1)
    np.testing.assert_allclose(pushed, line(tilt), atol=1e-9)
    rise = (line(tilt + 1e-7 * way) - line(tilt - 1e-7 * way)) / 2e-7
    gradient = (relaxation.steer(rows, owner, tilt, (x,)) * way).sum(1)
    np.testing.assert_allclose(gradient, rise, rtol=1e-4, atol=1e-4)


def test_some_batch_entries_are_those_of_the_whole():
    xp, given = numpy_backend(), hinges(3)
    table = given.table().on(xp)
    low, high = box_of("wide", "float64")
    index = np.array([3, 0])
    whole, part = Box(low, high), Box(low[index], high[index])
    taken = table.bend(table.relax(whole), whole).take(index)
    alone = table.bend(table.relax(part), part)
    rows, owner = np.tile(np.eye(SIZE), (2, 1)), Owner.equal(2, SIZE, xp)
    for tilt in (None, np.full(rows.shape, 0.3)):
        for one, other in zip(
            taken.pull_back(rows, owner, tilt), alone.pull_back(rows, owner, tilt), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_a_part_is_the_table_there_and_equal_rows_are_kept_once():
    given, index = hinges(0), np.array([1, 4])
    part = given.table().part(index)
    assert part is not None
    x = np.linspace(-5, 5, 33)[:, None]
    xp = numpy_backend()
    whole = given.table().on(xp).evaluate(x + np.zeros(SIZE))
    found = part.operator.on(xp).evaluate(x + np.zeros(2))
    np.testing.assert_array_equal(found, whole[:, index])
    rows = {
        f.name: np.repeat(getattr(given, f.name)[1:2], 3, 0)
        for f in dataclasses.fields(given)
        if isinstance(getattr(given, f.name), np.ndarray)
    }
    same = dataclasses.replace(given, **rows).table()
    assert same.kinks.shape[0] == 1
    smaller = same.part(np.array([2]))
    assert smaller is not None
    np.testing.assert_array_equal(smaller.operator.on(xp).evaluate(x)[:, 0], whole[:, 1])


@over_seeds
def test_boxes_are_cut_at_a_kink_until_none_is_inside(seed: int):
    xp, given = numpy_backend(), hinges(seed)
    table = given.table().on(xp)
    low, high = box_of("ordinary", "float64")
    for _ in range(20):
        box = Box(low, high)
        point, crossed = table.split_point(box), table.unstable(0, box)
        assert ((point > low) & (point < high))[crossed].all()
        high = np.where(crossed, point, high)
    assert not table.unstable(0, Box(low, high)).any()
    planes = table.relax(Box(low, high))
    width = (planes.above[0] - planes.below[0]) * low + planes.upper_offset - planes.lower_offset
    assert (abs(width) <= 1e-10).all()


def test_nothing_is_claimed_of_what_is_not_known():
    xp, given = numpy_backend(), hinges(0)
    table = given.table().on(xp)
    nothing, infinite = np.full((1, SIZE), np.nan), np.full((1, SIZE), np.inf)
    with np.errstate(all="ignore"):
        unknown = table.interval(Box(nothing, nothing))
        wide = table.interval(Box(-infinite, infinite))
        half = table.interval(Box(0 * infinite.clip(max=1) - 1, infinite))
    assert not (unknown.lower > -np.inf).any()
    assert not (unknown.upper < np.inf).any()
    x = np.linspace(-1, 1e3, 50)[:, None] + np.zeros(SIZE)
    value = exactly(given, x)
    for image in (wide, half):
        assert (image.lower <= value.min(0)).all()
        assert (image.upper >= value.max(0)).all()
