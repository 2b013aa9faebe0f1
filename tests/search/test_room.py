"""Float32 execution is checked where leaves leave room for it."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.bounds.graphs import mlp
from verifier import Options, Verified, sealing, verify
from verifier.bounds import Objective, crown
from verifier.search import by_neurons
from verifier.search.room import room_for_single
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import numpy_backend

XP = numpy_backend("float64")
SIZES = (20, 12, 10, 1)


def room(center: float, scale: float) -> float:
    graph = mlp(3, (4, 6, 6, 2)).on(XP)
    box = Box(np.full((1, 4), center - scale), np.full((1, 4), center + scale))
    plain = crown(graph, box, BoundSettings()).enclosure
    objective = Objective.of(np.eye(2), None, np.arange(2), XP)
    return room_for_single(plain, objective, np.zeros((1, 2)))


def test_room_grows_with_what_float32_rounds():
    near, far = room(0.0, 0.1), room(100.0, 0.1)
    assert 0 < near < 1e-4
    assert far > 20 * near


def test_nothing_is_known_of_rows_that_are_not_asked_for():
    graph = mlp(3, (4, 6, 6, 2)).on(XP)
    plain = crown(graph, Box(np.zeros((1, 4)), np.ones((1, 4))), BoundSettings()).enclosure
    objective = Objective.of(np.eye(2), None, np.arange(2), XP)
    assert room_for_single(plain, objective, np.full((1, 2), -np.inf)) == 0.0


def network(path: Path) -> tuple[Path, float]:
    """A small network over [-1, 1]^20, and a number that its output stays below, not obviously."""
    generator, nodes, tensors, value = np.random.default_rng(5), [], [], "x"
    points = generator.choice([-1.0, 1.0], size=(2000, SIZES[0]))
    for k, (n, m) in enumerate(itertools.pairwise(SIZES)):
        weight = (generator.normal(size=(n, m)) / np.sqrt(n)).astype(np.float32)
        tensors.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{k}"], [f"m{k}"]))
        points, value = points @ weight, f"m{k}"
        if k < len(SIZES) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"r{k}"]))
            points, value = points.clip(min=0), f"r{k}"
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIZES[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 1])],
        tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path, float(points.max()) + 1.0


def above(path: Path, most: float) -> Path:
    lines = [f"(declare-const X_{i} Real)" for i in range(SIZES[0])] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{i} -1.0))(assert (<= X_{i} 1.0))" for i in range(SIZES[0])]
    path.write_text("\n".join([*lines, f"(assert (>= Y_0 {most}))"]))
    return path


@pytest.mark.parametrize(
    ("needed", "semantics", "single"),
    [(0.0, "auto", True), (np.inf, "auto", False), (np.inf, "float32", True)],
)
def test_float32_is_tried_where_there_is_room_or_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: float, semantics: str, single: bool
):
    path, most = network(tmp_path / "net.onnx")
    seen = list[bool]()
    whole = sealing.Seal.__call__

    def noting(self: sealing.Seal, tree):
        seen.append(self.single)
        return whole(self, tree)

    monkeypatch.setattr(sealing.Seal, "__call__", noting)
    monkeypatch.setattr(by_neurons, "room_for_single", lambda *_: needed)
    options = Options(semantics=semantics)
    result = verify(path, above(tmp_path / "p.vnnlib", most), timeout=60.0, options=options)
    assert isinstance(result.verdict, Verified)
    assert result.verdict.certificate is not None
    assert result.verdict.certificate.leaves > 1
    assert seen == [single]
    assert result.verdict.certificate.semantics == ("float32" if single else "real")
