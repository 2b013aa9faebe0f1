"""Cut boxes hold every point that they must, to the last bit, and little more."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.checker.layers import vector
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.clip import _best, _cut, _cut_jointly, clip

FLOAT, EXACT = Arithmetic(), Arithmetic(exact=True)
INF = np.inf


def numbers(g, scales, *shape):
    return g.normal(size=shape) * g.choice(scales, shape)


def random_planes(g, scales, count, rows, size):
    """Boxes, and planes of which some almost touch a corner of their box."""
    ends = numbers(g, scales, 2, count, size)
    box = ends.min(0), ends.max(0)
    a = numbers(g, scales, count, rows, size) * (g.random((count, rows, size)) < 0.8)
    low, high = a * box[0][:, None], a * box[1][:, None]
    least, most = np.minimum(low, high).sum(2), np.maximum(low, high).sum(2)
    share = g.choice([0.0, 1e-15, 0.3, 1.0], least.shape)
    return box, a, -(least + share * (most - least))


def exactly(cut, box, a, c):
    """The cut in exact arithmetic."""
    low, high, a, c = map(EXACT.numbers, (*box, a, c))
    return cut((low, high), a, c, EXACT)


def contains(outer, inner):
    """Of boxes, elementwise; what is no number contains everything."""
    pairs = zip(outer[0].flat, inner[0].flat, strict=True)
    above = zip(outer[1].flat, inner[1].flat, strict=True)
    return all(not a > b for a, b in pairs) and all(not a < b for a, b in above)


def cut_by_hand(low, high, planes):
    """Each bound in turn by its definition, one plane at a time, from the box as it was."""
    lower, upper = list(low), list(high)
    for *a, c in planes:
        for i, factor in enumerate(a):
            others = [min(a[j] * low[j], a[j] * high[j]) for j in range(len(low)) if j != i]
            limit = -(c + sum(others))
            if factor > 0:
                upper[i] = min(upper[i], limit / factor)
            elif factor < 0:
                lower[i] = max(lower[i], limit / factor)
        if c + sum(min(x * p, x * q) for x, p, q in zip(a, low, high, strict=True)) > 0:
            upper = [-INF] * len(low)
    return lower, upper


@pytest.mark.parametrize("seed", range(12))
def test_a_cut_holds_all_that_the_exact_one_does(seed):
    g = np.random.default_rng(seed)
    scales = [(1.0,), (1e-8, 1.0, 1e8), (1e-160, 1.0), (1e-155, 1.0, 1e150)][seed % 4]
    box, a, c = random_planes(g, scales, 12, 2, 3)
    with np.errstate(all="ignore"):
        cut = _cut(box, a, c, FLOAT)
    true = exactly(_cut, box, a, c)
    assert contains(cut, true)
    for k in range(len(a)):
        planes = [[*vector(a[k, r]), Fraction(c[k, r])] for r in range(2)]
        by_hand = cut_by_hand(vector(box[0][k]), vector(box[1][k]), planes)
        assert [true[0][k].tolist(), true[1][k].tolist()] == list(by_hand)
    some = np.array([all(x > -INF for x in upper) for upper in true[1]])
    if scales == (1.0,):
        for mine, exact in zip(cut, true, strict=True):
            near = np.isfinite(mine[some])
            gap = mine[some][near] - exact[some][near].astype(float)
            assert (abs(gap) < 1e-11 * (1 + abs(mine[some][near]))).all()


@pytest.mark.parametrize("seed", range(12))
def test_a_joint_cut_holds_all_that_the_exact_one_does(seed):
    g = np.random.default_rng(seed)
    scales = [(1.0,), (1e-8, 1.0, 1e8), (1e-160, 1.0), (1e-155, 1.0, 1e150)][seed % 4]
    box, a, c = random_planes(g, scales, 10, 3, 2)
    c[0, 0] = -INF
    with np.errstate(all="ignore"):
        cut = _cut_jointly(box, a, c, FLOAT)
        c[0, 0], a[0, 0] = 0.0, 0.0  # a plane that is not known says nothing
        true = exactly(_cut_jointly, box, a, c)
    assert contains(cut, true)
    assert contains(box, true)
    if scales == (1.0,):
        for mine, exact in zip(cut, true, strict=True):
            np.testing.assert_allclose(mine, exact.astype(float), atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("jointly", [False, True])
def test_points_below_all_planes_of_a_clause_stay(seed, jointly):
    g = np.random.default_rng(seed)
    clause = np.array([0, 0, 1, 1, 1])
    box, a, c = random_planes(g, (1.0,), 20, 5, 2)
    planes = np.concatenate([a, c[:, :, None]], 2)
    live = g.random((20, 2)) < 0.8
    with np.errstate(all="ignore"):
        low, high, still = clip(box, (planes, clause), live, FLOAT, jointly=jointly)
    assert not (still & ~live).any()
    shares = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * 2), -1).reshape(-1, 1, 2)
    x = np.minimum(box[0] + shares * (box[1] - box[0]), box[1])
    below = np.einsum("kri,pki->pkr", a, x) + c <= -1e-9
    met = np.stack([below[:, :, clause == j].all(2) & live[:, j] for j in (0, 1)], 2)
    assert met.sum() > 100
    assert still[met.any(0)].all()
    inside = ((low <= x) & (x <= high)).all(2)
    assert inside[met.any(2)].all()
    gone = ~still.any(1)
    assert (low[gone] == box[0][gone]).all()
    assert (high[gone] == box[1][gone]).all()


# ---------------------------------------------------------------------------------- by hand


def single(low, high, *clauses, jointly=False, live=None, number=FLOAT):
    """One box; clauses are lists of planes."""
    planes = np.array([[plane for part in clauses for plane in part]], dtype=float)
    clause = np.repeat(np.arange(len(clauses)), [len(part) for part in clauses])
    box = number.numbers([low]), number.numbers([high])
    live = np.ones((1, len(clauses)), dtype=bool) if live is None else np.array([live])
    with np.errstate(all="ignore"):
        return clip(box, (number.numbers(planes), clause), live, number, jointly=jointly)


def test_the_box_is_the_hull_of_what_its_clauses_leave():
    """x <= 1, or x >= 3 and y <= 1, in a box from 0 to 4."""
    clauses = [(1, 0, -1)], [(-1, 0, 3), (0, 1, -1)]
    low, high, still = single([0, 0], [4, 4], *clauses, number=EXACT)
    assert (low.tolist(), high.tolist(), still.tolist()) == ([[0, 0]], [[4, 4]], [[True, True]])
    low, high, still = single([0, 0], [4, 4], *clauses, live=[False, True], number=EXACT)
    assert (low.tolist(), high.tolist(), still.tolist()) == ([[3, 0]], [[4, 1]], [[False, True]])
    low, high, still = single([0, 2], [4, 4], *clauses, number=EXACT)
    assert (low.tolist(), high.tolist(), still.tolist()) == ([[0, 2]], [[1, 4]], [[True, False]])
    low, high, still = single([2, 2], [4, 4], *clauses, number=EXACT)
    assert (low.tolist(), high.tolist(), still.tolist()) == ([[2, 2]], [[4, 4]], [[False, False]])


def test_the_second_sweep_starts_from_the_first_one():
    """y >= x - 1 and y <= 3 - 2 x: x <= 2 first, then 4/3 is the end of all sweeps."""
    low, high, _ = single([1, 0.5], [9, 9], [(1, -1, -1), (2, 1, -3)], number=EXACT)
    assert high.tolist() == [[Fraction(5, 4), 1]]
    assert low.tolist() == [[1, Fraction(1, 2)]]


def test_a_plane_that_touches_a_corner_leaves_the_corner():
    for number in (FLOAT, EXACT):
        low, high, still = single([1, 1], [4, 4], [(1, 1, -2)], number=number)
        assert still.all()
        assert low.tolist() == [[1, 1]]
        np.testing.assert_allclose(high.astype(float), 1, atol=1e-12)
        assert (high >= 1).all()
    _, _, still = single([1, 1], [4, 4], [(1, 1, -1.99)])
    assert not still.any()


def test_planes_without_coefficients():
    assert not single([0], [1], [(0, 1e-9)])[2].any()
    assert single([0], [1], [(0, 0)])[2].all()
    assert single([0], [1], [(0, -INF)])[2].all()
    assert single([0], [1], [(0, np.nan)])[2].all()
    low, high, still = single([0], [1], [(0, -INF), (1, -0.5)], jointly=True)
    assert still.all()
    assert low[0, 0] == 0
    assert 0.5 <= high[0, 0] < 0.5 + 1e-12


def test_planes_that_are_not_known_meet_fractions_of_any_size():
    box = EXACT.numbers([[-1e300]]), EXACT.numbers([[1e300]])
    planes = EXACT.numbers([[[1e300, 0], [1, -7]]])
    planes[0, 0, -1] = -INF
    low, high, still = clip(
        box, (planes, np.zeros(2, int)), np.ones((1, 1), bool), EXACT, jointly=False
    )
    assert (low[0, 0], high[0, 0], still.all()) == (-1e300, 7, True)


def test_boxes_that_a_plane_empties_meet_fractions_of_any_size():
    """1e10 x <= -1 leaves nothing of x >= 1e308; the second sweep cuts what is empty."""
    for jointly in (False, True):
        planes = [(1e10, 0, 1), (-1e10, 1e10, -1)]
        low, high, still = single([1e308] * 2, [1.5e308] * 2, planes, jointly=jointly, number=EXACT)
        assert not still.any()
        assert (low.tolist(), high.tolist()) == ([[1e308] * 2], [[1.5e308] * 2])


def test_a_clause_without_planes_keeps_the_box():
    low, high, still = single([0, 0], [4, 4], [(1, 0, -1)], [], number=EXACT)
    assert (low.tolist(), high.tolist(), still.tolist()) == ([[0, 0]], [[4, 4]], [[True, True]])


def test_planes_that_contradict_each_other_only_jointly():
    """x + y <= -1/2 and -x - y <= -1/2, the sum of which is 1 <= 0."""
    contradiction = [(1, 1, 0.5), (-1, -1, 0.5)]
    assert single([-1, -1], [1, 1], contradiction)[2].all()
    assert not single([-1, -1], [1, 1], contradiction, jointly=True)[2].any()
    touching = [(1, 1, 0), (-1, -1, 0)]
    assert single([-1, -1], [1, 1], touching, jointly=True)[2].all()
    assert single([-1, -1], [1, 1], [(1, 1, 0.5)], [(-1, -1, 0.5)], jointly=True)[2].all()


@pytest.mark.parametrize(
    ("planes", "alone", "jointly"),
    [
        ([(-1, 2, 1), (2, -1, 1)], ([-1, -1], [-0.5, -0.5]), ([-1, -1], [-15 / 16, -31 / 32])),
        ([(1, -2, 1), (-2, 1, 1)], ([0.5, 0.5], [1, 1]), ([15 / 16, 31 / 32], [1, 1])),
    ],
)
def test_planes_cut_more_jointly(planes, alone, jointly):
    for number in (FLOAT, EXACT):
        for together, expected in ((False, alone), (True, jointly)):
            cut = single([-1, -1], [1, 1], planes, jointly=together, number=number)
            assert cut[2].all()
            for mine, side in zip(cut, expected, strict=False):
                np.testing.assert_allclose(mine[0].astype(float), side, atol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_the_best_multiplier_is_the_best_on_a_grid(seed):
    g = np.random.default_rng(seed)
    direction, slope = g.normal(size=(2, 1, 1, 3)) * (g.random((2, 1, 1, 3)) < 0.8)
    center, radius = g.normal(size=(1, 1, 3)), g.random((1, 1, 3))
    constant = np.array([float(g.normal()) - 1])

    def worth(t):
        whole = direction + t * slope
        return float((whole * center - abs(whole) * radius).sum() + t * constant[0])

    with np.errstate(all="ignore"):
        found = float(_best(direction, slope, constant, (center, radius))[0, 0])
    assert found >= 0
    rises = worth(1e6) > worth(1e3) + 1
    if not rises:
        assert worth(found) >= max(map(worth, np.linspace(0, 20, 4001))) - 1e-9
