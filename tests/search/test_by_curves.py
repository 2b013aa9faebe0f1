"""The search over cuts of curves: it loses no unsafe point, and decides what boxes leave open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.graphs import curved, mixed
from tests.bounds.test_suppose import values_of
from tests.soundness.queries import Clause, problem_of, settle, text_of
from verifier.bounds import Objective, crown
from verifier.certify import ProofTree
from verifier.graph import Builder, Graph, Value
from verifier.ops.linear import Linear
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.sum import Sum
from verifier.search.curve_round import bound_cuts, refine
from verifier.search.curve_split import CurveProblem, Cuts, is_curved, split_cuts
from verifier.search.product_root import product_root
from verifier.search.strategy import choose
from verifier.sets import Box
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import numpy_backend
from verifier.verdict import Verified, Violated

XP = numpy_backend()
POINTS = 4000


def problem_with(
    graph: Graph, low: np.ndarray, seed: int
) -> tuple[CurveProblem, Cuts, list[np.ndarray]]:
    """Two clauses, of two rows and of one; their roots, and for each point the clauses it meets."""
    numbers = np.random.default_rng(seed)
    rows = numbers.normal(size=(3, graph.output_size))
    objective = Objective.of(rows, None, np.array([0, 0, 1]), XP)
    points = low + numbers.random((POINTS, graph.input_size)) * 0.8
    heights = values_of(graph, points)[-1] @ rows.T
    worst = np.stack([heights[:, :2].max(1), heights[:, 2]], 1)
    limit = np.quantile(worst, 0.02, axis=0)
    thresholds = limit[[0, 0, 1]]
    effort = BoundSettings(hidden_steps=2, product_steps=3)
    plain = crown(graph, Box(low, low + 0.8), effort).enclosure
    root = product_root(plain, objective, thresholds, np.arange(2), effort)
    assert list(root.clauses) == [0, 1]
    problem = CurveProblem.of(root, objective, thresholds, (effort, SearchSettings()))
    tree = ProofTree(XP, 1)
    cuts = problem.roots(root.clauses, tree.by_clause(np.zeros(1, dtype=np.int64), root.clauses))
    return problem, cuts, [points[worst[:, k] <= limit[k]] for k in range(2)]


def inside(problem: CurveProblem, cuts: Cuts, values: list[np.ndarray], clause: int) -> np.ndarray:
    """Which points are in some open subproblem of a clause."""
    found = np.zeros(len(values[0]), dtype=bool)
    for k in np.flatnonzero(cuts.clause == clause):
        here = np.ones(len(found), dtype=bool)
        for layer in problem.layers:
            x = values[layer.source]
            low, high = cuts.lower[k, layer.place], cuts.upper[k, layer.place]
            here &= ((x >= low - 1e-9) & (x <= high + 1e-9)).all(1)
        found |= here
    return found


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_no_unsafe_point_is_lost(seed: int):
    graph = curved(seed, (3, 6, 5, 2), 2.5).on(XP)
    low = np.random.default_rng(seed).normal(size=(1, 3))
    problem, cuts, unsafe = problem_with(graph, low, seed)
    tree = ProofTree(XP, 1000)
    for turn in range(4):
        found = bound_cuts(problem, cuts, 4)
        cuts = found.open
        if turn % 2:
            parts = [refine(problem, cuts[i : i + 1], 3) for i in range(min(len(cuts), 3))]
            kept = [part for part in parts if part is not None]
            cuts = Cuts.cat([*kept, cuts[len(parts) :]], XP)
        cuts = Cuts.cat(
            [split_cuts(problem, cuts[cuts.branch >= 0], tree), cuts[cuts.branch < 0]], XP
        )
        for clause, points in enumerate(unsafe):
            assert inside(problem, cuts, values_of(graph, points), clause).all()


@pytest.mark.parametrize("seed", range(6))
def test_small_networks_are_decided_on_both_sides(seed):
    """Sampled least values, a little less and a little more, with one row and with two."""
    numbers = np.random.default_rng(seed)
    graph = curved(seed, (3, 8, 6, 2), 2.0)
    low = numbers.normal(size=3)
    box = low, low + 0.7
    rows = numbers.normal(size=(1 + seed % 2, 2))
    heights = graph.on(XP).evaluate(low + numbers.random((20000, 3)) * 0.7) @ rows.T
    least = float(heights.max(1).min())
    for threshold, verdict in ((least - 0.3, Verified), (least + 1e-3, Violated)):
        clause = Clause(rows, np.full(len(rows), threshold))
        found = settle(graph, text_of([box], [clause]), "neurons", seconds=60.0)
        assert isinstance(found, verdict), (threshold, found)


@pytest.mark.parametrize("how", [("numpy", "float32"), ("torch", "float64")])
def test_a_proof_that_needs_cuts_has_them(how):
    """Neither the root's lines nor boxes where the property fails prove this one."""
    graph = curved(0, (3, 8, 6, 2), 2.0)
    numbers = np.random.default_rng(0)
    low = numbers.normal(size=3)
    row = numbers.normal(size=(1, 2))
    points = low + numbers.random((20000, 3)) * 0.7
    least = float((graph.on(XP).evaluate(points) @ row.T).min())
    text = text_of([(low, low + 0.7)], [Clause(row, np.full(1, least - 0.05))])
    found = settle(graph, text, "neurons", how, seconds=60.0)
    assert isinstance(found, Verified)
    assert found.proof is not None
    assert len(found.proof.splits) > 0
    assert found.proof.lacking


