"""Masks of minus infinity before a softmax: what they hide has no weight, exactly."""

import numpy as np
import pytest
from onnx import helper

from tests.load.onnx_models import network, save
from verifier.bounds import crown
from verifier.errors import ModelError, UnsupportedModel
from verifier.load.onnx import load_model, runtime
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend

INF = np.float32(np.inf)
MASKS = {
    "causal": np.triu(np.full((3, 3), -INF), 1).astype(np.float32),
    "some": np.array([[0, -INF, 0.5], [-INF, -INF, 0], [0, 1, 2]], dtype=np.float32),
    "a column": np.array([0, -INF, 0.25], dtype=np.float32),
    "all but one": np.where(np.eye(3) > 0, 0, -INF).astype(np.float32),
}


def attention(path, mask, after=("Softmax",), *, first=True):
    names = ["x", "mask"] if first else ["mask", "x"]
    nodes = [helper.make_node("Add", names, ["t0"], "masked")]
    for i, op_type in enumerate(after):
        nodes.append(helper.make_node(op_type, [f"t{i}"], [f"t{i + 1}"], f"n{i}"))
    ends = {"inputs": {"x": [2, 3, 3]}, "outputs": {f"t{len(after)}": None}}
    return save(path, network(nodes, **ends, constants={"mask": mask}))


def judge(model):
    """Our values are ONNX Runtime's, and within the bounds of CROWN."""
    generator = np.random.default_rng(0)
    middle = generator.normal(size=(5, 18))
    lower, upper = middle - 0.5, middle + 0.5
    graph = model.graph.on(numpy_backend("float64"))
    box = crown(graph, Box(lower, upper), BoundSettings()).enclosure.boxes[graph.output]
    for _ in range(20):
        x = model.rounded(lower + generator.random(lower.shape) * (upper - lower))
        y = graph.evaluate(x)
        np.testing.assert_allclose(y, runtime.run(model, x), atol=1e-6)
        assert (y >= box.lower - 1e-9).all()
        assert (y <= box.upper + 1e-9).all()
    return box


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", MASKS)
def test_it_computes_and_bounds_what_onnx_runtime_does(tmp_path, name, first):
    judge(load_model(attention(tmp_path / "m.onnx", MASKS[name], first=first)))


def chosen(path, nodes, constants, *, opset=13):
    """Softmax of x [2, 3, 3] where a condition says so, and of minus infinity elsewhere."""
    ends = {"inputs": {"x": [2, 3, 3]}, "outputs": {"y": None}}
    constants = {"low": np.array(-INF, np.float32), **constants}
    return save(path, network(nodes, **ends, constants=constants, opset=opset))


CAUSAL = np.tril(np.ones((3, 3), dtype=bool))


@pytest.mark.parametrize(("condition", "names"), [(CAUSAL, "c x low"), (~CAUSAL, "c low x")])
def test_what_a_choice_hides_has_no_weight(tmp_path, condition, names):
    nodes = [
        helper.make_node("Where", names.split(), ["t"]),
        helper.make_node("Softmax", ["t"], ["y"], axis=-1),
    ]
    model = load_model(chosen(tmp_path / "m.onnx", nodes, {"c": condition}))
    box = judge(model)
    hidden = np.broadcast_to(~CAUSAL, (2, 3, 3)).reshape(-1)
    y = model.graph.on(numpy_backend("float64")).evaluate(np.ones((1, 18)))
    assert (y[:, hidden] == 0).all()
    # But for what the least normal number costs.
    assert (box.lower[:, hidden] >= -1e-300).all()
    assert (box.upper[:, hidden] <= 1e-300).all()


MOVES = {
    "Transpose": {"perm": [0, 2, 1]},
    "Slice": ([0], [2], [1]),
    "Gather": (np.array([1, 0]),),
    "Expand": ([2, 2, 3, 3],),
    "Tile": ([1, 2, 1],),
    "Unsqueeze": ([0],),
    "Flatten": {"axis": 2},
    "Split": ([1, 1],),
}


@pytest.mark.parametrize("op_type", MOVES)
def test_masks_move_with_their_elements(tmp_path, op_type):
    given = MOVES[op_type]
    extra = {} if isinstance(given, dict) else {f"k{i}": np.array(k) for i, k in enumerate(given)}
    options = given if isinstance(given, dict) else {}
    mask = np.where(CAUSAL.T, -INF, 0).astype(np.float32)
    mask[0, 1] = 0  # No row and no column is hidden as a whole.
    mask[np.arange(3), np.arange(3)] = 0
    outputs = ["m", "other"] if op_type == "Split" else ["m"]
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["t"]),
        helper.make_node(op_type, ["t", *extra], outputs, **options),
        helper.make_node("Add", ["m", "half"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=-1),
    ]
    constants = {"mask": mask, "half": np.full(1, 0.5, np.float32), **extra}
    judge(load_model(chosen(tmp_path / "m.onnx", nodes, constants)))


def test_two_masks_add_up(tmp_path):
    second = np.zeros((2, 1, 3), dtype=np.float32)
    second[1, 0, 0] = -INF
    nodes = [
        helper.make_node("Add", ["first", "x"], ["t"]),
        helper.make_node("Add", ["second", "x"], ["u"]),
        helper.make_node("Add", ["t", "u"], ["v"]),
        helper.make_node("Where", ["c", "v", "low"], ["w"]),
        helper.make_node("Softmax", ["w"], ["y"], axis=-1),
    ]
    first = np.array([0, 0, -INF], dtype=np.float32)
    condition = np.array([True, True, False])
    constants = {"first": first, "second": second, "c": condition}
    judge(load_model(chosen(tmp_path / "m.onnx", nodes, constants)))


