"""How far values can go: boxes of all values, and rows bounded by going back to the input.

Every bound is that of the README's rules: coefficients are floats taken as exact numbers, and what
their computation lost is charged at once, as an interval over the values that they multiply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import TINY32, Arithmetic, Floats, Ints, gamma32
from verifier.checker.atoms import Atom, numeral
from verifier.checker.errors import require_time
from verifier.checker.groups import Product
from verifier.checker.network import Network
from verifier.checker.rows import Form, Held, Lines, Multipliers, Rows

LARGEST32 = 1.7e38
"""Less than half the greatest float32 number: gamma32 is at most 1."""
STILL = 2.0**-50
"""An input that moves by no more than this part of its size is as good as constant."""
NARROW, NARROW32 = 2.0**-40, 2.0**-18
"""Over a box of so small a part of its numbers' size everything is linear, for each semantics."""
NEGLIGIBLE = 1e-30
"""And over one of this width."""
ROW_ELEMENTS = 60_000
"""Rows are bounded in chunks of so many coefficients."""


@dataclass(eq=False)
class Enclosure:
    """Boxes of all values over a batch of input boxes, and what a step back through them loses."""

    network: Network
    arithmetic: Arithmetic
    single: bool
    """Whether every float32 execution is meant, not only the real function."""
    lower: list[Floats]
    """For each value [batch, n]."""
    upper: list[Floats]
    deadline: float = float("inf")
    """Of the whole check, on ``time.monotonic``'s clock."""
    noise: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """For an affine value: what a unit of |coefficient| on it loses, [batch, n]."""
    noise32: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """For a value that float32 execution rounds: how far it may be off."""
    reach: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """For an affine value: what terms a runtime may meet that merges it with those before it."""
    slack: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """What underflow may take from a row, [batch]."""
    held: dict[int, Held] = field(default_factory=dict[int, Held])
    lines: dict[int, Lines] = field(default_factory=dict[int, Lines])
    laden: dict[int, Lines] = field(default_factory=dict[int, Lines])
    """The same, with what a step back through an affine value loses, if it is read by no other."""
    carried: set[int] = field(default_factory=set[int])
    """The values whose losses ``laden`` has."""

    def magnitude(self, value: int) -> Floats:
        """The greatest |x| in the box: [batch, n]."""
        return np.maximum(abs(self.lower[value]), abs(self.upper[value]))

    def step(self) -> int:
        """Interval arithmetic for the next value; its number."""
        value = len(self.lower)
        node = self.network.nodes[value - 1]
        if isinstance(node.rule, Affine):
            lower, upper = self._affine(value, node.rule, node.inputs)
        else:
            box = self.lower[node.inputs[0]], self.upper[node.inputs[0]]
            lower, upper = node.rule.interval(*box)
            if self.single:
                reach = np.maximum(abs(lower), abs(upper))
                error = self._single(node.rule.error32(*box), reach)
                if error.any():
                    self.noise32[value] = error
                    lower, upper = lower - 2 * error, upper + 2 * error
        self.lower.append(lower)
        self.upper.append(upper)
        return value

    def _affine(self, value: int, rule: Affine, inputs: tuple[int, ...]) -> tuple[Floats, Floats]:
        """M c + b +- |M| r, outward by three times the rounding of M c + b."""
        number = self.arithmetic
        boxes = [(self.lower[i], self.upper[i]) for i in inputs]
        centers = [(low + high) / 2 for low, high in boxes]
        radii = [
            np.maximum(high - c, c - low) * (1 + number.gamma(4)) + number.tiny
            for (low, high), c in zip(boxes, centers, strict=True)
        ]
        magnitudes = [self.magnitude(i) for i in inputs]
        whole = rule.magnitude(*magnitudes)
        small = number.tiny * (rule.terms_forward + rule.terms_backward + 8)
        self.slack[value] = small * (np.sum([m.sum(1) for m in magnitudes], 0) + rule.size + 1)
        back = number.gamma(rule.terms_backward + rule.terms_forward + rule.size + 16)
        self.noise[value] = 2 * back * whole + small
        spread = rule.absolute(*radii) + 3 * number.gamma(rule.terms_forward + 8) * whole + small
        if inputs == (0,):
            self._hold(value, rule, centers[0], radii[0])
        if self.single:
            wide = [self.reach.get(i, m) for i, m in zip(inputs, magnitudes, strict=True)]
            merged = any(i in self.reach for i in inputs)
            self.reach[value] = rule.magnitude(*wide) if merged else whole
        if self.single and rule.terms_float32:
            rounding = gamma32(rule.terms_float32) * whole + rule.terms_float32 * TINY32
            self.noise32[value] = self._single(1.001 * rounding, self.reach[value])
            spread = spread + self.noise32[value]
        middle = rule.forward(*centers)
        # No numbers, which no proof can rest on, where a sum was too large.
        spread = spread * (1 + number.gamma(4)) + 0 * middle
        return middle - spread, middle + spread

    def _hold(self, value: int, rule: Affine, center: Floats, radius: Floats) -> None:
        """Where most inputs hardly move, what they add is taken for an interval of its own."""
        moves = np.any(self.upper[0] - self.lower[0] > STILL * self.magnitude(0), 0)
        if rule.full is not None and 2 * moves.sum() < len(moves):
            spread = rule.absolute(radius * ~moves)
            spread = spread * (1 + self.arithmetic.gamma(rule.terms_forward + 8))
            middle, moving = rule.forward(center * ~moves), np.flatnonzero(moves)
            self.held[value] = Held(moving, rule.full[:, moving], middle, spread)

    def _single(self, error: Floats, reach: Floats) -> Floats:
        """The error of float32 execution; where numbers may go beyond float32's, it is infinite."""
        return np.where(reach < LARGEST32, error, np.inf)

    def narrow(self, value: int, lower: Floats, upper: Floats) -> None:
        """Intersect a value's boxes with others that are known to be valid."""
        self.lower[value] = np.maximum(self.lower[value], lower)
        self.upper[value] = np.minimum(self.upper[value], upper)

    def relax(self, value: int) -> None:
        """Choose the lines of an atom over the present boxes."""
        node = self.network.nodes[value - 1]
        assert not isinstance(node.rule, Affine)
        (source,) = node.inputs
        box = self.lower[source], self.upper[source]
        below, above = node.rule.lines(*box)
        number, reach, size = self.arithmetic, self.magnitude(source), self.network.sizes[value]
        one = number.numbers(np.ones((len(below), size)))
        steepest = np.maximum(abs(below), abs(above))
        error = (number.gamma(8) * steepest + number.tiny) * reach
        error = error.reshape(len(error), -1, size).sum(1) * (1 + number.gamma(node.rule.arity))
        low = node.rule.intercept(one, below, *box) - error
        high = node.rule.intercept(-one, -above, *box) - error

        def lines(*least: Floats) -> Lines:
            """Those with these least values of phi(x) - below x and of above x - phi(x)."""
            sums = 2 * number.gamma(size + 8) * np.maximum(*map(abs, least)) + number.tiny
            low, high = (end - sums for end in least)
            halves = (below + above) / 2, (below - above) / 2
            return Lines(below, above, *halves, (low - high) / 2, (low + high) / 2)

        self.lines[value] = self.laden[value] = lines(low, high)
        if source in self.noise and self.network.readers[source] == node.rule.arity == 1:
            charge = (1 + number.gamma(16)) * (self.noise[source] + self.noise32.get(source, 0))
            small = number.gamma(8) * steepest * charge + number.tiny
            ends = low - abs(below) * charge - small, high - abs(above) * charge - small
            self.laden[value] = lines(*ends)
            self.carried.add(source)
            reach = reach + charge
        self.slack[value] = number.tiny * (reach.sum(1) + reach.shape[1] + 8)

    def cut(self, parts: int, sides: Iterable[tuple[int, Ints, Ints, Ints]]) -> Enclosure:
        """The only box in parts: neurons of some values (part, neuron, upper) are cut at 0.

        What the whole box gave still holds; slopes for multipliers are those of the parts.
        """
        result = replace(self, lower=[*self.lower], upper=[*self.upper], lines={**self.lines})
        zero = self.arithmetic.zeros(1)
        for value, part, neuron, upper in sides:
            low, high = (np.repeat(x[value], parts, 0) for x in (self.lower, self.upper))
            where = part, neuron
            low[where] = np.where(upper, np.maximum(low[where], zero), low[where])
            high[where] = np.where(upper, high[where], np.minimum(high[where], zero))
            result.lower[value], result.upper[value] = low, high
            for atom, lines in self.lines.items():
                node = self.network.nodes[atom - 1]
                if node.inputs == (value,) and isinstance(node.rule, Atom) and node.rule.arity == 1:
                    own = node.rule.lines(low[where], high[where])
                    result.lines[atom] = lines.in_parts(parts, where, own)
        return result

    def unstable(self, value: int) -> Ints:
        """Where an atom that reads the value is not linear over the box: bool [batch, n]."""
        lower, upper = self.lower[value], self.upper[value]
        narrow = (NARROW32 if self.single else NARROW) * self.magnitude(value) + NEGLIGIBLE
        narrow = np.where(narrow < np.inf, narrow, NEGLIGIBLE)
        crossing, wide = (lower < 0) & (upper > 0), upper - lower > narrow
        result = np.zeros(lower.shape, dtype=bool)
        for node in self.network.nodes:
            if not isinstance(node.rule, Affine) and node.inputs == (value,):
                result |= crossing if node.rule.tilted else wide
        return result

    def unit_rows(self, value: int, batch: Ints, neuron: Ints, sign: Floats) -> Rows:
        """The rows sign * neuron of a value; those of a matrix are already one step back."""
        node, number = self.network.nodes[value - 1], self.arithmetic
        rule, distinct = node.rule, len(set(node.inputs)) == len(node.inputs)
        if isinstance(rule, Affine) and rule.exact_rows and distinct:
            parts = [part * sign[:, None] for part in rule.rows(neuron)]
            constant = sign * rule.bias[neuron]
            if value in self.noise32:
                constant = constant - self.noise32[value][batch, neuron]
            return Rows(dict(zip(node.inputs, parts, strict=True)), constant, batch)
        unit = number.zeros(len(batch), self.network.sizes[value])
        unit[np.arange(len(batch)), neuron] = sign
        return Rows({value: unit}, number.zeros(len(batch)), batch)

    def bound(self, rows: Rows, multipliers: Multipliers | None = None) -> tuple[Form, Floats]:
        """Forms over the input, and the least values that they take on the owners' boxes."""
        backs = self._chunks(rows, multipliers, tally=True)
        forms, least = zip(*((form := back.run(), back.least(form)) for back in backs), strict=True)
        return Form.join(forms), np.concatenate(least)

    def least(self, rows: Rows, multipliers: Multipliers | None = None) -> Floats:
        """The least values only, not how much of them float32 execution takes."""
        backs = self._chunks(rows, multipliers, tally=multipliers is not None)
        return np.concatenate([back.least(back.run()) for back in backs])

    def by_boxes(self, rows: Rows) -> Floats:
        """The least values that the boxes of the values allow that the rows are about."""
        least = rows.constant
        for value, coefficients in rows.start.items():
            least = self.on_box(value, coefficients, least, rows.owner)
        return least

    def on_box(self, value: int, rows: Floats, constant: Floats, owner: Ints) -> Floats:
        """The least of rows . x + constant on a value's boxes, those of the owners: [rows]."""
        number, some = self.arithmetic, np.flatnonzero((rows != 0).any(0))
        terms, rows = rows.shape[1] + 8, rows[:, some]
        lower, upper = self.lower[value][:, some], self.upper[value][:, some]
        if len(lower) > 1:
            lower, upper = lower.take(owner, 0), upper.take(owner, 0)
        error = _sums(abs(rows), np.maximum(abs(lower), abs(upper))) + abs(constant)
        total = (rows * np.where(rows > 0, lower, upper)).sum(1) + constant
        return total - (2 * number.gamma(terms) * error + number.tiny * terms)

    def _chunks(self, rows: Rows, chosen: Multipliers | None, *, tally: bool) -> Iterator[_Back]:
        step = max(8, ROW_ELEMENTS // max(self.network.sizes))
        for start in range(0, len(rows.owner), step):
            require_time(self.deadline)
            some = slice(start, start + step)
            yield _Back(self, rows[some], chosen and chosen[some], tally)


@dataclass(eq=False)
class _Back:
    """One chunk of rows on its way back to the input."""

    enclosure: Enclosure
    rows: Rows
    multipliers: Multipliers | None
    tally: bool

    def least(self, form: Form) -> Floats:
        """The least values of the rows' forms on their boxes."""
        return self.enclosure.on_box(0, form.coefficients, form.constant, self.owner)

    def run(self) -> Form:
        """From the outputs to the input: what is left is a form over the input."""
        enclosure, number = self.enclosure, self.enclosure.arithmetic
        owner = self.rows.owner
        self.owner = owner[:1] if (owner == owner[0]).all() else owner
        self.coefficients, self.total = dict(self.rows.start), self.rows.constant
        self.absolute, self.single, self.terms = abs(self.total), 0 * self.total, 8
        for value in range(len(enclosure.network.nodes), 0, -1):
            nu = self.coefficients.pop(value, None)
            if nu is not None:
                self._step(value, nu)
        at_input = self.coefficients.get(0)
        if at_input is None:
            at_input = number.zeros(len(self.total), enclosure.network.sizes[0])
        # Twice: once for the sum, once for that of ``single``, whose terms are among its terms.
        error = 2 * number.gamma(self.terms) * self.absolute + number.tiny * self.terms
        return Form(at_input, self.total - error, self.single)

    def _step(self, value: int, nu: Floats) -> None:
        """From a value to those that it is computed from."""
        enclosure, node = self.enclosure, self.enclosure.network.nodes[value - 1]
        loss = self._owned(enclosure.slack[value])
        carried = not self.tally and value in enclosure.carried and value not in self.rows.start
        if value in enclosure.noise32 and not carried:
            cost = 1.001 * self._dot(abs(nu), enclosure.noise32[value])
            self._add(-cost)
            self.single = self.single + cost
        if isinstance(node.rule, Affine):
            if not carried:
                loss = loss + self._dot(abs(nu), enclosure.noise[value])
            held = enclosure.held.get(value)
            if held is None:
                self._add(nu @ node.rule.bias)
                parts = node.rule.backward(nu)
            else:
                self._add(self._dot(nu, held.middle))
                loss = loss + self._dot(abs(nu), held.spread)
                parts = (enclosure.arithmetic.zeros(len(nu), enclosure.network.sizes[0]),)
                parts[0][:, held.moving] = nu @ held.weight
        else:
            parts = (self._atom(value, nu, node.rule, node.inputs[0]),)
        self._add(-loss)
        for source, part in zip(node.inputs, parts, strict=True):
            self._put(source, part)

    def _owned(self, x: Floats) -> Floats:
        """Of an array [batch, ...] what belongs to each row's box; one box is that of all."""
        return x if len(x) == 1 else x.take(self.owner, 0)

    def _dot(self, rows: Floats, x: Floats) -> Floats:
        """rows . x of the owner: [rows]."""
        return _sums(rows, self._owned(x))

    def _add(self, term: Floats) -> None:
        self.total = self.total + term
        self.absolute = self.absolute + abs(term)
        self.terms += 1

    def _put(self, value: int, part: Floats) -> None:
        """Coefficients that meet at a value are added; what that rounds is charged."""
        old = self.coefficients.get(value)
        if old is not None:
            part = old + part
            cost = self._dot(abs(part), self.enclosure.magnitude(value))
            self._add(-self.enclosure.arithmetic.gamma(part.shape[1] + 8) * cost)
        self.coefficients[value] = part

    def _atom(self, value: int, nu: Floats, rule: Atom, source: int) -> Floats:
        """A multiplier A of what the atom reads; the least of nu phi(x) - A x is added."""
        enclosure, chosen = self.enclosure, self.multipliers
        lines = (enclosure.lines if self.tally else enclosure.laden)[value]
        if chosen is None or not (value in chosen.slopes or value in chosen.added):
            size = abs(nu)
            self._add(self._dot(nu, lines.rest) + self._dot(size, lines.gap))
            if rule.arity > 1:
                nu, size = (np.tile(part, rule.arity) for part in (nu, size))
            multiplier = nu * self._owned(lines.slope)
            multiplier += size * self._owned(lines.half)
            return multiplier
        positive = np.maximum(nu, 0)
        negative = nu - positive
        if isinstance(rule, Product):
            return self._product(value, nu, rule, source)
        box = [self._owned(x[source]) + 0 * nu for x in (enclosure.lower, enclosure.upper)]
        below = self._owned(lines.below) + 0 * nu
        if value in chosen.slopes:
            columns, alpha = chosen.slopes[value]
            crossing = ((box[0] <= 0) & (box[1] >= 0))[:, columns]
            leak = numeral(rule.leak, nu)
            below[:, columns] = np.where(crossing, leak + (1 - leak) * alpha, below[:, columns])
        multiplier = positive * below + negative * self._owned(lines.above)
        if value in chosen.added:
            columns, beta = chosen.added[value]
            multiplier[:, columns] += beta
        cost = rule.intercept(nu, multiplier, *box)
        rounding = enclosure.arithmetic.gamma(nu.shape[1] + 8)
        self._add(cost.sum(1) - 2 * rounding * abs(cost).sum(1))
        return multiplier

    def _product(self, value: int, nu: Floats, rule: Product, source: int) -> Floats:
        """The planes of a product, turned from the mean of McCormick's towards one of them.

        nu x y gets the slopes nu y' + t |nu| r_y and nu x' + t nu r_x, r being half-widths.
        """
        enclosure, pair, size = self.enclosure, np.tile(nu, 2), nu.shape[1]
        assert self.multipliers is not None
        box = [self._owned(x[source]) + 0 * pair for x in (enclosure.lower, enclosure.upper)]
        columns, alpha = self.multipliers.slopes[value]
        turn, radius = 0 * nu, (box[1] - box[0]) / 2
        turn[:, columns] = 2 * alpha - 1
        multiplier = pair * self._owned(enclosure.lines[value].below)
        multiplier[:, :size] += turn * abs(nu) * radius[:, size:]
        multiplier[:, size:] += turn * nu * radius[:, :size]
        cost = rule.intercept(nu, multiplier, *box)
        rounding = enclosure.arithmetic.gamma(size + 8)
        self._add(cost.sum(1) - 2 * rounding * abs(cost).sum(1))
        return multiplier


def _sums(rows: Floats, x: Floats) -> Floats:
    """rows . x, [rows]; x has as many rows, or one for all."""
    return rows @ x[0] if len(x) == 1 else np.einsum("ij,ij->i", rows, x)
