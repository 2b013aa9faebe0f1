"""What the records of a tree prove: mixes, slopes, hidden bounds; and what float32 loses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.handmade import (
    CLIP,
    COLUMNS,
    HIDDEN,
    INPUT,
    LEAF,
    MIX,
    ROWS,
    SIZE,
    accepted,
    certificate,
    prop,
    relus,
    row,
    split,
    verdict,
)
from tests.checker.onnx_files import file
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.container import read_container
from verifier.checker.network import read_network
from verifier.checker.proof import read_proof
from verifier.checker.property import read_property
from verifier.checker.statement import groups
from verifier.checker.walk import Walk

# ----------------------------------------------------------------------------------------- mixes


def mix(rows, weights, at=0, **tree):
    return {
        **tree,
        "row_node": [at],
        "row": [MIX],
        "row_alpha": np.zeros((1, 0)),
        "beta_count": [0],
        "mix_count": [len(rows)],
        "mix_row": rows,
        "mix_weight": weights,
    }


LINES = relus([[1], [1]], [[1, 0], [0, 1]], bias=(3, 3))
"""x + 3, twice."""
BOTH = prop("(and (<= Y_0 2.9) (>= Y_1 3.1))")
"""Rows -y_1 <= -3.1 and y_0 <= 2.9 in order of their coefficients: (0, -1) < (1, 0)."""


def test_a_sum_of_rows_refutes_what_no_row_does():
    assert accepted(LINES, BOTH, **mix([0, 1], [1.0, 1.0], node=[LEAF])) == "float32"
    assert accepted(LINES, BOTH, **mix([0, 1], [0.5, 0.5], node=[LEAF])) == "float32"
    for weights in ([1.0, 0.0], [0.0, 1.0], [1.0, 3.0], [0.0, 0.0]):
        assert accepted(LINES, BOTH, **mix([0, 1], weights, node=[LEAF])) is None
    assert accepted(LINES, BOTH, **mix([0], [1.0], node=[LEAF])) is None
    assert accepted(LINES, BOTH, **mix([0, 7], [1.0, 1.0], node=[LEAF])) is None
    false = prop("(and (<= Y_0 3) (>= Y_1 3))")
    assert accepted(LINES, false, **mix([0, 1], [1.0, 1.0], node=[LEAF])) is None


def test_a_mix_is_about_the_clause_of_its_first_row():
    """Rows of other clauses are left out of it: what is left is one row."""
    apart = prop("(or (<= Y_0 2.9) (>= Y_1 3.1))")
    report = verdict(LINES, apart, **mix([0, 1], [1.0, 1.0], node=[LEAF]))
    assert report.semantics is None
    text = prop("(or (<= Y_0 1.9) (and (<= Y_0 2.9) (>= Y_1 3.1)))")
    report = verdict(LINES, text, **mix([1, 2], [1.0, 1.0], node=[LEAF]))
    assert [f.step for f in report.failures] == ["node 0: clause 0 is not refuted"]
    report = verdict(LINES, text, **mix([0, 1, 2], [1.0, 1.0, 1.0], node=[LEAF]))
    assert [f.step for f in report.failures] == ["node 0: clause 1 is not refuted"]
    assert accepted(LINES, text, **mix([1, 2], [1.0, 1.0], node=[ROWS])) == "float32"


def test_a_mix_gives_no_plane_of_a_row():
    """The children could cut by y_0 + -y_1 only if it were a row."""
    tree = split(children=(CLIP, CLIP))
    assert accepted(LINES, BOTH, **mix([0, 1], [1.0, 1.0], **tree)) == "float32"
    assert accepted(LINES, BOTH, **mix([0, 1], [1.0, 2.0], **tree)) is None
    assert accepted(LINES, BOTH, **mix([0, 1], [0.5, 0.5 + 2**-30], **tree)) == "float32"
    true = prop("(and (<= Y_0 3) (>= Y_1 3))")
    assert accepted(LINES, true, **mix([0, 1], [2.0, 1.0], **tree)) is None


# ------------------------------------------------------------------------------------- own slopes


def test_slopes_of_a_record_are_used():
    """|x| + x/2: slopes a and b give (a - b) x + x/2, nearly 0 for 0 and 128; boxes say -1/2."""
    low = prop("(<= (+ Y_0 (* 0.5 X_0)) -0.01)")
    assert accepted(SIZE, low, node=[LEAF], **row(0, alpha=(0, 128))) == "float32"
    assert accepted(SIZE, low, node=[ROWS], **row(0, alpha=(0, 255))) is None
    assert accepted(SIZE, low, node=[ROWS], **row(0, alpha=(255, 0))) is None
    false = prop("(<= (+ Y_0 (* 0.5 X_0)) 0.001)")
    assert accepted(SIZE, false, node=[ROWS], **row(0, alpha=(0, 128))) is None
    with_both: dict[str, Any] = {
        k: v * 2 for k, v in row(0).items() if k.startswith(("row", "beta"))
    }
    with_both |= COLUMNS | {"row_alpha": [(255, 0), (0, 128)]}
    assert accepted(SIZE, low, node=[LEAF], **with_both) == "float32"


def test_records_of_rows_that_there_are_not_do_nothing():
    assert accepted(SIZE, prop("(<= Y_0 -1)"), node=[LEAF], **row(0, number=1)) is None
    assert accepted(SIZE, prop("(<= Y_0 -1)"), node=[ROWS], **row(0, number=1)) == "float32"


def test_the_plane_of_a_record_bounds_the_children_s_box():
    """y_0 >= -x by slopes 0 and 255: y_0 <= 1/2 leaves x >= -1/2 in the children."""
    text = prop("(and (<= Y_0 0.5) (<= Y_1 -0.6))", box=(-2, 1))
    record = row(0, number=1, alpha=(0, 255))
    tree = split(point=-0.75, children=(CLIP, CLIP | ROWS))
    assert accepted(SIZE, text, **tree, **record) == "float32"
    for children in ((CLIP, CLIP), (CLIP, ROWS), (LEAF, CLIP | ROWS)):
        assert accepted(SIZE, text, **split(point=-0.75, children=children), **record) is None
    assert accepted(SIZE, text, **tree, **row(0, number=1, alpha=(255, 0))) is None


# ------------------------------------------------------------------------------------ hidden boxes


def deep(bias=0.0):
    """y = relu(relu(x) - relu(x) + bias - ...): z = r_0 - r_1 is x - x, by intervals -2 to 2."""
    constants = {
        "w": np.array([[1, 1]], np.float32),
        "b": np.array([3, 3], np.float32),
        "v": np.array([[1], [-1]], np.float32),
        "c": np.array([bias], np.float32),
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


def test_hidden_bounds_make_neurons_linear():
    """u = -1/2 but for its interval -5/2 to 3/2: y = 0 is seen only if u is bounded."""
    text = prop("(>= Y_0 0.001)", outputs=1)
    assert accepted(deep(-0.5), text, node=[ROWS]) is None
    assert accepted(deep(-0.5), text, node=[ROWS | HIDDEN]) == "float32"
    for bias in (0.5, 1.5, -0.25):
        sides = (
            (f"(<= Y_0 {max(bias, 0) - 0.001})", "float32"),
            (f"(<= Y_0 {max(bias, 0)})", None),
        )
        for bound, holds in sides:
            found = accepted(deep(bias), prop(bound, outputs=1), node=[ROWS | HIDDEN])
            assert found == holds
        bound = prop(f"(>= Y_0 {max(bias, 0) - 0.001})", outputs=1)
        assert accepted(deep(bias), bound, node=[ROWS | HIDDEN]) is None


def crossing(bias):
    """y = relu(u), u = x / 4 + bias, by intervals 2 further on both sides."""
    constants = {
        "w": np.array([[1, 1, 0.25]], np.float32),
        "b": np.array([3, 3, 3], np.float32),
        "v": np.array([[1], [-1], [1]], np.float32),
        "c": np.array([bias - 3], np.float32),
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


@pytest.mark.parametrize("bias", [-0.125, 0.0, 0.125])
def test_both_sides_of_an_unstable_neuron_are_bounded(bias):
    """relu(u) is at most its chord, which both bounds make low."""
    network = crossing(bias)
    for text, holds in ((f"(>= Y_0 {0.26 + bias})", "float32"), (f"(>= Y_0 {0.24 + bias})", None)):
        assert accepted(network, prop(text, outputs=1), node=[ROWS | HIDDEN]) == holds
    text = prop(f"(>= Y_0 {0.26 + bias})", outputs=1)
    assert accepted(network, text, node=[ROWS]) is None


def test_children_inherit_hidden_bounds():
    text = prop("(>= Y_0 0.001)", outputs=1)
    tree = split(actions=HIDDEN, children=(ROWS, ROWS))
    assert accepted(deep(-0.5), text, **tree) == "float32"
    assert accepted(deep(-0.5), text, **split(point=-2.0, children=(ROWS, ROWS))) is None
    mixed = {
        "node": [INPUT, INPUT | HIDDEN, ROWS, ROWS, ROWS],
        "split_axis": [0, 0],
        "split_point": [-1.0, -1.0],
    }
    assert accepted(deep(-0.5), text, **mixed) is None
    report = verdict(deep(-0.5), text, **mixed)
    assert [f.node for f in report.failures] == [2]


def hidden(at, neuron=0, sign=1, alpha=(), atom=0):
    names = "hidden_node", "hidden_atom", "hidden_neuron", "hidden_sign"
    values = zip(names, ([at], [atom], [neuron], [sign]), strict=True)
    return dict(values) | {"hidden_alpha": np.reshape(alpha, (1, len(alpha)))}


def abs_then_relu(bias):
    """y = relu(relu(x) + relu(-x) + bias)."""
    constants = {
        "w": np.array([[1, -1]], np.float32),
        "b": np.zeros(2, np.float32),
        "v": np.ones((2, 1), np.float32),
        "c": np.array([bias], np.float32),
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["u"]),
        node("Relu", ["u"], ["y"]),
    ]
    return file(nodes, [1, 1], constants)


def test_a_record_bounds_one_neuron_with_its_slopes():
    """u = |x| + 1/8 >= 1/8 by slopes that sum to 1; the default's 0 and 0 say it as well."""
    columns = {"neurons": [("r", 2), ("y", 1)], "column_atom": [0, 0], "column_neuron": [0, 1]}
    network = abs_then_relu(-1.25)
    text = prop("(>= Y_0 0.001)", outputs=1)
    assert accepted(network, text, node=[ROWS]) is None
    for sign in (-1, 1):
        record = hidden(0, sign=sign, alpha=(0, 0), atom=1)
        assert accepted(network, text, node=[ROWS | HIDDEN], **columns, **record) == "float32"
        assert accepted(network, text, node=[ROWS], **columns, **record) is None
    up = abs_then_relu(0.25)
    false = prop("(<= Y_0 0.251)", outputs=1)
    for alpha in ((0, 0), (255, 0), (128, 127), (255, 255)):
        for sign in (-1, 1):
            record = hidden(0, sign=sign, alpha=alpha, atom=1)
            assert accepted(up, false, node=[ROWS | HIDDEN], **columns, **record) is None


