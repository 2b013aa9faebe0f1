"""Funnels: values computed from few numbers by way of many, and rows that pass them in one step."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.bounds import HiddenOptimiser, back_substitute, crown
from verifier.bounds.back import Route
from verifier.bounds.composed import groups_of
from verifier.bounds.crown import unit_rows, unstable_mask
from verifier.families import Elementwise
from verifier.graph import Builder, Graph, Value
from verifier.load.onnx import load_model
from verifier.ops.relu import Relu
from verifier.ops.sum import Concat
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend

XP = numpy_backend()
SETTINGS = BoundSettings()
WIDTH, GROUPS = 12, 2
INPUTS = WIDTH * GROUPS


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Two layers of linear maps and softmaxes, with a ReLU between them."""
    numbers = np.random.default_rng(3)
    nodes, constants = [], []

    def linear(name: str, source: str) -> None:
        weight = (numbers.normal(size=(INPUTS, INPUTS)) / 3).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"{name}_w"))
        nodes.append(helper.make_node("MatMul", [source, f"{name}_w"], [name]))

    def softmax(name: str, source: str) -> None:
        shapes = {"in": (GROUPS, WIDTH), "out": (1, INPUTS)}
        for key, shape in shapes.items():
            array = np.array(shape, dtype=np.int64)
            constants.append(numpy_helper.from_array(array, f"{name}_{key}"))
        nodes.append(helper.make_node("Reshape", [source, f"{name}_in"], [f"{name}_a"]))
        nodes.append(helper.make_node("Softmax", [f"{name}_a"], [f"{name}_b"], axis=1))
        nodes.append(helper.make_node("Reshape", [f"{name}_b", f"{name}_out"], [name]))

    linear("a", "x")
    softmax("b", "a")
    linear("c", "b")
    nodes.append(helper.make_node("Relu", ["c"], ["d"]))
    linear("e", "d")
    softmax("f", "e")
    linear("y", "f")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, INPUTS]) for name in ("x", "y")
    ]
    made = helper.make_graph(nodes, "attention", ends[:1], ends[1:], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path: Path = tmp_path_factory.mktemp("models") / "attention.onnx"
    onnx.save(model, path)
    return load_model(path).graph.on(XP)


def box(seed: int, radius: float) -> Box:
    center = np.random.default_rng(seed).normal(size=(1, INPUTS))
    return Box(center - radius, center + radius)


def test_each_softmax_is_a_funnel(attention: Graph):
    found = attention.funnels
    assert len(found) == 2
    for end, funnel in found.items():
        assert attention.size(end) == attention.size(funnel.source) == INPUTS
        assert max(attention.size(v) for v in funnel.inside) == GROUPS * WIDTH * (WIDTH - 1)
        assert all(funnel.source < v < end for v in funnel.inside)


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
def test_composed_rows_are_those_of_the_nodes_one_by_one(attention: Graph, radius: float):
    composed = crown(attention, box(1, radius), SETTINGS).enclosure
    assert set(composed.composed) == set(attention.funnels)
    numbers = np.random.default_rng(2)
    rows = {attention.output: numbers.normal(size=(9, INPUTS))}
    owner = Owner(None, 1, 9)
    expected = back_substitute(composed, rows, owner)
    found = back_substitute(composed, rows, owner, route=Route(shortcuts=composed.composed))
    np.testing.assert_allclose(found.coefficients, expected.coefficients, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.constant, expected.constant, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("radius", [1e-3, 0.3, 3.0])
def test_composed_rows_are_below_every_point(attention: Graph, radius: float):
    region = box(4, radius)
    enclosure = crown(attention, region, SETTINGS).enclosure
    numbers = np.random.default_rng(5)
    rows = numbers.normal(size=(7, INPUTS))
    start, owner = {attention.output: rows}, Owner(None, 1, 7)
    form = back_substitute(enclosure, start, owner, route=Route(shortcuts=enclosure.composed))
    points = numbers.uniform(region.lower, region.upper, size=(500, INPUTS))
    points[:200] = np.where(numbers.random((200, INPUTS)) < 0.5, region.lower, region.upper)
    values = attention.evaluate(points) @ rows.T
    assert (points @ form.coefficients.T + form.constant <= values).all()


def test_only_the_neurons_asked_for_get_rows(attention: Graph):
    region = box(6, 0.2)
    everything = crown(attention, region, SETTINGS).enclosure
    one = np.ones((1, 1), dtype=bool)
    values = set(attention.bounded_by_rows) - attention.inside_funnels
    some = HiddenOptimiser(0, only=dict.fromkeys(values, one))
    few = crown(attention, region, SETTINGS, optimiser=some)
    assert {rows.value for rows in few.hidden} <= values
    for wide, tight in zip(few.enclosure.boxes, everything.boxes, strict=True):
        assert (wide.upper - wide.lower >= tight.upper - tight.lower - 1e-9).all()
    for enclosure in (few.enclosure, everything):
        points = np.random.default_rng(7).uniform(region.lower, region.upper, (200, INPUTS))
        for found, value in zip(enclosure.boxes, attention.values(points), strict=True):
            assert ((found.lower <= value) & (value <= found.upper)).all()


def test_rows_of_elementwise_outputs_would_gain_nothing(attention: Graph):
    """Which is why they have none: neither inside funnels nor elsewhere."""
    enclosure = crown(attention, box(8, 0.2), SETTINGS).enclosure
    for value in attention.relaxed_inputs:
        if not isinstance(attention.node(value).operator, Elementwise):
            continue
        assert value not in attention.bounded_by_rows
        _, neuron = np.nonzero(enclosure.boxes[value].upper > enclosure.boxes[value].lower)
        for sign, end in (
            (1.0, enclosure.boxes[value].lower),
            (-1.0, -enclosure.boxes[value].upper),
        ):
            which = (neuron * 0, neuron, np.full(len(neuron), sign))
            rows = unit_rows(enclosure, value, which)
            form = back_substitute(enclosure, rows.start, rows.owner)
            least = form.least(enclosure.boxes[0], rows.owner, enclosure)
            assert (least <= end[0, neuron] + 1e-9).all()


def test_what_an_elementwise_output_is_read_by_makes_its_source_worth_rows(attention: Graph):
    """The cut of differences is far away: without the powers behind it, none were unstable."""
    enclosure = crown(attention, box(9, 0.1), SETTINGS).enclosure
    sources = set(attention.bounded_by_rows) & attention.inside_funnels
    wide = [v for v in sources if attention.size(v) > INPUTS]
    assert len(wide) == 2
    assert all(unstable_mask(enclosure, v).any() for v in wide)


def test_rows_with_the_same_columns_form_groups():
    used = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=bool)
    rows, columns = groups_of(used)
    pairs = {tuple(r): tuple(c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}
    assert pairs == {(0, 2): (0, 2), (1, 3): (1, 3)}


def test_rows_that_differ_in_size_are_one_group():
    rows, columns = groups_of(np.array([[1, 1, 1], [0, 1, 0]], dtype=bool))
    assert rows.tolist() == [[0, 1]]
    assert columns.tolist() == [[0, 1, 2]]


def test_a_value_without_elements_is_no_funnel():
    """A slice of nothing, say, of which a ReLU is taken."""
    builder, x = Builder(2), Value(0, (2,))
    nothing = builder.rearrange("slice", x, np.zeros(0, dtype=np.int64))
    empty = builder.add("relu", Relu.of(0), [nothing])
    graph = builder.finish(builder.add("join", Concat.of((2, 0)), [x, empty], (2,))).on(XP)
    box = Box(np.full((1, 2), -1.0), np.full((1, 2), 1.0))
    found = crown(graph, box, SETTINGS).enclosure.boxes[graph.output]
    assert (found.lower <= -1).all()
    assert (found.upper >= 1).all()
