"""Sums of many ReLUs of one and the same number become one function of that number: a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.families import FLOAT32_RANGE, Affine, Elementwise, Hinges, Rearrange, Table
from verifier.graph.graph import Graph, Node
from verifier.graph.passes.merge_affine import ORDINARY
from verifier.graph.passes.rewrite import rewrite
from verifier.records import dataclass
from verifier.tensors import numpy_backend

MANY = 8
"""So many ReLUs for each of the numbers that they are summed up to are worth a table."""
ROWS_AT_ONCE = 1 << 22
"""Entries of rows of coefficients that are looked at together."""


def fold_tables(graph: Graph) -> Graph:
    """The same function, where networks approximate curves by sums of ReLUs.

    ReLUs that each read one number of an earlier value, and which an affine operator sums up so
    that each sum is of ReLUs of one number, become a ``Table`` of the sums; nothing else may read
    them. Requires: no backend yet.
    """
    nodes, numbers = list[Node](), [0]
    for place, node in enumerate(graph.nodes, start=1):
        folded = _folded(graph, place)
        if folded is None:
            nodes.append(replace(node, inputs=tuple(numbers[i] for i in node.inputs)))
        else:
            source, index, table = folded
            spread = Rearrange.of(index, graph.size(source))
            if not spread.is_identity:
                nodes.append(Node(f"{node.name}/argument", spread, (numbers[source],)))
            at = numbers[source] if spread.is_identity else len(nodes)
            nodes.append(Node(node.name, table, (at,), node.tensor))
        numbers.append(len(nodes))
    if len(nodes) == len(graph.nodes) and not any(isinstance(n.operator, Table) for n in nodes):
        return graph
    whole = Graph(graph.input_size, tuple(nodes), numbers[graph.output])
    return rewrite(whole, whole.nodes)


def _folded(graph: Graph, place: int) -> tuple[int, np.ndarray, Table] | None:
    """A value, its elements (int64 [size]), and the table that makes value ``place`` of them.

    None: there is none.
    """
    node = graph.node(place)
    summing, hinge = node.operator, node.inputs[0]
    if not isinstance(summing, Affine) or len(node.inputs) != 1 or hinge == 0:
        return None
    relu = graph.node(hinge)
    if not isinstance(relu.operator, Elementwise) or not relu.operator.tilted:
        return None
    alone = graph.consumers[hinge] == (place,) and hinge != graph.output
    if not alone or relu.operator.size < MANY * summing.size or not summing.ordinary(ORDINARY):
        return None
    arguments = _Arguments.of(graph, relu.inputs[0])
    if arguments is None:
        return None
    found = _sums(summing, arguments.index)
    if found is None:
        return None
    xp = numpy_backend()
    leak = -float(relu.operator.on(xp).evaluate(np.full((1, relu.operator.size), -1.0))[0, 0])
    column, weight, index = found
    base, size = _bias(summing)
    hinges = Hinges(
        weight,
        arguments.scale[column],
        arguments.shift[column],
        arguments.shift_size[column],
        base,
        size,
        leak,
        arguments.terms + summing.terms,
    )
    table = hinges.table()
    return (arguments.source, index, table) if table.ordinary(FLOAT32_RANGE) else None


@dataclass(frozen=True, eq=False)
class _Arguments:
    """What ReLUs read: ``scale_j x[index_j] + shift_j`` of the elements x of a value.

    ``scale`` is never 0. The constants carry ``terms`` roundings, that of the shift relative to
    ``shift_size``.
    """

    source: int
    index: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    shift_size: np.ndarray
    terms: int

    @staticmethod
    def of(graph: Graph, value: int) -> _Arguments | None:
        """Of the earliest value of which each element of a value reads one number only."""
        size = graph.size(value)
        found, none = None, np.zeros(size)
        now = _Arguments(value, np.arange(size), none + 1, none, none, 0)
        while now.source:
            node = graph.node(now.source)
            if not isinstance(node.operator, Affine) or len(node.inputs) != 1:
                break
            operator = node.operator
            singles = _singles(operator) if operator.ordinary(ORDINARY) else None
            if singles is None:
                break
            now = found = now.after(operator, singles, node.inputs[0])
        return found

    def after(
        self, operator: Affine, singles: tuple[np.ndarray, np.ndarray], source: int
    ) -> _Arguments:
        """The same in terms of what an operator read that makes the elements of the value."""
        index, scale = singles
        bias, size = _bias(operator)
        return _Arguments(
            source,
            index[self.index],
            self.scale * scale[self.index],
            self.shift + self.scale * bias[self.index],
            self.shift_size + abs(self.scale) * size[self.index],
            self.terms + operator.terms + 4,
        )


def _bias(operator: Affine) -> tuple[np.ndarray, np.ndarray]:
    """The bias of an operator, and its size."""
    none, bound = np.zeros(operator.size), operator.bias_bound()
    bias = none if operator.bias is None else np.asarray(operator.bias)
    return none + bias, none if bound is None else none + np.asarray(bound)


def _singles(operator: Affine) -> tuple[np.ndarray, np.ndarray] | None:
    """For each element the one that it reads, and its factor; None where some read several or none.

    The element is spelled out in bits by evaluations of |M|: of the sums over elements whose number
    has a bit and over those that have it not, one must be 0 for each bit. Sums of numbers that are
    not negative are 0 only if all are.
    """
    if len(operator.sizes) != 1:
        return None
    plain = replace(operator, bias=None, bias_magnitude=None).on(numpy_backend())
    (count,) = operator.sizes
    numbers = np.arange(count)
    bits = (numbers >> np.arange(max(1, int(count - 1).bit_length()))[:, None]) & 1
    with_bit = plain.absolute(bits.astype(np.float64)) != 0
    without = plain.absolute(1.0 - bits) != 0
    if not (with_bit ^ without).all():
        return None
    index = (with_bit.astype(np.int64) << np.arange(len(bits))[:, None]).sum(axis=0)
    factor = plain.evaluate(np.ones((1, count)))[0]
    return index, factor


def _sums(operator: Affine, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The ReLUs that each output sums up, their weights, and the number that they all read.

    ``source``: which number each ReLU reads. int64 and float64 [outputs, most], 0 where there are
    fewer; int64 [outputs]. None where some output sums ReLUs of several numbers.
    """
    placed = operator.on(numpy_backend())
    step, parts = max(1, ROWS_AT_ONCE // len(source)), list[tuple[np.ndarray, ...]]()
    for start in range(0, operator.size, step):
        some = np.arange(start, min(start + step, operator.size))
        (rows,) = placed.unit_rows(some)
        output, hidden = np.nonzero(rows)
        parts.append((some[output], hidden, rows[output, hidden]))
    output, hidden, weight = (np.concatenate(x) for x in zip(*parts, strict=True))
    index = np.zeros(operator.size, dtype=np.int64)
    index[output] = source[hidden]
    if (index[output] != source[hidden]).any():
        return None
    counts = np.bincount(output, minlength=operator.size)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(output)) - starts[output]
    shape = operator.size, max(1, int(counts.max(initial=0)))
    column, weights = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    column[output, place], weights[output, place] = hidden, weight
    return column, weights, index