def test_a_neuron_that_two_functions_read_is_cut_for_both():
    """Sigmoid and Tanh of one value, whose difference is below 0.4 by much less than lines see."""
    builder = Builder(2)
    value = builder.add("", Linear.of(np.array([[1.5, -1.0], [0.5, 2.0]])), [Value(0, (2,))])
    parts = [builder.add("", kind.of(2), [value]) for kind in (Sigmoid, Tanh)]
    both = builder.add("", Sum.of(2, (-1, 1)), parts)
    graph = builder.finish(builder.add("", Linear.of(np.ones((1, 2))), [both], (1,)))
    box = -np.ones(2), np.ones(2)
    points = np.random.default_rng(1).uniform(*box, size=(50000, 2))
    greatest = float(graph.on(XP).evaluate(points).max())
    for threshold, verdict in ((greatest + 0.02, Verified), (greatest - 1e-3, Violated)):
        clause = Clause(-np.ones((1, 1)), np.full(1, -threshold))
        found = settle(graph, text_of([box], [clause]), "neurons", seconds=60.0)
        assert isinstance(found, verdict)
        if isinstance(found, Verified):
            assert found.proof is not None
            assert len(found.proof.splits) > 0


def test_networks_of_curves_over_many_inputs_are_cut():
    box = np.zeros(40), np.ones(40)
    for graph, search in (
        (curved(0, (40, 5, 2)), "neurons"),
        (mixed(3, inputs=2), "inputs"),
        (curved(0, (4, 5, 2)), "inputs"),
    ):
        inputs, outputs = graph.input_size, graph.output_size
        clause = Clause(np.ones((1, outputs)), np.zeros(1))
        text = text_of([(box[0][:inputs], box[1][:inputs])], [clause])
        assert choose(problem_of(graph, text)).search == search


def test_what_is_cut_are_functions_of_one_number_that_do_not_jump():
    low = np.zeros((1, 2))
    one = {"Relu", "Sigmoid", "Tanh", "Clip", "Reciprocal"}
    for seed in range(12):
        graph = mixed(seed, inputs=2).on(XP)
        enclosure = crown(graph, Box(low, low + 0.1), BoundSettings()).enclosure
        kinds = {type(graph.node(v).operator).__name__ for v in graph.nonlinear}
        assert is_curved(enclosure) == (kinds <= one and not kinds <= {"Relu"}), kinds
