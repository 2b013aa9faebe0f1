"""Planes of neurons' hulls: above the neurons everywhere, as good as the dual says, and exact."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.checks import below
from tests.bounds.exact import exact_values
from tests.bounds.graphs import mlp, points_in
from tests.bounds.test_reduced import reduced_form
from tests.bounds.test_sure import BATCH, SEEDS, Case
from verifier.bounds import hulls
from verifier.bounds.columns import Patterns
from verifier.bounds.cuts import CutColumns, CutNet, Cuts, columns_of
from verifier.bounds.hulls import HullAscent, HullNet, Planes
from verifier.bounds.paired import PairedNet
from verifier.bounds.pairs import Pairs
from verifier.bounds.sure import SureNet
from verifier.settings import ONE_BY_ONE
from verifier.tensors import numpy_backend, torch_backend


class HullCase(Case):
    """The same networks with planes that an ascent of their first output found."""

    def hulled(
        self, steps: int = 25, sign: float = 1.0
    ) -> tuple[SureNet, Planes, HullAscent] | None:
        if self.sure is None or self.reducer.neurons == 0:
            return None
        net, numbers = self.sure.net, self.xp.numpy
        row = np.concatenate([numbers(net.row_weights)[0], numbers(net.row_links)[0]])
        sums = sign * row, sign * float(numbers(net.row_bias)[0])
        ascent = HullAscent(HullNet.of(net), sums, numbers(net.tilt))
        ascent.run(steps, lambda: None)
        planes = ascent.planes
        return with_cuts(self.sure, planes.cuts(self.sure)), planes, ascent

    def multiplied(self, count: int, weight: float = 1.0) -> Patterns:
        """Patterns with random multipliers of cuts."""
        plain, xp = self.patterns(weight), self.xp
        kappa = xp.floats(self.generator.exponential(size=(BATCH, count)))
        return replace(plain, tilt=xp.cat([plain.tilt, plain.tilt * 0, kappa], 1))


def with_cuts(sure: SureNet, cuts: Cuts) -> SureNet:
    none = PairedNet.of_net(sure.net, Pairs.none(sure.net.neurons, sure.net.xp))
    return replace(sure, net=CutNet.of_paired(none, cuts, np.arange(len(cuts.bias))))


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]))
def test_bounds_with_cuts_are_below_every_exact_value(seed, make):
    case = HullCase(seed, make)
    made = case.hulled()
    if made is None:
        return
    for sign in (1.0, -1.0):
        patterns = case.multiplied(len(made[1].neuron), sign)
        least = case.xp.numpy(made[0].least(patterns, ONE_BY_ONE))
        meets, values = case.inside(case.phase)
        outputs = values[case.graph.output][:, case.row[:, 0]] * int(sign)
        for b in range(BATCH):
            some = outputs[meets[:, b], b]
            assert below(np.full(some.shape, least[b]), some)


def test_planes_are_above_their_neurons_and_touch_them():
    touched = 0
    for seed in range(20):
        case = HullCase(seed)
        made = case.hulled()
        if made is None or not len(made[1].neuron):
            continue
        (sure, planes, _), region = made, case.region
        net = sure.net
        assert isinstance(net, CutNet)
        low, high = region.lower[0], region.upper[0]
        inside = points_in(region, case.xp, 0, 200)[:, 0]
        corners = np.where(case.generator.random((400, len(low))) < 0.5, low, high)
        points = np.concatenate([inside, corners])
        values = case.graph.values(points)
        read = np.concatenate([values[n.source][:, n.index] for n in case.layers], 1)
        outputs = np.maximum(read, net.leak * read)
        scaled = (points - (low + high) / 2) / np.where(high > low, (high - low) / 2, 1)
        cuts = net.cuts
        found = outputs @ cuts.links.T + scaled @ cuts.inputs.T + cuts.bias
        size = sure.most[planes.neuron] * (1 + abs(planes.slope).sum(1))
        assert (found <= 1e-9 * size).all()
        touched += (found.max(0) > -0.02 * size).sum()
    assert touched > 10


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([1.0, -1.0]))
def test_the_cuts_give_what_the_dual_says(seed, sign):
    """No more than what is reached, either of them; and the dual is no better by much."""
    case = HullCase(seed)
    made = case.hulled(40, sign)
    if made is None:
        return
    sure, planes, ascent = made
    points = points_in(case.region, case.xp, 0, 60)[:, 0]
    reached = exact_values(case.plain_graph, points)[case.graph.output][:, 0] * int(sign)
    assert float(min(reached)) >= ascent.best - 1e-6 * (1 + abs(ascent.best))
    tilt = np.concatenate([planes.tilt, planes.tilt * 0, planes.weight])[None]
    none = np.zeros((1, sure.net.neurons))
    pattern = Patterns(np.zeros((1, 1), dtype=np.int64), np.full((1, 1), sign), none, tilt)
    least, lines = float(sure.least(pattern, ONE_BY_ONE)[0]), -ascent.lacking
    size = 1 + abs(ascent.best)
    assert least <= float(min(reached)) + 1e-9 * size
    if ascent.best > lines + 0.1 * size:
        assert least > lines


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_the_hull_of_one_neuron_is_exact(leak):
    """A concave function and a linear one: least at a corner of the box. Chords are below that."""
    checked = 0
    for seed in range(150):
        net = reduced_form(mlp(seed, (5, 1, 1), leak), seed).net
        if net.neurons == 0:
            continue
        steep = 1.5 * abs(net.weights).max()
        row = np.append(steep * np.random.default_rng(seed).normal(size=5), -1.0)
        corners = np.array(list(product((-1.0, 1.0), repeat=5)))
        read = corners @ net.weights[0] + net.bias[0]
        exact = (corners @ row[:5] - np.maximum(read, leak * read)).min()
        ascent = HullAscent(HullNet.of(net), (row, 0.0), net.tilt)
        found = ascent.run(300, lambda: None)
        first = -ascent.lacking
        assert first <= exact + 1e-9
        assert found <= exact + 1e-9
        assert found >= exact - 0.02 * (1 + abs(exact))
        checked += first < exact - 0.05 * steep
    assert checked > 1


@pytest.mark.parametrize("seed", [1, 7, 14, 22, 35])
def test_gradients_are_derivatives(seed):
    case = HullCase(seed)
    made = case.hulled()
    assert made is not None
    net, patterns, step = made[0].net, case.multiplied(len(made[1].neuron)), 1e-6
    state = columns_of(net, patterns)
    assert isinstance(state, CutColumns)
    bounded = state.back()
    gradient, _ = state.gradients(bounded, -np.sign(bounded.rows_in))
    first, checked = 2 * net.neurons, 0
    for cut in range(first, first + len(made[1].neuron)):
        found = []
        for way in (step, -step):
            moved = patterns.tilt.copy()
            moved[:, cut] += way
            found.append(columns_of(net, replace(patterns, tilt=moved)).back().least)
        slopes = (found[0] - bounded.least) / step, (bounded.least - found[1]) / step
        smooth = abs(slopes[0] - slopes[1]) < 1e-3
        checked += int(smooth.sum())
        size = 1e-3 * (1 + abs(slopes[0]))
        assert (abs(slopes[0] - gradient[cut]) < size)[smooth].all()
    assert checked > len(made[1].neuron)


def test_multipliers_below_0_count_as_0():
    case = HullCase(7)
    made = case.hulled()
    assert made is not None
    patterns = case.multiplied(len(made[1].neuron))
    first = 2 * made[0].net.neurons
    patterns.tilt[:, first:] *= -1
    none = replace(patterns, tilt=patterns.tilt.copy())
    none.tilt[:, first:] = 0.0
    least = [made[0].least(p, ONE_BY_ONE) for p in (patterns, none)]
    assert (least[0] == least[1]).all()


def test_layers_with_too_many_weights_keep_their_lines(monkeypatch):
    case = HullCase(7)
    before = case.hulled()
    monkeypatch.setattr(hulls, "MOST_EDGES", 0)
    after = case.hulled()
    assert before is not None
    assert after is not None
    assert len(before[1].neuron) > 0
    assert len(after[1].neuron) == 0
