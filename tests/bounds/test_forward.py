"""Forward linear bounds: containment, equality with CROWN on one hidden layer, and their use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import verifier.bounds.forward
from tests.bounds.checks import BACKENDS, SETTINGS, Trial, backend, contains
from tests.bounds.graphs import mlp, placed
from tests.bounds.test_zonotope import assert_batch_is_rows, small_box, zero_box
from verifier.bounds import Objective, bound_objective, crown, interval
from verifier.bounds.first import first_bounds, forward_pays
from verifier.bounds.forward import FormPair, ForwardPush, forward
from verifier.settings import BoundSettings

SEEDS = st.integers(0, 10**6)
on_backends = pytest.mark.parametrize("name", BACKENDS)


@on_backends
@given(seed=SEEDS)
def test_boxes_hold_every_point(name: str, seed: int):
    trial = Trial.of(seed, name)
    with np.errstate(all="ignore"):
        found = forward(trial.placed, trial.box)
        wider = dict(enumerate(crown(trial.placed, trial.box, SETTINGS).enclosure.boxes))
        again = forward(trial.placed, trial.box, wider)
    for value, exact in enumerate(trial.values):
        assert contains(found.boxes[value], exact, trial.xp), value
        assert contains(again.boxes[value], exact, trial.xp), value


@given(seed=SEEDS)
def test_boxes_are_within_interval_boxes(seed: int):
    trial = Trial.of(seed, "numpy-64")
    with np.errstate(all="ignore"):
        plain, found = interval(trial.placed, trial.box), forward(trial.placed, trial.box)
    for wide, box in zip(plain.boxes, found.boxes, strict=True):
        slack = 1e-9 * (abs(wide.lower) + abs(wide.upper)) + 1e-12
        assert not (box.lower < wide.lower - slack).any()
        assert not (box.upper > wide.upper + slack).any()


@on_backends
@given(seed=SEEDS)
def test_a_batch_is_its_rows(name: str, seed: int):
    trial = Trial.of(seed, name, ("normal", "normal", "one-sided"))
    assert_batch_is_rows(forward, trial)


@pytest.mark.parametrize("seed", range(6))
def test_with_one_hidden_layer_the_bounds_are_those_of_crown(seed: int):
    xp = backend("numpy-64")
    graph, box = mlp(seed, (3, 8, 4), leak=0.25 * (seed % 2)).on(xp), small_box(seed, 3, "numpy-64")
    rows = np.concatenate([np.eye(4), -np.eye(4)])
    objective = Objective.of(rows, None, np.arange(8), xp)
    enclosure = crown(graph, box, SETTINGS).enclosure
    asked, zero = xp.bools(np.ones((1, 8))), xp.doubles(np.zeros((1, 8)))
    least = bound_objective(enclosure, objective, zero, asked).least
    plain, found = interval(graph, box).boxes[-1], forward(graph, box).boxes[-1]
    np.testing.assert_allclose(found.lower, np.maximum(least[:, :4], plain.lower), rtol=1e-9)
    np.testing.assert_allclose(found.upper, np.minimum(-least[:, 4:], plain.upper), rtol=1e-9)


@pytest.mark.parametrize("name", ["numpy-32", "torch-32"])
def test_overflow_claims_nothing(name: str):
    xp = backend(name)
    huge = np.full((1, 2), 1e38)
    with np.errstate(all="ignore"):
        found = forward(mlp(0, (2, 5, 4, 2)).on(xp), placed(xp, -huge, huge))
    for box in found.boxes:
        lower, upper = xp.numpy(box.lower), xp.numpy(box.upper)
        assert not (np.isnan(lower) | np.isnan(upper)).any()


def test_boxes_between_steps_may_be_narrowed():
    trial = Trial.of(0, "numpy-64")
    plain = crown(trial.placed, trial.box, SETTINGS).enclosure
    push = ForwardPush(interval(trial.placed, trial.box).take(trial.xp.arange(trial.batch)))
    push.enclosure.boxes = push.enclosure.boxes[:1]
    for _ in trial.graph.nodes:
        value = push.step()
        push.enclosure.boxes[value] = push.enclosure.boxes[value].intersect(
            plain.boxes[value], trial.xp
        )
    for value, exact in enumerate(trial.values):
        assert contains(push.enclosure.boxes[value], exact, trial.xp), value


@pytest.mark.parametrize("forgotten", ["rounding", "slack"])
def test_forgotten_errors_are_seen(forgotten: str, monkeypatch: pytest.MonkeyPatch):
    """Without the rounding errors, or the relaxations' offsets, a box misses some point."""
    if forgotten == "rounding":
        monkeypatch.setattr(verifier.bounds.forward, "gamma", lambda terms, unit: 0.0)
        monkeypatch.setattr(verifier.bounds.forward, "FORM_TERMS", 0)
    else:
        between = ForwardPush._between

        def exact(self, below, above, size, noise):
            form = between(self, below, above, size, noise)
            return FormPair(form.center, form.offset, form.gap, form.slack * 0)

        monkeypatch.setattr(ForwardPush, "_between", exact)
    missed = False
    for seed in range(12):
        graph, xp = mlp(seed, (3, 5, 4, 2)), backend("numpy-32")
        box = zero_box(3, "numpy-32") if forgotten == "rounding" else small_box(seed, 3, "numpy-32")
        trial = Trial(graph, xp, box, seed)
        found = forward(trial.placed, trial.box)
        inside = [contains(b, x, xp) for b, x in zip(found.boxes, trial.values, strict=True)]
        missed = missed or not all(inside)
    assert missed


def test_forward_bounds_come_first_where_inputs_are_few():
    xp = backend("numpy-64")
    deep, wide = mlp(1, (2, 60, 60, 60, 2)).on(xp), mlp(1, (30, 40, 40, 2)).on(xp)
    shallow = mlp(1, (2, 200, 2)).on(xp)
    assert forward_pays(deep, SETTINGS, deep.input_size)
    assert not forward_pays(wide, SETTINGS, wide.input_size)
    assert not forward_pays(shallow, SETTINGS, shallow.input_size)
    large = mlp(1, (80, 2000, 2000, 2)).on(xp)
    assert not forward_pays(large, BoundSettings(chunk_bytes_cpu=1), 80)
    assert first_bounds(wide, small_box(0, 30, "numpy-64"), SETTINGS) is None


def test_first_bounds_are_forward_bounds_in_chunks_and_serve_crown():
    xp = backend("numpy-64")
    graph = mlp(1, (2, 60, 60, 60, 2)).on(xp)
    center = np.random.default_rng(0).normal(size=(40, 2))
    box = placed(xp, center - 0.2, center + 0.2)
    small = BoundSettings(chunk_bytes_cpu=1)
    whole, parts = first_bounds(graph, box, SETTINGS), first_bounds(graph, box, small)
    assert whole is not None
    assert parts is not None
    for value, part in parts.items():
        np.testing.assert_allclose(part.lower, whole[value].lower, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(part.upper, whole[value].upper, rtol=1e-9, atol=1e-12)
    inherited = first_bounds(graph, box, small, whole)
    assert inherited is not None
    tight, plain = crown(graph, box, SETTINGS, whole), crown(graph, box, SETTINGS)
    for value in graph.relaxed_inputs:
        a, b = tight.enclosure.boxes[value], plain.enclosure.boxes[value]
        assert (a.upper - a.lower).sum() <= (b.upper - b.lower).sum() * (1 + 1e-9)
        assert (a.lower <= b.upper).all()
