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
        column, inputs = proof["hull_column"].astype(np.int64), self.sizes[0]
        self.root = proof["hull_root"].astype(np.int64)
        self.used = proof["row_hulls"].any(0)
        self.value, self.neuron = atom[column], proof["column_neuron"][column].astype(np.int64)
        reads = proof["hull_reads"].astype(np.int64)
        self.read = np.concatenate([np.zeros(inputs, dtype=np.int64), atom])[reads]
        """Of each term the value that it reads."""
        self.place = np.concatenate([np.arange(inputs), proof["column_neuron"]])[reads]
        """Of each term, where its element is in the value's ``elements``."""
        self.elements: dict[int, Ints] = {}
        """Of each value, which of its elements are read at all."""
        for value in sorted(set(self.read.tolist())):
            some = self.read == value
            found = np.unique(self.place[some].astype(np.int64), return_inverse=True)
            self.elements[value], self.place[some] = found
        self.bias = number.zeros(count) + np.inf

    @property
    def width(self) -> int:
        """How many coefficients a row has on the values that planes are about."""
        return sum(self.sizes[v] for v in {*self.elements, *self.value.tolist()})

    def _at_once(self, hulls: Ints) -> Iterator[Ints]:
        most = max(1, AT_ONCE // max(1, self.width))
        yield from (hulls[start : start + most] for start in range(0, len(hulls), most))

    def _slopes(self, hulls: Ints) -> dict[int, Floats]:
        """a of some planes, value by value: [hulls, elements that are read]."""
        place, term = self.proof.entries("hull", hulls)
        slope, result = self.proof["hull_slope"][term].astype(np.float64), dict[int, Floats]()
        read, element = self.read[term], self.place[term]
        for value in np.flatnonzero(np.bincount(read)).tolist():
            some, shape = read == value, (len(hulls), len(self.elements[value]))
            flat = place[some] * shape[1] + element[some]
            whole = np.bincount(flat, slope[some], shape[0] * shape[1]).reshape(shape)
            result[value] = self.arithmetic.numbers(whole)
        return result

    def find(self, nodes: Ints, enclosure: Enclosure) -> None:
        """The b of the planes of those nodes that are roots, from their boxes of all values."""
        flat: Enclosure | None = None
        for place in np.flatnonzero(nodes < len(self.proof["roots"])).tolist():
            own = np.flatnonzero(self.used & (self.root == nodes[place]))
            for some in self._at_once(own):
                flat = flat or boxed(enclosure)
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
        one, slopes = 1 - above, self._slopes(hulls)
        # What 1 - delta has been rounded to is what counts.
        for factor, constant in ((below, -below * low), (one, (1 - one) * high)):
            start = {v: self._spread(a, v) for v, a in slopes.items()}
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

    def _spread(self, part: Floats, value: int) -> Floats:
        """Coefficients on the elements of a value that are read as those on all of it."""
        whole = self.arithmetic.zeros(len(part), self.sizes[value])
        whole[:, self.elements[value]] = part
        return whole

    def added(self, rows: Rows, records: Ints, roots: Ints, enclosure: Enclosure) -> Rows:
        """The rows with what their records take from planes; ``roots`` are those of their cases."""
        number, taken = self.arithmetic, self.proof["row_hulls"][records]
        used = np.flatnonzero(taken.any(0))
        if not len(used):
            return rows
        gamma = number.gamma(len(used) + len(self.sizes) + 16)
        kappa = number.numbers(taken[:, used]) * number.numbers(self.proof["hull_unit"][used])
        own = self.root[used] == roots[:, None]
        bias = np.where(own, self.bias[used], np.inf)
        terms = np.where(taken[:, used] > 0, kappa * bias, 0 * kappa)
        cost = terms.sum(1) + 2 * gamma * abs(terms).sum(1) + number.tiny * (len(used) + 16)
        start = dict(rows.start)
        for value, (made, sizes) in self._sums(kappa, used).items():
            known = start.get(value, 0 * made)
            start[value] = known + made
            size = sizes + abs(known) + abs(start[value])
            rounding = 2 * gamma * size + number.tiny * (len(used) + 16)
            reach = enclosure.magnitude(value)[rows.owner]
            cost = cost + (rounding * reach).sum(1) * (1 + number.gamma(reach.shape[1] + 8))
        constant = rows.constant - cost - number.gamma(len(start) + 16) * abs(cost)
        return Rows(start, constant, rows.owner)

    def _sums(self, kappa: Floats, used: Ints) -> dict[int, tuple[Floats, Floats]]:
        """What planes add to rows, value by value, and the sums of the terms' sizes."""
        result, first = dict[int, tuple[Floats, Floats]](), 0
        for hulls in self._at_once(used):
            part, first = kappa[:, first : first + len(hulls)], first + len(hulls)
            slopes = self._slopes(hulls)
            for value in sorted({*slopes, *self.value[hulls].tolist()}):
                shape = len(kappa), self.sizes[value]
                if value not in result:
                    result[value] = self.arithmetic.zeros(*shape), self.arithmetic.zeros(*shape)
                whole, sizes = result[value]
                if value in slopes:
                    whole[:, self.elements[value]] -= part @ slopes[value]
                    sizes[:, self.elements[value]] += part @ abs(slopes[value])
                for k in np.flatnonzero(self.value[hulls] == value).tolist():
                    whole[:, self.neuron[hulls[k]]] += part[:, k]
                    sizes[:, self.neuron[hulls[k]]] += part[:, k]
        return result


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
