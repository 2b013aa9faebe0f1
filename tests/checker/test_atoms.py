"""The elementwise rules hold against exact and 60-digit arithmetic, and they touch."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from verifier.checker.arithmetic import Arithmetic
from verifier.checker.atoms import Floor, Relu, absolute, clip, leaky_relu
from verifier.checker.curves import SShape, _sigmoid, exp_of_minus
from verifier.checker.errors import Unsupported

PIECEWISE = {
    "relu": (Relu(), lambda x: max(x, Fraction(0))),
    "leaky": (leaky_relu(0.1), lambda x: x if x > 0 else Fraction(0.1) * x),
    "steep": (leaky_relu(1.7), lambda x: x if x > 0 else Fraction(1.7) * x),
    "falling": (leaky_relu(-0.3), lambda x: x if x > 0 else Fraction(-0.3) * x),
    "abs": (absolute(), abs),
    "relu6": (clip(0.0, 6.0), lambda x: min(max(x, Fraction(0)), Fraction(6))),
    "clip": (clip(-0.7, 0.1), lambda x: min(max(x, Fraction(-0.7)), Fraction(0.1))),
    "from above": (clip(-np.inf, 0.3), lambda x: min(x, Fraction(0.3))),
}
SHAPES = {"sigmoid": SShape(1), "tanh": SShape(2)}


def boxes(rng, count, scales=(1e-8, 1e-3, 1.0, 10.0, 1e4)):
    scale = rng.choice(scales, count)
    ends = rng.normal(size=(2, count)) * scale
    ends[1] = np.where(rng.random(count) < 0.1, ends[0], ends[1])
    ends[0] = np.where(rng.random(count) < 0.1, 0.0, ends[0])
    return ends.min(axis=0)[None], ends.max(axis=0)[None]


def rows(rng, count):
    nu, multiplier = rng.normal(size=(2, 1, count)) * rng.choice([1e-9, 1.0, 1e9], (2, 1, count))
    nu[rng.random(nu.shape) < 0.1] = 0.0
    return nu, np.where(rng.random(nu.shape) < 0.5, multiplier, nu * rng.random(nu.shape))


def points(rng, low, high, kinks=()):
    inside = [low + (high - low) * Fraction(int(t), 1000) for t in rng.integers(0, 1001, 5)]
    return [low, high, *inside, *(k for k in map(Fraction, kinks) if low <= k <= high)]


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_intercepts_are_below_and_touch(name):
    atom, phi = PIECEWISE[name]
    kinks = getattr(atom, "kinks", [0.0])
    rng = np.random.default_rng(1)
    (lower, upper), (nu, multiplier) = boxes(rng, 400), rows(rng, 400)
    result = atom.intercept(nu, multiplier, lower, upper)
    low, high = atom.interval(lower, upper)
    for i in range(400):
        n, a, p, q = (Fraction(float(x[0, i])) for x in (nu, multiplier, lower, upper))
        values = [n * phi(x) - a * x for x in points(rng, p, q, kinks)]
        size = max(abs(n * phi(x)) + abs(a * x) for x in (p, q, *map(Fraction, kinks)))
        assert Fraction(float(result[0, i])) <= min(values)
        assert float(min(values)) - result[0, i] <= 1e-14 * float(size) + 1e-300
        images = [phi(x) for x in points(rng, p, q, kinks)]
        assert Fraction(float(low[0, i])) <= min(images)
        assert max(images) <= Fraction(float(high[0, i]))


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_in_exact_arithmetic_has_no_error(name):
    atom, phi = PIECEWISE[name]
    kinks = getattr(atom, "kinks", [0.0])
    rng = np.random.default_rng(2)
    numbers = Arithmetic(exact=True).numbers
    lower, upper = map(numbers, boxes(rng, 50))
    nu, multiplier = map(numbers, rows(rng, 50))
    result = atom.intercept(nu, multiplier, lower, upper)
    slopes = atom.lines(lower, upper)
    image = atom.interval(lower, upper)
    for i in range(50):
        n, a, p, q = (x[0, i] for x in (nu, multiplier, lower, upper))
        ends = [p, q, *(k for k in map(Fraction, kinks) if p <= k <= q)]
        assert result[0, i] == min(n * phi(x) - a * x for x in ends)
        assert [x[0, i] for x in image] == [f(map(phi, ends)) for f in (min, max)]
    assert {type(x) for s in (*slopes, *image, result) for x in s.ravel()} == {Fraction}
    floats = atom.lines(lower.astype(float), upper.astype(float))
    for exact, rounded in zip(slopes, floats, strict=True):
        np.testing.assert_allclose(exact.astype(float), rounded, atol=1e-6)


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_lines_are_the_best_in_the_middle(name):
    atom, phi = PIECEWISE[name]
    kinks = getattr(atom, "kinks", [0.0])
    lower, upper = boxes(np.random.default_rng(3), 200, (1.0,))
    for sign, slopes in zip((1, -1), atom.lines(lower, upper), strict=True):
        for p, q, slope in zip(lower[0], upper[0], slopes[0], strict=True):
            ends = [p, q, *(k for k in kinks if p <= k <= q)]

            def height(s, ends=ends, p=p, q=q, sign=sign):
                rest = min(sign * (float(phi(Fraction(x))) - s * x) for x in ends)
                return sign * s * (p + q) / 2 + rest

            others = np.linspace(-2, 2, 41)
            assert height(slope) >= max(map(height, others)) - 1e-9


def stairs(rng, count):
    """Boxes for Floor: points, ends at and next to whole numbers, far out, narrow and wide."""
    lower, upper = boxes(rng, count, (1e-8, 1.0, 10.0, 1e9, 2.0**45))
    for end in (lower, upper):
        whole = rng.random(end.shape) < 0.4
        end[whole] = np.rint(end[whole])
        end[rng.random(end.shape) < 0.2] += rng.choice([-1, 1]) * 2.0**-40
    return np.minimum(lower, upper), np.maximum(lower, upper)


def below_floor(n, a, low, high):
    """The greatest number that n floor(x) - a x does not fall below on a box."""
    jumps = {f for f in (low // 1 + 1, high // 1) if low < f <= high}
    values = [n * (x // 1) - a * x for x in (low, high, *jumps)]
    return min(values + [n * (f - 1) - a * f for f in jumps])


def test_intercepts_of_floor_are_below_and_touch():
    rng, atom = np.random.default_rng(11), Floor()
    (lower, upper), (nu, multiplier) = stairs(rng, 600), rows(rng, 600)
    result, image = atom.intercept(nu, multiplier, lower, upper), atom.interval(lower, upper)
    for i in range(600):
        n, a, p, q = (Fraction(float(x[0, i])) for x in (nu, multiplier, lower, upper))
        true, inside = below_floor(n, a, p, q), points(rng, p, q)
        steps = [x for k in range(4) for x in (p // 1 + k, p // 1 + k - Fraction(1, 10**9))]
        inside += [x for x in steps if p <= x <= q]
        assert true <= min(n * (x // 1) - a * x for x in inside)
        size = max(abs(n * (x // 1)) + abs(n) + abs(a * x) for x in (p, q))
        assert Fraction(float(result[0, i])) <= true
        assert float(true) - result[0, i] <= 1e-14 * float(size) + 1e-300
        assert [Fraction(float(x[0, i])) for x in image] == [p // 1, q // 1]


def test_lines_of_floor_are_the_best_in_the_middle():
    lower, upper = boxes(np.random.default_rng(12), 100, (1.0, 4.0))
    atom, middle = Floor(), (lower + upper) / 2
    one = np.ones_like(lower)
    for sign, slope in zip((1, -1), atom.lines(lower, upper), strict=True):
        best = atom.intercept(sign * one, sign * slope, lower, upper) + sign * slope * middle
        for other in np.linspace(-1, 3, 81):
            rival = atom.intercept(sign * one, sign * other * one, lower, upper)
            assert (best >= rival + sign * other * middle - 1e-9).all()


def test_floor_says_nothing_where_whole_numbers_are_no_floats():
    far = np.array([[2.0**51]])
    assert np.isnan(Floor().intercept(far, 0 * far, far, far + 1)).all()
    assert np.isnan(Floor().interval(far, far + 1)).all()
    exact = Arithmetic(exact=True).numbers(far)
    with pytest.raises(Unsupported, match="exact"):
        Floor().interval(exact, exact)


def test_the_errors_of_float32_execution_cover_it():
    rng = np.random.default_rng(4)
    x = (rng.normal(size=1000) * rng.choice([1e-42, 1e-3, 1e20], 1000)).astype(np.float32)
    exact = x.astype(np.float64)
    for slope in (0.01, -1.3, 1.7):
        slope32 = np.float32(slope)
        wrong = abs(
            np.where(x > 0, x, slope32 * x).astype(float)
            - np.where(x > 0, exact, float(slope32) * exact)
        )
        assert (wrong <= leaky_relu(float(slope32)).error32(exact, exact)).all()
    assert not Relu().error32(exact, exact).any()
    assert not clip(0.0, 6.0).error32(exact, exact).any()


def decimal_sigmoid(x):
    return 1 / (1 + (-Decimal(float(x))).exp())


def decimal_phi(name, x):
    return decimal_sigmoid(x) if name == "sigmoid" else 2 * decimal_sigmoid(2 * float(x)) - 1


def sample(rng, count):
    spread = rng.normal(size=count) * rng.choice([1e-300, 1e-9, 0.1, 1.0, 20.0, 300.0], count)
    near = np.round(rng.normal(size=count) * 20) * np.log(2) / 2
    near = near * (1 + rng.integers(-3, 4, count) * 2.0**-52)
    return np.clip(np.concatenate([spread, near, [0.0, -700.0, 700.0]]), -700, 700)


def test_exp_and_sigmoid_against_40_digits():
    x = sample(np.random.default_rng(5), 5000)
    unit = Decimal(2) ** -53
    with localcontext(prec=40):
        for t, e in zip(abs(x), exp_of_minus(abs(x)), strict=True):
            true = (-Decimal(float(t))).exp()
            assert abs(Decimal(float(e)) - true) <= 57 * unit * true
        for t, s in zip(x, _sigmoid(x), strict=True):
            true = decimal_sigmoid(t)
            assert abs(Decimal(float(s)) - true) <= 60 * unit * true


def test_sigmoid_against_extended_precision_on_millions_of_points():
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than double here")
    x = np.random.default_rng(6).uniform(-60, 60, 2_000_000)
    true = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    assert (abs(_sigmoid(x) - true) <= 60 * 2.0**-53 * true).all()


def test_the_constants_of_the_proof():
    from verifier.checker import curves

    with localcontext(prec=60):
        rest = Decimal(2).ln() - Decimal(curves._LN2_HIGH) - Decimal(curves._LN2_LOW)
        assert abs(rest) < Decimal(2) ** -80
    numerator, _ = curves._LN2_HIGH.as_integer_ratio()
    assert numerator.bit_length() <= 33
    assert 700 / np.log(2) < 2**10
    t = np.linspace(0, 700, 1_000_001)
    r = t - np.rint(t * 1.4426950408889634) * np.log(2)
    assert abs(r).max() < 0.3467
    assert 0.3467**14 / 87178291200 * np.exp(0.3467) < 0.06 * 2.0**-53


@pytest.mark.parametrize("name", SHAPES)
def test_brackets_contain_the_function_and_its_derivative(name):
    x = np.concatenate([sample(np.random.default_rng(7), 2000), [-1e300, 1e300, -746.0, 800.0]])
    brackets = SHAPES[name].bracket(x)
    with localcontext(prec=50):
        for t, *bracket in zip(x, *brackets, strict=True):
            clipped = min(max(float(t), -1e4), 1e4)
            value = decimal_phi(name, clipped)
            gain = 1 if name == "sigmoid" else 2
            e = (-abs(Decimal(clipped)) * gain).exp()
            slope = gain**2 * e / (1 + e) ** 2
            low, high, flat, steep = (Decimal(float(b)) for b in bracket)
            assert low <= value <= high
            assert flat <= slope <= steep
            assert high - low <= Decimal(2) ** -44
            assert steep - flat <= Decimal(2) ** -42


@pytest.mark.parametrize("name", SHAPES)
def test_s_shaped_intercepts_are_below_and_touch(name):
    atom, rng = SHAPES[name], np.random.default_rng(8)
    (lower, upper), (nu, multiplier) = boxes(rng, 300), rows(rng, 300)
    below, above = atom.lines(lower, upper)
    on_lines = np.where(nu >= 0, below, above) * nu
    multiplier = np.where(rng.random(nu.shape) < 0.5, on_lines, multiplier)
    result = atom.intercept(nu, multiplier, lower, upper)
    with localcontext(prec=50):
        for i in range(300):
            n, a, p, q = (Decimal(float(x[0, i])) for x in (nu, multiplier, lower, upper))
            inside = [p + (q - p) * Decimal(float(t)) for t in np.linspace(0, 1, 30)]
            values = [n * decimal_shape(name, x) - a * x for x in inside]
            assert Decimal(float(result[0, i])) <= min(values)


def decimal_shape(name, x):
    gain = 1 if name == "sigmoid" else 2
    e = (-abs(x) * gain).exp()
    s = (1 if x > 0 else e) / (1 + e)
    return gain * s - (gain - 1)


@pytest.mark.parametrize("name", SHAPES)
def test_s_shaped_intercepts_touch_on_moderate_boxes(name):
    atom, rng = SHAPES[name], np.random.default_rng(9)
    lower, upper = boxes(rng, 300, (0.1, 1.0, 10.0))
    nu = rng.normal(size=lower.shape)
    multiplier = nu * rng.uniform(-0.2, 1.0, lower.shape)
    result = atom.intercept(nu, multiplier, lower, upper)
    grid = np.linspace(lower, upper, 20001)
    values = nu * np.asarray(atom.bracket(grid)[0]) - multiplier * grid
    gap = values.min(axis=0) - result
    assert (gap >= -1e-12).all()
    assert (gap <= 1e-5 * (1 + upper - lower)).all()


@pytest.mark.parametrize("name", SHAPES)
def test_s_shaped_lines_are_tight(name):
    atom, rng = SHAPES[name], np.random.default_rng(10)
    lower, upper = boxes(rng, 500, (0.1, 1.0, 5.0))
    one = np.ones_like(lower)
    middle = (lower + upper) / 2
    for sign, slope in zip((1, -1), atom.lines(lower, upper), strict=True):
        chosen = atom.intercept(sign * one, sign * slope, lower, upper) + sign * slope * middle
        for other in np.linspace(0, 1, 51):
            rival = (
                atom.intercept(sign * one, sign * other * one, lower, upper) + sign * other * middle
            )
            assert (chosen >= rival - 0.005).all()


def test_s_shapes_have_no_exact_arithmetic():
    x = Arithmetic(exact=True).numbers([[0.5]])
    with pytest.raises(Unsupported, match="exact"):
        SShape(1).interval(x, x)


def test_onnxruntime_keeps_the_assumption_about_sigmoid_and_tanh():
    import onnx
    import onnxruntime

    x = np.linspace(-30, 30, 200_001, dtype=np.float32)[None]
    info = [onnx.helper.make_tensor_value_info(n, 1, [1, 200_001]) for n in "xy"]
    for name, atom in (("Sigmoid", SShape(1)), ("Tanh", SShape(2))):
        node = onnx.helper.make_node(name, ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
        opset = [onnx.helper.make_opsetid("", 17)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (y,) = session.run(None, {"x": x})
        wrong = abs(np.asarray(y, dtype=float) - atom.bracket(x.astype(float))[0])
        assert (wrong <= atom.error32(x.astype(float), x.astype(float)) / 2).all()
