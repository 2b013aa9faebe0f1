"""Boxes of hidden neurons where a row is at most 0: they hold every such point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS, backend
from tests.bounds.graphs import curved, mlp, residual
from verifier.bounds import Enclosure, crown
from verifier.bounds.optimise import Rows, optimise
from verifier.bounds.suppose import Supposing, planes_of
from verifier.graph import Graph
from verifier.sets import Box, Owner

POINTS = 3000


def bend(enclosure: Enclosure, value: int) -> None:
    enclosure.relax(value)
    enclosure.bend(value)


def supposed(graph: Graph, box: Box, row: np.ndarray, threshold: float, steps: int = 5):
    """The plain boxes, and those where row . y <= threshold."""
    xp = graph.xp
    root = crown(graph, box, SETTINGS).enclosure.bent()
    rows = Rows(
        {graph.output: xp.floats(row[None])},
        xp.doubles(np.array([-threshold])),
        Owner.equal(1, 1, xp),
    )
    found = optimise(root, rows, steps, SETTINGS)
    planes = planes_of(root, rows, found.tilts)
    known = {value: root.boxes[value] for value in graph.relaxed_inputs}
    return root, Supposing(planes, steps, SETTINGS, bend).tightened(graph, box, known)


def values_of(graph: Graph, points: np.ndarray) -> list[np.ndarray]:
    values = [points]
    for node in graph.nodes:
        values.append(node.operator.evaluate(*(values[i] for i in node.inputs)))
    return values


@given(seed=st.integers(0, 10**6), name=st.sampled_from(["numpy-64", "numpy-32"]))
def test_no_point_where_the_row_is_low_is_lost(seed: int, name: str):
    xp, numbers = backend(name), np.random.default_rng(seed)
    makers = (
        lambda: curved(seed, (3, 6, 5, 4, 2), 2.0),
        lambda: mlp(seed, (3, 6, 5, 4, 2)),
        lambda: residual(seed),
    )
    plain = makers[seed % 3]()
    inputs = plain.input_size
    low = numbers.normal(size=(1, inputs)).astype(np.float32).astype(float)
    high = low + np.float32(0.5)
    row = numbers.normal(size=plain.output_size).astype(np.float32).astype(float)
    points = low + numbers.random((POINTS, inputs)).astype(np.float32) * (high - low)
    values = values_of(plain.on(backend("numpy-64")), points)
    heights = values[-1] @ row
    threshold = float(np.quantile(heights, 0.02))
    unsafe = heights <= threshold
    _, found = supposed(plain.on(xp), Box(xp.floats(low), xp.floats(high)), row, threshold)
    assert found is not None
    slack = 1e-9 if name == "numpy-64" else 1e-4
    for value, box in enumerate(found.boxes):
        some = values[value][unsafe]
        assert (some >= xp.numpy(box.lower) - slack * (1 + abs(some))).all()
        assert (some <= xp.numpy(box.upper) + slack * (1 + abs(some))).all()


@pytest.mark.parametrize("seed", range(4))
def test_boxes_shrink_until_nothing_is_left(seed: int):
    """Below the least value of the row the supposition is absurd, as boxes come to show."""
    xp, numbers = backend("numpy-64"), np.random.default_rng(seed)
    graph = curved(2 * seed, (3, 8, 8, 8, 1), 2.0).on(xp)
    low = numbers.normal(size=(1, 3))
    box, row = Box(low, low + 0.4), np.ones(1)
    least = float(graph.evaluate(low + numbers.random((POINTS, 3)) * 0.4).min())
    root, found = supposed(graph, box, row, least + 0.02, steps=10)
    assert found is not None
    value = graph.bounded_by_rows[-1]
    width, before = (e.boxes[value].upper - e.boxes[value].lower for e in (found, root))
    assert (width <= before).all()
    assert width.sum() < before.sum()
    far, gone = supposed(graph, box, row, least - 50.0, steps=10)
    assert far is not None
    assert gone is None


def test_planes_are_below_the_row():
    xp, numbers = backend("numpy-64"), np.random.default_rng(5)
    graph = curved(4, (3, 6, 5, 4, 2), 2.0).on(xp)
    low = numbers.normal(size=(1, 3))
    box, row = Box(low, low + 0.6), numbers.normal(size=2)
    root = crown(graph, box, SETTINGS).enclosure.bent()
    rows = Rows({graph.output: row[None]}, np.array([0.25]), Owner.equal(1, 1, xp))
    planes = planes_of(root, rows, {})
    values = values_of(graph, low + numbers.random((POINTS, 3)) * 0.6)
    assert set(planes) == set(graph.bounded_by_rows)
    for value, form in planes.items():
        plane = values[value] @ form.coefficients[0] + form.constant[0]
        assert (plane <= values[-1] @ row + 0.25 + 1e-9).all()


def test_values_that_the_row_goes_past_have_no_plane():
    xp = backend("numpy-64")
    for seed in range(20):
        graph = residual(seed).on(xp)
        box = Box(np.zeros((1, 2)), np.ones((1, 2)))
        root = crown(graph, box, SETTINGS).enclosure
        rows = Rows({graph.output: np.ones((1, 2))}, np.zeros(1), Owner.equal(1, 1, xp))
        assert not planes_of(root, rows, {})
