"""What each step of a tree proves, and what no tree proves: networks small enough for the head."""

from __future__ import annotations

from decimal import Decimal

import pytest
from onnx.helper import make_node as node

from tests.checker.handmade import (
    CLAUSE,
    CLIP,
    COLUMNS,
    HIDDEN,
    IS_X,
    JOINTLY,
    LEAF,
    NEURON,
    ROWS,
    SIZE,
    TWO,
    accepted,
    certificate,
    failure,
    prop,
    relus,
    row,
    split,
    verdict,
)
from tests.checker.onnx_files import file
from verifier.checker.check import Effort, check
from verifier.checker.errors import Rejected

# ---------------------------------------------------------------------------------------- leaves


def test_a_row_above_its_bound_closes_a_leaf():
    assert accepted(SIZE, prop("(<= Y_0 -0.001)"), node=[ROWS]) == "float32"
    assert accepted(SIZE, prop("(<= Y_1 -1.001)"), node=[ROWS]) == "float32"
    assert accepted(SIZE, prop("(<= Y_1 -0.999)"), node=[ROWS]) is None
    assert accepted(SIZE, IS_X, node=[ROWS]) is None


def test_a_row_that_reaches_its_bound_closes_nothing():
    assert failure(SIZE, prop("(<= Y_0 0)"), node=[ROWS]) == "node 0: clause 0 is not refuted"
    exact = certificate(SIZE, prop("(<= Y_0 0)"), semantics="real", node=[ROWS])
    assert not check(SIZE, prop("(<= Y_0 0)"), exact, Effort(exact=True)).accepted


@pytest.mark.parametrize("actions", [0, HIDDEN, CLIP, CLIP | JOINTLY, CLIP | HIDDEN])
def test_a_leaf_where_no_row_is_bounded_proves_nothing(actions):
    assert accepted(SIZE, prop("(<= Y_0 -5)"), node=[actions]) is None


def test_a_property_without_rows_is_never_proved():
    step = failure(SIZE, prop(), node=[ROWS | HIDDEN | CLIP])
    assert step == "node 0: clause 0 is not refuted"


def test_a_property_without_clauses_holds():
    assert accepted(SIZE, prop("(<= 1 0)"), node=[LEAF]) == "float32"


def test_every_clause_of_a_leaf_must_be_refuted():
    both = prop("(or (<= Y_0 -1) (<= Y_0 -2))")
    assert accepted(SIZE, both, node=[ROWS]) == "float32"
    for text, clause in (("(or (<= Y_0 -1) (<= Y_0 0.5))", 1), ("(or (<= Y_0 2) (<= Y_0 -1))", 0)):
        step = failure(SIZE, prop(text), node=[ROWS])
        assert step == f"node 0: clause {clause} is not refuted"


def test_one_row_refutes_its_clause_whichever_it_is():
    for text in ("(and (<= Y_0 -1) (<= Y_1 9))", "(and (<= Y_1 9) (>= Y_0 9))"):
        assert accepted(SIZE, prop(text), node=[ROWS]) == "float32"
    assert accepted(SIZE, prop("(and (<= Y_0 0.5) (<= Y_1 -0.7))"), node=[ROWS]) is None


def test_rows_over_inputs():
    """|x| - x >= 0 and y_1 = x."""
    assert accepted(SIZE, prop("(<= (+ Y_0 X_0) -1.001)"), node=[ROWS]) == "float32"
    assert accepted(SIZE, prop("(<= (- Y_1 X_0) -1.51)"), node=[ROWS]) == "float32"
    assert accepted(SIZE, prop("(<= (- Y_1 X_0) 0.001)"), node=[ROWS]) is None
    same = file([node("Identity", ["x"], ["y"])], [1, 2])
    text = "(<= (+ X_0 (* 2 Y_0)) {})"
    for bound, holds in ((-3.01, "float32"), (-2.99, None)):
        found = accepted(same, prop(text.format(bound), inputs=2), node=[ROWS])
        assert found == holds