@pytest.mark.parametrize("to", [9, 6])
def test_minus_infinity_is_no_integer(tmp_path, to):
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["t"]),
        helper.make_node("Cast", ["t"], ["u"], to=to),
        helper.make_node("Cast", ["u"], ["y"], to=1),
    ]
    with pytest.raises(UnsupportedModel, match="a cast of minus infinity"):
        load_model(chosen(tmp_path / "m.onnx", nodes, {"mask": MASKS["some"]}))


@pytest.mark.parametrize("number", [INF, -INF, np.float32(np.nan)])
def test_a_computed_choice_of_what_is_not_finite(tmp_path, number):
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["c"]),
        helper.make_node("Where", ["c", "x", "low"], ["y"]),
    ]
    constants = {"zero": np.zeros(1, np.float32), "low": np.array(number)}
    with pytest.raises((UnsupportedModel, ModelError), match="infinite"):
        load_model(chosen(tmp_path / "m.onnx", nodes, constants))


@pytest.mark.parametrize(
    "after", [("Relu",), ("LogSoftmax",), ("Neg", "Softmax"), ("Transpose", "Neg"), ()]
)
def test_nothing_else_may_read_minus_infinity(tmp_path, after):
    with pytest.raises(UnsupportedModel, match="minus infinity"):
        load_model(attention(tmp_path / "m.onnx", MASKS["some"], after))


def fully_masked():
    mask = MASKS["some"].copy()
    mask[1] = -INF
    return mask


@pytest.mark.parametrize(
    "nodes", [[], [helper.make_node("MatMul", ["s", "x"], ["y"])]], ids=["output", "product"]
)
def test_a_row_of_nothing_else_has_no_softmax(tmp_path, nodes):
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["t"]),
        helper.make_node("Softmax", ["t"], ["s" if nodes else "y"], axis=-1),
        *nodes,
    ]
    with pytest.raises(UnsupportedModel, match=r"nothing but minus infinity|or NaN"):
        load_model(chosen(tmp_path / "m.onnx", nodes, {"mask": fully_masked()}))


def test_rows_of_nothing_else_that_are_replaced(tmp_path):
    """As exporters write attention that shall survive them."""
    nodes = [
        helper.make_node("Where", ["c", "x", "low"], ["t"]),
        helper.make_node("Softmax", ["t"], ["s"], axis=-1),
        helper.make_node("IsNaN", ["s"], ["n"]),
        helper.make_node("Where", ["n", "zero", "s"], ["p"]),
        helper.make_node("MatMul", ["p", "x"], ["y"]),
    ]
    constants = {"c": np.isfinite(fully_masked()), "zero": np.zeros((), np.float32)}
    judge(load_model(chosen(tmp_path / "m.onnx", nodes, constants)))


def test_what_is_infinite_is_known(tmp_path):
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["t"]),
        helper.make_node("IsInf", ["t"], ["i"]),
        helper.make_node("Where", ["i", "nine", "x"], ["y"]),
    ]
    constants = {"mask": MASKS["some"], "nine": np.full((), 9, np.float32)}
    judge(load_model(chosen(tmp_path / "m.onnx", nodes, constants)))


@pytest.mark.parametrize("op_type", ["Log", "Reciprocal"])
def test_whether_it_is_a_number_may_depend_on_the_input(tmp_path, op_type):
    nodes = [
        helper.make_node(op_type, ["x"], ["t"]),
        helper.make_node("IsNaN", ["t"], ["n"]),
        helper.make_node("Cast", ["n"], ["y"], to=1),
    ]
    with pytest.raises(UnsupportedModel, match="may leave undefined"):
        load_model(chosen(tmp_path / "m.onnx", nodes, {}))


def test_a_long_softmax_is_a_number(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["s"], axis=-1),
        helper.make_node("IsNaN", ["s"], ["n"]),
        helper.make_node("Where", ["n", "zero", "s"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(size=(3, 100)).astype(np.float32)
    constants = {"w": weights, "zero": np.zeros((), np.float32)}
    judge(load_model(chosen(tmp_path / "m.onnx", nodes, constants)))


@pytest.mark.parametrize("nodes", [["Exp"], ["Sinh"], ["Exp", "Cosh"], ["Exp", "Log"]])
def test_what_may_overflow_may_be_infinite(tmp_path, nodes):
    names = ["x", *(f"t{i}" for i in range(len(nodes)))]
    pairs = zip(nodes, names, names[1:], strict=False)
    chain = [helper.make_node(op, [a], [b]) for op, a, b in pairs]
    asked = [helper.make_node("IsInf", [names[-1]], ["n"])]
    asked += [helper.make_node("Cast", ["n"], ["y"], to=1)]
    with pytest.raises(UnsupportedModel, match="may leave undefined"):
        load_model(chosen(tmp_path / "m.onnx", [*chain, *asked], {}))


def test_plus_infinity_is_no_mask(tmp_path):
    with pytest.raises(UnsupportedModel, match="infinite numbers"):
        load_model(attention(tmp_path / "m.onnx", -MASKS["some"]))