def test_records_of_other_nodes_and_of_neurons_that_there_are_not_do_nothing():
    columns = {"neurons": [("y", 1)]}
    for record in (hidden(0, neuron=1), hidden(0, neuron=2**32 - 1)):
        text = prop("(>= Y_0 0.001)", outputs=1)
        assert accepted(deep(-0.5), text, node=[ROWS | HIDDEN], **columns, **record) == "float32"


# ------------------------------------------------------------------------------ real and float32


def test_what_holds_for_the_real_function_only_is_told_apart():
    """10 x 0.1 / 1 in float32: a bound within 1e-9 of the truth is true of the real function."""
    tenth = relus([[0.1], [0.1]], [[1, 0], [0, 1]])
    value = Fraction(float(np.float32(0.1)))
    gap = Fraction(1, 10**10)
    decimal = f"{float(value - gap):.17f}"
    text = prop(f"(<= Y_0 {decimal})", box=(1, 1))
    report = verdict(tenth, text, node=[ROWS])
    assert report.semantics == "real"
    assert [f.step for f in report.failures] == [
        "node 0: clause 0 is not refuted under float32 execution"
    ]
    assert report.failures[0].single
    assert accepted(tenth, prop("(<= Y_0 0.0999)", box=(1, 1)), node=[ROWS]) == "float32"
    above = f"{float(value) + 1e-15:.20f}"
    assert verdict(tenth, prop(f"(<= Y_0 {above})", box=(1, 1)), node=[ROWS]).semantics is None


