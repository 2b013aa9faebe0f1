"""Networks reduced within a region of which the reduced network is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verifier.bounds.root
import verifier.bounds.within
from tests.bounds.checks import SETTINGS, below
from tests.bounds.exact import exact_values
from tests.bounds.graphs import Weights, boxes, mlp, placed, points_in, residual
from verifier.bounds import crown
from verifier.bounds.columns import Patterns
from verifier.bounds.reduced import Reducer
from verifier.bounds.root import refine_outer, refine_within
from verifier.bounds.sure import SureNet
from verifier.bounds.sure_rows import sure_elements, sure_layers
from verifier.bounds.within import Outer, Slopes
from verifier.graph import Builder, Graph, Value
from verifier.ops.relu import Relu
from verifier.sets import Box
from verifier.settings import ONE_BY_ONE
from verifier.tensors import numpy_backend, single_precision, torch_backend

SEEDS = st.integers(0, 10**6)
KINDS = ("normal", "normal", "tiny", "far", "huge", "one-sided")


class Case:
    """A network reduced over a box, over a box within that, and over one within the second."""

    def __init__(self, seed: int, make=numpy_backend):
        self.xp, self.generator = make("float64"), np.random.default_rng(seed)
        kind = KINDS[seed % len(KINDS)]
        layers = (3, 8, 7, 6, 5, 2)
        self.plain_graph = residual(seed) if seed % 3 == 0 else mlp(seed, layers, 0.2 * (seed % 2))
        if seed % 5 == 0:
            self.plain_graph = relu_first(seed)
        self.graph = self.plain_graph.on(self.xp)
        region = placed(self.xp, *boxes(kind, [seed], 1, self.graph.input_size))
        plain = crown(self.graph, region, SETTINGS).enclosure
        self.how = single_precision(self.xp), ONE_BY_ONE
        self.outer = Outer.of(*refine_outer(plain, SETTINGS, self.how))
        self.regions, self.found = [region], list[tuple[Reducer, Slopes]]()
        outer = self.outer
        for _ in range(2):
            self.regions.append(self.part_of(self.regions[-1]))
            self.found.append(refine_within(outer, SETTINGS, self.regions[-1], self.how))
            outer = Outer.of(*self.found[-1])

    def part_of(self, region: Box) -> Box:
        """Some part of a box."""
        low, high = (self.xp.numpy(x) for x in (region.lower, region.upper))
        share = np.sort(self.generator.random((2, *low.shape)), 0)
        share = np.where(self.generator.random(low.shape) < 0.3, [[[0.0]], [[1.0]]], share)
        sides = (np.clip(low + s * (high - low), low, high) for s in share)
        return Box(*(self.xp.floats(s) for s in sides))


def relu_first(seed: int) -> Graph:
    """ReLUs that read the input."""
    weights, builder = Weights(np.random.default_rng(seed)), Builder(4)
    value = builder.add("", Relu.of(4), [Value(0, (4,))])
    for size in (6, 5, 2):
        value = builder.add("", weights.linear(value.size, size), [value], (size,))
        value = builder.add("", Relu.of(size), [value])
    return builder.finish(value)


def values_in(case: Case, which: int, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    points = points_in(case.regions[which + 1], case.xp, which, count)[:, 0]
    return points, exact_values(case.plain_graph, points)


def off_by(case: Case, which: int, reducer: Reducer) -> int:
    """How many elements of layers are further from their forms than these say."""
    points, values = values_in(case, which, 8)
    numpy, wrong = case.xp.numpy, 0
    layers = [(v, s, numpy(i)) for v, (s, i) in reducer.layers.items()]
    outputs = [values[v][:, i] for v, _, i in layers]
    outputs = np.concatenate([np.zeros((len(points), 0), dtype=object), *outputs], axis=1)
    for (_, source, index), rows in zip(layers, sure_layers(reducer), strict=True):
        arrays = rows.tail.weights, rows.tail.links, rows.tail.bias, rows.error
        weights, links, bias, error = (numpy(x) for x in arrays)
        if not (np.isfinite(bias) & np.isfinite(error)).all():
            continue
        for k, point in enumerate(points):
            for j, exact in enumerate(values[source][k, index]):
                form = Fraction(bias[j])
                form += sum(
                    Fraction(w) * Fraction(x) for w, x in zip(weights[j], point, strict=True)
                )
                there = outputs[k][: links.shape[1]]
                form += sum(Fraction(w) * Fraction(y) for w, y in zip(links[j], there, strict=True))
                wrong += abs(Fraction(exact) - form) > Fraction(error[j])
    return wrong


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]))
def test_forms_are_as_near_to_elements_as_they_say(seed, make):
    case = Case(seed, make)
    for which, (reducer, _) in enumerate(case.found):
        assert off_by(case, which, reducer) == 0


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_boxes_contain_every_exact_value(seed):
    case = Case(seed)
    for which, (reducer, _) in enumerate(case.found):
        _, values = values_in(case, which, 12)
        for box, exact in zip(reducer.enclosure.boxes[1:], values[1:], strict=True):
            assert below(np.broadcast_to(box.lower, exact.shape), exact)
            assert below(np.broadcast_to(-box.upper, exact.shape), -exact)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_rows_are_below_every_exact_value(seed):
    case, xp = Case(seed), numpy_backend("float64")
    for which, (reducer, _) in enumerate(case.found):
        index = np.arange(case.graph.output_size)
        rows = sure_elements(reducer, case.graph.output, index)
        sure = SureNet.of(reducer, rows)
        if sure is None:
            continue
        one, count = xp.full((len(index), 1), 1.0), reducer.neurons
        tilt = case.generator.random((len(index), count))
        least = sure.least(Patterns(index[:, None], one, tilt * 0, tilt), ONE_BY_ONE)
        _, values = values_in(case, which, 12)
        exact = values[case.graph.output]
        assert below(np.broadcast_to(least, exact.shape), exact)


def test_no_rows_are_swept_through_the_graph(monkeypatch):
    """And nothing of what is unstable is left out."""
    case = Case(1)

    def swept(*_):
        raise AssertionError("swept")

    monkeypatch.setattr(verifier.bounds.root, "sure_elements", swept)
    monkeypatch.setattr(Reducer, "unit_tail", swept)
    reducer, _ = refine_within(case.outer, SETTINGS, case.regions[1], case.how)
    assert 0 < reducer.neurons < sum(len(i) for _, i in case.outer.layers.values())
    for value, (source, index) in reducer.layers.items():
        box = reducer.enclosure.boxes[source]
        unstable = np.flatnonzero((box.lower[0] < 0) & (box.upper[0] > 0))
        np.testing.assert_array_equal(index, unstable)
        assert set(index) <= set(case.outer.layers[value][1])


@pytest.mark.parametrize("seed", [1, 2, 4, 5, 7, 8])
def test_they_are_about_as_tight_as_when_all_is_swept(seed):
    case = Case(seed)
    inner, total = case.regions[1], np.zeros(2)
    plain = crown(case.graph, inner, SETTINGS).enclosure
    anew, _ = refine_outer(plain, SETTINGS, case.how)
    for value in case.graph.relaxed_inputs:
        for k, found in enumerate((anew, case.found[0][0])):
            total[k] += (found.enclosure.boxes[value].radius).sum()
    assert total[1] <= 1.05 * total[0]


def test_what_linear_neurons_are_off_by_is_charged(monkeypatch):
    """Without it some forms would be further off than they say."""
    monkeypatch.setattr(verifier.bounds.within, "gamma", lambda *_: 0.0)

    off = verifier.bounds.root.sure_elements
    monkeypatch.setattr(verifier.bounds.root, "sure_elements", lambda *x: _without_error(off(*x)))
    cases = [Case(seed) for seed in range(1, 40)]
    assert sum(off_by(case, 0, case.found[0][0]) for case in cases) > 0


def _without_error(rows):
    return replace(rows, error=rows.error * 0)


def test_slopes_are_those_that_were_kept():
    draw, slopes = np.random.default_rng(0), Slopes()
    neuron, sign = np.array([1, 3, 4, 8]), np.array([1.0, -1.0, 1.0, 1.0])
    tilt = np.round(draw.random((4, 6)) * 255) / 255
    slopes.keep(5, (neuron, sign), tilt)
    slopes.keep(5, (neuron[1:], -sign[1:]), tilt[1:] / 2)
    columns = np.array([0, 2, 5])
    found = slopes.of(5, (np.array([3, 8]), np.array([-1.0, 1.0])), columns)
    assert found is not None
    np.testing.assert_allclose(found, tilt[[1, 3]][:, columns], atol=1e-6)
    found = slopes.of(5, (np.array([3]), np.array([1.0])), columns)
    assert found is not None
    np.testing.assert_allclose(found, tilt[[1]][:, columns] / 2, atol=0.5 / 255 + 1e-6)
    assert slopes.of(5, (np.array([1]), np.array([-1.0])), columns) is None
    assert slopes.of(5, (np.array([9]), np.array([1.0])), columns) is None
    assert slopes.of(6, (np.array([1]), np.array([1.0])), columns) is None