SAME = file([node("Identity", ["x"], ["y"])], [1, 1])


def test_coefficients_that_are_no_doubles_carry_their_rounding():
    """y = x = 10^6: the double next to 0.1 less 0.1, times 10^6, is 5.55e-12 and not 0."""
    double = format(Decimal.from_float(0.1), "f")
    for difference in ("(- (* 0.1 Y_0) (* {} X_0))", "(- (* 0.1 X_0) (* {} Y_0))"):
        text = f"(<= {difference.format(double)} {{}})"
        point = {"outputs": 1, "box": (1000000, 1000000)}
        assert accepted(SAME, prop(text.format("-0.000000000005"), **point), node=[ROWS]) is None
        assert accepted(SAME, prop(text.format("-0.00000001"), **point), node=[ROWS]) == "float32"


@pytest.mark.parametrize("bound", ["(>= Y_0 1)", "(<= Y_0 1)"])
def test_many_rows_do_not_make_one_of_them_false(bound):
    text = prop(f"(or {' '.join([bound] * 200)})", outputs=1, box=(1, 1))
    report = verdict(SAME, text, node=[ROWS])
    assert report.failures[0].step == "node 0: clause 0 is not refuted"
    near = prop(f"(or {' '.join([bound.replace('1)', '-2)')] * 200)})", outputs=1, box=(1, 1))
    assert verdict(SAME, near, node=[ROWS]).accepted == (bound[1] == "<")


# ---------------------------------------------------------------------------------------- splits


def test_an_input_split_covers_both_sides():
    text = IS_X
    assert accepted(SIZE, text, **split()) == "float32"
    step = failure(SIZE, prop("(<= Y_1 -0.5)"), **split())
    assert step == "node 1: clause 0 is not refuted"
    step = failure(SIZE, prop("(>= Y_1 0.5)"), **split())
    assert step == "node 2: clause 0 is not refuted"
    assert failure(SIZE, text, **split(children=(ROWS, 0))) == "node 2: clause 0 is not refuted"
    assert failure(SIZE, text, **split(children=(0, ROWS))) == "node 1: clause 0 is not refuted"


@pytest.mark.parametrize("point", [-9.0, 9.0])
def test_a_split_outside_the_box_proves_no_more_than_the_box(point):
    assert accepted(SIZE, IS_X, **split(point=point)) is None
    assert accepted(SIZE, IS_X, **split(NEURON, point=point, **COLUMNS)) is None


def test_a_split_of_the_second_input():
    """y_1 = relu(x_1) - relu(-x_1) = x_1: only splits of x_1 help."""
    network = relus([[0, 1], [0, -1]], [[1, 1], [1, -1]])
    text = prop("(<= (- Y_1 X_1) -0.01)", inputs=2)
    assert accepted(network, text, **split(axis=0)) is None
    assert accepted(network, text, **split(axis=1)) == "float32"


def test_there_are_no_more_inputs_and_neurons_than_there_are():
    text = prop("(<= Y_0 -1)")
    with pytest.raises(Rejected, match=r"^node 0: there is no input 1$"):
        verdict(SIZE, text, **split(axis=1))
    for columns, axis in ((COLUMNS, 2), ({}, 0)):
        with pytest.raises(Rejected, match=rf"^node 0: there is no neuron {axis}$"):
            verdict(SIZE, text, **split(NEURON, axis=axis, **columns))


