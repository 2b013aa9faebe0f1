"""How far values can go: boxes of all values, and rows bounded by going back to the input.

Every bound is that of the README's rules: coefficients are floats taken as exact numbers, and what
their computation lost is charged at once, as an interval over the values that they multiply.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import TINY32, Arithmetic, Floats, Ints, Table, gamma32
from verifier.checker.atoms import Atom
from verifier.checker.errors import require_time
from verifier.checker.groups import Product
from verifier.checker.network import Network

LARGEST32 = 1.7e38
"""Less than half the greatest float32 number: gamma32 is at most 1."""
ROW_ELEMENTS = 60_000
"""Rows are bounded in chunks of so many coefficients."""


@dataclass(frozen=True, eq=False)
class Form(Table):
    """Lower bounds of rows: row(x) >= coefficients . x + constant on the owner's box."""

    coefficients: Floats
    """[rows, n]"""
    constant: Floats
    """[rows]"""
    single: Floats
    """[rows]: what was taken from ``constant`` for float32 execution: the real function has more"""


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear functions of some values, to be bounded from below."""

    start: dict[int, Floats]
    """value -> [rows, n]: exact coefficients."""
    constant: Floats
    """[rows]"""
    owner: Ints
    """int64 [rows]: the box of each row."""

    def __getitem__(self, some: slice) -> Rows:
        start = {value: part[some] for value, part in self.start.items()}
        return Rows(start, self.constant[some], self.owner[some])


Choice = dict[int, tuple[Ints, Floats]]
"""atom's value -> columns, and a number for each: [rows, columns]"""


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Choices of a certificate for some rows: none of them can make a bound wrong."""

    slopes: Choice
    """Of the lower lines of neurons that are unstable."""
    added: Choice
    """To the multipliers of neurons that were split."""

    def __getitem__(self, some: slice) -> Multipliers:
        parts = (
            {value: (columns, part[some]) for value, (columns, part) in choice.items()}
            for choice in (self.slopes, self.added)
        )
        return Multipliers(*parts)


@dataclass(frozen=True, eq=False)
class Lines:
    """below x + low <= phi(x) <= above x - high over each box, [batch, n] all four.

    ``low`` and ``high`` (the least of phi(x) - below x and of above x - phi(x)) are lowered by what
    rounding nu * below or nu * above loses, and by what summing them up does.
    """

    below: Floats
    above: Floats
    low: Floats
    high: Floats


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
    lines: dict[int, Lines] = field(default_factory=dict[int, Lines])

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
        if self.single:
            wide = [self.reach.get(i, m) for i, m in zip(inputs, magnitudes, strict=True)]
            merged = any(i in self.reach for i in inputs)
            self.reach[value] = rule.magnitude(*wide) if merged else whole
        if self.single and rule.terms_float32:
            rounding = gamma32(rule.terms_float32) * whole + rule.terms_float32 * TINY32
            self.noise32[value] = self._single(1.001 * rounding, self.reach[value])
            spread = spread + self.noise32[value]
        spread = spread * (1 + number.gamma(4))
        middle = rule.forward(*centers)
        return middle - spread, middle + spread

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
        error = number.gamma(4) * np.maximum(abs(below), abs(above)) * reach
        error = error.reshape(len(error), -1, size).sum(1) * (1 + number.gamma(node.rule.arity))
        low = node.rule.intercept(one, below, *box) - error
        high = node.rule.intercept(-one, -above, *box) - error
        sums = 2 * number.gamma(size + 8)
        self.lines[value] = Lines(below, above, low - sums * abs(low), high - sums * abs(high))
        self.slack[value] = number.tiny * (reach.sum(1) + reach.shape[1] + 8)

    def unstable(self, value: int) -> Ints:
        """Where an atom that reads the value is not linear over the box: bool [batch, n]."""
        lower, upper = self.lower[value], self.upper[value]
        crossing, wide = (lower < 0) & (upper > 0), lower < upper
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
        step = max(8, ROW_ELEMENTS // max(self.network.sizes))
        forms: list[Form] = []
        for start in range(0, len(rows.owner), step):
            require_time(self.deadline)
            some = slice(start, start + step)
            chosen = None if multipliers is None else multipliers[some]
            forms.append(_Back(self, rows[some], chosen).run())
        form = Form.join(forms)
        number, a, size = self.arithmetic, form.coefficients, form.coefficients.shape[1]
        ends = a * self.lower[0][rows.owner], a * self.upper[0][rows.owner]
        error = np.maximum(*map(abs, ends)).sum(1) + abs(form.constant)
        total = np.minimum(*ends).sum(1) + form.constant
        return form, total - (2 * number.gamma(size + 8) * error + number.tiny * (size + 8))


@dataclass(eq=False)
class _Back:
    """One chunk of rows on its way back to the input."""

    enclosure: Enclosure
    rows: Rows
    multipliers: Multipliers | None

    def run(self) -> Form:
        """From the outputs to the input: what is left is a form over the input."""
        enclosure, number = self.enclosure, self.enclosure.arithmetic
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
        size = abs(nu)
        if value in enclosure.noise32:
            cost = 1.001 * self._dot(size, enclosure.noise32[value])
            self._add(-cost)
            self.single = self.single + cost
        if isinstance(node.rule, Affine):
            self._add(nu @ node.rule.bias)
            loss = loss + self._dot(size, enclosure.noise[value])
            parts = node.rule.backward(nu)
        else:
            parts = (self._atom(value, nu, node.rule, node.inputs[0]),)
        self._add(-loss)
        for source, part in zip(node.inputs, parts, strict=True):
            self._put(source, part)

    def _owned(self, x: Floats) -> Floats:
        """Of an array [batch, ...] what belongs to each row's box; one box is that of all."""
        return x if len(x) == 1 else x[self.rows.owner]

    def _dot(self, rows: Floats, x: Floats) -> Floats:
        """rows . x of the owner: [rows]."""
        return rows @ x[0] if len(x) == 1 else (rows * x[self.rows.owner]).sum(1)

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
        enclosure, chosen, lines = self.enclosure, self.multipliers, self.enclosure.lines[value]
        positive = np.maximum(nu, 0)
        negative = nu - positive
        if chosen is None or not (value in chosen.slopes or value in chosen.added):
            falling, rising = (np.tile(part, rule.arity) for part in (negative, positive))
            multiplier = rising * self._owned(lines.below)
            multiplier += falling * self._owned(lines.above)
            self._add(self._dot(positive, lines.low) - self._dot(negative, lines.high))
            return multiplier
        if isinstance(rule, Product):
            return self._product(value, nu, rule, source)
        box = [self._owned(x[source]) + 0 * nu for x in (enclosure.lower, enclosure.upper)]
        below = self._owned(lines.below) + 0 * nu
        if value in chosen.slopes:
            columns, alpha = chosen.slopes[value]
            crossing = ((box[0] <= 0) & (box[1] >= 0))[:, columns]
            below[:, columns] = np.where(crossing, alpha, below[:, columns])
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
