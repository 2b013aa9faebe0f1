"""Recurrent layers, unrolled: RNN, LSTM, GRU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from verifier.errors import UnsupportedModel
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand, move
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.logic import rectified, scaled
from verifier.ops.matmul import matrix_product
from verifier.ops.mul import multiply
from verifier.ops.s_shaped import Sigmoid, Tanh
from verifier.ops.sum import add, concatenate, subtract
from verifier.records import dataclass

State = tuple[Operand, ...]


def activated(name: str, builder: Builder, value: Value, function: str) -> Value:
    """Sigmoid, Tanh or Relu of a value."""
    if function == "relu":
        return rectified(name, builder, value)
    kind = {"sigmoid": Sigmoid, "tanh": Tanh}[function]
    return builder.add(name, kind.of(value.size), [value])


def _times(name: str, builder: Builder, left: Operand, right: Operand) -> Operand:
    both = isinstance(left, np.ndarray) and isinstance(right, np.ndarray)
    return left * right if both else multiply(name, builder, left, right)


@dataclass(frozen=True)
class Cell(ABC):
    """One direction of a layer: weights [gates hidden, n], biases [gates hidden], activations."""

    builder: Builder
    inputs: np.ndarray
    states: np.ndarray
    bias: np.ndarray
    """[2, gates hidden]: of the inputs, of the states."""
    functions: tuple[str, ...]
    before_reset: bool = False
    peepholes: np.ndarray | None = None
    """Of an LSTM, [3, hidden]: what its gates input, output, forget see of the cell."""

    @property
    def hidden(self) -> int:
        """The size of a state."""
        return self.states.shape[1]

    def affine(self, name: str, x: Operand, weight: np.ndarray, bias: np.ndarray | None) -> Operand:
        """X weight' + bias."""
        if isinstance(x, np.ndarray):
            product: Operand = x @ weight.T
        else:
            product = matrix_product(name, self.builder, x, weight.T)
        return product if bias is None else add(f"{name}/bias", self.builder, product, bias)

    def gates(self, name: str, x: Operand, h: Operand) -> list[Operand]:
        """The sums that the gates' activations take, one [batch hidden] for each."""
        first = self.affine(f"{name}/inputs", x, self.inputs, self.bias.sum(0))
        second = self.affine(f"{name}/states", h, self.states, None)
        total = add(f"{name}/sum", self.builder, first, second)
        return [self.part(f"{name}/{i}", total, i) for i in range(len(self.states) // self.hidden)]

    def part(self, name: str, total: Operand, gate: int) -> Operand:
        """The columns of one gate."""
        columns = slice(gate * self.hidden, (gate + 1) * self.hidden)
        return move(self.builder, name, total, lambda table: table[:, columns])

    def activate(self, name: str, value: Value, which: int) -> Value:
        """The activation of this number."""
        return activated(name, self.builder, value, self.functions[which])

    @abstractmethod
    def step(self, name: str, x: Operand, state: State) -> State:
        """The state after one more input; its first part is the output."""


class RnnCell(Cell):
    """H = f(W x + R h + b)."""

    def step(self, name: str, x: Operand, state: State) -> State:
        (total,) = self.gates(name, x, state[0])
        return (self.activate(f"{name}/h", total, 0),)


class LstmCell(Cell):
    """C = f(forget) c + f(input) g(cell), H = f(output) h(C)."""

    def step(self, name: str, x: Operand, state: State) -> State:
        h, c = state
        i, o, f, cell = self.gates(name, x, h)
        i = self.activate(f"{name}/i", self.seen(f"{name}/i", i, c, 0), 0)
        f = self.activate(f"{name}/f", self.seen(f"{name}/f", f, c, 2), 0)
        candidate = self.activate(f"{name}/candidate", cell, 1)
        kept = _times(f"{name}/kept", self.builder, f, c)
        fresh = _times(f"{name}/fresh", self.builder, i, candidate)
        c = add(f"{name}/c", self.builder, fresh, kept)
        o = self.activate(f"{name}/o", self.seen(f"{name}/o", o, c, 1), 0)
        return _times(f"{name}/h", self.builder, o, self.activate(f"{name}/out", c, 2)), c

    def seen(self, name: str, total: Operand, c: Operand, gate: int) -> Operand:
        """A gate's sum with what it sees of the cell."""
        if self.peepholes is None:
            return total
        part = _times(f"{name}/peephole", self.builder, c, self.peepholes[gate])
        return add(f"{name}/seen", self.builder, total, part)


class GruCell(Cell):
    """H = (1 - z) g + z h with g from W x and the reset state: g + z (h - g)."""

    def step(self, name: str, x: Operand, state: State) -> State:
        builder, n, (h,) = self.builder, self.hidden, state
        z, r, _ = self.gates(name, x, h)
        z, r = self.activate(f"{name}/z", z, 0), self.activate(f"{name}/r", r, 0)
        fresh = self.affine(f"{name}/fresh", x, self.inputs[2 * n :], self.bias[0, 2 * n :])
        weight, bias = self.states[2 * n :], self.bias[1, 2 * n :]
        if self.before_reset:
            reset = _times(f"{name}/reset", builder, r, self.affine(f"{name}/old", h, weight, bias))
        else:
            old = _times(f"{name}/old", builder, r, h)
            reset = self.affine(f"{name}/reset", old, weight, bias)
        total = add(f"{name}/g/sum", builder, fresh, reset)
        g = self.activate(f"{name}/g", total, 1)
        if isinstance(h, np.ndarray):
            change: Operand = add(
                f"{name}/change", builder, scaled(f"{name}/-g", builder, g, -1.0), h
            )
        else:
            change = subtract(f"{name}/change", builder, h, g)
        return (add(f"{name}/h", builder, g, _times(f"{name}/blend", builder, z, change)),)


KINDS: dict[str, tuple[type[Cell], int, tuple[str, ...]]] = {
    "RNN": (RnnCell, 1, ("tanh",)),
    "LSTM": (LstmCell, 4, ("sigmoid", "tanh", "tanh")),
    "GRU": (GruCell, 3, ("sigmoid", "tanh")),
}
"""The cell, its number of gates, its default activations."""


@reads(*KINDS)
def read_recurrent(node: OnnxNode, builder: Builder) -> tuple[Operand, ...]:
    """All states, the last state, and for LSTM the last cell."""
    kind, _, defaults = KINDS[node.op_type]
    x = node.operand(0)
    _check(node, x)
    if node.flag("layout", 0):
        x = move(builder, f"{node.name}/layout", x, lambda table: np.swapaxes(table, 0, 1))
    weights = node.needed_weights(1, "weights")
    recurrence = node.needed_weights(2, "recurrence weights")
    directions, _, hidden = recurrence.shape
    bias = node.weights(3, "biases")
    bias = np.zeros((directions, 2 * weights.shape[1])) if bias is None else bias
    functions = [str(f).lower() for f in node.attributes.get("activations", defaults * directions)]
    if not set(functions) <= {"sigmoid", "tanh", "relu"}:
        message = f"activations {functions}, need Sigmoid, Tanh or Relu"
        raise UnsupportedModel(message)
    peepholes = node.weights(7, "peepholes") if node.op_type == "LSTM" else None
    count = len(defaults)
    runs = []
    for d in range(directions):
        cell = kind(
            builder,
            weights[d],
            recurrence[d],
            bias[d].reshape(2, -1),
            tuple(functions[d * count : (d + 1) * count]),
            bool(node.flag("linear_before_reset", 0)),
            None if peepholes is None else peepholes[d].reshape(3, hidden),
        )
        state = tuple(
            _initial(node, builder, place, d, (x.shape[1], hidden))
            for place in ((5, 6) if node.op_type == "LSTM" else (5,))
        )
        backward = node.attributes.get("direction", "forward") == "reverse" or d == 1
        runs.append(_run(f"{node.name}/{d}", cell, x, state, backward=backward))
    return _outputs(node, builder, runs)


def _check(node: OnnxNode, x: Operand) -> None:
    lengths = node.constant(4, "sequence lengths")
    steps = x.shape[1 if node.flag("layout", 0) else 0]
    if lengths is not None and (lengths != steps).any():
        message = f"sequences of lengths {lengths.tolist()} in {steps} steps"
        raise UnsupportedModel(message)
    for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        if node.attributes.get(name):
            message = f"the attribute {name}"
            raise UnsupportedModel(message)


def _initial(
    node: OnnxNode, builder: Builder, place: int, direction: int, shape: tuple[int, int]
) -> Operand:
    given = node.get(place)
    if given is None:
        return np.zeros(shape)
    if node.flag("layout", 0):
        return move(builder, f"{node.name}/start{place}", given, lambda table: table[:, direction])
    return move(builder, f"{node.name}/start{place}", given, lambda table: table[direction])


def _run(name: str, cell: Cell, x: Operand, state: State, *, backward: bool) -> list[State]:
    """The states after each step, in the order of the inputs."""
    steps = range(x.shape[0])
    states = []
    for t in reversed(steps) if backward else steps:
        here = move(cell.builder, f"{name}/{t}/x", x, lambda table, t=t: table[t])
        state = cell.step(f"{name}/{t}", here, state)
        states.append(state)
    return states[::-1] if backward else states


def _outputs(node: OnnxNode, builder: Builder, runs: list[list[State]]) -> tuple[Operand, ...]:
    """Y [steps, directions, batch, hidden], Y_h and Y_c [directions, batch, hidden]."""
    steps, batch = len(runs[0]), runs[0][0][0].shape
    backward = node.attributes.get("direction", "forward") == "reverse"
    last = [run[0 if backward or d == 1 else -1] for d, run in enumerate(runs)]
    rows = [run[t][0].reshape((1, *batch)) for t in range(steps) for run in runs]
    whole = concatenate(f"{node.name}/Y", builder, rows, 0).reshape((steps, len(runs), *batch))
    results = [whole]
    for part in range(len(last[0])):
        finals = [state[part].reshape((1, *batch)) for state in last]
        results.append(concatenate(f"{node.name}/last{part}", builder, finals, 0))
    if node.flag("layout", 0):
        axes = [(2, 0, 1, 3), (1, 0, 2), (1, 0, 2)]
        results = [
            move(
                builder, f"{node.name}/turn{i}", y, lambda table, a=axes[i]: np.transpose(table, a)
            )
            for i, y in enumerate(results)
        ]
    return tuple(results)


@examples("RNN", "LSTM", "GRU")
def _recurrent() -> Iterator[Example]:
    for op_type, (_, gates, _) in KINDS.items():
        size, both = {"hidden_size": 2}, {"hidden_size": 2, "direction": "bidirectional"}
        one = numbers(1, gates * 2, 3), numbers(1, gates * 2, 2)
        two = numbers(2, gates * 2, 3), numbers(2, gates * 2, 2), numbers(2, gates * 4)
        yield Example(op_type, ((2, 1, 3), *one), size, outputs=2)
        yield Example(op_type, ((2, 2, 3), *two), both, outputs=2)
        start = numbers(1, 1, 2, seed=3)
        reverse = {"hidden_size": 2, "direction": "reverse"}
        inputs = ((2, 1, 3), *one, numbers(1, gates * 4), None, start)
        yield Example(op_type, inputs, reverse)
    start = (numbers(1, 1, 2), numbers(1, 1, 2, seed=1))
    weights = numbers(1, 8, 3), numbers(1, 8, 2), numbers(1, 16)
    yield Example("LSTM", ((2, 1, 3), *weights, None, *start), {"hidden_size": 2}, outputs=3)
    peepholes = numbers(1, 6, seed=2)
    inputs = ((2, 1, 3), *weights, None, None, None, peepholes)
    yield Example("LSTM", inputs, {"hidden_size": 2}, outputs=3)
    weights = numbers(1, 6, 3), numbers(1, 6, 2), numbers(1, 12)
    attributes = {"hidden_size": 2, "linear_before_reset": 1}
    yield Example("GRU", ((2, 1, 3), *weights, None, (1, 1, 2)), attributes)
    yield Example(
        "RNN",
        ((2, 1, 3), numbers(1, 2, 3), numbers(1, 2, 2)),
        {"hidden_size": 2, "activations": ["Relu"]},
    )
