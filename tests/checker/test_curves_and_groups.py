"""Curves, products and maxima: intervals and intercepts hold at every sampled point, and touch."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from verifier.checker.curves import Exp, Power, Reciprocal, Root, SShape, Wave, _sine
from verifier.checker.errors import Unsupported
from verifier.checker.groups import Maximum, Product

N, BOXES, SAMPLES = 5, 60, 200
CURVES = {
    "exp": (Exp(), np.exp, (-30.0, 30.0)),
    "reciprocal right": (Reciprocal(), lambda x: 1 / x, (0.01, np.inf)),
    "reciprocal left": (Reciprocal(), lambda x: 1 / x, (-np.inf, -0.01)),
    "square": (Power(2), lambda x: x**2, (-np.inf, np.inf)),
    "cube": (Power(3), lambda x: x**3, (-np.inf, np.inf)),
    "seventh": (Power(7), lambda x: x**7, (-np.inf, np.inf)),
    "eighth": (Power(8), lambda x: x**8, (-np.inf, np.inf)),
    "root": (Root(), np.sqrt, (0.0, np.inf)),
    "sin": (Wave(cosine=False), np.sin, (-np.inf, np.inf)),
    "cos": (Wave(cosine=True), np.cos, (-np.inf, np.inf)),
    "sigmoid": (SShape(1), lambda x: 1 / (1 + np.exp(-x)), (-np.inf, np.inf)),
    "tanh": (SShape(2), np.tanh, (-np.inf, np.inf)),
}
GROUPS = {
    "product": (Product(), lambda x: x.prod(1)),
    "max of 2": (Maximum(2), lambda x: x.max(1)),
    "max of 7": (Maximum(7), lambda x: x.max(1)),
}
RULES = {
    **{k: (rule, lambda x, f=f: f(x[:, 0]), limits) for k, (rule, f, limits) in CURVES.items()},
    **{k: (rule, f, (-np.inf, np.inf)) for k, (rule, f) in GROUPS.items()},
}


def boxes(rule, limits, seed):
    rng = np.random.default_rng(seed)
    for _ in range(BOXES):
        scale = rng.choice([1e-9, 1e-3, 0.3, 3.0, 30.0])
        centre = rng.normal(size=(1, rule.arity * N)) * rng.choice([scale, 3.0])
        reach = abs(rng.normal(size=centre.shape)) * scale * rng.choice([0.0, 1.0, 1.0, 1.0])
        yield np.clip(centre - reach, *limits), np.clip(centre + reach, *limits)


def samples(lower, upper, seed=0):
    steps = np.random.default_rng(seed).random((SAMPLES, lower.shape[1]))
    steps[:50] = np.round(steps[:50])
    return np.clip(lower + steps * (upper - lower), lower, upper)


def values(rule, function, x):
    """[samples, n] in extended precision, of samples [samples, k n]."""
    return function(x.astype(np.longdouble).reshape(len(x), rule.arity, N))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_intervals_and_intercepts_hold(name):
    rule, function, limits = RULES[name]
    rng = np.random.default_rng(1)
    close = []
    for lower, upper in boxes(rule, limits, 2):
        low, high = rule.interval(lower, upper)
        x = samples(lower, upper)
        y = values(rule, function, x)
        assert (y >= low).all()
        assert (y <= high).all()
        nu = rng.normal(size=(1, N)) * rng.choice([1e-6, 1.0, 1e6])
        nu[rng.random(nu.shape) < 0.1] = 0.0
        below, above = rule.lines(lower, upper)
        parts = [np.tile(part, rule.arity) for part in (np.maximum(nu, 0), np.minimum(nu, 0))]
        good = parts[0] * below + parts[1] * above
        for multiplier in (good, good + rng.normal(size=good.shape) * abs(nu).max()):
            least = rule.intercept(nu, multiplier, lower, upper)
            line = (multiplier * x.astype(np.longdouble)).reshape(len(x), rule.arity, N).sum(1)
            margin = nu * y - line - least
            assert margin.min() >= 0
        spread = margin.max(0) + 1e-12 * (abs(nu * y).max(0) + 1)
        close.append(float(np.median(margin.min(0) / spread)))
    assert np.median(close) < 0.1


def envelopes(x, y):
    """The convex and the concave envelope in the middle, by all chords between samples."""
    middle, half = x[len(x) // 2], len(x) // 2 + 1
    left, right = x[:half, None], x[None, half - 1 :]
    with np.errstate(all="ignore"):
        share = np.nan_to_num((middle - left) / (right - left))
    chords = y[:half, None] + share * (y[None, half - 1 :] - y[:half, None])
    return chords.min((0, 1)), chords.max((0, 1))


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lines_support_the_envelopes_in_the_middle(name):
    rule, function, limits = CURVES[name]
    gaps = []
    for lower, upper in boxes(rule, limits, 5):
        x = lower + np.linspace(0, 1, 65)[:, None] * (upper - lower)
        y, middle, one = function(x), (lower + upper) / 2, np.ones_like(lower)
        least, most = envelopes(x, y)
        below, above = rule.lines(lower, upper)
        low = rule.intercept(one, below, lower, upper) + below * middle
        high = above * middle - rule.intercept(-one, -above, lower, upper)
        width, size = upper - lower, y.max(0) - y.min(0)
        fair = (width > 1e-2) & (width < 4) & (abs(lower) < 40) & (size > 1e-6)
        gaps += (np.maximum(least - low, high - most) / size)[fair].tolist()
    assert len(gaps) > 20
    assert np.median(gaps) < 1e-3
    assert max(gaps) < 0.05


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_exact_in_fractions(name):
    rule, _, limits = RULES[name]
    for lower, upper in list(boxes(rule, limits, 3))[:8]:
        exact = [np.array([[Fraction(v) for v in x[0]]], dtype=object) for x in (lower, upper)]
        nu = np.array([[Fraction(v) for v in (-2.0, -0.5, 0.0, 0.25, 3.0)]], dtype=object)
        below, above = rule.lines(*exact)
        parts = [np.tile(part, rule.arity) for part in (np.maximum(nu, 0 * nu), np.minimum(nu, 0))]
        multiplier = parts[0] * below + parts[1] * above
        found = rule.intercept(nu, multiplier, *exact)
        floats = rule.intercept(nu.astype(float), multiplier.astype(float), lower, upper)
        scale = 1e-12 * (1 + abs(lower).max() + abs(upper).max()) ** 2
        assert (abs(found.astype(float) - floats) <= scale).all()
        low, high = rule.interval(*exact)
        assert (low <= high).all()


@pytest.mark.parametrize(
    ("lower", "upper", "below", "above"),
    [
        ([-1, 0], [2, 1], [0, 1], [1 / 3, 0]),  # max(x_0, 1) is on a chord from (-1, 1) to (2, 2)
        ([1.5, 0], [2, 1], [1, 0], [1, 0]),
        ([0, -1, 0.5], [1, 3, 1], [0, 0, 1], [0, 0.5, 0]),
        ([0, 1], [1, 1], [0, 1], [0, 0]),
    ],
)
def test_lines_of_a_maximum(lower, upper, below, above):
    box = np.array([lower], dtype=float), np.array([upper], dtype=float)
    found = Maximum(len(lower)).lines(*box)
    np.testing.assert_allclose(found, [[below], [above]])


def test_lines_of_a_product():
    found = Product().lines(np.array([[0.0, 1.0]]), np.array([[2.0, 5.0]]))
    np.testing.assert_allclose(found, [[[3, 1]], [[3, 1]]])


@pytest.mark.parametrize("name", ["product", "max of 2", "max of 7", "reciprocal left"])
def test_float32_execution_is_off_by_as_much_at_most(name):
    rule, function, limits = RULES[name]
    close, exact = 0.0, True
    for low, high in boxes(rule, limits, 4):
        x = samples(low, high).astype(np.float32)
        lower, upper = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
        true = values(rule, function, x.astype(float))
        error = abs(function(x.reshape(len(x), rule.arity, N)) - true)
        most = rule.error32(lower, upper)
        assert (error <= most).all()
        close = max(close, float((error / np.where(most, most, 1)).max()))
        exact &= not most.any()
    assert exact == name.startswith("max")
    assert exact or close > 0.5


def test_float32_execution_of_other_functions_is_unknown():
    box = np.array([[-1.0, 0.0, 0.5]]), np.array([[1.0, 2.0, 0.5]])
    for rule in (Exp(), Power(2), Root(), Wave(cosine=True)):
        assert np.isinf(rule.error32(*box)).all()
    assert np.isinf(Reciprocal().error32(*box)).tolist() == [[True, True, False]]


def test_sines_are_as_accurate_as_they_say():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=300), rng.uniform(-(2.0**19), 2.0**19, 700)])
    with mpmath.workdps(40):
        pairs = zip(points.tolist(), _sine(points).tolist(), strict=True)
        errors = [float(mpmath.sin(mpmath.mpf(x)) - mpmath.mpf(y)) for x, y in pairs]
    assert max(map(abs, errors)) < 2.0**-50


def test_nothing_is_known_beyond_the_domain():
    for rule, lower, upper in (
        (Reciprocal(), -1.0, 1.0),
        (Reciprocal(), 0.0, 1.0),
        (Root(), -1.0, 1.0),
        (Exp(), 0.0, 701.0),
    ):
        box = np.full((1, 1), lower), np.full((1, 1), upper)
        with np.errstate(all="ignore"):
            low, high = rule.interval(*box)
            least = rule.intercept(np.ones((1, 1)), np.zeros((1, 1)), *box)
        assert not (low > -np.inf) or not (high < np.inf)
        if not isinstance(rule, Exp):
            assert not (least > -np.inf)


def test_waves_over_wide_boxes_are_bounded_by_one():
    lower, upper = np.array([[-1e7, 5.0, -2.0]]), np.array([[1e7, 500.0, 9.0]])
    low, high = Wave(cosine=True).interval(lower, upper)
    assert (low <= -1).all()
    assert (low > -1 - 1e-8).all()
    assert (high >= 1).all()
    assert (high < 1 + 1e-8).all()


def test_curves_have_no_exact_rule():
    one = np.array([[Fraction(1)]], dtype=object)
    for rule in (Exp(), Wave(cosine=False)):
        with pytest.raises(Unsupported, match="exact arithmetic"):
            rule.interval(one, one)
