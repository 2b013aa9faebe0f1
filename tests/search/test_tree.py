"""The record of a search: children cover their parents but for what cannot be unsafe."""

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bounds.graphs import mixed, mlp, residual
from tests.search.runs import Run, run
from verifier.bounds import Objective
from verifier.certify import ProofTree
from verifier.tensors import numpy_backend, torch_backend

CASES, POINTS = 2, 400


def small_run(seed: int, dtype: str = "float64", rounds: int = 7) -> tuple[Run, np.ndarray]:
    """A search whose thresholds some points meet, and those points: [unsafe, n], all in case 0."""
    generator, xp = np.random.default_rng(seed), numpy_backend(dtype)
    makers = (
        lambda: mlp(seed, (2, 5, 4, 2)),
        lambda: residual(seed),
        lambda: mixed(seed, inputs=2),
    )
    graph = makers[seed % 3]()
    lower = generator.normal(size=(CASES, 2)).astype(np.float32).astype(float)
    upper = lower + np.float32(generator.uniform(0.5, 2.0))
    rows = generator.normal(size=(3, graph.output_size))
    objective = Objective.of(rows, None, np.array([0, 0, 1]), xp)
    points = lower[0] + generator.random((POINTS, 2)) * (upper - lower)[0]
    values = graph.on(numpy_backend()).evaluate(points) @ rows.T
    worst = np.stack([values[:, :2].max(1), values[:, 2]], axis=1)
    # One point in twenty is unsafe by either clause.
    raised = np.quantile(worst, 0.05, axis=0)
    thresholds = np.broadcast_to(raised[[0, 0, 1]], (CASES, 3)).copy()
    unsafe = points[(worst <= raised).any(1)]
    return run(graph, xp, objective, (lower, upper, thresholds), rounds), unsafe


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), dtype=st.sampled_from(["float64", "float32"]))
def test_a_search_loses_nothing(seed: int, dtype: str):
    found, unsafe = small_run(seed, dtype)
    check_structure(found)
    check_points(found, unsafe)


def check_points(found: Run, unsafe: np.ndarray) -> None:
    """Each unsafe point's way down the tree ends in a box that is still open."""
    children, closed = found.children, found.closed
    for point in unsafe:
        places = [0]
        while places:
            node = places.pop()
            assert node not in closed
            if node not in children:
                assert node in found.open
                continue
            lower, upper = found.cut[node]
            assert ((lower <= point) & (point <= upper)).all(), "cut off"
            coordinate, split, below, above = children[node]
            places += [below] * bool(point[coordinate] <= split)
            places += [above] * bool(point[coordinate] >= split)


def check_structure(found: Run) -> None:
    """Every node is split, closed or open; children are the halves of what was left of it."""
    children = found.children
    for node, (coordinate, split, below, above) in children.items():
        lower, upper = found.cut[node]
        assert lower[coordinate] < split < upper[coordinate]
        wide_lower, wide_upper = found.made[node]
        assert (wide_lower <= lower).all()
        assert (upper <= wide_upper).all()
        for child, face in ((below, 1), (above, 0)):
            sides = [lower.copy(), upper.copy()]
            sides[face][coordinate] = split
            np.testing.assert_array_equal(found.made[child], sides)
            assert found.margins[child] >= found.margins[node]
            assert not (found.live[child] & ~found.live[node]).any()
    everything = set(range(found.tree.count))
    assert set(children) | found.closed | found.open == everything
    assert len(children) + len(found.closed) + len(found.open) == len(everything)
    assert found.tree.closed == len(found.closed)
    assert found.bounded == len(children) + len(found.closed)


def test_nodes_are_numbered_in_order():
    for xp in (numpy_backend(), torch_backend("float64")):
        tree = ProofTree(xp, 3)
        first = tree.split(xp.ints([0, 2]), xp.ints([1, 0]), xp.floats([0.5, 0.25]))
        assert xp.numpy(first).tolist() == [3, 4, 5, 6]
        clauses = tree.by_clause(xp.ints([1]), xp.ints([0, 2]))
        assert xp.numpy(clauses).tolist() == [7, 8]
        tree.close(xp.ints([]))
        tree.close(xp.ints([3, 4]))
        assert (tree.count, tree.closed) == (9, 2)
        assert tree.splits[0].node.tolist() == [0, 2]


def test_what_lies_around_nodes():
    """0 is split into 2 and 3, 3 into its clauses 4 and 5, 5 into 6 and 7, 1 into 8 and 9."""
    xp = numpy_backend()
    tree = ProofTree(xp, 2)
    split = partial(tree.split, coordinate=xp.ints([0]), point=xp.floats([0.5]))
    split(xp.ints([0]))
    tree.by_clause(xp.ints([3]), xp.ints([0, 2]))
    split(xp.ints([5]))
    tree.split(*(xp.ints([]), xp.ints([]), xp.floats([])))
    split(xp.ints([1]))
    for nodes, expected in (
        ([5], [0, 3, 5, 6, 7]),
        ([0, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([], []),
    ):
        assert np.flatnonzero(tree.around(np.array(nodes, dtype=np.int64))).tolist() == expected
