"""Products of factors that move together: planes that hold, are closer, and turn as they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS, backend
from tests.bounds.graphs import Weights
from verifier.bounds import crown
from verifier.bounds.objective import Objective, bound_objective, sharpen
from verifier.families import Correlated, Planes, Product
from verifier.families.bilinear import Turned
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.sets import Box, Owner

CORRELATING = replace(SETTINGS, correlate=True)
POINTS = 800
SIZE = 3


def products(
    seed: int, *, like: float, hidden: bool = True, sizes: tuple[float, float] = (1.0, 1.0)
) -> tuple[Graph, int]:
    """Factors a and like a + (something else), both of a hidden layer; and the product's number.

    ``sizes`` are those of the factors: a power of two each.
    """
    weights = Weights(np.random.default_rng(seed))
    builder, value = Builder(2), Value(0, (2,))
    if hidden:
        value = builder.add("in", weights.linear(2, 5), [value], (5,))
        value = builder.add("relu", Relu.of(5), [value])
    matrix = weights.normal(SIZE, value.size)
    other = like * matrix + 0.125 * weights.normal(SIZE, value.size)
    left, right = (
        Linear.of(m * s, weights.normal(SIZE) * s)
        for m, s in zip((matrix, other), sizes, strict=True)
    )
    a = builder.add("a", left, [value], (SIZE,))
    b = builder.add("b", right, [value], (SIZE,))
    z = builder.add("z", Product.of(SIZE), [a, b], (SIZE,))
    out = builder.add("out", weights.linear(SIZE, 2), [z], (2,))
    return builder.finish(out), z.number


def box_of(seed: int, batch: int = 3) -> Box:
    numbers = np.random.default_rng(seed)
    low = numbers.normal(size=(batch, 2)).astype(np.float32).astype(float)
    return Box(low, low + 2.0 ** numbers.integers(-4, 1, size=(batch, 2)))


def points_of(box: Box, seed: int) -> np.ndarray:
    """[batch, points, n], corners among them."""
    share = np.random.default_rng(seed).random((box.lower.shape[0], POINTS, 2))
    share[:, : POINTS // 4] = np.round(share[:, : POINTS // 4])
    return box.lower[:, None] + share * (box.upper - box.lower)[:, None]


def relaxed(graph: Graph, box: Box, settings):
    xp = graph.xp
    moved = Box(*(xp.floats(x) for x in (box.lower, box.upper)))
    return crown(graph, moved, settings, keep_hidden=True)


def factors_at(graph: Graph, value: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = graph.values(points.reshape(-1, 2))
    left, right = graph.node(value).inputs
    return tuple(values[i].reshape(*points.shape[:2], -1) for i in (left, right))


@given(seed=st.integers(0, 10**6), like=st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0]))
@pytest.mark.parametrize("name", ["numpy-64", "numpy-32"])
def test_planes_hold_and_are_no_worse_than_mccormicks(seed: int, like: float, name: str):
    hold_and_are_no_worse(*products(seed, like=like), seed, name)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize(
    ("name", "powers"),
    [("numpy-32", (-72, 27)), ("numpy-32", (63, -64)), ("numpy-64", (-560, 0))],
)
def test_planes_hold_whose_squares_and_ratios_are_out_of_range(seed: int, name: str, powers):
    sizes = (2.0 ** powers[0], 2.0 ** powers[1])
    with np.errstate(all="ignore"):
        hold_and_are_no_worse(*products(seed, like=1.0, sizes=sizes), seed, name)


def hold_and_are_no_worse(plain: Graph, value: int, seed: int, name: str) -> None:
    box = box_of(seed)
    points = points_of(box, seed)
    a, b = factors_at(plain.on(backend("numpy-64")), value, points)
    graph = plain.on(backend(name))
    mean = relaxed(graph, box, SETTINGS).enclosure.relaxations[value]
    planes = relaxed(graph, box, CORRELATING).enclosure.relaxations[value]
    assert isinstance(planes, Planes)
    assert isinstance(mean, Planes)
    low = planes.below[0][:, None] * a + planes.below[1][:, None] * b
    low = low + (planes.lower_offset - planes.noise)[:, None]
    high = planes.above[0][:, None] * a + planes.above[1][:, None] * b
    high = high + (planes.upper_offset + planes.noise)[:, None]
    assert (low <= a * b + 1e-12 * abs(a * b)).all()
    assert (high >= a * b - 1e-12 * abs(a * b)).all()
    assert (planes.lower_offset >= mean.lower_offset).all()
    assert (planes.upper_offset <= mean.upper_offset).all()


@given(seed=st.integers(0, 10**6), like=st.sampled_from([-2.0, -0.5, 1.0, 3.0]))
def test_turned_planes_hold_and_have_the_gradients_they_say(seed: int, like: float):
    plain, value = products(seed, like=like)
    graph, box, numbers = plain.on(backend("numpy-64")), box_of(seed), np.random.default_rng(seed)
    enclosure = relaxed(graph, box, CORRELATING).enclosure.bent()
    turned = enclosure.relaxations[value]
    assert isinstance(turned, Turned)
    points = points_of(box, seed)
    a, b = factors_at(graph, value, points)
    owner = Owner.equal(len(a), 1, graph.xp)
    rows, tilt = numbers.normal(size=(len(a), SIZE)), numbers.random((len(a), SIZE))
    (left, right), constant = turned.pull_back(rows, owner, tilt)
    line = (left[:, None] * a + right[:, None] * b).sum(-1) + constant[:, None]
    exact = (rows[:, None] * a * b).sum(-1)
    assert (line <= exact + 1e-12 * abs(rows[:, None] * a * b).sum(-1)).all()

    def at(tilt):
        (left, right), constant = turned.pull_back(rows, owner, tilt)
        return (left * x + right * y).sum(1) + constant

    x, y = numbers.normal(size=(2, len(a), SIZE))
    pushed = (rows * turned.push_forward(rows, owner, tilt, (x, y))).sum(1)
    np.testing.assert_allclose(pushed, at(tilt), rtol=1e-7, atol=1e-7)
    step, way = 1e-5, numbers.normal(size=tilt.shape)
    rise = (at(tilt + step * way) - at(tilt - step * way)) / (2 * step)
    gradient = (turned.steer(rows, owner, tilt, (x, y)) * way).sum(1)
    np.testing.assert_allclose(gradient, rise, rtol=1e-4, atol=1e-4)


def test_a_multiple_of_the_other_factor_leaves_no_gap_on_one_side():
    builder, value = Builder(1), Value(0, (1,))
    a = builder.add("a", Linear.of(np.array([[1.0]]), np.zeros(1)), [value], (1,))
    b = builder.add("b", Linear.of(np.array([[2.0]]), np.ones(1)), [value], (1,))
    z = builder.add("z", Product.of(1), [a, b], (1,))
    graph = builder.finish(z).on(backend("numpy-64"))
    box = Box(np.array([[-1.0]]), np.array([[3.0]]))
    planes = relaxed(graph, box, CORRELATING).enclosure.relaxations[z.number]
    assert isinstance(planes, Correlated)
    # x (2 x + 1) is at least its tangent at 1, 5 x - 2; as a product 3 x + (2 x + 1) - 3.
    assert planes.lower_offset[0, 0] == pytest.approx(-3.0, abs=1e-9)
    # Above there is nothing to gain: McCormick's gap is 2 * 4.
    assert planes.upper_offset[0, 0] == pytest.approx(-3.0 + 8.0, abs=1e-9)


@given(seed=st.integers(0, 10**6))
def test_rows_and_optimised_rows_are_below_every_value(seed: int):
    plain, _ = products(seed, like=[-2.0, 1.5][seed % 2], hidden=seed % 3 > 0)
    graph, box = plain.on(backend("numpy-64")), box_of(seed)
    xp, numbers = graph.xp, np.random.default_rng(seed)
    outputs = numbers.normal(size=(2, 2))
    objective = Objective.of(outputs, None, np.arange(2), xp)
    enclosure = relaxed(graph, box, CORRELATING).enclosure
    thresholds = np.zeros((3, 2))
    found = bound_objective(enclosure, objective, thresholds, thresholds == 0)
    points = points_of(box, seed)
    values = graph.evaluate(points.reshape(-1, 2)).reshape(3, POINTS, 2) @ outputs.T
    assert (found.least <= values.min(1) + 1e-9).all()
    before = found.least.copy()
    sharpen(enclosure.bent(), objective, found, thresholds, (CORRELATING, 8))
    assert (found.least <= values.min(1) + 1e-9).all()
    assert (found.least >= before).all()