def test_real_semantics_asks_for_no_more():
    tenth = relus([[0.1], [0.1]], [[1, 0], [0, 1]])
    text = prop("(<= Y_0 0.1)", box=(1, 1))
    report = verdict(tenth, text, semantics="real", node=[ROWS])
    assert (report.semantics, report.failures) == ("real", ())


# ------------------------------------------------------------------------------------- the state


def walk(network, text, single=True, **proof):
    number = Arithmetic()
    read = read_network(network, number)
    container = read_container(certificate(network, text, **proof))
    tree = read_proof(container, read)
    (group,) = groups(read_property(text), tree["roots"], number)
    return Walk(read, tree, group, number, single)


def test_roots_know_nothing_but_their_box():
    state = next(walk(SIZE, prop("(<= Y_0 -1)"), node=[CLIP | HIDDEN]).roots(9))
    assert (state.lower.tolist(), state.upper.tolist()) == ([[-1]], [[1]])
    assert state.live.tolist() == [[[True, True]]]
    assert state.planes.tolist() == [[[0, -np.inf]]]
    assert state.neurons.tolist() == [[[-np.inf] * 2, [np.inf] * 2]]
    plain = next(walk(SIZE, prop("(<= Y_0 -1)"), node=[ROWS]).roots(9))
    assert plain.planes.shape == (1, 0, 2)
    assert plain.neurons.shape == (1, 2, 0)


