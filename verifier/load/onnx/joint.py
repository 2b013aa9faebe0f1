"""Several networks as one: their inputs side by side, and their outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifier.graph import Builder, Graph, Value
from verifier.graph.passes import simplify
from verifier.load.onnx.model import Model
from verifier.ops.sum import concatenate


def join_models(models: Sequence[Model]) -> Model:
    """The network whose input and output are those of all models, one after another.

    The same model may occur several times. ONNX Runtime runs each by itself.
    """
    if len(models) == 1:
        return models[0]
    operators: Counter[str] = Counter()
    for model in models:
        operators.update(model.operators)
    first = models[0]
    return replace(
        first,
        data=b"",
        graph=_joined([model.graph for model in models]),
        inputs=tuple(port for model in models for port in model.inputs),
        outputs=tuple(port for model in models for port in model.outputs),
        operators=dict(sorted(operators.items())),
        precision=min((model.precision for model in models), key=lambda t: t.itemsize),
        parts=tuple(models),
    )


def _joined(graphs: Sequence[Graph]) -> Graph:
    size = sum(graph.input_size for graph in graphs)
    builder, start, outputs = Builder(size), 0, []
    for number, graph in enumerate(graphs):
        places = np.arange(start, start + graph.input_size)
        entry = builder.rearrange(f"inputs {number}", Value(0, (size,)), places)
        start += graph.input_size
        offset = len(builder.nodes)
        numbers = [entry.number, *(offset + i for i in range(1, len(graph.nodes) + 1))]
        for node in graph.nodes:
            inputs = tuple(numbers[i] for i in node.inputs)
            builder.nodes.append(replace(node, inputs=inputs))
        outputs.append(Value(numbers[graph.output], (graph.output_size,)))
    whole = concatenate("outputs", builder, outputs, 0)
    assert isinstance(whole, Value)
    return simplify(builder.finish(whole))
