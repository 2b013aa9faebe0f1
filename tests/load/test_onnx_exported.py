"""Networks as exporters write them load, agree with ONNX Runtime, and are bounded."""

import numpy as np
import pytest

from tests.load.from_pytorch import PYTORCH
from tests.load.from_quantisers import QUANTISED
from tests.load.from_scikit import SCIKIT
from tests.load.from_tensorflow import TENSORFLOW
from tests.load.onnx_models import save
from verifier.bounds import crown, interval
from verifier.load.onnx import load_model, runtime
from verifier.load.onnx.gate import verify_import
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend, torch_backend

MODELS = {**PYTORCH, **TENSORFLOW, **SCIKIT, **QUANTISED}


def region(model, radius=0.02):
    middle = np.random.default_rng(0).uniform(0, 1, model.graph.input_size)
    return middle - radius, middle + radius


@pytest.mark.parametrize("name", MODELS)
def test_it_loads_and_is_bounded(tmp_path, name):
    model = load_model(save(tmp_path / "m.onnx", MODELS[name]()))
    lower, upper = region(model)
    verify_import(model, lower, upper)
    xp = torch_backend("float64") if model.graph.wants_torch else numpy_backend("float64")
    graph = model.graph.on(xp)
    generator = np.random.default_rng(1)
    x = model.rounded(lower + generator.random((200, len(lower))) * (upper - lower))
    y = xp.numpy(graph.evaluate(xp.floats(x)))
    box = Box(xp.floats(lower[None]), xp.floats(upper[None]))
    with np.errstate(all="ignore"):
        enclosures = interval(graph, box), crown(graph, box, BoundSettings()).enclosure
    low = high = np.zeros(0)
    for enclosure in enclosures:
        found = enclosure.boxes[graph.output]
        low, high = xp.numpy(found.lower), xp.numpy(found.upper)
        assert (y >= low - 1e-7).all()
        assert (y <= high + 1e-7).all()
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


def test_names_of_classes_are_left_out(tmp_path):
    model = load_model(save(tmp_path / "m.onnx", SCIKIT["skl_names"]()))
    assert [port.name for port in model.outputs] == ["probabilities"]


def test_numbers_of_classes_are_outputs(tmp_path):
    model = load_model(save(tmp_path / "m.onnx", SCIKIT["skl_numbers"]()))
    assert [(port.name, port.shape) for port in model.outputs] == [
        ("label", (1,)),
        ("probabilities", (1, 3)),
    ]
    (row,) = runtime.run(model, np.zeros((1, 3)))
    assert row[0] in {2, 3, 7}


def test_a_map_is_its_numbers_in_the_order_of_the_classes(tmp_path):
    model = load_model(save(tmp_path / "m.onnx", SCIKIT["skl_map"]()))
    x = np.random.default_rng(0).uniform(-2, 2, (20, 3))
    x = model.rounded(x)
    rows = runtime.run(model, x)
    np.testing.assert_allclose(rows[:, 1] + rows[:, 2], 1, atol=1e-6)
    np.testing.assert_array_equal(rows[:, 0], np.where(rows[:, 1] >= rows[:, 2], 3, 8))
    ours = model.graph.on(numpy_backend("float64")).evaluate(x)
    np.testing.assert_allclose(ours, rows, atol=1e-6)
