"""Boxes of subproblems where the clause's rows are low: no such point is lost, and they help."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mlp, placed
from tests.cli.made import save
from tests.soundness.queries import Clause, outputs_at_least, text_of
from verifier import Options, verify
from verifier.bounds import Objective, crown
from verifier.bounds.root import refine_root
from verifier.certify import ProofTree
from verifier.search import deep, hulling, race
from verifier.search.hull_round import bound_subproblems
from verifier.search.neuron_round import bound_neurons
from verifier.search.neuron_split import NeuronProblem, Refreshing, split_neurons
from verifier.search.neuron_tree import NeuronTree, Paused
from verifier.search.race import SUPPOSED
from verifier.search.refresh import Refresher
from verifier.search.sign_patterns import SignPatterns
from verifier.search.strategy import Strategy, decide
from verifier.search.workers import Workers
from verifier.settings import SearchSettings
from verifier.tensors import Backend, numpy_backend, single_precision, torch_backend
from verifier.verdict import Verified, Violated

SEEDS = st.integers(0, 10**6)


@pytest.fixture(autouse=True)
def no_hulls(monkeypatch):
    """Turns begin at once."""
    monkeypatch.setattr(hulling, "STEPS", 0)
    monkeypatch.setattr(hulling, "FIRST", 1e-9)


NEURONS = Strategy("neurons", "numpy", "float64", "cpu", "")
EVERY = Refreshing(64, 8)
POINTS = 1000


def problem_in(
    seed: int,
    sizes: tuple[int, ...],
    xp: Backend,
    workers: Workers,
    rows: int = 1,
    leak: float = 0.0,
) -> NeuronProblem:
    """Unsafe where some rows of the outputs are all low, as few sampled points have them."""
    numbers, graph = np.random.default_rng(seed), mlp(seed, sizes, leak).on(xp)
    box = placed(xp, *boxes("normal", [seed], 1, sizes[0]))
    outputs = numbers.normal(size=(rows, sizes[-1])).astype(np.float32).astype(float)
    points = points_of(box, xp, seed)
    values = xp.numpy(graph.evaluate(xp.floats(points))) @ outputs.T
    thresholds = np.quantile(values, 0.3 + 0.2 * (rows > 1), axis=0)
    objective = Objective.of(outputs, None, np.zeros(rows, int), xp)
    plain = crown(graph, box, SETTINGS).enclosure
    how = single_precision(xp), workers
    reducer = refine_root(graph, SETTINGS, plain, lambda *_: None, how)
    made = (SETTINGS, SearchSettings())
    found = NeuronProblem.of(reducer.enclosure, objective, xp.doubles(thresholds), made, reducer)
    return replace(found, refreshing=EVERY)


def points_of(box, xp: Backend, seed: int) -> np.ndarray:
    low, high = xp.numpy(box.lower)[0], xp.numpy(box.upper)[0]
    share = np.random.default_rng(seed).random((POINTS, len(low)))
    share[: POINTS // 4] = np.round(share[: POINTS // 4])
    return low + share * (high - low)


def inputs_at(problem: NeuronProblem, points: np.ndarray) -> np.ndarray:
    """The inputs of the problem's neurons, in their order: [points, neurons]."""
    graph = problem.root.graph
    values = graph.values(graph.xp.floats(points))
    found = [graph.xp.numpy(values[n.source])[:, graph.xp.numpy(n.index)] for n in problem.layers]
    return np.concatenate(found, 1).astype(float)


SMALL_PROBLEMS = {
    "seed": SEEDS,
    "make": st.sampled_from([numpy_backend, torch_backend]),
    "sizes": st.sampled_from([(4, 12, 2), (3, 6, 5, 4, 2)]),
    "rows": st.sampled_from([1, 2]),
    "leak": st.sampled_from([0.0, 0.1]),
}
"""What ``problem_in`` is asked for."""


