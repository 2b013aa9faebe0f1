"""What signs imply: as a SAT solver's unit propagation, and never what some point contradicts."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.bounds.graphs import mlp
from tests.bounds.test_reduced import case_of, reduced_form
from tests.cli.made import save
from verifier import Verified, Violated, verify
from verifier.bounds.bands import Bands
from verifier.bounds.columns import Patterns
from verifier.bounds.reduced import Reduced
from verifier.bounds.sweep import Ascent, sweep_patterns
from verifier.search import propagate
from verifier.search.program import Program
from verifier.search.propagate import Propagator
from verifier.tensors import numpy_backend
from verifier.verdict import Verdict

SEEDS = st.integers(0, 10**6)
XP = numpy_backend("float64")


@dataclass(frozen=True, eq=False)
class Formula:
    """Clauses of literals: variable + 1 or its negative."""

    variables: int
    clauses: list[list[int]]

    @staticmethod
    def random(seed: int, variables: int, clauses: int, length: int = 3) -> "Formula":
        generator = np.random.default_rng(seed)
        made = []
        for _ in range(clauses):
            chosen = generator.choice(variables, length, replace=False) + 1
            made.append((chosen * generator.choice([-1, 1], length)).tolist())
        return Formula(variables, made)

    @staticmethod
    def of_tree(seed: int, variables: int, leaves: int) -> "Formula":
        """No leaf of a random decision tree: what nothing satisfies."""
        generator = np.random.default_rng(seed)
        paths: list[list[int]] = [[]]
        while len(paths) < leaves:
            path = paths.pop(generator.integers(len(paths)))
            left = sorted(set(range(1, variables + 1)) - {abs(x) for x in path})
            chosen = int(generator.choice(left))
            paths += [[*path, chosen], [*path, -chosen]]
        return Formula(variables, [[-x for x in path] for path in paths])

    @property
    def layers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """relu(weights x + bias) of which ``rows`` are all 0 just where x is a model.

        A clause's neuron is positive where all of its literals are false, two neurons for each
        variable make min(x, 1 - x).
        """
        count = self.variables
        weights, bias = [], []
        for clause in self.clauses:
            row = np.zeros(count)
            for literal in clause:
                row[abs(literal) - 1] = -np.sign(literal)
            weights.append(row)
            bias.append(1.0 - sum(literal < 0 for literal in clause))
        weights += [np.eye(count), 2 * np.eye(count)]
        bias += [0.0] * count + [-1.0] * count
        rows = np.zeros((2, len(self.clauses) + 2 * count))
        rows[0, : len(self.clauses)] = 1.0
        rows[1, len(self.clauses) : -count] = 1.0
        rows[1, -count:] = -1.0
        return np.vstack(weights), np.array(bias), rows

    def propagated(self, given: dict[int, bool]) -> dict[int, bool] | None:
        """Unit propagation; None: a contradiction."""
        values, more = dict(given), True
        while more:
            more = False
            for clause in self.clauses:
                if any(values.get(abs(x)) == (x > 0) for x in clause if abs(x) in values):
                    continue
                left = [x for x in clause if abs(x) not in values]
                if not left:
                    return None
                if len(left) == 1:
                    values[abs(left[0])], more = left[0] > 0, True
        return values

    @property
    def satisfiable(self) -> bool:
        points = np.arange(2**self.variables)[:, None] >> np.arange(self.variables) & 1
        held = [
            np.any([points[:, abs(x) - 1] == (x > 0) for x in clause], 0) for clause in self.clauses
        ]
        return bool(np.all(held, 0).any())


def reduced_of(formula: Formula) -> tuple[Reduced, np.ndarray]:
    """The reduced form over [0, 1]^n by hand, and the places of the variables' neurons."""
    weights, bias, rows = formula.layers
    low = bias + np.minimum(weights, 0).sum(1)
    high = bias + np.maximum(weights, 0).sum(1)
    free, on = (low < 0) & (high > 0), low >= 0
    chord = high[free] / (high - low)[free]
    zeros = np.zeros(free.sum())
    positive = np.maximum(rows[:, free], 0).sum(0)
    half = weights / 2
    layers, read = (slice(0, int(free.sum())),), half[free]
    links = np.zeros((free.sum(), free.sum()))
    net = Reduced(
        XP,
        layers,
        Bands(XP, layers, read, links),
        read,
        links,
        (bias + half.sum(1))[free],
        rows[:, on] @ half[on],
        rows[:, free],
        rows[:, on] @ (bias + half.sum(1))[on],
        chord,
        -chord * low[free],
        zeros,
        np.minimum(high, -low)[free],
        zeros,
        low[free],
        high[free],
        zeros,
        positive,
    )
    return net, np.flatnonzero(np.flatnonzero(free) >= len(bias) - formula.variables)


