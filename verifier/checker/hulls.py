"""Planes above ReLUs: y <= a . z + b with b as small as the root's boxes let it be, z any values.

With y = relu(s), l <= s <= u and numbers gamma, delta >= 0, 0 <= gamma s - gamma l, and
s <= (1 - delta) s + delta u. So b may be the greater of what gamma s - gamma l - a . z and
(1 - delta) s + delta u - a . z are at most at the root of the case. A row gains nothing that is not
true where kappa (y - a . z - b) is added to it, kappa >= 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from verifier.checker.arithmetic import Arithmetic, Floats, Ints
from verifier.checker.atoms import Relu
from verifier.checker.bounds import Enclosure
from verifier.checker.proof import Proof
from verifier.checker.rows import Lines, Rows

AT_ONCE = 4_000_000
"""Coefficients of planes that are bounded together."""


@dataclass(eq=False)
class Hulls:
    """The planes of a certificate; of those of each root b is found when the root is bounded."""

    proof: Proof
    sizes: tuple[int, ...]
    """Of all values."""
    arithmetic: Arithmetic

    def __post_init__(self) -> None:
        proof, number = self.proof, self.arithmetic
        count, atom = len(proof["hull_root"]), np.zeros(len(proof["column_atom"]), dtype=np.int64)
        for value, (columns, _) in proof.columns.items():
            atom[columns] = value
        column = proof["hull_column"].astype(np.int64)
        self.root = proof["hull_root"].astype(np.int64)
        self.value, self.neuron = atom[column], proof["column_neuron"][column].astype(np.int64)
        reads, inputs = proof["hull_reads"].astype(np.int64), self.sizes[0]
        values = np.concatenate([np.zeros(inputs, dtype=np.int64), atom])[reads]
        elements = np.concatenate([np.arange(inputs), proof["column_neuron"]])[reads]
        hull = np.repeat(np.arange(count), proof["hull_count"])
        self.slopes: dict[int, tuple[Ints, Floats]] = {}
        """value -> the elements that planes read, and a: [hulls, elements]"""
        for value in sorted(set(values.tolist())):
            some = values == value
            element, place = np.unique(elements[some], return_inverse=True)
            whole = np.zeros((count, len(element)))
            np.add.at(whole, (hull[some], place), proof["hull_slope"][some])
            self.slopes[value] = element.astype(np.int64), number.numbers(whole)
        self.bias = number.zeros(count) + np.inf

    @property
    def width(self) -> int:
        """How many coefficients a row has on the values that planes are about."""
        return sum(self.sizes[v] for v in {*self.slopes, *self.value.tolist()})

    def find(self, nodes: Ints, enclosure: Enclosure) -> None:
        """The b of the planes of those nodes that are roots, from their boxes of all values."""
        own = [np.flatnonzero(self.root == node) for node in nodes.tolist()]
        if not any(map(len, own)):
            return
        flat, most = boxed(enclosure), max(1, AT_ONCE // (2 * self.width))
        for place, hulls in enumerate(own):
            for start in range(0, len(hulls), most):
                some = hulls[start : start + most]
                self.bias[some] = self._bias(flat, place, some)

    def _bias(self, enclosure: Enclosure, place: int, hulls: Ints) -> Floats:
        """What b is at least: the greater of the two pieces' greatest values."""
        number, proof, count = self.arithmetic, self.proof, len(hulls)
        every, result = np.arange(count), number.zeros(count) - np.inf
        nodes, values = enclosure.network.nodes, list[int](self.value[hulls].tolist())
        source = np.array([nodes[v - 1].inputs[0] for v in values], dtype=np.int64)
        below, above = (number.numbers(proof[f"hull_{s}"][hulls]) for s in ("below", "above"))
        low, high = number.zeros(count), number.zeros(count)
        for value, some, neuron in self._by_value(source, hulls):
            low[some] = enclosure.lower[value][place, neuron]
            high[some] = enclosure.upper[value][place, neuron]
        one = 1 - above
        # What 1 - delta has been rounded to is what counts.
        for factor, constant in ((below, -below * low), (one, (1 - one) * high)):
            start = {
                v: self._spread(a[hulls], element, v) for v, (element, a) in self.slopes.items()
            }
            cost = number.gamma(8) * abs(constant) + number.tiny
            for value, some, neuron in self._by_value(source, hulls):
                whole = start.setdefault(value, number.zeros(count, self.sizes[value]))
                whole[some, neuron] = met = whole[some, neuron] - factor[some]
                rounding = number.gamma(8) * abs(met) + number.tiny
                cost[some] += rounding * enclosure.magnitude(value)[place, neuron]
            least = enclosure.least(Rows(start, -constant - 2 * cost, every * 0 + place))
            result = np.maximum(result, -least)
        return result

    def _by_value(self, values: Ints, hulls: Ints) -> Iterator[tuple[int, Ints, Ints]]:
        for value in sorted(set(values.tolist())):
            some = np.flatnonzero(values == value)
            yield value, some, self.neuron[hulls[some]]

    def _spread(self, part: Floats, element: Ints, value: int) -> Floats:
        """Coefficients on some elements of a value as those on all of it."""
        whole = self.arithmetic.zeros(len(part), self.sizes[value])
        whole[:, element] = part
        return whole

    def added(self, rows: Rows, records: Ints, roots: Ints, enclosure: Enclosure) -> Rows:
        """The rows with what their records take from planes; ``roots`` are those of their cases."""
        number, taken = self.arithmetic, self.proof["row_hulls"][records]
        used = np.flatnonzero(taken.any(0))
        if not len(used):
            return rows
        unit = number.numbers(self.proof["hull_unit"][used])
        kappa = number.numbers(taken[:, used]) * unit
        own = self.root[used] == roots[:, None]
        bias = np.where(own, self.bias[used], np.inf)
        terms = np.where(taken[:, used] > 0, kappa * bias, 0 * kappa)
        gamma = number.gamma(len(used) + 16)
        cost = terms.sum(1) + 2 * gamma * abs(terms).sum(1) + number.tiny * (len(used) + 16)
        start = dict(rows.start)
        for value in sorted({*self.slopes, *self.value[used].tolist()}):
            element, a = self.slopes.get(value, (self.neuron[:0], number.zeros(len(self.root), 0)))
            sums, size = -(kappa @ a[used]), kappa @ abs(a[used])
            mine = np.flatnonzero(self.value[used] == value)
            elements, place = np.unique(
                np.concatenate([element, self.neuron[used[mine]]]), return_inverse=True
            )
            made, sizes = (number.zeros(len(kappa), len(elements)) for _ in range(2))
            made[:, place[: len(element)]], sizes[:, place[: len(element)]] = sums, size
            for k, column in zip(mine.tolist(), place[len(element) :].tolist(), strict=True):
                made[:, column] += kappa[:, k]
                sizes[:, column] += kappa[:, k]
            known = start.get(value)
            whole = number.zeros(len(kappa), self.sizes[value]) if known is None else known.copy()
            whole[:, elements] += made
            sizes += abs(whole[:, elements])
            start[value] = whole
            reach = enclosure.magnitude(value)[:, elements][rows.owner]
            rounding = 2 * gamma * sizes + number.tiny * (len(used) + 16)
            cost = cost + (rounding * reach).sum(1) * (1 + number.gamma(len(elements) + 8))
        return Rows(start, rows.constant - cost - number.gamma(64) * abs(cost), rows.owner)


