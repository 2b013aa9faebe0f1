"""What every method of bounding must do, on random graphs of all operators; compared exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.bounds.checks import BACKENDS, METHODS, SETTINGS, Trial, below, contains
from tests.bounds.exact import rational
from verifier.bounds import HiddenOptimiser, bound_objective, crown, interval
from verifier.bounds.crown import unit_rows
from verifier.bounds.optimise import Rows, default_tilts, optimise
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array

SEEDS = st.integers(0, 10**6)
NAMES = st.sampled_from(sorted(BACKENDS))
ORDINARY = ("normal",)


def check_planes(trial: Trial, coefficients: Array, constant: Array, exact: np.ndarray) -> None:
    """coefficients . x + constant <= row, exactly, where the constant says something."""
    shape = exact.shape[1:]
    offset = trial.xp.numpy(constant).reshape(shape)
    slope = trial.xp.numpy(coefficients).reshape(*shape, -1)
    claims = np.isfinite(offset) & np.isfinite(slope).all(-1)
    slope = rational(np.where(claims[..., None], slope, 0.0))
    points = np.moveaxis(trial.values[0][:, :, None, :] * slope, -1, 0)
    planes = sum(points) + rational(np.where(claims, offset, 0.0))
    assert (planes <= exact)[:, claims].all()


@given(seed=SEEDS, name=NAMES)
def test_boxes_hold_every_point(name: str, seed: int):
    trial = Trial.of(seed, name)
    for label, method in METHODS.items():
        with np.errstate(all="ignore"):
            enclosure = method(trial.placed, trial.box)
        for value, exact in enumerate(trial.values):
            assert contains(enclosure.boxes[value], exact, trial.xp), (label, value)


@given(seed=SEEDS, name=NAMES)
def test_rows_and_their_planes_are_below_every_point(name: str, seed: int):
    trial = Trial.of(seed, name)
    outputs, inputs, objective = trial.objective(4)
    exact = trial.rows(outputs, inputs)
    # A threshold that a point meets up to rounding: the margin there is about 0.
    thresholds = exact.astype(np.float64).min(0)
    exact = exact - rational(thresholds)
    with np.errstate(all="ignore"):
        enclosure = crown(trial.placed, trial.box, SETTINGS).enclosure
        asked = trial.xp.bools(np.ones(thresholds.shape))
        found = bound_objective(enclosure, objective, trial.xp.doubles(thresholds), asked)
    assert below(trial.xp.numpy(found.least)[None], exact)
    check_planes(trial, found.coefficients, found.constant, exact)


@given(seed=SEEDS, name=NAMES)
def test_optimised_rows_and_their_forms_are_below_every_point(name: str, seed: int):
    trial = Trial.of(seed, name)
    xp, graph = trial.xp, trial.placed
    outputs, inputs, objective = trial.objective(3)
    exact, batch = trial.rows(outputs, inputs), trial.batch
    with np.errstate(all="ignore"):
        enclosure = crown(graph, trial.box, SETTINGS).enclosure
        start = {graph.output: xp.cat([objective.outputs] * batch, 0)}
        if objective.inputs is not None:
            extra = xp.cat([objective.inputs] * batch, 0)
            start[0] = start[0] + extra if 0 in start else extra
        rows = Rows(start, xp.doubles(np.zeros(3 * batch)), Owner.equal(batch, 3, xp))
        tilts = default_tilts(enclosure, start, rows.owner)
        draw = np.random.default_rng(seed)
        tilts = {v: xp.floats(draw.random(tuple(t.shape))) for v, t in tilts.items()}
        found = optimise(enclosure, rows, 4, SETTINGS, tilts)
    assert below(xp.numpy(found.least).reshape(1, batch, 3), exact)
    check_planes(trial, found.form.coefficients, found.form.constant, exact)


@given(seed=SEEDS, name=NAMES)
def test_rows_of_hidden_neurons_are_below_every_point(name: str, seed: int):
    trial = Trial.of(seed, name, ORDINARY)
    xp, graph = trial.xp, trial.placed
    with np.errstate(all="ignore"):
        enclosure = crown(graph, trial.box, SETTINGS).enclosure
        for value in range(1, len(graph.nodes) + 1):
            neuron = xp.arange(graph.size(value))
            batch, one = neuron * 0, xp.floats(np.ones(graph.size(value)))
            for sign in (one, -one):
                rows = unit_rows(enclosure, value, (batch, neuron, sign))
                found = optimise(enclosure, rows, 2, SETTINGS)
                least = xp.numpy(found.least)[None, None]
                exact = trial.values[value] * int(sign[0])
                assert below(least, exact), value


@given(seed=SEEDS)
def test_crown_is_within_the_interval_boxes(seed: int):
    """Each step of CROWN is interval arithmetic on boxes no larger than those, cut further."""
    trial = Trial.of(seed, "numpy-64")
    with np.errstate(all="ignore"):
        plain = interval(trial.placed, trial.box)
        tight = crown(trial.placed, trial.box, SETTINGS).enclosure
    for wide, box in zip(plain.boxes, tight.boxes, strict=True):
        slack = 1e-9 * (abs(wide.lower) + abs(wide.upper)) + 1e-12
        assert not (box.lower < wide.lower - slack).any()
        assert not (box.upper > wide.upper + slack).any()


@given(seed=SEEDS)
def test_inherited_boxes_are_kept(seed: int):
    trial = Trial.of(seed, "numpy-64")
    with np.errstate(all="ignore"):
        known = crown(
            trial.placed, trial.box, SETTINGS, optimiser=HiddenOptimiser(5)
        ).enclosure.boxes
        again = crown(trial.placed, trial.box, SETTINGS, dict(enumerate(known))).enclosure
    for old, new in zip(known, again.boxes, strict=True):
        assert not ((new.lower < old.lower) | (new.upper > old.upper)).any()


@given(seed=SEEDS, name=NAMES)
def test_a_batch_is_its_parts(name: str, seed: int):
    trial = Trial.of(seed, name, ORDINARY * 3)
    xp = trial.xp
    objective = trial.objective(4)[2]

    def bounds(box: Box) -> np.ndarray:
        with np.errstate(all="ignore"):
            enclosure = crown(trial.placed, box, SETTINGS).enclosure
            count = box.lower.shape[0]
            asked = xp.bools(np.ones((count, 4)))
            zero = xp.doubles(np.zeros((count, 4)))
            least = xp.numpy(bound_objective(enclosure, objective, zero, asked).least)
        boxes = [xp.numpy(part) for b in enclosure.boxes for part in (b.lower, b.upper)]
        return np.concatenate([least, *boxes], axis=1).astype(np.float64)

    whole = bounds(trial.box)
    tolerance = 1e-9 if xp.dtype == "float64" else 3e-3
    for k in range(3):
        part = bounds(trial.box[xp.ints(np.array([k]))])[0]
        np.testing.assert_allclose(part, whole[k], rtol=tolerance, atol=tolerance)


@given(seed=SEEDS)
def test_chunks_of_rows_change_nothing(seed: int):
    trial = Trial.of(seed, "numpy-64", ORDINARY * 12)
    small = BoundSettings(chunk_bytes_cpu=1)
    with np.errstate(all="ignore"):
        whole = crown(trial.placed, trial.box, SETTINGS, keep_hidden=True)
        parts = crown(trial.placed, trial.box, small, keep_hidden=True)
    for a, b in zip(whole.enclosure.boxes, parts.enclosure.boxes, strict=True):
        np.testing.assert_allclose(a.lower, b.lower, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(a.upper, b.upper, rtol=1e-9, atol=1e-9)
    for a, b in zip(whole.hidden, parts.hidden, strict=True):
        np.testing.assert_array_equal(a.neuron, b.neuron)
        np.testing.assert_allclose(a.influence, b.influence, rtol=1e-6, atol=1e-9)


@given(seed=SEEDS)
def test_chunks_of_optimised_rows_are_sound(seed: int):
    """They may stop at different steps, so that the bounds differ."""
    trial = Trial.of(seed, "numpy-32", ORDINARY * 6)
    small = BoundSettings(chunk_bytes_cpu=1)
    with np.errstate(all="ignore"):
        enclosure = crown(trial.placed, trial.box, small, optimiser=HiddenOptimiser(3)).enclosure
    for value, exact in enumerate(trial.values):
        assert contains(enclosure.boxes[value], exact, trial.xp), value