@settings(deadline=None)
@given(SEEDS)
def test_logic_is_propagated_as_a_sat_solver_does(seed):
    generator = np.random.default_rng(seed)
    formula = Formula.random(seed, 10, int(generator.integers(15, 45)))
    net, places = reduced_of(formula)
    rows = np.array([[0, 1]])
    propagator = Propagator.of(net, rows)
    assert propagator is not None
    picked = generator.choice(10, 4, replace=False)
    given_values = {int(v) + 1: bool(generator.integers(2)) for v in picked}
    phase = np.zeros((1, net.neurons))
    for variable, value in given_values.items():
        phase[0, places[variable - 1]] = 1.0 if value else -1.0
    found = propagator.run(rows, phase)
    expected = formula.propagated(given_values)
    assert bool(found.refuted[0]) == (expected is None)
    if expected is not None:
        signs = found.sign[0, places]
        known = {v + 1: bool(signs[v] > 0) for v in range(10) if signs[v] != 0}
        assert known == expected


@settings(deadline=None)
@given(SEEDS)
@example(1142)
@example(1316)
@example(2194)
def test_nothing_possible_is_refuted(seed):
    generator = np.random.default_rng(seed)
    case = case_of(seed)
    net = case.net
    if net.neurons == 0:
        return
    points = generator.uniform(-1, 1, size=(400, net.inputs))
    inputs, values = run(net, points)
    rows = values @ net.row_links.T + points @ net.row_weights.T + net.row_bias
    shift = np.quantile(rows, 0.6, axis=0)
    net = replace(net, row_bias=net.row_bias - shift)
    inside = np.flatnonzero((rows - shift <= 0).all(1))[:50]
    if len(inside) == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagate, "WORTH", 0.0)
        propagator = Propagator.of(net, np.arange(rows.shape[1])[None])
    assert propagator is not None
    signs = np.where(inputs[inside] >= 0, 1.0, -1.0)
    phase = signs * (generator.random(signs.shape) < generator.random())
    found = propagator.run(np.tile(np.arange(rows.shape[1]), (len(inside), 1)), phase)
    assert not found.refuted.any()
    wrong = (found.sign * inputs[inside] < -1e-3) & (found.sign != 0)
    assert not wrong.any()


@settings(deadline=None)
@given(SEEDS)
def test_the_program_bounds_what_sweeps_bound(seed):
    """One hidden layer: its boxes are exact, so that a program knows no more than a sweep."""
    generator = np.random.default_rng(seed)
    net = shallow(seed)
    if net.neurons == 0:
        return
    point = generator.uniform(-1, 1, size=(1, net.inputs))
    inputs, _ = run(net, point)
    signs = np.where(inputs >= 0, 1.0, -1.0)
    phase = signs * (generator.random(signs.shape) < 0.5)
    rows = np.arange(2)
    found = unaided(net, rows).solve(phase[0])
    assert found is not None
    swept = sweep_once(net, rows, phase, found)
    assert swept == pytest.approx(found.least, abs=1e-6 * (1 + abs(found.least)))
    # No ascent gets above the best multipliers.
    one = np.full((1, 2), 0.5)
    patterns = Patterns(rows[None], one, phase, np.zeros_like(phase))
    assert sweep_patterns(net, patterns, Ascent(60, 0.2, 0.98)).least[0] <= found.least + 1e-6


@settings(deadline=None)
@given(SEEDS)
def test_silent_neurons_make_a_program_smaller_and_its_bound_no_worse(seed):
    """Formulas whose clauses' neurons are known to be at most 0: what is refuted stays so."""
    generator = np.random.default_rng(seed)
    formula = Formula.random(seed, 8, 40)
    net, places = reduced_of(formula)
    rows = np.array([[0, 1]])
    propagator = Propagator.of(net, rows)
    assert propagator is not None
    phase = np.zeros((1, net.neurons))
    phase[0, places] = generator.choice([-1.0, 1.0], size=len(places))
    whole = unaided(net, rows[0]).solve(phase[0])
    small = Program.of(net, rows[0], np.asarray(propagator.given))
    assert small.silent.sum() == net.neurons - 8
    found = small.solve(phase[0])
    assert whole is not None
    assert found is not None
    swept = sweep_once(net, rows[0], phase, found)
    assert (whole.least > 1e-6) == (found.least > 1e-6)
    assert (found.least > 1e-6) == (swept > 1e-6)