def loses_no_low_point(
    problem: NeuronProblem, seed: int, workers: Workers, roots: SignPatterns | None = None
) -> bool:
    """Is every point with low rows in a subproblem that some rounds leave open?

    ``roots``: where not to begin with the relaxations' own slopes.
    """
    xp = problem.root.graph.xp
    graph, tree, fast = problem.root.graph, ProofTree(xp, 1), problem.xp
    points = points_of(problem.root.boxes[0], xp, seed)
    inputs = inputs_at(problem, points)
    rows_at = xp.numpy(graph.evaluate(xp.floats(points)))
    outputs = rows_at @ xp.numpy(problem.objective.outputs).T
    low = (outputs <= xp.numpy(problem.thresholds)).all(1)
    batch, stuck = roots or problem.roots(xp.ints([0]), xp.ints([0])), []
    for _ in range(4):
        found = bound_subproblems(problem, batch, 8, workers)
        batch = found.open
        stuck += list(fast.numpy(found.exhausted.phase))
        if not len(batch):
            break
        batch = split_neurons(problem, batch, tree)
    sides = [kept(inputs, phase) for phase in [*fast.numpy(batch.phase), *stuck]]
    return bool((np.any([low & False, *sides], 0) | ~low).all())


@settings(deadline=None, max_examples=10)
@given(**SMALL_PROBLEMS)
def test_no_point_is_lost_that_has_the_signs_and_low_rows(seed, make, sizes, rows, leak):
    xp = make("float64")
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, Workers(xp) as workers:
        problem = problem_in(seed, sizes, xp, workers, rows, leak)
        assume(problem.reduced is not None)
        graph, tree, fast = problem.root.graph, ProofTree(xp, 1), problem.xp
        points = points_of(problem.root.boxes[0], xp, seed)
        inputs = inputs_at(problem, points)
        outputs = (
            xp.numpy(graph.evaluate(xp.floats(points))) @ xp.numpy(problem.objective.outputs).T
        )
        low = (outputs <= xp.numpy(problem.thresholds)).all(1)
        assert low.any() or rows > 1
        batch, stuck = problem.roots(xp.ints([0]), xp.ints([0])), []
        for _ in range(4):
            found = bound_neurons(problem, batch, 8, workers)
            batch = found.open
            stuck += list(fast.numpy(found.exhausted.phase))
            if not len(batch):
                break
            for i in range(len(batch)):
                phase = fast.numpy(batch.phase)[i]
                # A sign that is implied holds for the points in question, whatever was split.
                mine = low & kept(inputs, phase)
                box = fast.numpy(batch.lower)[i], fast.numpy(batch.upper)[i]
                assert (inputs[mine] >= box[0] - 1e-8).all()
                assert (inputs[mine] <= box[1] + 1e-8).all()
            batch = split_neurons(problem, batch, tree)
        # All low points are in some open subproblem.
        sides = [kept(inputs, phase) for phase in [*fast.numpy(batch.phase), *stuck]]
        assert (np.any([low & False, *sides], 0) | ~low).all()


