"""Numbers that products and curves read behind ReLUs, bounded by searches of their own."""

import numpy as np
import pytest

from tests.graph.test_fold_tables import add, approximate
from tests.soundness.queries import Clause, network_of, text_of
from verifier.bounds import Objective, Tiler, crown
from verifier.families import Product, Table
from verifier.graph import Builder, Graph, Value
from verifier.load.vnnlib import parse_query
from verifier.ops.linear import Linear
from verifier.ops.relu import Relu
from verifier.search import by_neurons, lemma
from verifier.search import deep as deep_module
from verifier.search import fringe as fringe_module
from verifier.search.fringe import Fringe
from verifier.search.frontier import Frontier
from verifier.search.lemma import Effort, Forecast, Lemmas
from verifier.search.neuron_tree import NeuronTree, Paused
from verifier.search.sign_patterns import SignPatterns
from verifier.search.strategy import Strategy, decide
from verifier.search.workers import Workers
from verifier.sets import Box
from verifier.settings import BoundSettings, SearchSettings
from verifier.spec import Problem
from verifier.tensors import numpy_backend
from verifier.verdict import Verified

XP = numpy_backend()
INPUTS, WIDE = 5, 12
BOX = -np.full(INPUTS, 0.5), np.full(INPUTS, 0.5)
SETTINGS = BoundSettings(), SearchSettings()
NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")


def deep(seed: int, *, curved: bool) -> Graph:
    """Two layers of ReLUs, three numbers, curves of these perhaps, and products."""
    generator = np.random.default_rng(seed)
    builder, value = Builder(INPUTS), Value(0, (INPUTS,))
    for _ in range(2):
        weight = generator.normal(size=(WIDE, value.size)) / np.sqrt(value.size)
        value = add(builder, Linear.of(weight, generator.normal(size=WIDE) / 4), value)
        value = add(builder, Relu.of(WIDE), value)
    weight = generator.normal(size=(3, WIDE)) / np.sqrt(WIDE)
    numbers = add(builder, Linear.of(weight, np.ones(3)), value)
    numbers = approximate(builder, numbers, generator) if curved else numbers
    other = builder.rearrange("", numbers, np.array([1, 2, 0]))
    product = add(builder, Product.of(3), numbers, other)
    return builder.finish(add(builder, Linear.of(generator.normal(size=(1, 3))), product))


def sampled(graph: Graph, count: int = 5000) -> list[np.ndarray]:
    return graph.on(XP).values(np.random.default_rng(7).uniform(*BOX, size=(count, INPUTS)))


def problem_below(graph: Graph, threshold: float) -> Problem:
    """Unsafe: the output is at most the threshold."""
    text = text_of([BOX], [Clause(np.ones((1, 1)), np.full(1, threshold))])
    return Problem.of(graph, parse_query(text.encode(), "test.vnnlib"), tables=True)


def fringe_of(graph: Graph) -> Fringe:
    enclosure = crown(graph.on(XP), Box(BOX[0][None], BOX[1][None]), SETTINGS[0]).enclosure
    tiler = Tiler.of(graph, XP)
    assert tiler is not None
    fringe = Fringe.of(graph, enclosure, tiler, SETTINGS, Workers(XP))
    assert fringe is not None
    return fringe


@pytest.mark.parametrize("seed", [0])
def test_narrowed_boxes_hold_what_is_reached(seed: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fringe_module, "MOST_SUBPROBLEMS", (25,))
    graph = deep(seed, curved=False)
    fringe, values = fringe_of(graph), sampled(graph)
    (value,) = fringe.severed.fringe
    before = fringe.enclosure.boxes[value]
    objective = Objective.of(np.ones((1, 1)), None, np.zeros(1, dtype=np.int64), XP)
    # A threshold that nothing proves, so that all is done that can be.
    hopeless = np.full(1, values[graph.output].max() + 1)
    left = fringe.run(objective, hopeless, XP.ints([0]), np.inf)
    assert left.shape[0] == 1
    after = fringe.enclosure.boxes[value]
    assert fringe.narrowed
    assert (after.lower >= before.lower).all()
    assert (after.upper <= before.upper).all()
    assert (values[value] >= after.lower).all()
    assert (values[value] <= after.upper).all()
    assert ((after.upper - after.lower) < 0.9 * (before.upper - before.lower)).any()


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_false_is_proved_of_a_neuron(seed: int, paired: bool):
    graph = deep(seed, curved=False)
    fringe, values = fringe_of(graph), sampled(graph)
    (value,) = fringe.severed.fringe
    lemmas = Lemmas(fringe.enclosure, fringe.tiler, *SETTINGS)
    for neuron in range(3):
        for sign in (1.0, -1.0):
            least = float((sign * values[value][:, neuron]).min())
            assert lemmas.prove(value, (neuron, sign), least, Effort(200, paired)) <= 0
            assert lemmas.prove(value, (neuron, sign), least - 0.6, Effort(1000, paired)) > 0


def test_pairs_of_neurons_save_subproblems():
    """What one subproblem shows with neurons in pairs, but not without."""
    graph = deep(0, curved=False)
    fringe, values = fringe_of(graph), sampled(graph)
    (value,) = fringe.severed.fringe
    lemmas, shown = Lemmas(fringe.enclosure, fringe.tiler, *SETTINGS), np.zeros(2)
    for neuron in range(3):
        least = float(values[value][:, neuron].min())
        for share in np.linspace(0.2, 2.0, 8):
            for paired in (False, True):
                effort = Effort(1, paired)
                shown[int(paired)] += lemmas.prove(value, (neuron, 1.0), least - share, effort) > 0
    assert shown[1] > shown[0] > 0


