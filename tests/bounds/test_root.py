"""Refined roots: they hold, are no looser than CROWN's, and what they settle can be shown."""

import numpy as np
from hypothesis import given

from tests.bounds.checks import SETTINGS
from tests.bounds.graphs import boxes, mlp, placed
from tests.bounds.test_reduced import SEEDS, XP, Case, case_of
from verifier.bounds import Enclosure, crown
from verifier.bounds.crown import unit_rows, unstable_mask
from verifier.bounds.optimise import Rows, optimise
from verifier.bounds.root import refine_root
from verifier.sets import Owner
from verifier.settings import ONE_BY_ONE
from verifier.tensors import numpy_backend


@given(SEEDS)
def test_a_refined_root_contains_what_points_give_and_is_as_tight_as_crown(seed: int):
    told: list[tuple[int, np.ndarray, np.ndarray, dict[int, np.ndarray]]] = []
    case = case_of(seed, record=lambda _, v, which, tilts: told.append((v, *which, tilts)))
    graph, box = case.root.graph, case.root.boxes[0]
    plain = crown(graph, box, SETTINGS).enclosure
    points = np.random.default_rng(seed).uniform(box.lower, box.upper, (200, graph.input_size))
    for value, x in enumerate(graph.values(points)):
        assert (case.root.boxes[value].lower <= x).all()
        assert (x <= case.root.boxes[value].upper).all()
    for value in graph.relaxed_inputs:
        assert (case.root.boxes[value].lower >= plain.boxes[value].lower).all()
        assert (case.root.boxes[value].upper <= plain.boxes[value].upper).all()
    for value, neuron, sign, tilts in told:
        assert (abs(sign) == 1).all()
        assert len(neuron) == len(sign)
        assert all(np.array_equal(np.rint(t * 255) / 255, t) for t in tilts.values())
        assert value in graph.relaxed_inputs


def promised(case: Case, told: set[tuple[int, int]]) -> int:
    """Neurons that are linear by plain CROWN, by no row of their own on the root's boxes."""
    graph, broken = case.root.graph, 0
    own = Enclosure.over(graph, case.root.boxes[0])
    for value in range(1, len(graph.nodes) + 1):
        assert own.step() == value
        root = case.root.boxes[value]
        if value in graph.relaxed_inputs and not graph.affine_of_input[value]:
            stable = ~unstable_mask(case.root, value)[0] & unstable_mask(own, value)[0]
            neuron = np.flatnonzero(stable)
            sign = np.where(root.lower[0, neuron] >= 0, 1.0, -1.0)
            rows = unit_rows(case.root, value, (neuron * 0, neuron, sign))
            least = optimise(case.root, rows, 1, SETTINGS, {}).least if len(neuron) else []
            for j, bound in zip(neuron, least, strict=True):
                broken += bound < 0
                assert bound >= 0 or (value, int(j)) in told
        own.boxes[value] = root
    return broken


def test_whatever_is_linear_at_the_root_can_be_shown_there():
    """Tighter boxes may give worse lines: what plain CROWN proved is then recorded."""
    broken = 0
    for seed in range(60):
        told: set[tuple[int, int]] = set()

        def note(_, value, which, tilts, told=told) -> None:
            told.update((value, int(j)) for j in which[0])

        graph = mlp(seed, (4, 12, 12, 12, 2)).on(XP)
        box = placed(XP, *boxes("normal", [seed], 1, 4))
        plain = crown(graph, box, SETTINGS).enclosure
        how = (numpy_backend("float64"), ONE_BY_ONE)
        reducer = refine_root(graph, SETTINGS, plain, note, how)
        rows = Rows({graph.output: np.eye(2)}, np.zeros(2), Owner.equal(1, 2, XP))
        case = Case(reducer.enclosure, reducer, rows, reducer.net(reducer.tail(rows)))
        broken += promised(case, told)
    assert broken > 0


def test_roots_are_tighter_than_crown_somewhere():
    case = case_of(2)
    plain = crown(case.root.graph, case.root.boxes[0], SETTINGS).enclosure
    gain = [
        (plain.boxes[v].upper - case.root.boxes[v].upper).max()
        for v in case.root.graph.relaxed_inputs
    ]
    assert max(gain) > 1e-3
