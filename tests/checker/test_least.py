"""Bounds without a form: losses that lines carry, and inputs that hardly move."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.checker.layers import Layer, Layers, dot, enclose, vector
from verifier.checker import bounds
from verifier.checker.affine import Affine, Dense, Sparse
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure, Rows
from verifier.checker.network import Network
from verifier.checker.tensors import Node

FLOAT, EXACT = Arithmetic(), Arithmetic(exact=True)
ONE = np.ones((1, 1))


def owners(rows):
    return np.zeros(rows, dtype=np.int64)


def last_rows(enclosure, coefficients):
    number = enclosure.arithmetic
    start = {enclosure.network.output: number.numbers(coefficients)}
    return Rows(start, number.zeros(len(coefficients)), owners(len(coefficients)))


# ------------------------------------------------------------------- losses that lines carry


def chain(g, atom, scale=1.0, size=4):
    """Affine, atom, affine, atom: each affine value has one reader."""
    first, second = g.normal(size=(2, size, size)) * scale
    return Layers(
        size,
        (
            Layer((0,), (first,), g.normal(size=size) * scale),
            Layer((1,), atom=atom),
            Layer((2,), (second,), g.normal(size=size) * scale),
            Layer((3,), atom=atom),
        ),
    )


def point(g, size=4):
    x = g.normal(size=(1, size))
    return x, x


@pytest.mark.parametrize("atom", ["relu", "leaky"])
@pytest.mark.parametrize("seed", range(10))
def test_the_worst_execution_is_not_below_the_least_value(seed, atom):
    """Every node errs as far as it may, in the direction that lowers the row."""
    g = np.random.default_rng(seed)
    layers, box = chain(g, atom), point(g)
    enclosure = enclose(layers, box, FLOAT, single=True)
    assert enclosure.carried == {1, 3}
    row = np.where(g.random(4) < 0.5, -1.0, 1.0)
    least = enclosure.least(last_rows(enclosure, row[None]))
    x = vector(box[0])
    plain = layers.values(x, enclosure.network, lambda: 0)
    gradient = row.copy()
    signs = {4: -np.sign(gradient)}
    for value in (3, 2, 1):
        layer = layers.nodes[value]  # the node that reads the value
        if layer.bias is None:
            slope = 0.0 if layer.atom == "relu" else 0.3
            gradient = gradient * [1.0 if y > 0 else slope for y in plain[value]]
        else:
            gradient = gradient @ layer.weights[0]
        signs[value] = -np.sign(gradient)
    order = iter([int(s) for value in (1, 2, 3, 4) for s in signs[value]])
    worst = layers.values(x, enclosure.network, lambda: next(order))
    executed = dot(vector(row), worst[-1])
    assert Fraction(least[0]) <= executed
    assert executed < dot(vector(row), plain[-1]) or not any(plain[-1])
    assert executed - Fraction(least[0]) < Fraction(1, 10**4)


@pytest.mark.parametrize("seed", range(10))
def test_losses_that_lines_carry_are_those_of_the_steps_back(seed):
    g = np.random.default_rng(seed)
    middle, radius = g.normal(size=(1, 4)), 10.0 ** g.integers(-3, 1)
    box = middle - radius, middle + radius
    for single in (False, True):
        enclosure = enclose(chain(g, "relu"), box, FLOAT, single=single)
        rows = last_rows(enclosure, g.normal(size=(5, 4)))
        _, least = enclosure.bound(rows)
        # The tally charges a thousandth more.
        np.testing.assert_allclose(enclosure.least(rows), least, atol=1e-6 if single else 1e-11)
        chosen = bounds.Multipliers({2: (np.array([1]), g.random((5, 1)))}, {})
        assert enclosure.least(rows, chosen).tolist() == enclosure.bound(rows, chosen)[1].tolist()


def test_in_exact_arithmetic_the_least_values_are_the_same():
    g = np.random.default_rng(1)
    middle = g.normal(size=(1, 4))
    enclosure = enclose(chain(g, "leaky"), (middle - 1, middle + 1), EXACT)
    assert enclosure.carried == {1, 3}
    rows = last_rows(enclosure, g.normal(size=(5, 4)))
    assert enclosure.least(rows).tolist() == enclosure.bound(rows)[1].tolist()


def test_what_another_node_or_the_property_reads_is_not_carried():
    affine = Layer((0,), (ONE,), np.ones(1))
    both = Layers(1, (affine, Layer((1,), atom="relu"), Layer((1,), atom="leaky")))
    assert enclose(both, (ONE, ONE), FLOAT).carried == set()
    read = Layers(1, (affine, Layer((1,), atom="relu"), Layer((1, 2), (ONE, ONE), np.ones(1))))
    assert enclose(read, (ONE, ONE), FLOAT).carried == set()
    nodes = Layers(1, (affine, Layer((1,), atom="relu"))).network(FLOAT).nodes
    network = Network(nodes, (1, 1, 1), 1, ("float32",), True)
    enclosure = Enclosure(network, FLOAT, False, [ONE], [ONE])
    enclosure.step()
    enclosure.relax(enclosure.step())
    assert enclosure.carried == set()


def test_an_atom_of_the_input_carries_nothing():
    layers = Layers(1, (Layer((0,), atom="relu"),))
    assert enclose(layers, (-ONE, ONE), FLOAT).carried == set()


def test_rows_that_start_at_a_carried_value_lose_what_its_step_back_loses():
    tenth = Layers(1, (Layer((0,), (0.1 * ONE,), np.zeros(1)), Layer((1,), atom="relu")))
    enclosure = enclose(tenth, (ONE, ONE), FLOAT, single=True)
    assert enclosure.carried == {1}
    rows = Rows({1: ONE}, np.zeros(1), owners(1))
    assert enclosure.least(rows)[0] <= 0.1 - enclosure.noise32[1][0, 0]


def test_slopes_that_cancel_pay_for_what_their_rounding_lets_through():
    """below = 0 is the difference of two halves: the charge is for the size of both."""
    layers = Layers(1, (Layer((0,), (ONE,), np.zeros(1)), Layer((1,), atom="relu")))
    enclosure = enclose(layers, (-2 * ONE, ONE), FLOAT, single=True)
    enclosure.noise32[1] = 1e290 * ONE
    enclosure.relax(2)
    lines, laden = enclosure.lines[2], enclosure.laden[2]
    assert lines.below[0, 0] == 0 < lines.above[0, 0]
    lost = (lines.rest + lines.gap - laden.rest - laden.gap)[0, 0]
    assert lost > 1e290 * 2.0**-53 * lines.above[0, 0]


# ----------------------------------------------------------------------- inputs that hardly move

SIZE = 7


def mostly_fixed(g, widths):
    """A network of two nodes that read the input, over a box that moves in two inputs only."""
    first, second, third = (g.normal(size=(n, m)) for n, m in ((5, SIZE), (3, 5), (3, SIZE)))
    layers = Layers(
        SIZE,
        (
            Layer((0,), (first,), g.normal(size=5)),
            Layer((1,), atom="relu"),
            Layer((0,), (third,), g.normal(size=3)),
            Layer((2, 3), (second, np.eye(3)), g.normal(size=3)),
        ),
    )
    middle = g.normal(size=(2, SIZE))
    radius = abs(middle) * np.array([0.3, 0.1, *widths])
    return layers, (middle - radius, middle + radius)


def inside(g, box, k, count):
    low, high = (vector(side[k]) for side in box)
    for _ in range(count):
        share = g.choice([0.0, 1.0, 0.5, g.random()], SIZE)
        yield [a + Fraction(s) * (b - a) for a, b, s in zip(low, high, share, strict=True)]


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("width", [0.0, 2.0**-53, 2.0**-52, 2.0**-48])
@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_where_most_inputs_hardly_move(seed, width, single):
    g = np.random.default_rng(seed)
    layers, box = mostly_fixed(g, [width] * 5)
    enclosure = enclose(layers, box, FLOAT, single=single)
    assert set(enclosure.held) == ({1, 3} if width < 2.0**-50 else set())
    owner = np.repeat([0, 1], 4)
    start = {4: g.normal(size=(8, 3))}
    if seed % 2:
        start[0] = g.normal(size=(8, SIZE))
    rows = Rows(start, g.normal(size=8), owner)
    form, least = enclosure.bound(rows)
    lowest = enclosure.least(rows)
    for k in (0, 1):
        for x in inside(g, box, k, 12):
            sign = (lambda: int(g.choice([-1, 1]))) if single else (lambda: 0)
            values = layers.values(x, enclosure.network, sign)
            for i in np.flatnonzero(owner == k):
                value = Fraction(rows.constant[i])
                value += sum(dot(vector(part[i]), values[v]) for v, part in start.items())
                assert max(Fraction(least[i]), Fraction(lowest[i])) <= value
                at = dot(vector(form.coefficients[i]), x)
                assert at + Fraction(form.constant[i]) <= value


def test_fixed_inputs_change_no_bound(monkeypatch):
    g = np.random.default_rng(3)
    layers, box = mostly_fixed(g, [0.0] * 5)
    rows = [g.normal(size=(4, 3)), np.array([0, 0, 1, 1])]
    found = []
    for still in (bounds.STILL, -1.0):
        monkeypatch.setattr(bounds, "STILL", still)
        enclosure = enclose(layers, box, EXACT)
        assert set(enclosure.held) == ({1, 3} if still > 0 else set())
        asked = Rows({4: EXACT.numbers(rows[0])}, EXACT.zeros(4), rows[1])
        form, least = enclosure.bound(asked)
        found.append(least.tolist())
        moving = (form.coefficients != 0).any(0).tolist()
        assert moving == [True, True, *[still < 0] * 5]
    assert found[0] == found[1]


def test_inputs_of_size_0_are_still():
    layers, (low, high) = mostly_fixed(np.random.default_rng(1), [0.0] * 5)
    low[:, 3] = high[:, 3] = 0.0
    assert enclose(layers, (low, high), FLOAT).held[1].moving.tolist() == [0, 1]


def test_an_input_that_moves_in_one_box_is_not_still():
    layers, (low, high) = mostly_fixed(np.random.default_rng(2), [0.0] * 5)
    high[1, 4] += 1e-3
    assert enclose(layers, (low, high), FLOAT).held[1].moving.tolist() == [0, 1, 4]


def test_an_interval_of_what_hardly_moves_counts_its_width(monkeypatch):
    """Even of wide inputs: the spread is what they add, not an error of rounding."""
    monkeypatch.setattr(bounds, "STILL", 1.0)
    g = np.random.default_rng(4)
    layers, box = mostly_fixed(g, [0.2] * 5)
    low, high = box
    low[:, :2], high[:, :2] = -1.0, 1.0
    enclosure = enclose(layers, (low, high), FLOAT)
    assert enclosure.held[1].moving.tolist() == [0, 1]
    rows = Rows({1: np.eye(5)}, np.zeros(5), owners(5))
    form, least = enclosure.bound(rows)
    np.testing.assert_allclose(least, enclosure.lower[1][0], atol=1e-12)
    for x in inside(g, (low, high), 0, 30):
        values = layers.values(x, enclosure.network, lambda: 0)
        for i in range(5):
            assert Fraction(least[i]) <= values[1][i]
            assert dot(vector(form.coefficients[i]), x) + Fraction(form.constant[i]) <= values[1][i]


def test_other_matrices_keep_all_inputs():
    weight = np.ones((1, SIZE))
    for matrix, inexact in (
        (Sparse(np.arange(SIZE)[:, None], weight.T, SIZE), 0),
        (Dense(weight[None]), 1),
        (Dense(weight[None], copies=2), 0),
    ):
        n = 2 if isinstance(matrix, Dense) and matrix.copies == 2 else 1
        rule = Affine(matrix, np.zeros(n), (SIZE * n,), inexact)
        network = Network((Node("v", rule, (0,)),), (SIZE * n, n), 1, ("float32",), True)
        x = np.ones((1, SIZE * n))
        enclosure = Enclosure(network, FLOAT, False, [x], [x])
        enclosure.step()
        assert enclosure.held == {}
