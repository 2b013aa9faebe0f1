"""Bounds over the reals: cancelling constants, touching margins, numbers that float32 rounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import BACKENDS, SETTINGS, backend, below, contains
from tests.bounds.exact import exact_rows, exact_values, rational
from tests.bounds.graphs import placed
from verifier.bounds import Enclosure, LowerForm, Objective, bound_objective, crown
from verifier.bounds.crown import narrow
from verifier.families import Maximum, Operator, Product
from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import restrict_inputs, simplify
from verifier.ops.clip import Clip
from verifier.ops.gather_sum import GatherSum
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.ops.scale import Scale
from verifier.ops.sum import Concat, Sum
from verifier.sets import Box, Owner
from verifier.tensors import Backend

on_backends = pytest.mark.parametrize("name", sorted(BACKENDS))
SEEDS = st.integers(0, 10**6)
BATCH = 8


def single(x: np.ndarray) -> np.ndarray:
    return np.asarray(x).astype(np.float32).astype(np.float64)


def chain(size: int, *operators: Operator) -> Graph:
    builder, value = Builder(size), Value(0, (size,))
    for place, operator in enumerate(operators):
        value = builder.add(f"n{place}", operator, [value], (operator.size,))
    return builder.finish(value)


def cancelling(generator: np.random.Generator, power: int) -> Graph:
    """Biases of size 2**power that the last layer takes away again, exactly."""
    inputs, width = 2, 4
    first, last = generator.normal(size=(width, inputs)), generator.choice([-1.0, 1.0], (2, width))
    bias = single(generator.uniform(1, 2, size=width) * 2.0**power)
    layers = [Linear.of(single(first), bias), Relu.of(width)]
    return chain(inputs, *layers, Linear.of(last, -(last @ bias)))


def small_boxes(generator: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    center = generator.normal(size=(BATCH, size))
    radius = generator.choice([0.0, 1e-6, 0.5], size=(BATCH, 1))
    return single(center - radius), single(center + radius)


def corners(box: Box, xp: Backend) -> np.ndarray:
    """[2**n, batch, n]."""
    sides = np.stack([xp.numpy(box.lower), xp.numpy(box.upper)]).astype(np.float64)
    size = sides.shape[-1]
    picks = itertools.product((0, 1), repeat=size)
    return np.stack([sides[list(pick), :, range(size)].T for pick in picks])


def check(graph: Graph, box: Box, xp: Backend, rows: tuple[np.ndarray, np.ndarray | None]) -> None:
    """Boxes and rows against the exact values at all corners, without tolerance."""
    points = corners(box, xp)
    count, batch, size = points.shape
    flat = points.reshape(-1, size)
    values = [v.reshape(count, batch, -1) for v in exact_values(graph, flat)]
    exact = exact_rows(graph, flat, *rows).reshape(count, batch, -1)
    # Each row touches its threshold at its best corner, up to the rounding of the threshold.
    thresholds = exact.min(0).astype(np.float64)
    exact = exact - rational(thresholds)
    with np.errstate(all="ignore"):
        enclosure = crown(graph.on(xp), box, SETTINGS).enclosure
        objective = Objective.of(*rows, np.zeros(len(rows[0]), dtype=np.int64), xp)
        asked = xp.bools(np.ones(thresholds.shape))
        found = bound_objective(enclosure, objective, xp.doubles(thresholds), asked)
    for value, inside in enumerate(values):
        assert contains(enclosure.boxes[value], inside, xp), value
    assert below(xp.numpy(found.least)[None], exact)
    constant = xp.numpy(found.constant)
    planes = rational(xp.numpy(found.coefficients))[None] * rational(points)[:, :, None, :]
    assert (planes.sum(-1) + rational(constant) <= exact).all()


@on_backends
@given(seed=SEEDS)
def test_biases_that_cancel(name: str, seed: int):
    generator = np.random.default_rng(seed)
    graph, xp = cancelling(generator, power=int(generator.choice([10, 24, 30, 45]))), backend(name)
    box = placed(xp, *small_boxes(generator, 2))
    check(graph, box, xp, (np.array([[1.0, 0.0], [0.0, -1.0], [0.1, 0.3]]), None))


@on_backends
@given(seed=SEEDS)
def test_rows_that_cancel_behind_stable_neurons(name: str, seed: int):
    """Large rows, nearly the same, of small values: only the first rounding counts."""
    generator, xp = np.random.default_rng(seed), backend(name)
    width, point = 6, single(generator.uniform(0.5, 1.0, size=2))
    weight = single(generator.normal(size=2) * 2.0**20 + generator.normal(size=(width, 2)))
    layers = [Linear.of(weight, single(40.0 - weight @ point)), Relu.of(width)]
    last = generator.normal(size=(2, width))
    graph = chain(2, *layers, Linear.of(single(last - last.mean(1, keepdims=True)), None))
    radius = single(generator.choice([0.0, 2.0**-18], size=(BATCH, 2)))
    box = placed(xp, point - radius, point + radius)
    check(graph, box, xp, (np.eye(2), None))
    check(graph, box, xp, (-np.eye(2), None))


@on_backends
@given(seed=SEEDS)
def test_the_least_value_of_a_form_is_rounded_down(name: str, seed: int):
    generator, xp, size = np.random.default_rng(seed), backend(name), 5
    scale = generator.choice([1.0, 1e-12, 2.0**20, 3e7], size=(BATCH, 1))
    center = generator.normal(size=(BATCH, size)) * scale
    radius = generator.choice([0.0, 1e-9, 0.5], size=(BATCH, size))
    box = placed(xp, center - radius, center + radius)
    slope = xp.floats(generator.normal(size=(BATCH, size)))
    lower, upper, exact_slope = (rational(xp.numpy(x)) for x in (box.lower, box.upper, slope))
    terms = np.where(exact_slope > 0, lower * exact_slope, upper * exact_slope).sum(-1)
    # The constant takes nearly everything away again.
    constant = -terms.astype(np.float64)
    form, enclosure = (
        LowerForm(slope, xp.doubles(constant)),
        Enclosure.over(chain(size).on(xp), box),
    )
    least = form.least(box, Owner.equal(BATCH, 1, xp), enclosure)
    assert below(xp.numpy(least), terms + rational(constant))


@on_backends
def test_a_sum_that_rounds_to_one(name: str):
    """1 less some halves of the last place: the sum rounds up, the bound may not."""
    xp = backend(name)
    half = xp.unit_roundoff / 2
    for sign in (1.0, -1.0):
        for place in range(4):
            point = np.full((1, 4), -half * sign)
            point[0, place] = sign
            check(Graph(4, (), 0), placed(xp, point, point), xp, (np.full((1, 4), sign), None))


@on_backends
@given(least=st.floats(-2.0, 2.0))
def test_a_bound_that_narrows_a_box_is_rounded_away(name: str, least: float):
    xp = backend(name)
    box = placed(xp, np.full((1, 1), -3.0), np.full((1, 1), 3.0))
    zero = xp.ints(np.zeros(1))
    for sign in (1.0, -1.0):
        enclosure = Enclosure.over(Graph(1, (), 0).on(xp), box)
        which = (zero, zero, xp.floats(np.full(1, sign)))
        narrow(enclosure, 0, which, xp.doubles(np.full(1, least)))
        found = enclosure.boxes[0]
        assert sign * float(found.lower[0, 0] if sign > 0 else found.upper[0, 0]) <= least
        assert float(found.upper[0, 0] - found.lower[0, 0]) < 6.0


@on_backends
@given(seed=SEEDS)
def test_a_sum_of_paths_that_cancel(name: str, seed: int):
    """W x - (W x + c) and the input's own coefficients: nothing is left but rounding."""
    generator, xp = np.random.default_rng(seed), backend(name)
    weight, size = generator.normal(size=(3, 2)) * 2.0**20, 3
    builder, x = Builder(2), Value(0, (2,))
    left = builder.add("left", Linear.of(weight, np.full(3, 0.1)), [x], (size,))
    right = builder.add("right", Linear.of(weight, None), [x], (size,))
    graph = builder.finish(builder.add("sum", Sum.of(size, (1, -1)), [left, right]))
    box = placed(xp, *small_boxes(generator, 2))
    rows = generator.normal(size=(2, 3))
    check(graph, box, xp, (rows, None))
    plain = chain(2, Linear.of(weight, None))
    check(plain, box, xp, (rows, -rows @ weight))


