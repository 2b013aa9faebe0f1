"""The optimiser: gradients against finite differences, and bounds that never fall."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mlp, placed, residual
from verifier.bounds import Enclosure, HiddenOptimiser, Trace, back_substitute, crown
from verifier.bounds.optimise import Rows, default_tilts, descend, optimise
from verifier.families import Planes
from verifier.graph import Graph
from verifier.sets import Owner
from verifier.tensors import numpy_backend

SEEDS = st.integers(0, 10**6)
BATCH, ROWS, STEP = 2, 3, 1e-6
XP = numpy_backend()


def relu_graph(seed: int) -> Graph:
    return residual(seed) if seed % 2 else mlp(seed, (3, 6, 5, 4, 2), leak=0.1 * (seed % 4 == 0))


def start_of(seed: int) -> tuple[Enclosure, Rows]:
    graph = relu_graph(seed)
    box = placed(XP, *boxes("normal", [seed], BATCH, graph.input_size))
    enclosure = crown(graph.on(XP), box, SETTINGS).enclosure
    coefficients = np.random.default_rng(seed).normal(size=(BATCH * ROWS, graph.output_size))
    owner = Owner.equal(BATCH, ROWS, XP)
    return enclosure, Rows({graph.output: coefficients}, np.zeros(BATCH * ROWS), owner)


def bound(enclosure: Enclosure, rows: Rows, tilts: dict[int, np.ndarray]) -> np.ndarray:
    form = back_substitute(enclosure, rows.start, rows.owner, tilts)
    return form.least(enclosure.boxes[0], rows.owner, enclosure)


def check_gradients(enclosure: Enclosure, rows: Rows, generator: np.random.Generator) -> None:
    """Along random directions of each layer's tilts; rows at a kink of the bound are left out."""
    tilts = default_tilts(enclosure, rows.start, rows.owner)
    tilts = {v: generator.uniform(0.1, 0.9, size=t.shape) for v, t in tilts.items()}
    trace = Trace()
    form = back_substitute(enclosure, rows.start, rows.owner, tilts, trace)
    gradients, _ = descend(enclosure, rows, (form, trace), tilts)
    assert set(gradients) == set(tilts)
    for value, gradient in gradients.items():
        direction = generator.normal(size=gradient.shape)
        sides = []
        for sign in (1, -1):
            moved = tilts | {value: tilts[value] + sign * STEP * direction}
            sides.append(bound(enclosure, rows, moved))
        middle = bound(enclosure, rows, tilts)
        left, right = (middle - sides[1]) / STEP, (sides[0] - middle) / STEP
        smooth = abs(left - right) < 1e-4
        expected = (gradient * direction).sum(-1)
        np.testing.assert_allclose(((left + right) / 2)[smooth], expected[smooth], atol=1e-4)
        assert smooth.mean() >= 0.5


@given(seed=SEEDS)
def test_gradients_are_finite_differences(seed: int):
    check_gradients(*start_of(seed), np.random.default_rng(seed))


@given(seed=SEEDS)
def test_gradients_of_split_neurons_are_finite_differences(seed: int):
    """With every unstable neuron of one layer held on one side of 0."""
    enclosure, rows = start_of(seed)
    value = min(enclosure.relaxations)
    (source,) = enclosure.graph.node(value).inputs
    box = enclosure.boxes[source]
    unstable = (box.lower < 0) & (box.upper > 0)
    side = np.where(np.random.default_rng(seed).random(unstable.shape) < 0.5, 1.0, -1.0) * unstable
    enclosure.boxes[source] = type(box)(
        np.where(side > 0, 0.0, box.lower), np.where(side < 0, 0.0, box.upper)
    )
    enclosure.relax(value)
    planes = enclosure.relaxations[value]
    assert isinstance(planes, Planes)
    enclosure.relaxations[value] = replace(planes, cut=-side)
    check_gradients(enclosure, rows, np.random.default_rng(seed))


@given(seed=SEEDS)
def test_more_steps_never_give_less(seed: int):
    enclosure, rows = start_of(seed)
    plain = bound(enclosure, rows, default_tilts(enclosure, rows.start, rows.owner))
    assert np.array_equal(plain, optimise(enclosure, rows, 1, SETTINGS).least)
    before = plain
    for steps in (2, 5, 9):
        found = optimise(enclosure, rows, steps, SETTINGS)
        assert (found.least >= before).all()
        again = bound(enclosure, rows, found.tilts)
        np.testing.assert_allclose(again, found.least, rtol=1e-9, atol=1e-9)
        assert all(((t >= 0) & (t <= 1)).all() for t in found.tilts.values())
        before = found.least


def test_steps_help():
    """The mean bound rises noticeably: an optimiser that stands still is a failure."""
    gains = []
    for seed in range(0, 40, 2):
        enclosure, rows = start_of(seed)
        first, last = (optimise(enclosure, rows, n, SETTINGS).least for n in (1, 12))
        gains.append(np.mean((last - first) / (1 + abs(first))))
    assert np.mean(gains) > 0.02, np.mean(gains)


@given(seed=SEEDS)
def test_optimised_hidden_boxes_are_no_looser(seed: int):
    """On the first layer that CROWN tightens; later layers start from other boxes."""
    graph = mlp(seed, (3, 6, 6, 2)).on(XP)
    box = placed(XP, *boxes("normal", [seed], BATCH, 3))
    plain = crown(graph, box, SETTINGS).enclosure.boxes[3]
    tight = crown(graph, box, SETTINGS, optimiser=HiddenOptimiser(5)).enclosure.boxes[3]
    undecided = (tight.lower < 0) & (tight.upper > 0)
    assert (tight.lower >= plain.lower)[undecided].all()
    assert (tight.upper <= plain.upper)[undecided].all()
    assert (plain.lower < 0)[undecided].all()
    assert (plain.upper > 0)[undecided].all()
