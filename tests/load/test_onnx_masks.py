"""Masks of minus infinity before a softmax: what they hide has no weight, exactly."""

import numpy as np
import pytest
from onnx import helper

from tests.load.onnx_models import network, save
from verifier.bounds import crown
from verifier.errors import UnsupportedModel
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


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", MASKS)
def test_it_computes_and_bounds_what_onnx_runtime_does(tmp_path, name, first):
    model = load_model(attention(tmp_path / "m.onnx", MASKS[name], first=first))
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


@pytest.mark.parametrize(
    "after", [("Relu",), ("Transpose", "Softmax"), ("LogSoftmax",), ("Neg", "Softmax"), ()]
)
def test_nothing_else_may_read_minus_infinity(tmp_path, after):
    with pytest.raises(UnsupportedModel, match="minus infinity"):
        load_model(attention(tmp_path / "m.onnx", MASKS["some"], after))


def test_a_row_of_nothing_else(tmp_path):
    mask = MASKS["some"].copy()
    mask[1] = -INF
    with pytest.raises(UnsupportedModel, match="nothing but minus infinity"):
        load_model(attention(tmp_path / "m.onnx", mask))


def test_plus_infinity_is_no_mask(tmp_path):
    with pytest.raises(UnsupportedModel, match="infinite numbers"):
        load_model(attention(tmp_path / "m.onnx", -MASKS["some"]))
