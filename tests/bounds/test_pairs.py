"""Neurons in pairs: octagons' points, terms that hold and are exact, sweeps, rigorous bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests.bounds.checks import below
from tests.bounds.exact import exact_values
from tests.bounds.graphs import points_in
from tests.bounds.test_sure import BATCH, Case
from verifier.bounds.columns import Columns
from verifier.bounds.cuts import columns_of
from verifier.bounds.paired import PairedColumns, PairedNet
from verifier.bounds.pairs import FAR, Octagon, Pairs, matched
from verifier.bounds.sure import SureNet
from verifier.search.pairing import bounded_sums
from verifier.settings import ONE_BY_ONE
from verifier.tensors import numpy_backend, torch_backend

SEEDS = st.integers(0, 10**6)
PAIRS = 30


def octagons(seed: int) -> tuple[Octagon, np.ndarray]:
    """Octagons around random points, [pairs, points, 2], that some of their sides touch."""
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(PAIRS, 6, 2)) * draw.choice([0.01, 1.0, 100.0], size=(PAIRS, 1, 1))
    points[:, :, 1] += draw.choice([-1.0, 0.0, 1.0], size=(PAIRS, 1)) * points[:, :, 0]
    points[: PAIRS // 4] = np.round(points[: PAIRS // 4])
    read = (*points.transpose(2, 0, 1), points.sum(2), points[:, :, 0] - points[:, :, 1])
    loose = draw.choice([0.0, 0.0, 0.5, np.inf], size=(8, PAIRS))
    loose[:4] = np.where(np.isfinite(loose[:4]), loose[:4], 1.0)
    sides = [(x.min(1) - loose[2 * k], x.max(1) + loose[2 * k + 1]) for k, x in enumerate(read)]
    return Octagon(*sides), points


def paired_terms(octagon: Octagon, leak: float, xp=None) -> Pairs:
    neurons = np.arange(PAIRS), PAIRS + np.arange(PAIRS)
    return Pairs.of(octagon, neurons, np.full(2 * PAIRS, leak), xp or numpy_backend())


def value(factors: np.ndarray, leak: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """nu_i y_i + nu_j y_j - m_i s_i - m_j s_j of [4, pairs] factors at [pairs, points]."""
    one, two = np.maximum(x, leak * x), np.maximum(y, leak * y)
    nu, m = factors[:2, :, None], factors[2:, :, None]
    return nu[0] * one + nu[1] * two - m[0] * x - m[1] * y


def by_programs(octagon: Octagon, k: int, factors: np.ndarray, leak: float) -> float:
    """The least value over one octagon: a linear program on each quadrant."""
    rows = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=float)
    limits = [octagon.sum[1][k], -octagon.sum[0][k]]
    limits += [octagon.difference[1][k], -octagon.difference[0][k]]
    some = np.isfinite(limits)
    best = np.inf
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        slopes = [1.0 if sign > 0 else leak for sign in signs]
        cost = factors[:2, k] * slopes - factors[2:, k]
        bounds = []
        for sign, (low, high) in zip(signs, (octagon.first, octagon.second), strict=True):
            bounds.append((max(low[k], 0.0), high[k]) if sign > 0 else (low[k], min(high[k], 0.0)))
        if any(low > high for low, high in bounds):
            continue
        found = linprog(cost, A_ub=rows[some], b_ub=np.array(limits)[some], bounds=bounds)
        best = min(best, found.fun if found.status == 0 else np.inf)
    return best


@settings(deadline=None, max_examples=12)
@given(SEEDS, st.sampled_from([0.0, 0.1]), st.sampled_from([numpy_backend, torch_backend]))
def test_terms_are_the_least_over_the_octagon(seed, leak, make):
    octagon, points = octagons(seed)
    xp = make("float64")
    pairs, draw = paired_terms(octagon, leak, xp), np.random.default_rng(seed)
    factors = draw.normal(size=(4, PAIRS))
    nu, m = (xp.floats(factors[k : k + 2].reshape(-1, 1)) for k in (0, 2))
    least, x, y = (xp.numpy(a)[:, 0] for a in pairs.least(nu, m, pairs.fixed(nu * 0)))
    size = abs(factors).sum(0) * (abs(octagon.first[0]) + abs(octagon.second[1]) + 1e-9)
    size = size + abs(factors).sum(0) * abs(points).max((1, 2))
    assert (value(factors, leak, *points.transpose(2, 0, 1)) >= least[:, None] - 1e-12).all()
    np.testing.assert_allclose(value(factors, leak, x[:, None], y[:, None])[:, 0], least)
    for k in range(0, PAIRS, 5):
        assert least[k] == pytest.approx(by_programs(octagon, k, factors, leak), abs=1e-7 * size[k])


@settings(deadline=None, max_examples=15)
@given(SEEDS)
def test_terms_hold_where_signs_are_fixed(seed):
    octagon, points = octagons(seed)
    xp, draw = numpy_backend(), np.random.default_rng(seed)
    pairs, factors = paired_terms(octagon, 0.0), draw.normal(size=(4, PAIRS, 9))
    phase = np.array([[i, j] for i in (-1.0, 0.0, 1.0) for j in (-1.0, 0.0, 1.0)])
    phase = np.repeat(phase.T[:, None], PAIRS, 1).reshape(2 * PAIRS, 9)
    nu, m = factors[:2].reshape(-1, 9), factors[2:].reshape(-1, 9)
    least, _, _ = pairs.least(xp.floats(nu), xp.floats(m), pairs.fixed(xp.floats(phase)))
    free, _, _ = pairs.least(xp.floats(nu), xp.floats(m), pairs.fixed(xp.floats(phase * 0)))
    assert (least >= free).all()
    assert (least > free + 1e-6).any()
    x, y = points.transpose(2, 0, 1)
    for column in range(9):
        meets = (phase[:PAIRS, [column]] * x >= 0) & (phase[PAIRS:, [column]] * y >= 0)
        found = value(factors[:, :, column], 0.0, x, y)
        assert (np.where(meets, found, np.inf) >= least[:, [column]] - 1e-12).all()


def test_pairs_are_disjoint_and_the_best_are_first():
    draw = np.random.default_rng(0)
    for count in (0, 1, 2, 7, 40):
        forms = draw.normal(size=(count, 5))
        alike, weight = forms @ forms.T, draw.random(count)
        weight[: count // 4] = 0.0
        one, two = matched(alike, weight)
        assert len(set(one) | set(two)) == 2 * len(one)
        assert (weight[one] > 0).all()
        score = abs(alike) * np.minimum(weight[:, None], weight[None])
        np.fill_diagonal(score, 0.0)
        left, expected = set(range(count)), set[tuple[int, int]]()
        while left:
            best = max(((score[i, j], -i, -j) for i in left for j in left if i < j), default=None)
            if best is None or best[0] <= 0:
                break
            expected.add((-best[1], -best[2]))
            left -= {-best[1], -best[2]}
        assert {(min(p), max(p)) for p in zip(one.tolist(), two.tolist(), strict=True)} == expected


class PairedCase(Case):
    """The same networks with random pairs, bounded for certain."""

    def paired(self) -> tuple[SureNet, Pairs] | None:
        if self.sure is None or self.reducer.neurons < 2:
            return None
        xp, sure, count = self.xp, self.sure, self.reducer.neurons
        order = self.generator.permutation(count)
        half = count // 2
        neurons = order[:half], order[half : 2 * half]
        octagon = bounded_sums(sure.net, sure, neurons, (3, 0.25, 0.98), ONE_BY_ONE)
        self.octagon, self.neurons = octagon, neurons
        pairs = Pairs.of(octagon, neurons, xp.numpy(sure.net.leak), xp)
        return replace(sure, net=PairedNet.of_net(sure.net, pairs)), pairs

    def tilted(self, weight: float = 1.0):
        """Patterns with random multipliers of pairs."""
        plain, xp = self.patterns(weight), self.xp
        extra = self.generator.normal(size=self.tilt.shape)
        return replace(plain, tilt=xp.cat([plain.tilt, xp.floats(extra)], 1))


@settings(deadline=None, max_examples=25)
@given(SEEDS, st.sampled_from([numpy_backend, torch_backend]))
def test_paired_bounds_are_below_every_exact_value(seed, make):
    case = PairedCase(seed, make)
    made = case.paired()
    if made is None:
        return
    points = points_in(case.region, case.xp, 0, 40)[:, 0]
    every = exact_values(case.plain_graph, points)
    read = np.concatenate(
        [every[n.source][:, np.asarray(case.xp.numpy(n.index))] for n in case.layers], 1
    )
    first, second = (read[:, part] for part in case.neurons)
    for sums, (low, high) in (
        (first + second, case.octagon.sum),
        (first - second, case.octagon.difference),
    ):
        for k in range(sums.shape[1]):
            assert below(np.full(len(points), low[k]), sums[:, k])
            assert below(np.full(len(points), -high[k]), -sums[:, k])
    for sign in (1.0, -1.0):
        least = case.xp.numpy(made[0].least(case.tilted(sign), ONE_BY_ONE))
        meets, values = case.inside(case.phase)
        outputs = values[case.graph.output][:, case.row[:, 0]] * int(sign)
        for b in range(BATCH):
            some = outputs[meets[:, b], b]
            assert below(np.full(some.shape, least[b]), some)


def test_without_the_octagons_slack_some_terms_would_be_wrong(monkeypatch):
    """The bounds of pairs are what the proof rests on: tighter ones are noticed."""
    wrong = 0
    for seed in range(25):
        case = PairedCase(seed)
        made = case.paired()
        if made is None:
            continue
        octagon, sure = case.octagon, case.sure
        assert sure is not None
        narrow = [((3 * a + b) / 4, (a + 3 * b) / 4) for a, b in (octagon.sum, octagon.difference)]
        octagon = replace(octagon, sum=narrow[0], difference=narrow[1])
        leak = case.xp.numpy(sure.net.leak)
        pairs = Pairs.of(octagon, case.neurons, leak, case.xp)
        sure = replace(sure, net=PairedNet.of_net(sure.net, pairs))
        least = sure.least(case.tilted(), ONE_BY_ONE)
        meets, values = case.inside(case.phase)
        outputs = values[case.graph.output][:, case.row[:, 0]]
        for b in range(BATCH):
            some = outputs[meets[:, b], b]
            wrong += not below(np.full(some.shape, least[b]), some)
    assert wrong > 0


@pytest.mark.parametrize("seed", [1, 7, 14, 22, 35])
def test_with_no_more_multipliers_paired_bounds_are_no_worse(seed):
    case = PairedCase(seed)
    made = case.paired()
    assert made is not None
    plain = case.patterns()
    plain = replace(plain, tilt=np.round(plain.tilt * 255) / 255)
    wider = replace(plain, tilt=case.xp.cat([plain.tilt, plain.tilt * 0], 1))
    least = made[0].least(wider, ONE_BY_ONE)
    assert case.sure is not None
    alone = case.sure.least(plain, ONE_BY_ONE)
    assert (least >= alone - 1e-9 * (1 + abs(alone))).all()
    assert (least > alone + 1e-9).any()


@pytest.mark.parametrize("seed", [1, 7, 14, 22, 35])
def test_gradients_are_derivatives(seed):
    case = PairedCase(seed)
    made = case.paired()
    assert made is not None
    net, patterns, step = made[0].net, case.tilted(), 1e-6
    # Neurons of no pair have no second multiplier.
    patterns.tilt[:, net.neurons :] *= made[1].mask
    state = columns_of(net, patterns)
    assert isinstance(state, PairedColumns)
    bounded = state.back()
    corner = -np.sign(bounded.rows_in)
    gradient, _ = state.gradients(bounded, corner)
    count, checked = net.neurons, 0
    for tilt in np.flatnonzero(np.concatenate([np.ones(count), made[1].mask])):
        found = []
        for way in (step, -step):
            moved = patterns.tilt.copy()
            moved[:, tilt] += way
            found.append(columns_of(net, replace(patterns, tilt=moved)).back().least)
        slopes = (found[0] - bounded.least) / step, (bounded.least - found[1]) / step
        # Not of patterns that no point meets.
        smooth = (abs(slopes[0] - slopes[1]) < 1e-3) & (bounded.least < FAR / 2)
        checked += int(smooth.sum())
        size = 1e-3 * (1 + abs(slopes[0]))
        assert (abs(slopes[0] - gradient[tilt]) < size)[smooth].all()
    assert checked > count


def test_a_network_without_pairs_is_swept_as_ever():
    case = Case(1)
    assert case.sure is not None
    assert type(columns_of(case.sure.net, case.patterns())) is Columns
