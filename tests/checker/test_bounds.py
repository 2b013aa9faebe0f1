"""Boxes, and rows bounded by going back, hold in exact arithmetic for every admitted execution.

Boxes are points or narrow, and weights cancel: then a bound has no room but for its error terms.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest

from tests.checker.layers import Layer, Layers, Vector, dot, enclose, vector
from verifier.checker import bounds
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.atoms import leaky_relu
from verifier.checker.bounds import Enclosure
from verifier.checker.network import Network
from verifier.checker.rows import Form, Multipliers, Rows
from verifier.checker.tensors import Node

FLOAT, EXACT = Arithmetic(), Arithmetic(exact=True)
SCALES = ((1.0,), (1e-8, 1.0, 1e8), (1e-160, 1.0), (1e-155, 1e155))


def numbers(g, scales, *shape):
    return g.normal(size=shape) * g.choice(scales, shape)


def against(weight):
    """A row that cancels the columns of a matrix but for rounding."""
    _, _, rows = np.linalg.svd(weight.T / (abs(weight).max() or 1), full_matrices=True)
    return rows[-1]


def network(g, scales, *, cancels=True):
    """Affine nodes, two kinds of atoms, and a sum of three values, one of them twice."""
    first = numbers(g, scales, 4, 2)
    bias = partial(numbers, g, scales)
    if g.random() < 0.5:
        bias = np.zeros
    mixed = np.stack([against(first) if cancels else g.normal(size=4), *g.normal(size=(2, 4))])
    nodes = [
        Layer((0,), (first,), bias(4)),
        Layer((1,), (mixed,), bias(3), sparse=bool(g.random() < 0.5)),
        Layer((2,), atom="relu"),
        Layer((3,), (numbers(g, scales, 3, 3),), bias(3)),
        Layer((4,), atom="leaky"),
    ]
    parts = numbers(g, scales, 2, 3), g.normal(size=(2, 4)), g.normal(size=(2, 2))
    nodes.append(Layer((5, 1, 0), parts, bias(2), sparse=bool(g.random() < 0.5)))
    return Layers(2, tuple(nodes))


def boxes(g, scales, count=3):
    """Points, narrow boxes, and wide ones."""
    middle = numbers(g, scales, count, 2)
    radius = abs(middle) * np.array([0.0, 1e-15, 0.7])[:count, None]
    return middle - radius, middle + radius


def points(g, box, k):
    low, high = (vector(side[k]) for side in box)
    shares = [*product((0, 1), repeat=2), *(g.integers(0, 9, (2, 2)) / 8).tolist()]
    for share in shares:
        yield [a + Fraction(s) * (b - a) for a, b, s in zip(low, high, share, strict=True)]


def at_most(bound, value):
    """Whether a bound from below holds; what is not a number claims nothing."""
    return bool(np.isnan(float(bound))) or bound == -np.inf or Fraction(bound) <= value


def holds(form: Form, i: int, x: Vector, value: Fraction, more: Fraction = Fraction(0)) -> bool:
    """row(x) >= coefficients . x + constant + more."""
    parts = form.coefficients[i].tolist(), form.constant[i]
    if not np.isfinite([float(p) for p in (*parts[0], parts[1])]).all():
        return True
    return dot(vector(parts[0]), x) + Fraction(parts[1]) + more <= value


def random_rows(g, layers, enclosure, scales):
    """Linear functions of two values and a constant, for every box twice."""
    sizes, owner = enclosure.network.sizes, np.repeat(np.arange(len(enclosure.lower[0])), 2)
    last = len(layers.nodes)
    chosen = {last, int(g.integers(0, last + 1))}
    start = {v: numbers(g, scales, len(owner), sizes[v]) for v in chosen}
    return Rows(start, numbers(g, scales, len(owner)), owner)


def multipliers(g, rows):
    """Slopes and numbers to add for some neurons of both atoms."""
    some = np.array([0, 2])
    slopes = {v: (some, g.random((rows, 2))) for v in (3, 5)}
    added = {v: (some, g.normal(size=(rows, 2)) * 10.0 ** g.integers(-3, 3)) for v in (3,)}
    return [None, Multipliers(slopes, {}), Multipliers({}, added), Multipliers(slopes, added)]


def row_at(rows, i, values):
    total = Fraction(float(rows.constant[i]))
    for value, part in rows.start.items():
        total += dot(vector(part[i]), values[value])
    return total


def assert_boxes_hold(enclosure: Enclosure, k: int, values: list[Vector]) -> None:
    for value, exact in enumerate(values):
        for n, y in enumerate(exact):
            assert at_most(enclosure.lower[value][k, n], y), (value, n)
            assert at_most(-enclosure.upper[value][k, n], -y), (value, n)


# ------------------------------------------------------------------------------ exact arithmetic


def some_layers(g):
    return network(g, (0.5, 1.0), cancels=False)


@pytest.mark.parametrize("seed", range(6))
def test_exact_arithmetic_has_no_error_and_floats_have_little(seed):
    g = np.random.default_rng(seed)
    layers, box = some_layers(g), boxes(g, (1.0,))
    exact, rounded = (enclose(layers, box, number) for number in (EXACT, FLOAT))
    x = vector(box[0][0])
    for value, y in enumerate(layers.values(x, exact.network, lambda: 0)):
        assert exact.lower[value][0].tolist() == exact.upper[value][0].tolist() == y
    for side in ("lower", "upper"):
        for mine, theirs in zip(getattr(exact, side), getattr(rounded, side), strict=True):
            np.testing.assert_allclose(mine.astype(float), theirs, atol=1e-12)
    rows = random_rows(g, layers, rounded, (1.0,))
    start = {v: EXACT.numbers(part) for v, part in rows.start.items()}
    twin = Rows(start, EXACT.numbers(rows.constant), rows.owner)
    for chosen in multipliers(g, len(rows.owner)):
        form, least = rounded.bound(rows, chosen)
        true, lowest = exact.bound(twin, chosen and as_fractions(chosen))
        wide = rows.owner == 2  # slopes over a point are anything
        for mine, theirs in (
            (true.coefficients, form.coefficients),
            (true.constant, form.constant),
            (lowest, least),
        ):
            np.testing.assert_allclose(mine[wide].astype(float), theirs[wide], atol=1e-8)
        assert {type(v) for v in (*true.coefficients.flat, *lowest)} <= {Fraction, int}
        for i in np.flatnonzero(rows.owner == 0):
            at_point = dot(true.coefficients[i].tolist(), x) + true.constant[i]
            assert lowest[i] == at_point
            if chosen is None:
                assert at_point == row_at(rows, i, layers.values(x, exact.network, lambda: 0))


def as_fractions(chosen: Multipliers) -> Multipliers:
    parts = (
        {v: (columns, EXACT.numbers(part)) for v, (columns, part) in choice.items()}
        for choice in (chosen.slopes, chosen.added)
    )
    return Multipliers(*parts)


# --------------------------------------------------------------------------------- single steps

ONE = np.ones((1, 1))
ABS = Layers(1, (Layer((0,), (np.array([[1.0], [-1.0]]),), np.zeros(2)), Layer((1,), atom="relu")))
"""relu(x), relu(-x)"""


def pair(low, high, number=FLOAT):
    return number.numbers([[low]]), number.numbers([[high]])


def output_row(enclosure, coefficients):
    weights = np.array([coefficients], dtype=float)
    number = enclosure.arithmetic
    last = enclosure.network.output
    return Rows({last: number.numbers(weights)}, number.zeros(1), np.zeros(1, dtype=np.int64))


@pytest.mark.parametrize(
    ("alpha", "form", "least"),
    [(None, (0, 0), 0), ((0.0, 0.0), (0, 0), 0), ((1.0, 0.0), (1, 0), -2), ((0.5, 0.5), (0, 0), 0)],
)
def test_slopes_of_unstable_neurons(alpha, form, least):
    """relu(x) + relu(-x) >= alpha x - beta x for x from -2 to 2."""
    enclosure = enclose(ABS, pair(-2, 2, EXACT), EXACT)
    chosen = None
    if alpha:
        slopes = {2: (np.arange(2), EXACT.numbers([alpha]))}
        chosen = Multipliers(slopes, {})
    found, value = enclosure.bound(output_row(enclosure, (1, 1)), chosen)
    assert (found.coefficients[0, 0], found.constant[0], value[0]) == (*form, least)


def test_slopes_of_stable_neurons_are_not_the_certificate_s():
    for low, high, expected in (
        (1, 2, (1, 0)),
        (-2, -1, (0, 0)),
        (-1, 2, (-7, 0)),
        (0, 2, (-7, 0)),
    ):
        enclosure = enclose(ABS, pair(low, high, EXACT), EXACT)
        chosen = Multipliers({2: (np.array([0]), EXACT.numbers([[-7]]))}, {})
        form, _ = enclosure.bound(output_row(enclosure, (1, 0)), chosen)
        crossing = low <= 0 <= high
        assert form.coefficients[0, 0] == expected[0]
        assert form.constant[0] == (7 * low if crossing else 0)


def test_added_numbers_move_the_multiplier_and_are_paid_for():
    """relu(x) >= 3 x - 4 and -relu(x) >= 5/2 x - 7 for x from -2 to 2."""
    enclosure = enclose(ABS, pair(-2, 2, EXACT), EXACT)
    chosen = Multipliers({}, {2: (np.array([0]), EXACT.numbers([[3]]))})
    form, least = enclosure.bound(output_row(enclosure, (1, 0)), chosen)
    assert (form.coefficients[0, 0], form.constant[0], least[0]) == (3, -4, -10)
    form, least = enclosure.bound(output_row(enclosure, (-1, 0)), chosen)
    assert (form.coefficients[0, 0], form.constant[0], least[0]) == (Fraction(5, 2), -7, -12)


def test_many_rows_are_bounded_in_chunks(monkeypatch):
    g = np.random.default_rng(1)
    layers, box = some_layers(g), boxes(g, (1.0,))
    enclosure = enclose(layers, box, FLOAT)
    owner = np.sort(g.integers(0, 3, 40))
    rows = Rows({6: g.normal(size=(40, 2))}, g.normal(size=40), owner)
    for chosen in multipliers(g, 40):
        form, least = enclosure.bound(rows, chosen)
        with monkeypatch.context() as patch:
            patch.setattr(bounds, "ROW_ELEMENTS", 37)
            again, parts = enclosure.bound(rows, chosen)
        assert len(form) == len(again) == 40
        np.testing.assert_allclose(again.coefficients, form.coefficients, atol=1e-12)
        np.testing.assert_allclose(parts, least, atol=1e-12)


def test_rows_that_read_no_input_have_no_coefficients():
    enclosure = enclose(ABS, pair(-1, 1, EXACT), EXACT)
    none = Rows({}, EXACT.numbers([5, 7]), np.zeros(2, dtype=np.int64))
    form, least = enclosure.bound(none)
    assert form.coefficients.tolist() == [[0], [0]]
    assert least.tolist() == [5, 7]


@pytest.mark.parametrize("number", [FLOAT, EXACT])
def test_rows_of_single_neurons(number):
    g = np.random.default_rng(2)
    layers = some_layers(g)
    enclosure = enclose(layers, boxes(g, (1.0,)), number)
    batch, neuron = np.array([0, 1, 2]), np.array([1, 0, 1])
    sign = number.numbers([1, -1, -1])
    for value in (1, 2, 4, 6):
        rows = enclosure.unit_rows(value, batch, neuron, sign)
        assert value not in rows.start
        for i in range(3):
            x = vector(np.asarray(enclosure.lower[0], float)[batch[i]])
            values = layers.values(x, enclosure.network, lambda: 0)
            parts = rows.start.items()
            at = sum(dot(vector(part[i].astype(float)), values[v]) for v, part in parts)
            exact = int(sign[i]) * values[value][neuron[i]]
            assert at + Fraction(rows.constant[i]) == exact
    rows = enclosure.unit_rows(3, batch, neuron, sign)
    assert set(rows.start) == {3}
    assert rows.constant.tolist() == [0, 0, 0]


def test_a_neuron_that_reads_a_value_twice_starts_at_itself():
    doubled = Layers(1, (Layer((0, 0), (ONE, ONE), np.ones(1)),))
    enclosure = enclose(doubled, pair(-1, 2, EXACT), EXACT)
    rows = enclosure.unit_rows(1, np.zeros(1, int), np.zeros(1, int), EXACT.numbers([1]))
    assert set(rows.start) == {1}
    assert enclosure.bound(rows)[1].tolist() == [-1]


def test_single_neurons_under_float32_execution_lose_its_error():
    tenth = Layers(1, (Layer((0,), (np.array([[0.1]]),), np.zeros(1)),))
    enclosure = enclose(tenth, pair(1, 1), FLOAT, single=True)
    rows = enclosure.unit_rows(1, np.zeros(1, int), np.zeros(1, int), np.ones(1))
    assert 0 < enclosure.noise32[1][0, 0] < 2e-8
    assert rows.constant[0] == -enclosure.noise32[1][0, 0]


def test_boxes_are_intersected():
    enclosure = enclose(ABS, pair(-1, 2, EXACT), EXACT)
    enclosure.narrow(1, EXACT.numbers([[-3, -1]]), EXACT.numbers([[1, 3]]))
    assert enclosure.lower[1].tolist() == [[-1, -1]]
    assert enclosure.upper[1].tolist() == [[1, 1]]


def test_which_neurons_are_unstable():
    low, high = np.array([[-1.0], [0], [-1], [1], [1]]), np.array([[1.0], [1], [0], [1], [2]])
    for atom, expected in (("relu", [1, 0, 0, 0, 0]), ("leaky", [1, 1, 1, 0, 1])):
        layers = Layers(1, (Layer((0,), (ONE,), np.zeros(1)), Layer((1,), atom=atom)))
        enclosure = enclose(layers, (low, high), EXACT)
        assert enclosure.unstable(1)[:, 0].tolist() == list(map(bool, expected))
        assert not enclosure.unstable(0).any()
        assert not enclosure.unstable(2).any()


def test_numbers_beyond_those_of_float32_have_no_bounds():
    for scale, known in ((1.6e38, True), (1.8e38, False), (-1.8e38, False)):
        layers = Layers(1, (Layer((0,), (np.array([[scale]]),), np.zeros(1)),))
        for weight in (layers, Layers(1, (*layers.nodes, Layer((1,), atom="leaky")))):
            enclosure = enclose(weight, pair(1, 1), FLOAT, single=True)
            assert np.isfinite(enclosure.lower[1]).all() == known
            assert np.isfinite(enclosure.upper[1]).all() == known
    enclosure = enclose(layers, pair(1, 1), FLOAT)
    assert np.isfinite(enclosure.lower[1]).all()


def test_what_float32_execution_loses_is_told_apart():
    tenth = Layers(1, (Layer((0,), (np.array([[0.1]]),), np.zeros(1)),))
    for single in (False, True):
        enclosure = enclose(tenth, pair(1, 1), FLOAT, single=single)
        form, least = enclosure.bound(output_row(enclosure, (1,)))
        assert (form.single[0] > 0) == single
        assert 0.1 - 1e-15 <= least[0] + form.single[0] <= 0.1


@pytest.mark.parametrize("scale", [1.0, 1e-160])
@pytest.mark.parametrize("size", [1, 2, 30])
def test_the_last_sum_is_rounded_downward(size, scale):
    """Rows over the input alone: nothing else is lost than what this sum rounds."""
    g = np.random.default_rng(size)
    layers = Layers(size, (Layer((0,), (np.ones((1, size)),), np.zeros(1)),))
    x, rows = g.normal(size=(20, size)) * scale, g.normal(size=(20, size)) * scale
    enclosure = enclose(layers, (x, x), FLOAT)
    form, least = enclosure.bound(Rows({0: rows}, np.zeros(20), np.arange(20)))
    assert (form.coefficients == rows).all()
    for k in range(20):
        assert Fraction(least[k]) <= dot(vector(rows[k]), vector(x[k]))
        assert least[k] >= rows[k] @ x[k] - 1e-12 * scale


@pytest.mark.parametrize("slope", [0.0, 1.7])
def test_sums_over_many_neurons_are_charged(slope):
    """Equal terms are rounded in one direction, over and over again."""
    size = 20_000
    nodes = (Node("v", leaky_relu(slope), (0,)),)
    network = Network(nodes, (size, size), 1, ("float32",), True)
    for share in (0.3, 0.7, 1.1, 1.9):
        box = np.full((1, size), -1.0), np.full((1, size), share)
        enclosure = Enclosure(network, FLOAT, False, [box[0]], [box[1]])
        enclosure.relax(enclosure.step())
        for sign in (1, -1):
            start = np.full((1, size), sign * 0.1)
            form, _ = enclosure.bound(Rows({1: start}, np.zeros(1), np.zeros(1, int)))
            (coefficient,) = set(form.coefficients[0].tolist())
            for x in (Fraction(-1), Fraction(0), Fraction(share)):
                value = size * Fraction(coefficient) * x + Fraction(form.constant[0])
                y = x if x > 0 else Fraction(slope) * x
                assert value <= size * Fraction(sign * 0.1) * y


def test_steep_atoms_leave_the_range_of_float32():
    """5 x of -1e38 does, though its argument does not."""
    nodes = (Node("v", leaky_relu(5.0), (0,)),)
    for low, high, known in ((-1e38, 0.0, False), (-1e37, 1e38, True), (0.0, 1.8e38, False)):
        network = Network(nodes, (1, 1), 1, ("float32",), True)
        enclosure = Enclosure(network, FLOAT, True, [np.array([[low]])], [np.array([[high]])])
        enclosure.step()
        assert np.isfinite(enclosure.lower[1]).all() == known
        assert np.isfinite(enclosure.upper[1]).all() == known


# ------------------------------------------------------------------------------ all executions


def assert_row_holds(bound, i, x, values):
    """What it is in an execution; and the real function's without what float32 loses."""
    (form, least), (executed, real) = bound, values
    assert holds(form, i, x, executed)
    assert at_most(least[i], executed)
    single = form.single[i]
    if np.isfinite(single):
        more = Fraction(single) - Fraction(8, 2**53) * abs(Fraction(single))
        assert holds(form, i, x, real, more)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_bounds_hold_for_every_execution(seed, single):
    g = np.random.default_rng(seed)
    scales = SCALES[seed % len(SCALES)]
    layers, box = network(g, scales), boxes(g, scales)
    with np.errstate(all="ignore"):
        enclosure = enclose(layers, box, FLOAT, single=single)
        rows = random_rows(g, layers, enclosure, scales)
        chosen = multipliers(g, len(rows.owner))
        bounded = [enclosure.bound(rows, m) for m in chosen]
        lowest = [enclosure.least(rows, m) for m in chosen]
    inside = [(k, x) for k in range(len(box[0])) for x in points(g, box, k)]
    for k, x in inside:
        real = layers.values(x, enclosure.network, lambda: 0)
        signs = partial(g.choice, [-1, 1]) if single else lambda: 0
        values = layers.values(x, enclosure.network, lambda signs=signs: int(signs()))
        assert_boxes_hold(enclosure, k, values)
        for i in np.flatnonzero(rows.owner == k):
            for bound in bounded:
                assert_row_holds(bound, i, x, (row_at(rows, i, values), row_at(rows, i, real)))
            assert all(at_most(least[i], row_at(rows, i, values)) for least in lowest)