def test_a_search_that_would_take_far_too_long_ends_early(monkeypatch: pytest.MonkeyPatch):
    """For what is not so, the samples say."""
    rounds = list[int]()
    whole = lemma.propose

    def propose(problem, net, batch, effort):
        rounds.append(len(batch))
        return whole(problem, net, batch, effort)

    monkeypatch.setattr(lemma, "propose", propose)
    graph = deep(0, curved=False)
    fringe, values = fringe_of(graph), sampled(graph)
    (value,) = fringe.severed.fringe
    lemmas = Lemmas(fringe.enclosure, fringe.tiler, *SETTINGS)
    least = float(values[value][:, 0].min())
    assert lemmas.prove(value, (0, 1.0), least + 0.5, Effort(100)) <= 0
    early = sum(rounds)
    rounds.clear()
    monkeypatch.setattr(lemma, "FAR_TOO_MANY", float("inf"))
    assert lemmas.prove(value, (0, 1.0), least + 0.5, Effort(100)) <= 0
    assert early < sum(rounds)


@pytest.mark.parametrize(
    ("lacking", "counts", "most", "hopeless"),
    [
        ((1.0, 0.8, 0.6, 0.4), (1, 2, 4, 8), 10, False),
        ((3.0, 2.8, 2.6, 2.4), (1, 2, 4, 8), 100, True),
        ((1.0, 1.0, 1.0, 1.0), (1, 2, 4, 8), 10**6, True),
        ((1.0, 0.99, 0.98, 0.97), (4, 4, 3, 3), 10, False),
        ((1.0, 1.0, 1.0), (1, 2, 4), 1, False),
        ((0.0, 0.0, 0.0, 0.0), (1, 2, 4, 8), 100, True),
    ],
)
def test_forecasts(lacking, counts, most: int, hopeless: bool):
    forecast = Forecast(most)
    told = [forecast.hopeless(*one) for one in zip(lacking, counts, strict=True)]
    assert told[-1] is hopeless
    assert not any(told[:-1])


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_verdicts_agree_with_samples(seed: int, curved: bool, monkeypatch: pytest.MonkeyPatch):
    """Without patience, so that fringes are always narrowed."""
    monkeypatch.setattr(deep_module, "PATIENCE", 0.0)
    graph = deep(seed, curved=curved)
    values = sampled(graph)[graph.output]
    threshold = float(values.min()) + 1e-3 * float(np.ptp(values))
    problem = problem_below(graph, threshold)
    assert any(isinstance(n.operator, Table) for n in problem.graph.nodes) == curved
    verdict = decide(problem, network_of(graph), 3.0, NEURONS)
    assert not isinstance(verdict, Verified)


def test_a_clause_is_proved_behind_its_fringe(monkeypatch: pytest.MonkeyPatch):
    """Where a search over signs is not begun; most clauses of the other kind are left alone."""
    monkeypatch.setattr(deep_module, "PATIENCE", 0.0)
    monkeypatch.setattr(NeuronTree, "run", _paused)
    graph = deep(3, curved=False)
    values = sampled(graph)[graph.output]
    threshold = float(values.min()) - 1.15 * float(np.ptp(values))
    whole, left = Fringe.run, list[int]()

    def run(self, *what):
        found = whole(self, *what)
        left.append(found.shape[0])
        return found

    monkeypatch.setattr(Fringe, "run", run)
    verdict = decide(problem_below(graph, threshold), network_of(graph), 200.0, NEURONS)
    assert left == [0]
    assert isinstance(verdict, Verified)
    assert verdict.proof is not None
    assert verdict.proof.lacking


def _paused(self, problem, begin, patience=float("inf")):
    assert patience < float("inf"), "the clause is open behind its fringe"
    waiting = Frontier(problem.xp, 10**9, SignPatterns.cat)
    waiting.push(begin.open)
    return Paused(waiting, (), -1.0, 1.0, 1, 0.0)


def test_narrowed_boxes_count_also_where_they_close_nothing(monkeypatch: pytest.MonkeyPatch):
    """The search that goes on has them at its root, and its proof is no certificate's."""

    def narrowed(self, objective, thresholds, clauses, until):
        self.narrowed = 2
        return clauses

    found, settled = iter([True, False]), list[int]()

    def run(self, problem, begin, patience=float("inf")):
        return _paused(self, problem, begin, patience) if next(found) else None

    def sealed(self):
        settled.append(self.settled)
        return Verified(self.tree)

    monkeypatch.setattr(Fringe, "run", narrowed)
    monkeypatch.setattr(NeuronTree, "run", run)
    monkeypatch.setattr(by_neurons.NeuronSearch, "_sealed", sealed)
    graph = deep(3, curved=False)
    values = sampled(graph)[graph.output]
    threshold = float(values.min()) - 1.15 * float(np.ptp(values))
    assert isinstance(
        decide(problem_below(graph, threshold), network_of(graph), 30.0, NEURONS), Verified
    )
    assert settled == [2]
