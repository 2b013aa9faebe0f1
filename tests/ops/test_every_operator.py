"""What every operator must do, on every registered example."""

import numpy as np
import onnx.reference
import pytest

from tests.ops.cases import Case, affine, cases, operators
from verifier.families import Affine
from verifier.families.registry import all_examples, readers
from verifier.load.onnx import runtime
from verifier.tensors import gamma, numpy_backend, torch_backend

CASES = [pytest.param(case, id=case.example.name) for case in cases()]
AFFINE = [pytest.param(case, value, id=label) for label, case, value in operators(Affine)]
SHAPE_ONLY = {"Shape", "Size", "ConstantOfShape"}
REFERENCE_DIFFERS = (
    ("AveragePool", "ceil_mode"),
    ("AveragePool", "auto_pad"),
    ("MaxPool", "ceil_mode"),
    ("MaxPool", "auto_pad"),
    ("BatchNormalization", "opset 9"),
    ("ConvTranspose", "group"),
    ("ConvTranspose", "output_shape"),
    ("GatherElements", "2 axes"),
    ("GlobalLpPool", "opset 17"),  # It has none.
    ("GridSample", "mode cubic"),
    ("Hardmax", "opset 11"),
    ("LRN", "opset 17"),
    ("ai.onnx.ml.ZipMap", "opset 17"),  # It has none.
    ("GlobalMaxPool", "3 axes"),
    ("OneHot", "2 axes"),
    ("LogSoftmax", "opset 11"),
    ("LpNormalization", "p"),
    ("Pad", "negative"),
    ("RNN", "activations"),
    ("Resize", "coordinate_transformation_mode"),
    ("Resize", "opset 10"),
    ("Scatter", "opset 9"),
    ("Softmax", "opset 11"),
    ("Upsample", "mode"),
)
"""What onnx.reference reads otherwise than ONNX Runtime, which is the judge."""


def traits(example):
    options = {f"{name} {option}" for name, option in example.attributes.items()}
    found = {
        *example.attributes,
        *options,
        f"opset {example.opset}",
        f"{np.size(example.inputs[0])} axes",
    }
    arrays = [x for x in example.inputs if isinstance(x, np.ndarray) and x.dtype.kind == "i"]
    return found | {"negative" for x in arrays if (x < 0).any()}


def evaluate(case, graph, x, backend):
    placed = graph.on(backend)
    return backend.numpy(placed.evaluate(backend.floats(x)))


def test_every_reader_has_an_example():
    assert set(readers()) - set(all_examples()) == SHAPE_ONLY


