"""Gates as exporters write them become one curve, with the file's own constants."""

import numpy as np
import pytest
from onnx import helper

from tests.load.onnx_models import network, save
from verifier import api
from verifier.bounds import crown
from verifier.families import Product
from verifier.families.curve import Curve
from verifier.load.onnx import load_model, runtime
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend
from verifier.verdict import Verified

CONSTANTS = {
    name: np.array(value, dtype=np.float32)
    for name, value in {
        "zero": 0,
        "half": 0.5,
        "one": 1,
        "three": 3,
        "six": 6,
        "near": 0.9,
        "root": 1.4142135,
        "inverse": 0.70710677,
        "quick": 1.702,
        "minus": -1.5,
    }.items()
}
GATES = {
    "swish": ["s = Sigmoid x", "y = Mul x s"],
    "quick gelu": ["q = Mul x quick", "s = Sigmoid q", "y = Mul s x"],
    "swish of the negative": ["q = Mul x minus", "s = Sigmoid q", "y = Mul s x"],
    "swish of a scaled value": ["q = Mul x quick", "s = Sigmoid q", "y = Mul s q"],
    "tanh form": ["h = Mul x half", "t = Tanh h", "p = Add t one", "m = Mul x p", "y = Mul m half"],
    "gelu": ["d = Div x root", "e = Erf d", "p = Add e one", "m = Mul x p", "y = Mul m half"],
    "gelu halved within": [
        *("d = Mul x inverse", "e = Erf d", "p = Add one e", "h = Mul p half", "y = Mul h x"),
    ],
    "gelu halved first": [
        *("d = Div x root", "e = Erf d", "p = Add e one", "h = Mul x half", "y = Mul h p"),
    ],
    "mish": ["s = Softplus x", "t = Tanh s", "y = Mul x t"],
    "hard swish": ["a = Add x three", "c = Clip a zero six", "m = Mul x c", "y = Div m six"],
    "hard swish by gate": ["c = HardSigmoid x", "y = Mul x c"],
}
OTHERS = {
    "another value": ["b = Add x three", "n = Sin x", "s = Sigmoid n", "y = Mul x s"],
    "a shifted gate": ["b = Add x three", "s = Sigmoid b", "y = Mul x s"],
    "an uneven gate": ["e = Erf x", "p = Add e near", "y = Mul x p"],
    "a lifted gate": ["s = Sigmoid x", "p = Add s one", "y = Mul x p"],
    "mish of another value": ["b = Add x three", "s = Softplus b", "t = Tanh s", "y = Mul x t"],
    "a clip that starts elsewhere": ["c = Clip x near six", "y = Mul x c"],
}


def gate(path, lines, size=3):
    nodes = []
    for line in lines:
        target, _, op_type, *names = line.split()
        nodes.append(helper.make_node(op_type, names, [target], target))
    return save(path, network(nodes, {"x": [size]}, {"y": [size]}, CONSTANTS, opset=17))


def kinds(model):
    return [type(node.operator) for node in model.graph.nodes]


def samples(low, high):
    return np.linspace(low, high, 2001)[:, None].repeat(3, 1)


@pytest.mark.parametrize("name", GATES)
def test_it_is_one_curve_that_computes_the_same(tmp_path, name):
    model = load_model(gate(tmp_path / "g.onnx", GATES[name]))
    assert kinds(model).count(Curve) == 1
    assert Product not in kinds(model)
    x = model.rounded(samples(-12.0, 12.0))
    ours = model.graph.on(numpy_backend("float64")).evaluate(x)
    np.testing.assert_allclose(ours, runtime.run(model, x), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_other_products_stay_products(tmp_path, name):
    model = load_model(gate(tmp_path / "g.onnx", OTHERS[name]))
    assert Product in kinds(model)
    x = model.rounded(samples(-4.0, 4.0))
    ours = model.graph.on(numpy_backend("float64")).evaluate(x)
    np.testing.assert_allclose(ours, runtime.run(model, x), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", GATES)
def test_its_bounds_hold_the_values(tmp_path, name, dtype):
    model = load_model(gate(tmp_path / "g.onnx", GATES[name]))
    xp = numpy_backend(dtype)
    graph, exact = model.graph.on(xp), model.graph.on(numpy_backend("float64"))
    generator = np.random.default_rng(0)
    for radius in (1e-3, 0.3, 2.0, 9.0):
        centre = generator.uniform(-6, 6, (40, 3))
        lower, upper = (np.float64(np.float32(s)) for s in (centre - radius, centre + radius))
        box = crown(graph, Box(xp.floats(lower), xp.floats(upper)), BoundSettings()).enclosure
        low, high = (xp.numpy(side) for side in (box.boxes[-1].lower, box.boxes[-1].upper))
        for share in np.linspace(0, 1, 101):
            y = exact.evaluate(lower + share * (upper - lower))
            assert (y >= low - 1e-14).all()
            assert (y <= high + 1e-14).all()


@pytest.mark.parametrize("name", GATES)
def test_a_property_of_it_is_verified(tmp_path, name):
    """The checker reads the file, where the gate is a product: it may know less, never more."""
    model = load_model(gate(tmp_path / "g.onnx", GATES[name], size=1))
    exact = model.graph.on(numpy_backend("float64"))
    least = exact.evaluate(np.linspace(-1.0, 2.0, 4001)[:, None]).min()
    prop = tmp_path / "p.vnnlib"
    prop.write_text(
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
        "(assert (>= X_0 -1.0))\n(assert (<= X_0 2.0))\n"
        f"(assert (<= Y_0 {least - 0.01:.12f}))\n",
        encoding="utf-8",
    )
    verdict = api.verify(model, prop, timeout=20.0).verdict
    assert isinstance(verdict, Verified)
    certificate = verdict.certificate
    assert certificate is not None
    assert certificate.checked or certificate.note.startswith("not certified")
    if certificate.checked:
        assert api.check(certificate.data or b"", model.path, prop).accepted