DIRECT = {
    "relu": Relu.of(2),
    "leaky": Relu.of(2, 0.1),
    "clip": Clip.of(2, -0.1, 0.3),
    "maximum": Maximum.of(np.array([[0, 1], [1, -1]]), 2),
    "scale": Scale.of(2, np.array([0.1, -0.7]), np.array([0.3, 1e-3])),
    "gather": GatherSum.of(np.array([[0, 1], [1, -1]]), np.array([1 / 3, 0.1]), 2),
}


@on_backends
@pytest.mark.parametrize("operator", DIRECT)
def test_a_property_right_behind_an_operator(name: str, operator: str):
    """Coefficients such as 0.1 are no float32 numbers; the operator before may be exact."""
    xp = backend(name)
    graph = chain(2, DIRECT[operator])
    sides = [np.array([[0.25, 1.0]]), np.array([[-0.5, -1.0]]), np.array([[3.0, 0.3]])]
    lower = single(np.concatenate(sides))
    rows = np.array([[0.1, 0.0], [-0.1, 0.3], [0.7, -1 / 3]])
    for width in (0.0, 0.75):
        box = placed(xp, lower, lower + width)
        check(graph, box, xp, (rows, None))
        check(graph, box, xp, (rows, np.array([[0.1, 0.2], [1 / 3, -0.1], [-0.7, 0.3]])))


