"""Parts of operators compute just what the whole operator computes there."""

import numpy as np
import pytest

from tests.ops.cases import Case, operators
from verifier.families import Affine, Nonlinear, Operator

BOTH = [
    pytest.param(case, value, id=label)
    for kind in (Affine, Nonlinear)
    for label, case, value in operators(kind)
]
GENERATOR = np.random.default_rng(7)


def subsets(size: int) -> list[np.ndarray]:
    """A run of neighbours, a few anywhere, and a single one."""
    start = int(GENERATOR.integers(size))
    count = int(GENERATOR.integers(1, size + 1))
    anywhere = np.sort(GENERATOR.permutation(size)[:count])
    return [np.arange(start, min(size, start + 3)), anywhere, np.array([start])]


def evaluate(operator: Operator, inputs: list[np.ndarray], case: Case) -> np.ndarray:
    xp = case.backend()
    placed = operator.on(xp)
    return xp.numpy(placed.evaluate(*(xp.floats(x) for x in inputs)))


@pytest.mark.parametrize(("case", "value"), BOTH)
def test_a_part_is_the_operator_there(case: Case, value: int):
    operator = case.graph.node(value).operator
    inputs = [GENERATOR.uniform(0.5, 1.5, (3, n)) for n in operator.sizes]
    whole = evaluate(operator, inputs, case)
    for index in subsets(operator.size):
        part = operator.part(index)
        if part is None:
            continue
        assert np.isin(index, part.index).all()
        for indices in (part.index, *part.inputs):
            assert (np.diff(indices) > 0).all()
        smaller = [x[:, i] for x, i in zip(inputs, part.inputs, strict=True) if len(i)]
        assert part.operator.sizes == tuple(len(i) for i in part.inputs if len(i))
        found = evaluate(part.operator, smaller, case)
        np.testing.assert_allclose(found, whole[:, part.index], rtol=1e-12, atol=1e-12)
        if isinstance(operator, Affine) and isinstance(part.operator, Affine):
            assert part.operator.terms >= operator.terms - 1
            _same_bias(operator, part.operator, part.index)


def _same_bias(whole: Affine, part: Affine, index: np.ndarray) -> None:
    for one, other in ((whole.bias, part.bias), (whole.bias_bound(), part.bias_bound())):
        expected = np.zeros(len(index)) if one is None else one[index]
        found = np.zeros(len(index)) if other is None else other
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("case", "value"), BOTH)
def test_a_layout_has_a_place_for_each_element(case: Case, value: int):
    operator = case.graph.node(value).operator
    cells = [GENERATOR.integers(0, 9, (n, 2)) for n in operator.sizes]
    found = operator.layout(*cells)
    assert found is None or len(found) == operator.size
    nowhere = operator.layout(*(None for _ in cells))
    assert nowhere is None or len(nowhere) == operator.size