@pytest.mark.parametrize("case", CASES)
def test_it_evaluates_as_onnx_runtime_does(case: Case):
    x = case.points(4)
    expected = runtime.run(case.model, x)
    for graph in (case.graph, case.model.graph):
        ours = evaluate(case, graph, x, case.backend())
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_it_evaluates_as_the_reference_does(case: Case):
    example = case.example
    if example.op_type.startswith("com.microsoft."):
        return  # Of ONNX Runtime's own.
    if any(op == example.op_type and t in traits(example) for op, t in REFERENCE_DIFFERS):
        return
    session = onnx.reference.ReferenceEvaluator(example.model())
    (x,) = case.points(1)
    outputs = session.run(None, case.model.feeds(x))
    expected = np.concatenate([np.asarray(y).reshape(-1) for y in outputs])
    ours = evaluate(case, case.graph, x[None], case.backend())[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_equals_its_rows(case: Case):
    x = case.points(5)
    whole = evaluate(case, case.graph, x, case.backend())
    for row, y in zip(x, whole, strict=True):
        single = evaluate(case, case.graph, row[None], case.backend())[0]
        np.testing.assert_allclose(single, y, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_backends_and_precisions_agree(case: Case):
    x = case.points(3)
    exact = evaluate(case, case.graph, x, torch_backend("float64"))
    rough = evaluate(case, case.graph, x, torch_backend("float32"))
    np.testing.assert_allclose(rough, exact, rtol=2e-5, atol=2e-5)
    if not case.model.convolves:
        same = evaluate(case, case.graph, x, numpy_backend("float64"))
        np.testing.assert_allclose(same, exact, rtol=1e-13, atol=1e-13)
        rough = evaluate(case, case.graph, x, numpy_backend("float32"))
        np.testing.assert_allclose(rough, exact, rtol=2e-5, atol=2e-5)


def dense(operator):
    """The matrices M_i, from adjoints of unit vectors."""
    xp = operator.xp
    return [xp.numpy(part) for part in operator.adjoint(xp.floats(np.eye(operator.size)))]


def inputs_of(operator, seed=0, low=-2.0):
    generator = np.random.default_rng(seed)
    return [generator.uniform(low, 2.0, (3, size)) for size in operator.sizes]


def apply(operator, method, arrays):
    xp = operator.xp
    return xp.numpy(getattr(operator, method)(*(xp.floats(x) for x in arrays)))


@pytest.mark.parametrize(("case", "value"), AFFINE)
def test_an_affine_operator_is_its_matrix(case: Case, value: int):
    operator = affine(case, value).on(case.backend())
    x = inputs_of(operator)
    matrices = dense(operator)
    bias = apply(operator, "evaluate", [np.zeros((1, size)) for size in operator.sizes])
    linear = sum(part @ matrix.T for part, matrix in zip(x, matrices, strict=True))
    np.testing.assert_allclose(
        apply(operator, "evaluate", x), linear + bias, rtol=1e-12, atol=1e-12
    )
    sizes = [abs(part) for part in x]
    absolute = sum(part @ abs(m).T for part, m in zip(sizes, matrices, strict=True))
    np.testing.assert_allclose(apply(operator, "absolute", sizes), absolute, rtol=1e-12, atol=1e-12)
    magnitude = apply(operator, "magnitude", sizes)
    assert (magnitude >= absolute + abs(bias) - 1e-12).all()


@pytest.mark.parametrize(("case", "value"), AFFINE)
def test_unit_rows_are_rows_of_the_matrix(case: Case, value: int):
    operator = affine(case, value).on(case.backend())
    xp = operator.xp
    index = np.random.default_rng(0).integers(0, operator.size, 4)
    parts = operator.unit_rows(xp.ints(index))
    for part, matrix in zip(parts, dense(operator), strict=True):
        np.testing.assert_array_equal(xp.numpy(part), matrix[index])


@pytest.mark.parametrize(("case", "value"), AFFINE)
def test_affine_roundings_keep_their_law(case: Case, value: int):
    """Values and adjoints in float32 err by at most gamma(terms) times the magnitudes."""
    operator = affine(case, value)
    rough, exact = operator.on(case.backend("float32")), operator.on(case.backend())
    factor = gamma(operator.terms, 2.0**-24) * (1 + 1e-6)
    x = [part.astype(np.float32).astype(np.float64) for part in inputs_of(operator, seed=1)]
    error = abs(apply(rough, "evaluate", x) - apply(exact, "evaluate", x))
    assert (error <= factor * apply(exact, "magnitude", [abs(part) for part in x])).all()
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(3, operator.size)).astype(np.float32).astype(np.float64)
    parts = zip(
        rough.adjoint(rough.xp.floats(rows)),
        exact.adjoint(exact.xp.floats(rows)),
        dense(exact),
        strict=True,
    )
    for ours, true, matrix in parts:
        error = abs(rough.xp.numpy(ours).astype(np.float64) - exact.xp.numpy(true))
        assert (error <= factor * (abs(rows) @ abs(matrix)) + 1e-300).all()


@pytest.mark.parametrize(("case", "value"), AFFINE)
@pytest.mark.parametrize("make", [numpy_backend, torch_backend])
def test_a_batch_of_none(case: Case, value: int, make):
    if make is torch_backend and not case.model.convolves:
        return
    operator = affine(case, value).on(make("float64"))
    xp = operator.xp
    nothing = [xp.zeros(0, size) for size in operator.sizes]
    for found in (operator.evaluate(*nothing), operator.magnitude(*nothing)):
        assert tuple(found.shape) == (0, operator.size)
    for parts in (operator.adjoint(xp.zeros(0, operator.size)), operator.unit_rows(xp.arange(0))):
        assert [tuple(part.shape) for part in parts] == [(0, size) for size in operator.sizes]