@on_backends
def test_a_property_of_the_input_alone(name: str):
    xp = backend(name)
    box = placed(xp, np.array([[0.1, 0.3]]), np.array([[0.1, 0.7]]))
    graph = Graph(2, (), 0)
    rows = np.array([[0.1, -0.3], [-0.1, 0.3], [0.7, 1 / 3]])
    check(graph, box, xp, (rows, None))
    check(graph, box, xp, (rows, np.array([[-0.1, 0.3000001], [0.1, 0.2], [1e-9, 1e9]])))


@on_backends
@given(seed=SEEDS)
def test_many_readers_of_one_element(name: str, seed: int):
    """Groups that share a member add up their coefficients there, with many roundings."""
    generator, xp, size = np.random.default_rng(seed), backend(name), 300
    table = np.stack([np.zeros(size, dtype=np.int64), generator.integers(0, 3, size)], axis=1)
    graph = chain(3, Maximum.of(table, 3))
    lower = np.array([[5.0, -1.0, -1.0]])
    rows = generator.uniform(0.5, 1.5, size=(1, size))
    check(graph, placed(xp, lower, lower + 0.5), xp, (rows, None))
    check(graph, placed(xp, lower - 5.1, lower + 0.5), xp, (rows, None))


@on_backends
@given(seed=SEEDS)
def test_products_of_huge_and_tiny_numbers(name: str, seed: int):
    generator, xp = np.random.default_rng(seed), backend(name)
    builder, x = Builder(2), Value(0, (2,))
    scale = Scale.of(2, np.array([2.0**30, 2.0**-30]), np.array([-1e9, 1e-9]))
    both = builder.add("scale", scale, [x])
    swapped = builder.rearrange("swap", both, np.array([1, 0]))
    graph = builder.finish(builder.add("product", Product.of(2), [both, swapped]))
    check(graph, placed(xp, *small_boxes(generator, 2)), xp, (np.array([[1.0, 0.1]]), None))


@on_backends
@given(seed=SEEDS)
def test_merged_operators_keep_the_exact_function(name: str, seed: int):
    """Bounds of the simplified graph hold for the exact function of the graph as it was written."""
    generator, xp = np.random.default_rng(seed), backend(name)
    builder, x = Builder(4), Value(0, (4,))
    value = builder.add("scale", Scale.of(4, generator.normal(size=4), np.full(4, 1e4)), [x])
    value = builder.rearrange("order", value, np.array([2, 0, -1, 3]), np.full(4, 0.1))
    weight = generator.normal(size=(3, 4))
    value = builder.add("linear", Linear.of(weight, -1e4 * weight.sum(1)), [value], (3,))
    value = builder.add("again", Scale.of(3, generator.normal(size=3), None), [value])
    value = builder.add("relu", Relu.of(3), [value])
    value = builder.add("both", Concat.of((3, 4)), [value, x], (7,))
    last = Linear.of(generator.normal(size=(2, 7)))
    graph = builder.finish(builder.add("sum", last, [value], (2,)))
    free, fixed = np.array([True, False, True, False]), generator.normal(size=4)
    merged = restrict_inputs(graph, free, fixed)
    assert len(simplify(graph).nodes) < len(graph.nodes)
    box = placed(xp, *small_boxes(generator, 2))
    points = corners(box, xp)
    whole = np.broadcast_to(fixed, (*points.shape[:2], 4)).copy()
    whole[..., free] = points
    exact = exact_values(graph, whole.reshape(-1, 4))[graph.output].reshape(*points.shape[:2], -1)
    with np.errstate(all="ignore"):
        enclosure = crown(merged.on(xp), box, SETTINGS).enclosure
        objective = Objective.of(np.array([[1.0, 0], [0, -1.0]]), None, np.zeros(2, int), xp)
        zero = xp.doubles(np.zeros((BATCH, 2)))
        found = bound_objective(enclosure, objective, zero, xp.bools(np.ones((BATCH, 2))))
    assert contains(enclosure.boxes[merged.output], exact, xp)
    assert below(xp.numpy(found.least)[None], exact * np.array([1, -1]))
