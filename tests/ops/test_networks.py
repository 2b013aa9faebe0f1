"""Random networks of all operators: read as ONNX Runtime does, bounded by every method, checked."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tests.ops.networks import random_network
from verifier import api
from verifier.bounds import crown, interval
from verifier.bounds.forward import forward
from verifier.bounds.zonotope import zonotope
from verifier.families.curve import Curve
from verifier.load.onnx import load_model, runtime
from verifier.ops.curves import SQRT
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend, torch_backend
from verifier.verdict import Reason, Unknown, Verified

SAMPLES = 200
METHODS = {
    "interval": interval,
    "zonotope": lambda graph, box: zonotope(graph, box, 20),
    "forward": forward,
    "crown": lambda graph, box: crown(graph, box, BoundSettings()).enclosure,
}
seeds = given(seed=st.integers(0, 10**9))


def network(folder, seed):
    """(label, model, its graph on a backend, a box)."""
    label, proto = random_network(seed)
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    model = load_model(path)
    xp = torch_backend("float64") if model.convolves else numpy_backend("float64")
    generator = np.random.default_rng(seed)
    centre = generator.uniform(-1, 1, (1, model.graph.input_size))
    radius = generator.choice([0.01, 0.3, 1.5]) * generator.random(centre.shape)
    sides = (side.astype(np.float32).astype(float) for side in (centre - radius, centre + radius))
    return label, model, model.graph.on(xp), tuple(sides)


def points_in(lower, upper, seed):
    share = np.random.default_rng(seed).random((SAMPLES, lower.shape[1]))
    share[:20] = np.round(share[:20])
    points = lower + share * (upper - lower)
    return np.clip(points.astype(np.float32).astype(float), lower, upper)


def smooth(label):
    """Do all its operators go over small changes of their inputs?"""
    jumps = {"ArgM", "Ceil", "Equa", "Floo", "Grea", "Less", "Not", "Or", "And", "Xor", "Quan"}
    jumps |= {"Roun", "Sign", "Shri", "Thre", "Wher", "Cast", "OneH"}
    return not any(name[:4] in jumps or name in jumps for name in label.split("+"))


@seeds
def test_values_and_bounds(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("net")
    label, model, graph, (lower, upper) = network(folder, seed)
    points, xp = points_in(lower, upper, seed), graph.xp
    with np.errstate(all="ignore"):
        values = [xp.numpy(v) for v in graph.values(xp.floats(points))]
        if smooth(label):
            expected = runtime.run(model, points[:10])
            scale = 3e-5 * max(1.0, *(abs(v[:10]).max(initial=0.0) for v in values))
            np.testing.assert_allclose(values[graph.output][:10], expected, atol=scale, rtol=1e-4)
        for name, method in METHODS.items():
            boxes = method(graph, Box(xp.floats(lower), xp.floats(upper))).boxes
            for number, (box, value) in enumerate(zip(boxes, values, strict=True)):
                slack = 1e-9 * (1 + abs(value))
                low, high = xp.numpy(box.lower), xp.numpy(box.upper)
                outside = (value < low - slack) | (value > high + slack)
                assert not outside.any(), (label, name, number)


@example(seed=186)  # A row was improved in a network without slopes to choose.
@seeds
def test_a_property_that_holds_is_certified_if_rules_are_there(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("net")
    label, model, graph, (lower, upper) = network(folder, seed)
    with np.errstate(all="ignore"):
        box = interval(graph, Box(graph.xp.floats(lower), graph.xp.floats(upper))).boxes
    least = float(graph.xp.numpy(box[graph.output].lower)[0, 0])
    if not np.isfinite(least) or abs(least) > 1e20:
        return
    size, outputs = graph.input_size, graph.output_size
    lines = [f"(declare-const X_{i} Real)" for i in range(size)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(outputs)]
    lines += [f"(assert (>= X_{i} {lower[0, i]:.20f}))" for i in range(size)]
    lines += [f"(assert (<= X_{i} {upper[0, i]:.20f}))" for i in range(size)]
    lines.append(f"(assert (<= Y_0 {least - 0.1 - abs(least):.20f}))")
    prop = folder / "p.vnnlib"
    prop.write_text("\n".join(lines) + "\n", encoding="utf-8")
    verdict = api.verify(model, prop, timeout=2.0).verdict
    if isinstance(verdict, Unknown) and verdict.reason is Reason.OUT_OF_TIME:
        return
    assert isinstance(verdict, Verified), (label, verdict)
    certificate = verdict.certificate
    assert certificate is not None
    assert "rejected" not in certificate.note, (label, certificate.note)
    if certificate.data is not None and certificate.semantics:
        report = api.check(certificate.data, model.path, prop)
        assert report.accepted, label


def test_a_root_at_0_has_finite_lines():
    """Its tangent there is infinite; the lines were NaN."""
    xp = numpy_backend("float64")
    zero = xp.zeros(1, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        planes = Curve.of(2, SQRT).on(xp).relax(Box(zero, xp.floats(np.array([[0.0, 1e-300]]))))
    for part in (*planes.below, *planes.above, planes.lower_offset, planes.upper_offset):
        assert np.isfinite(part).all()