def test_failures_come_with_what_is_left_of_the_box():
    report = verdict(SIZE, prop("(<= Y_1 0.5)"), **split(point=0.25))
    assert [(f.node, f.root, f.single) for f in report.failures] == [(1, 0, False), (2, 0, False)]
    assert report.failures[0].lower.tolist() == [-1]
    assert report.failures[0].upper.tolist() == [0.25]
    assert report.failures[1].lower.tolist() == [0.25]


def test_planes_are_below_their_rows():
    found = walk(
        SIZE, prop("(and (<= Y_1 0) (<= Y_0 0))"), **split(actions=ROWS, children=(CLIP, CLIP))
    )
    failures, children = found.look(next(found.roots(9)))
    assert failures == []
    assert children.node.tolist() == [1, 2]
    for x in np.linspace(-1, 1, 21):
        for plane, value in zip(children.planes[0], (x, abs(x)), strict=True):
            assert plane[0] * x + plane[1] <= value
            assert plane[1] > -np.inf


def test_batches_are_neither_empty_nor_huge():
    found = walk(SIZE, prop("(<= Y_0 -1)"), node=[ROWS])
    assert found.batch() == 2048
    large = replace(found.network, sizes=(10**6, 1, 1, 1))
    found.network = large
    assert found.batch() == 4
    found.network = replace(found.network, sizes=(1000, 1000, 1000, 1000))
    assert 100 < found.batch() < 300