@settings(deadline=None)
@given(SEEDS)
def test_signs_that_contradict_each_other_are_refuted_whatever_the_rows(seed):
    generator = np.random.default_rng(seed)
    net = shallow(seed)
    if net.neurons < 2:
        return
    # The second neuron is the first one but for a shift: above it, yet below 0.
    weights, bias = net.weights.copy(), net.bias.copy()
    weights[1], bias[1] = weights[0], bias[0] + 0.25
    bands = Bands(XP, net.layers, weights, net.links)
    net = replace(net, bands=bands, weights=weights, bias=bias)
    phase = np.zeros((1, net.neurons))
    phase[0, :2] = 1.0, -1.0
    rows = generator.permutation(3)[:2]
    found = unaided(net, rows).solve(phase[0])
    assert found is not None
    assert sweep_once(net, rows, phase, found) > 0


def shallow(seed: int) -> Reduced:
    """A network with one hidden layer, and three rows of its outputs."""
    return reduced_form(mlp(seed, (4, 7, 3), 0.1 * (seed % 3 == 0)), seed).net


def run(net: Reduced, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of all neurons."""
    inputs = points @ net.weights.T + net.bias
    values = np.zeros_like(inputs)
    for part in net.layers:
        inputs[:, part] += values[:, : part.start] @ net.links[part, : part.start].T
        values[:, part] = np.where(inputs > 0, inputs, net.leak * inputs)[:, part]
    return inputs, values


def unaided(net: Reduced, rows: np.ndarray) -> Program:
    return Program(net, rows, np.zeros(net.neurons, dtype=bool))


def sweep_once(net: Reduced, rows: np.ndarray, phase: np.ndarray, found) -> float:
    patterns = Patterns(rows[None], found.weight[None], phase, found.tilt[None])
    return float(sweep_patterns(net, patterns, Ascent(1, 0.0, 1.0)).least[0])


def decided(formula: Formula, folder: Path) -> Verdict:
    """The verdict on a network that computes a formula."""
    weights, bias, rows = formula.layers
    weights, count = weights.astype(np.float32).T, formula.variables
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["z"]),
        helper.make_node("Add", ["z", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
        helper.make_node("MatMul", ["y", "R"], ["Y"]),
    ]
    stored = {"W": weights, "b": bias.astype(np.float32), "R": rows.astype(np.float32).T}
    ports = {"X": [1, count]}, {"Y": [1, 2]}
    net = save(folder / "net.onnx", nodes, stored, inputs=ports[0], outputs=ports[1])
    prop = folder / "p.vnnlib"
    lines = [f"(declare-const X_{k} Real)" for k in range(count)]
    lines += ["(declare-const Y_0 Real)", "(declare-const Y_1 Real)"]
    lines += [f"(assert (>= X_{k} 0.0))\n(assert (<= X_{k} 1.0))" for k in range(count)]
    lines += ["(assert (<= Y_0 0.0))", "(assert (<= Y_1 0.0))"]
    prop.write_text("\n".join(lines))
    return verify(net, prop, timeout=60.0).verdict


@pytest.mark.parametrize("seed", range(4))
def test_formulas_end_to_end(seed, tmp_path):
    """3-SAT with 18 variables at the threshold: every formula is decided, and by few leaves."""
    formula = Formula.random(seed, 18, 84)
    verdict = decided(formula, tmp_path)
    assert isinstance(verdict, Violated if formula.satisfiable else Verified)
    if isinstance(verdict, Verified):
        assert verdict.certificate is not None
        assert verdict.certificate.data is not None
        assert verdict.certificate.leaves < 200


@pytest.mark.parametrize("seed", [3, 6, 11])
def test_formulas_of_decision_trees_have_no_larger_proofs(seed, tmp_path):
    """The first variable of the tree is in all clauses, those of one side have the next ..."""
    verdict = decided(Formula.of_tree(seed, 20, 60), tmp_path)
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.leaves <= 30
