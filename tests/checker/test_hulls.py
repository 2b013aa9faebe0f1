"""Planes above neurons: as high as they must be, of their own root only, and of any numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checker.handmade import (
    HIDDEN,
    LEAF,
    ROWS,
    TWO,
    accepted,
    certificate,
    prop,
    relus,
    row,
)
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.container import read_container
from verifier.checker.errors import Rejected
from verifier.checker.network import read_network
from verifier.checker.proof import read_proof
from verifier.checker.property import read_property
from verifier.checker.statement import groups
from verifier.checker.walk import Walk

SUM = relus([[1, 1], [1, -1]], [[1, 0]])
"""y_0 = relu(x_0 + x_1), of which a chord says 1 + (x_0 + x_1) / 2, and the plane x_0 + 1."""
LOW = prop("(>= (- Y_0 X_0) 1.01)", inputs=2, outputs=1)


def plane(**changed: Any) -> dict[str, Any]:
    """The plane y <= x_0 + b over the first neuron, and its use in the row: 64 units of 1/64."""
    found = {
        "hull_root": [0],
        "hull_column": [0],
        "hull_below": [0],
        "hull_above": [0],
        "hull_unit": [1 / 64],
        "hull_count": [1],
        "hull_reads": [0],
        "hull_slope": [1],
        "row_hulls": [[64]],
    }
    return row(0) | found | changed


def test_a_plane_refutes_what_chords_do_not():
    for node in (LEAF, ROWS, HIDDEN, HIDDEN | ROWS):
        assert accepted(SUM, LOW, node=[node], **plane()) == "float32"
        assert accepted(SUM, LOW, node=[node], **plane(row_hulls=[[0]])) is None
    assert accepted(SUM, LOW, node=[LEAF], **plane(row_hulls=[[63]])) is None
    assert accepted(SUM, LOW, node=[LEAF], **plane(hull_unit=[1 / 63])) is None
    assert accepted(SUM, LOW, node=[LEAF], **row(0)) is None
    false = prop("(>= (- Y_0 X_0) 0.99)", inputs=2, outputs=1)
    assert accepted(SUM, false, node=[LEAF], **plane()) is None


@pytest.mark.parametrize("name", ["hull_slope", "hull_below", "hull_above", "hull_unit"])
@pytest.mark.parametrize("value", [0.25, 0.5, 1.5, 2, 30, 3e38])
def test_no_numbers_prove_what_is_false(name, value):
    false = prop("(>= (- Y_0 X_0) 0.99)", inputs=2, outputs=1)
    for taken in (1, 64, 255):
        changed = {name: [value], "row_hulls": [[taken]]}
        assert accepted(SUM, false, node=[LEAF], **plane(**changed)) is None


def test_a_plane_is_that_of_its_root():
    """In the second box, x <= -1/2, the plane would be lower."""
    boxes = [
        " ".join(f"(>= X_{i} {a}) (<= X_{i} {b})" for i in range(2))
        for a, b in ((-1, 1), (-1, -0.5))
    ]
    names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0"))
    low = f"(assert (or (and {boxes[0]}) (and {boxes[1]})))(assert (>= (- Y_0 X_0) 1.01))"
    text = (names + low).encode()
    both: dict[str, Any] = {"roots": [0, 1], "node": [LEAF, ROWS]}
    assert accepted(SUM, text, **both, **plane()) == "float32"
    assert accepted(SUM, text, **both, **plane(hull_root=[1])) is None
    records = plane() | {"row_node": [0, 1], "row": [0, 0], "row_alpha": [(0, 0)] * 2}
    records |= {"beta_count": [0, 0], "row_hulls": [[64], [1]]}
    both["node"] = [LEAF, LEAF]
    assert accepted(SUM, text, **both, **records) is None
    records["row_hulls"] = [[64], [0]]
    assert accepted(SUM, text, **both, **records) == "float32"


REJECTED = {
    "another root": ({"hull_root": [1]}, "hull_root: there are 1 roots"),
    "no column": ({"hull_column": [2]}, "hull_column: there is no such column"),
    "no input or column": ({"hull_reads": [4]}, "hull_reads: neither an input nor a column"),
    "no slope": ({"hull_slope": []}, "hull_slope.npy: its size does not fit that of hull_reads"),
    "too few terms": ({"hull_count": [0]}, "hull_reads: its length must be the sum of hull_count"),
    "a negative unit": ({"hull_unit": [-1]}, "hull_unit: a number is negative"),
    "infinite": ({"hull_slope": [np.inf]}, "hull_slope.npy: infinite, or not a number"),
    "no number": ({"hull_above": [np.nan]}, "hull_above.npy: infinite, or not a number"),
    "negative": ({"hull_below": [-0.5]}, "hull_below: a number is negative"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_does_not_fit_is_refused(name):
    changed, message = REJECTED[name]
    arrays = {"roots": [0], "node": [LEAF], **plane(**changed)}
    neurons = arrays.pop("neurons")
    container = certificate(SUM, LOW, neurons=neurons, **arrays)
    network = read_network(SUM, Arithmetic())
    with pytest.raises(Rejected, match=message):
        read_proof(read_container(container), network)


def test_an_array_without_axes_is_refused():
    container = read_container(certificate(SUM, LOW, neurons=TWO, node=[LEAF]))
    for name in ("hull_root", "column_atom", "row_node"):
        odd = replace(container, arrays=container.arrays | {name: np.array(0, dtype=np.uint32)})
        with pytest.raises(Rejected, match=f"{name}: a number, not an array"):
            read_proof(odd, read_network(SUM, Arithmetic()))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), single=st.booleans())
def test_planes_lie_above_all_points(seed, single):
    """Of any numbers; in fractions they lie as high, but for rounding."""
    g = np.random.default_rng(seed)
    weights = [g.normal(size=size).astype(np.float32) for size in ((4, 2), (4, 4))]
    bias = [g.normal(size=4).astype(np.float32) for _ in weights]
    constants = {"w": weights[0].T, "b": bias[0], "v": weights[1].T, "c": bias[1]}
    network = _two_layers(constants)
    text = prop("(<= Y_0 -1000)", inputs=2, outputs=4)
    count, terms = 5, g.integers(0, 6, 5)
    proof = {
        "roots": [0],
        "node": [HIDDEN | ROWS],
        "neurons": [("r", 4), ("t", 4)],
        "column_atom": [0] * 4 + [1] * 4,
        "column_neuron": [0, 1, 2, 3] * 2,
        "hull_root": [0] * count,
        "hull_column": g.integers(0, 8, count),
        "hull_below": g.random(count) * g.integers(0, 3, count),
        "hull_above": g.random(count) * g.integers(0, 3, count),
        "hull_unit": [1] * count,
        "hull_count": terms,
        "hull_reads": g.integers(0, 10, terms.sum()),
        "hull_slope": np.float32(g.normal(size=terms.sum())),
        "row_node": [0],
        "row": [0],
        "row_alpha": np.zeros((1, 8)),
        "beta_count": [0],
        "row_hulls": np.ones((1, count)),
    }
    found = _found(network, text, proof, single=single)
    points = np.concatenate([g.uniform(-1, 1, (3000, 2)), g.choice([-1.0, 0.0, 1.0], (200, 2))])
    first = np.maximum(points @ weights[0].T.astype(float) + bias[0], 0)
    second = np.maximum(first @ weights[1].T.astype(float) + bias[1], 0)
    values = np.concatenate([points, first, second], 1)
    start = np.concatenate([[0], np.cumsum(terms)])
    for k in range(count):
        some = slice(start[k], start[k + 1])
        slopes = np.float32(proof["hull_slope"][some]).astype(float)
        height = values[:, 2 + proof["hull_column"][k]]
        height = height - values[:, proof["hull_reads"][some]] @ slopes
        assert height.max() <= found[k]
    exact = np.array([float(x) for x in _found(network, text, proof, exact=True)])
    assert (found >= exact).all()
    assert single or np.allclose(found, exact)


def _two_layers(constants: dict[str, np.ndarray]) -> bytes:
    from onnx.helper import make_node as node

    from tests.checker.onnx_files import file

    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["s"]),
        node("Relu", ["s"], ["t"]),
        node("Identity", ["t"], ["y"]),
    ]
    return file(nodes, [1, 2], constants)


def _found(
    network: bytes, text: bytes, proof: dict[str, Any], *, single: bool = False, exact: bool = False
) -> np.ndarray:
    """The b of all planes."""
    number = Arithmetic(exact)
    arrays = {k: v for k, v in proof.items() if k != "neurons"}
    container = read_container(certificate(network, text, neurons=proof["neurons"], **arrays))
    read = read_network(network, number)
    tree = read_proof(container, read)
    (group,) = groups(read_property(text), tree["roots"], number, float("inf"))
    walk = Walk(read, tree, group, number, single)
    (root,) = walk.roots(1)
    walk.look(root)
    return walk.hulls.bias
