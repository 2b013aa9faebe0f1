"""Random networks of any registered operators, as ONNX models."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from verifier.families.example import Example
from verifier.families.registry import all_examples

OPSETS = (13, 17, 18, 19)
LEFT_OUT = {"DequantizeLinear"}
"""ONNX Runtime puts a pair of QuantizeLinear to uint8 and back behind a Reshape that follows."""
LARGEST = 200
"""Examples with larger inputs are left out."""


@cache
def building_blocks(opset: int) -> dict[str, tuple[Example, ...]]:
    """The examples of one opset that may follow others, by operator."""
    found = {}
    for op_type, generators in sorted(all_examples().items()):
        some = [e for generate in generators for e in generate() if e.op_type == op_type]
        some = [e for e in some if e.opset == opset and _fits(e)]
        if some and op_type not in LEFT_OUT:
            found[op_type] = tuple(some)
    return found


def _fits(example: Example) -> bool:
    shapes = [x for x in example.inputs if isinstance(x, tuple)]
    numbers = example.output_type in {TensorProto.FLOAT, TensorProto.BOOL}
    numbers = numbers and not example.output_types and not example.quantised
    return bool(shapes) and max(map(math.prod, shapes)) <= LARGEST and numbers


@dataclass
class Sketch:
    """A network under construction; every block reads squashed affine functions of others."""

    rng: random.Random
    size: int
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    pool: list[tuple[str, int]] = field(default_factory=list)
    """Flat float tensors [1, n], and n."""
    count: int = 0

    def name(self, hint: str) -> str:
        """A new name."""
        self.count += 1
        return f"{hint}{self.count}"

    def constant(self, array: np.ndarray) -> str:
        """An initialiser's name."""
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """A node with one output: the output's name."""
        result = self.name("t")
        self.nodes.append(helper.make_node(op_type, inputs, [result], result, **attributes))
        return result

    def shaped(self, name: str, shape: tuple[int, ...]) -> str:
        """A tensor under another shape."""
        return self.node("Reshape", [name, self.constant(np.array(shape, dtype=np.int64))])

    def operand(self, shape: tuple[int, ...], low: float, high: float) -> str:
        """A tensor of a shape between two numbers, computed from a flat one."""
        source, size = self.rng.choice(self.pool[-3:])
        seed = self.rng.randrange(2**32)
        generator = np.random.default_rng(seed)
        weights = generator.normal(size=(size, int(np.prod(shape)))) * (high - low) / size**0.5 / 2
        middle = np.full(weights.shape[1], (low + high) / 2)
        flat = self.node("MatMul", [source, self.constant(weights.astype(np.float32))])
        flat = self.node("Add", [flat, self.constant(middle.astype(np.float32))])
        ends = [self.constant(np.array(x, dtype=np.float32)) for x in (low, high)]
        return self.shaped(self.node("Clip", [flat, *ends]), shape)

    def add(self, example: Example) -> None:
        """A block; its outputs join the pool."""
        names = []
        for place, given in enumerate(example.inputs):
            if isinstance(given, np.ndarray):
                names.append(self.constant(given))
                continue
            name = "" if given is None else self.operand(given, example.low, example.high)
            if place in example.truths:
                name = self.node("Greater", [name, self.constant(np.array(0, dtype=np.float32))])
            if place in example.whole:
                name = self.node("Cast", [name], to=TensorProto.INT32)
            names.append(name)
        results = [self.name("y") for _ in range(example.outputs)]
        self.nodes.append(
            helper.make_node(example.op_type, names, results, results[0], **example.attributes)
        )
        sizes = output_sizes(example)
        for name, size in zip(results, sizes, strict=True):
            flat = name
            if example.output_type == TensorProto.BOOL:
                flat = self.node("Cast", [name], to=TensorProto.FLOAT)
            self.pool.append((self.shaped(flat, (1, size)), size))


@cache
def output_sizes(example: Example) -> tuple[int, ...]:
    """How many elements each output of an example has."""
    from verifier.load.onnx.importer import import_graph

    return tuple(port.size for port in import_graph(example.model()).outputs)


def random_network(seed: int, blocks: int = 3) -> tuple[str, onnx.ModelProto]:
    """A network of a few blocks with one float32 input [1, n], and the names of its operators."""
    rng = random.Random(seed)
    opset = rng.choice(OPSETS)
    choices = building_blocks(opset)
    size = rng.choice((1, 2, 3, 5))
    sketch = Sketch(rng, size, pool=[("x", size)])
    names = []
    for _ in range(rng.randint(1, blocks)):
        names.append(rng.choice(sorted(choices)))
        sketch.add(rng.choice(choices[names[-1]]))
    last = [name for name, _ in sketch.pool[-2:]]
    output = sketch.node("Concat", last, axis=1)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        sketch.nodes,
        "random",
        [info("x", TensorProto.FLOAT, [1, size])],
        [info(output, TensorProto.FLOAT, None)],
        sketch.constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    return "+".join(names), helper.make_model(graph, opset_imports=opsets, ir_version=8)