def kept(inputs: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Which points have the signs of a subproblem."""
    return ((phase == 0) | (phase * inputs >= -1e-9)).all(1)


@pytest.mark.parametrize("sizes", [(4, 12, 2), (3, 6, 5, 4, 2)])
def test_boxes_get_tighter_and_never_looser(sizes):
    xp = numpy_backend()
    with Workers(xp) as workers:
        gained = 0.0
        for seed in range(6):
            problem = problem_in(seed, sizes, xp, workers)
            problem = replace(problem, thresholds=problem.thresholds - 0.5)
            if problem.reduced is None:
                continue
            batch = problem.roots(xp.ints([0]), xp.ints([0]))
            passed = -np.ones((1, problem.neurons))
            tight, _ = Refresher(problem, problem.reduced, EVERY, workers).run(
                _with_margin(batch), passed
            )
            assert (tight.lower >= batch.lower).all()
            assert (tight.upper <= batch.upper).all()
            gained += 1 - ((tight.upper - tight.lower).sum() / (batch.upper - batch.lower).sum())
    assert gained / 6 > 0.05


def _with_margin(batch: SignPatterns) -> SignPatterns:
    batch.margin[:] = -1.0
    return batch


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [-0.02, 0.15, 0.3])
@pytest.mark.parametrize("sizes", [(40, 24, 1), (40, 8, 6, 5, 1)])
def test_the_verdict_is_the_same_whether_boxes_are_tightened_or_not(
    seed, share, sizes, monkeypatch
):
    problem, network = outputs_at_least(mlp(seed, sizes), seed, share)
    plain = decide(problem, network, 60.0, NEURONS)
    monkeypatch.setattr(race, "UNTIL", 1e-4)
    monkeypatch.setattr(deep, "has_hidden", lambda *_: False)
    tight = decide(problem, network, 60.0, NEURONS)
    assert isinstance(plain, Verified | Violated)
    assert type(plain) is type(tight)


def test_one_hidden_layer_takes_far_fewer_subproblems(monkeypatch):
    counts = []
    for until in (float("inf"), 1e-6):
        monkeypatch.setattr(race, "UNTIL", until)
        monkeypatch.setattr(race, "TURN", 1e9)
        problem, network = outputs_at_least(mlp(0, (40, 60, 1)), 0, 0.15)
        verdict = decide(problem, network, 120.0, NEURONS)
        assert isinstance(verdict, Verified)
        assert verdict.proof is not None
        counts.append(verdict.proof.count)
        assert (verdict.proof.lacking == SUPPOSED) is (until < 1)
    assert counts[1] * 5 < counts[0]


def test_a_search_that_goes_on_counts_what_is_open_of_the_whole_tree(monkeypatch):
    """Else that which was paused more often seems to have less open."""
    monkeypatch.setattr(race, "UNTIL", 1e-4)
    monkeypatch.setattr(race, "TURN", 1.0)
    run, shares = NeuronTree.run, []

    def running(*given):
        found = run(*given)
        if isinstance(found, Paused):
            shares.append(
                (found.share, sum(float((2.0**-x.depth).sum()) for x in found.open.chunks()))
            )
        return found

    monkeypatch.setattr(NeuronTree, "run", running)
    problem, network = outputs_at_least(mlp(0, (40, 60, 1)), 0, 0.15)
    assert isinstance(decide(problem, network, 120.0, NEURONS), Verified)
    assert len(shares) > 2
    assert all(told == pytest.approx(of_one_clause) for told, of_one_clause in shares)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (Options(semantics="float32"), True),
        (Options(semantics="real"), True),
        (Options(keep=True), True),
        (Options(), False),
    ],
)
def test_boxes_that_no_certificate_holds_are_left_alone_where_one_is_wanted(
    options, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(race, "UNTIL", 1e-6)
    monkeypatch.setattr(race, "TURN", 1e9)
    numbers = np.random.default_rng(1)
    shapes = {"a": (16, 12), "b": (12,), "c": (12, 1)}
    arrays = {k: numbers.normal(size=s).astype(np.float32) / 4 for k, s in shapes.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "c"], ["y"]),
    ]
    ends = {"x": [1, 16]}, {"y": [1, 1]}
    net = save(tmp_path / "net.onnx", nodes, arrays, inputs=ends[0], outputs=ends[1])
    low, high = -np.ones(16), np.ones(16)
    text = text_of([(low, high)], [Clause(-np.ones((1, 1)), np.array([-0.95]))])
    prop = tmp_path / "p.vnnlib"
    prop.write_text(text)
    verdict = verify(net, prop, timeout=30.0, options=options).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert (verdict.certificate.semantics is not None) is found
    assert (SUPPOSED in verdict.certificate.note) is not found


def test_what_was_taken_out_comes_back():
    xp = numpy_backend()
    tree = ProofTree(xp, 1)
    mark = tree.mark()
    first = tree.split(np.zeros(1, int), np.zeros(1, int), np.zeros(1), of_neurons=True)
    tree.close(first[:1])
    branch = tree.restart(mark)
    assert (tree.count, tree.closed) == (1, 0)
    tree.lacking = SUPPOSED
    tree.close(tree.split(np.zeros(1, int), np.ones(1, int), np.zeros(1), of_neurons=True))
    tree.resume(mark, branch)
    assert (tree.count, tree.closed, tree.lacking) == (3, 1, "")
    assert [s.coordinate.tolist() for s in tree.splits] == [[0]]