def boxed(enclosure: Enclosure) -> Enclosure:
    """The same boxes; of a ReLU that is not linear nothing but its box is used."""
    number, result = enclosure.arithmetic, replace(enclosure, lines={}, laden={})
    for value in enclosure.lines:
        node, kinds = enclosure.network.nodes[value - 1], [enclosure.lines, enclosure.laden]
        parts = [kind[value] for kind in kinds]
        if isinstance(node.rule, Relu):
            low, high = (x[node.inputs[0]] for x in (enclosure.lower, enclosure.upper))
            ends = enclosure.lower[value], enclosure.upper[value]
            middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
            size = 4 * number.gamma(low.shape[1] + 8) * enclosure.magnitude(value)
            kept, gap = ~((low < 0) & (high > 0)), -(half + size + number.tiny)
            parts = [_flat(lines, kept, middle, gap) for lines in parts]
        result.lines[value], result.laden[value] = parts
    return result


def _flat(lines: Lines, kept: Ints, middle: Floats, gap: Floats) -> Lines:
    """Lines without slopes in some places: n phi(x) >= n middle + |n| gap there."""
    return Lines(
        lines.below * kept,
        lines.above * kept,
        lines.slope * kept,
        lines.half * kept,
        np.where(kept, lines.rest, middle),
        np.where(kept, lines.gap, gap),
    )