def test_neuron_splits_bound_what_their_atoms_read():
    """z = (x, -x): the input's box stays, so two of four leaves need slopes or a number."""
    both = {
        "node": [NEURON, NEURON, NEURON, ROWS, ROWS, ROWS, ROWS],
        "split_axis": [0, 1, 1],
        "split_point": [0.0, 0.0, 0.0],
    }
    report = verdict(SIZE, IS_X, **COLUMNS, **both)
    assert [f.node for f in report.failures] == [3, 6]
    records = {"row_node": [3, 6], "row": [0, 0], "row_alpha": [(0, 0)] * 2, "beta_count": [2, 2]}
    told = COLUMNS | both | records
    assert accepted(SIZE, IS_X, **told, row_beta=[1, 0, 0, 0]) == "float32"
    for beta in ([0, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [1, 0, -1, 0]):
        assert accepted(SIZE, IS_X, **told, row_beta=beta) is None
    true = prop("(<= (- Y_1 X_0) 0)")
    for beta in ([1, 0, 0, 0], [0, -1, 0, 1], [9, 9, 9, 9], [-9, -9, -9, -9]):
        assert accepted(SIZE, true, **told, row_beta=beta) is None
    step = failure(SIZE, IS_X, **split(NEURON, **COLUMNS))
    assert step == "node 1: clause 0 is not refuted"


def test_each_child_of_a_neuron_split_has_its_side():
    """relu(x) is 0 in one child; x is no more than 1, and no less than -1, in the other."""
    only = relus([[1], [-1]], [[1, 0], [-1, 0]])
    halves = split(NEURON, **COLUMNS)
    second = {"neurons": TWO, "column_atom": [0], "column_neuron": [1]}
    for text, failing in (
        ("(<= Y_0 -0.001)", []),
        ("(>= Y_0 0.001)", [2]),
        ("(>= Y_0 1.001)", []),
        ("(<= Y_0 -1.001)", []),
        ("(>= Y_0 0)", [1, 2]),
    ):
        report = verdict(only, prop(text), **halves)
        assert [f.node for f in report.failures] == failing
        report = verdict(only, prop("(>= Y_0 0.9)"), **split(NEURON, **second))
        assert [f.node for f in report.failures] == [1, 2]


def test_a_number_for_a_split_neuron_moves_its_multiplier():
    """With z_0 = x <= -1/2 in the child, relu(z_0) + 1/4 x + ... needs the multiplier of x."""
    network = relus([[1], [1]], [[1, 0], [1, 0]], bias=(0.5, 0))
    text = prop("(<= (+ Y_0 (* 0.5 X_0)) -0.51)")
    tree = {"node": [NEURON, LEAF, LEAF], "split_axis": [0], "split_point": [0.0]}

    def records(beta):
        return {
            "row_node": [1, 2],
            "row": [0, 0],
            "row_alpha": [(0, 0), (0, 0)],
            "beta_count": [1, 1],
            "row_beta": beta,
        }

    assert accepted(network, text, **COLUMNS, **tree, **records([0, 0])) == "float32"
    tight = prop("(<= (+ Y_0 (* 0.5 X_0)) -0.2501)")
    assert accepted(network, tight, **COLUMNS, **tree, **records([0, 0])) is None
    step = failure(network, tight, **COLUMNS, **tree, **records([0, -0.5]))
    assert step.startswith("node 1")
    false = prop("(<= (+ Y_0 (* 0.5 X_0)) -0.2499)")
    for beta in ([0, -0.5], [0.5, 0.5], [-0.5, 0], [7, -7]):
        assert accepted(network, false, **COLUMNS, **tree, **records(beta)) is None


def test_as_many_numbers_as_neurons_were_split():
    text = prop("(<= Y_0 -1)")
    with pytest.raises(Rejected, match=r"^node 0: its row needs 0 numbers in row_beta$"):
        verdict(SIZE, text, node=[LEAF], **row(0, beta=[1.0]))
    text = prop("(<= Y_0 -1.5)")
    tree = {"node": [NEURON, LEAF, ROWS], "split_axis": [0], "split_point": [0.0]}
    with pytest.raises(Rejected, match=r"^node 1: its row needs 1 numbers in row_beta$"):
        verdict(SIZE, text, **{**tree, **row(1)})
    assert accepted(SIZE, text, **{**tree, **row(1, beta=[0.0])}) == "float32"


# --------------------------------------------------------------------------------------- clauses

CLAUSES = "(or (<= Y_0 -1) (<= Y_0 -2) (<= Y_1 -3))"


def by_clause(*named, children=None):
    count = len(named)
    return {
        "node": [CLAUSE, *(children or [ROWS] * count)],
        "clause_count": [count],
        "clause": named,
    }


def test_a_clause_split_names_every_open_clause():
    text = prop(CLAUSES)
    assert accepted(SIZE, text, **by_clause(0, 1, 2)) == "float32"
    assert accepted(SIZE, text, **by_clause(2, 0, 1, 1)) == "float32"
    for named, missing in (((0, 1), 2), ((0, 2), 1), ((1, 2), 0), ((), 0)):
        step = failure(SIZE, text, **by_clause(*named))
        assert step == f"node 0: clause {missing} has no child"
    with pytest.raises(Rejected, match=r"^node 0: there are 3 clauses only$"):
        verdict(SIZE, text, **by_clause(0, 1, 3))


def test_a_refuted_clause_needs_no_child():
    tree = by_clause(0)
    tree["node"][0] |= ROWS
    text = prop("(or (<= Y_0 0.5) (<= Y_0 -2))")
    report = verdict(SIZE, text, **tree)
    assert [f.step for f in report.failures] == ["node 1: clause 0 is not refuted"]


def test_a_child_is_about_its_clause_only():
    text = prop("(or (<= Y_0 -1) (<= Y_0 0.5))")
    report = verdict(SIZE, text, **by_clause(0, 1))
    assert [f.step for f in report.failures] == ["node 2: clause 1 is not refuted"]
    report = verdict(SIZE, text, **by_clause(1, 0))
    assert [f.step for f in report.failures] == ["node 1: clause 1 is not refuted"]


# ------------------------------------------------------------------------------------------ clip


def test_clipping_with_the_planes_of_the_parent():
    """|x| <= 0.5 leaves |x| + ... : the row y_1 = x <= -0.75 is false where x >= -0.5."""
    network = relus([[1], [1]], [[1, 0], [0, 1]], bias=(3, 3))
    text = prop("(and (<= Y_0 2.9) (>= Y_1 3.1))")
    tree = split(actions=ROWS, children=(CLIP, CLIP))
    assert accepted(network, text, **tree) == "float32"
    for children in ((CLIP, 0), (0, CLIP)):
        assert accepted(network, text, **split(actions=ROWS, children=children)) is None
    assert accepted(network, text, **split(children=(CLIP, CLIP))) is None
    jointly = (CLIP | JOINTLY, CLIP | JOINTLY)
    assert accepted(network, text, **split(actions=ROWS, children=jointly)) == "float32"
    assert accepted(network, text, **split(actions=ROWS, children=(JOINTLY, CLIP))) is None
    true = prop("(and (<= Y_0 3.1) (>= Y_1 2.9))")
    for children in ((CLIP, CLIP), jointly, (CLIP | ROWS, CLIP | ROWS)):
        assert accepted(network, true, **split(actions=ROWS, children=children)) is None


def test_clipping_narrows_the_box_for_what_comes_next():
    """x <= -1/2 by the first row; then the second, relu(x) >= 1/8 has no point."""
    network = relus([[1], [1]], [[1, 0], [0, 1]], bias=(3, 0))
    text = prop("(and (<= Y_0 2.5) (>= Y_1 0.125))")
    assert accepted(network, text, node=[ROWS]) is None
    tree = split(actions=ROWS, point=-1.0, children=(CLIP | ROWS, CLIP | ROWS))
    assert accepted(network, text, **tree) == "float32"
    false = prop("(and (<= Y_0 3.5) (>= Y_1 0.125))")
    assert accepted(network, false, **tree) is None
