"""Before a search over inputs: an attack where many neurons jump, and only there."""

import numpy as np
import pytest

from verifier.graph import Builder, Graph, Value
from verifier.ops.relu import Relu
from verifier.ops.steps import step
from verifier.search import strategy
from verifier.search.context import Context
from verifier.tensors import numpy_backend


def stepped(inputs: int, jumps: int) -> Graph:
    """ReLUs on all inputs, twice, and so many layers of signs at the end."""
    builder = Builder(inputs)
    value = builder.add("relu", Relu.of(inputs), [Value(0, (inputs,))], (inputs,))
    value = builder.add("again", Relu.of(inputs), [value], (inputs,))
    for place in range(jumps):
        value = step(f"sign{place}", builder, value, (-1, 0, 1), np.zeros(1))
    return builder.finish(value)


@pytest.mark.parametrize(
    ("inputs", "jumps", "attacked"), [(20, 2, True), (20, 1, False), (8, 2, False)]
)
def test_many_jumps_and_many_inputs_are_attacked_first(monkeypatch, inputs, jumps, attacked):
    hunts = []

    class Hunt:
        def __init__(self, context) -> None:
            hunts.append(context)

        def run(self, seconds: float, steps: int) -> None:
            return None

    monkeypatch.setattr(strategy, "Hunt", Hunt)
    monkeypatch.setattr(strategy, "_single", lambda context: context)
    context = Context.__new__(Context)
    context.graph, context.deadline = stepped(inputs, jumps).on(numpy_backend()), 1.0
    assert strategy._attacked_first(context) is None
    assert bool(hunts) is attacked
