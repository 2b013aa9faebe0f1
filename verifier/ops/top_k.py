"""The greatest or least k entries along an axis, in order, and where they are: TopK."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families import Maximum
from verifier.families.example import Example, integers
from verifier.families.onnx_node import OnnxNode, Operand, axis_of
from verifier.families.registry import examples, reads
from verifier.graph import Builder, Value
from verifier.ops.logic import scaled
from verifier.ops.order import INT64, ArgGreatest
from verifier.ops.scale import Scale
from verifier.ops.sum import concatenate
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Bool, Float

LONGEST = 32
"""More than one of a longer axis would take too many comparisons."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ArgRank(ArgGreatest):
    """The place of the entry that ``rank`` others are ahead of: larger ones, or equal ones before.

    Over a box an entry may have the rank if at most so many others are larger for sure, and at
    least so many may be ahead.
    """

    rank: int

    @staticmethod
    def at(rank: int, index: np.ndarray, size_in: int) -> ArgRank:
        """From an index table [m, k]."""
        return ArgRank(
            sizes=(size_in,), size=len(index), index=index, origin=0.0, turn=1.0, rank=rank
        )

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        xp, x = self.xp, inputs[0][:, self.index]
        place = xp.arange(self.index.shape[1])
        own, other = x[:, :, :, None], x[:, :, None, :]
        tied = (other == own) & (place[None, :] < place[:, None])
        ahead = xp.floats((other > own) | tied).sum(-1)
        return (xp.floats(ahead == self.rank) * xp.floats(place)).sum(-1)

    def _contested(self, box: Box) -> tuple[Bool[Array, "batch m k"], Array]:
        xp = self.xp
        lower, upper = box.lower[:, self.index], box.upper[:, self.index]
        nan = xp.function("isnan", lower) | xp.function("isnan", upper)
        unknown = xp.where(nan.any(-1), xp.full((1,), float("nan")), xp.zeros(1))
        surely = xp.floats(lower[:, :, None, :] > upper[:, :, :, None]).sum(-1)
        # An entry counts itself among those that may be ahead.
        perhaps = xp.floats(upper[:, :, None, :] >= lower[:, :, :, None]).sum(-1) - 1
        return (surely <= self.rank) & (perhaps >= self.rank), unknown


@reads("TopK")
def read_top_k(node: OnnxNode, builder: Builder) -> Operand:
    """The values, and their places."""
    value = node.value(0)
    axis = axis_of(node.flag("axis", -1), len(value.shape))
    k, count = (node.ints("k", 1) or (0,))[0], value.shape[axis]
    if not 1 <= k <= count:
        message = f"the first {k} of {count}"
        raise ModelError(message)
    if k > 1 and (count > LONGEST or not node.flag("sorted", 1)):
        message = f"the first {k} of {count}, need at most {LONGEST} in order, or the first one"
        raise UnsupportedModel(message)
    sign = 1.0 if node.flag("largest", 1) else -1.0
    turned = scaled(f"{node.name}/turned", builder, value, sign) if sign < 0 else value
    table = np.moveaxis(value.table(), axis, -1)
    shape, rows = (*table.shape[:-1], k), table.reshape(-1, count)
    places = [ArgRank.at(rank, rows, value.size) for rank in range(k)]
    where = [
        builder.add(f"{node.name}/place{rank}", operator, [turned], (operator.size, 1))
        for rank, operator in enumerate(places)
    ]
    found = _values(node.name, builder, turned, rows, k)
    if sign < 0:
        found = scaled(f"{node.name}/back", builder, found, sign)
    results = (found, concatenate(f"{node.name}/places", builder, where, 1))
    order = np.moveaxis(np.arange(len(rows) * k).reshape(shape), -1, axis)
    return tuple(
        builder.rearrange(f"{node.name}/order{i}", part, order) for i, part in enumerate(results)
    )


def _values(name: str, builder: Builder, value: Value, rows: np.ndarray, k: int) -> Value:
    """The greatest k of each row in falling order, [rows, k], by a network of comparisons."""
    groups, count = rows.shape
    if k == 1:
        return builder.add(f"{name}/greatest", Maximum.of(rows, value.size), [value], (groups, 1))
    every = builder.rearrange(f"{name}/every", value, rows)
    for step in range(count):
        every = _compared(f"{name}/{step}", builder, every, step % 2)
    return builder.rearrange(f"{name}/first", every, every.table()[:, :k])


def _compared(name: str, builder: Builder, every: Value, start: int) -> Value:
    """Each pair of neighbours in falling order; min(a, b) = - max(-a, -b)."""
    groups, count = every.shape
    pairs = np.tile(np.arange(count)[:, None], 2)
    signs = np.ones(count)
    for left in range(start, count - 1, 2):
        pairs[left : left + 2] = left, left + 1
        signs[left + 1] = -1
    both = every.size + every.table()
    table = np.where((signs < 0)[None, :, None], both[:, pairs], every.table()[:, pairs])
    twice = builder.rearrange(f"{name}/twice", every, np.tile(np.arange(every.size), 2))
    flips = np.repeat([1.0, -1.0], every.size)
    twice = builder.add(f"{name}/flipped", Scale.of(twice.size, flips, None), [twice])
    operator = Maximum.of(table.reshape(-1, 2), twice.size)
    greatest = builder.add(f"{name}/greatest", operator, [twice], (groups, count))
    turn = Scale.of(greatest.size, np.tile(signs, groups), None)
    return builder.add(f"{name}/turned", turn, [greatest])


@examples("TopK")
def _examples() -> Iterator[Example]:
    for shape, k, options in (
        ((2, 4), 1, {}),
        ((2, 3), 2, {"largest": 0}),
        ((4, 2), 3, {"axis": 0}),
    ):
        inputs = shape, integers(k)
        yield Example("TopK", inputs, options, outputs=2, output_types=(1, INT64))
