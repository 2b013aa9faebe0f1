"""Every example of every operator, loaded once, and what the tests share."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from verifier.families import Affine, Nonlinear
from verifier.families.example import Example
from verifier.families.registry import all_examples
from verifier.graph import Graph
from verifier.load.onnx.importer import import_graph
from verifier.load.onnx.load import model_from
from verifier.load.onnx.model import Model
from verifier.tensors import Backend, numpy_backend, torch_backend

EACH = 8


@dataclass(frozen=True, eq=False)
class Case:
    """An example, its model, and its graph before any pass."""

    example: Example

    @cached_property
    def model(self) -> Model:
        proto = self.example.model()
        return model_from(Path("example.onnx"), proto.SerializeToString(), proto)

    @cached_property
    def graph(self) -> Graph:
        return import_graph(self.example.model()).graph

    def backend(self, dtype: str = "float64") -> Backend:
        return torch_backend(dtype) if self.model.convolves else numpy_backend(dtype)

    def points(self, count: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        shape = (count, self.graph.input_size)
        return self.model.rounded(generator.uniform(self.example.low, self.example.high, shape))


@cache
def cases() -> tuple[Case, ...]:
    generators = {g: None for gs in all_examples().values() for g in gs}
    return tuple(Case(example) for generate in generators for example in generate())


def affine(case: Case, value: int) -> Affine:
    operator = case.graph.node(value).operator
    assert isinstance(operator, Affine)
    return operator


def nonlinear(case: Case, value: int) -> Nonlinear:
    operator = case.graph.node(value).operator
    assert isinstance(operator, Nonlinear)
    return operator


def _content(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = ((f.name, _content(getattr(value, f.name))) for f in dataclasses.fields(value))
        return type(value).__name__, tuple(parts)
    return value


@cache
def operators(kind: type[Affine] | type[Nonlinear]) -> tuple[tuple[str, Case, int], ...]:
    """(label, case, value) of the different operators of a family in the examples.

    At most ``EACH`` of those that examples of one ONNX operator become.
    """
    found: dict[object, tuple[str, Case, int]] = {}
    counts: Counter[str] = Counter()
    for case in cases():
        for value, node in enumerate(case.graph.nodes, start=1):
            content = _content(node.operator)
            op_type = case.example.op_type
            if not isinstance(node.operator, kind) or content in found or counts[op_type] >= EACH:
                continue
            counts[op_type] += 1
            found[content] = (f"{case.example.name}:{node.name}", case, value)
    return tuple(found.values())
