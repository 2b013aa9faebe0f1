"""How far values can go: boxes of all values, and rows bounded by going back to the input.

Every bound is that of the README's rules: coefficients are floats taken as exact numbers, and what
their computation lost is charged at once, as an interval over the values that they multiply.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verifier.checker.affine import Affine
from verifier.checker.arithmetic import TINY32, Arithmetic, Floats, Ints, gamma32
from verifier.checker.network import Network

LARGEST32 = 3.4e38
"""Less than the greatest float32 number."""
ROW_ELEMENTS = 60_000
"""Rows are bounded in chunks of so many coefficients."""


@dataclass(frozen=True, eq=False)
class Form:
    """Lower bounds of rows: row(x) >= coefficients . x + constant on the owner's box."""

    coefficients: Floats
    """[rows, n]"""
    constant: Floats
    """[rows]"""
    single: Floats
    """[rows]: what float32 execution may take away, at most; part of ``constant``."""

    @staticmethod
    def join(parts: list[Form]) -> Form:
        """All rows of several forms."""
        if len(parts) == 1:
            return parts[0]
        names = ("coefficients", "constant", "single")
        return Form(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear functions of some values, to be bounded from below."""

    start: dict[int, Floats]
    """value -> [rows, n]: exact coefficients."""
    constant: Floats
    """[rows]"""
    owner: Ints
    """int64 [rows]: the box of each row."""
    single: Floats
    """[rows]: what float32 execution has taken away already; part of ``constant``."""

    def __getitem__(self, some: slice) -> Rows:
        start = {value: part[some] for value, part in self.start.items()}
        return Rows(start, self.constant[some], self.owner[some], self.single[some])


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Choices of a certificate for some rows: none of them can make a bound wrong.

    ``slopes[v]`` are (columns, alpha [rows, columns]) for the unstable neurons that atom v reads,
    ``added[v]`` are (columns, beta) added to the multipliers of split neurons.
    """

    slopes: dict[int, tuple[Ints, Floats]]
    added: dict[int, tuple[Ints, Floats]]

    def __getitem__(self, some: slice) -> Multipliers:
        def cut(
            parts: dict[int, tuple[Ints, Floats]],
        ) -> dict[int, tuple[Ints, Floats]]:
            return {value: (columns, part[some]) for value, (columns, part) in parts.items()}

        return Multipliers(cut(self.slopes), cut(self.added))


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
    noise: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """For an affine value: what a unit of |coefficient| on it loses, [batch, n]."""
    noise32: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """The same for the errors of float32 execution alone."""
    slack: dict[int, Floats] = field(default_factory=dict[int, Floats])
    """What underflow may take from a row, [batch]."""
    lines: dict[int, Lines] = field(default_factory=dict[int, "Lines"])

    @property
    def batch(self) -> int:
        """How many input boxes there are."""
        return len(self.lower[0])

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
            (source,) = node.inputs
            lower, upper = node.rule.interval(self.lower[source], self.upper[source])
            if self.single:
                error = node.rule.error32(self.lower[source], self.upper[source])
                if error.any():
                    self.noise32[value] = error + 0 * lower
                    lower, upper = lower - 2 * error, upper + 2 * error
        self.lower.append(lower)
        self.upper.append(upper)
        return value

    def _affine(self, value: int, rule: Affine, inputs: tuple[int, ...]) -> tuple[Floats, Floats]:
        """M c + b +- |M| r, outward by three times the rounding of M c + b."""
        number = self.arithmetic
        lower, upper = [self.lower[i] for i in inputs], [self.upper[i] for i in inputs]
        centers = [(low + high) / 2 for low, high in zip(lower, upper, strict=True)]
        radii = [
            np.maximum(high - c, c - low) * (1 + 4 * number.unit) + number.tiny
            for low, high, c in zip(lower, upper, centers, strict=True)
        ]
        magnitudes = [self.magnitude(i) for i in inputs]
        whole = rule.magnitude(*magnitudes)
        small = number.tiny * (rule.terms_forward + rule.terms_backward + 8)
        self.slack[value] = small * (sum(m.sum(1) for m in magnitudes) + rule.size + 1)
        back = number.gamma(rule.terms_backward + rule.terms_forward + rule.size + 16)
        self.noise[value] = 2 * back * whole + small
        error = 3 * number.gamma(rule.terms_forward + 8) * whole + small
        if self.single:
            self.noise32[value] = self._single(rule, whole)
            error = error + self.noise32[value]
        middle, spread = rule.forward(*centers), rule.absolute(*radii)
        spread = spread + error
        spread = spread * (1 + 4 * number.unit)
        return middle - spread, middle + spread

    def _single(self, rule: Affine, whole: Floats) -> Floats:
        """What any float32 execution of an affine node may be off by, from |M| |x| + |b|."""
        error = 1.001 * (gamma32(rule.terms_float32) * whole + rule.terms_float32 * TINY32)
        return np.where(whole < LARGEST32, error, float("inf"))

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
        number, reach = self.arithmetic, self.magnitude(source)
        one = 0 * below + 1
        error = 4 * number.unit * np.maximum(abs(below), abs(above)) * reach
        sums = 2 * number.gamma(self.network.sizes[value] + 8)
        ends = []
        for low in (
            node.rule.intercept(one, below, *box) - error,
            node.rule.intercept(-one, -above, *box) - error,
        ):
            ends.append(low - sums * abs(low))
        self.lines[value] = Lines(below, above, *ends)
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
        """The rows sign * neuron of a value."""
        rule, inputs = self.network.nodes[value - 1].rule, self.network.nodes[value - 1].inputs
        number = self.arithmetic
        zeros = number.zeros(len(batch))
        if value == 0 or not isinstance(rule, Affine):
            unit = number.zeros(len(batch), self.network.sizes[value])
            unit[np.arange(len(batch)), neuron] = sign
            return Rows({value: unit}, zeros, batch, zeros)
        parts: dict[int, Floats] = {}
        for source, part in zip(inputs, rule.rows(neuron), strict=True):
            if source in parts:
                unit = number.zeros(len(batch), rule.size)
                unit[np.arange(len(batch)), neuron] = sign
                return Rows({value: unit}, zeros, batch, zeros)
            parts[source] = part * sign[:, None]
        single = self.noise32[value][batch, neuron] if self.single else zeros
        return Rows(parts, sign * rule.bias[neuron] - single, batch, single)

    def bound(self, rows: Rows, multipliers: Multipliers | None = None) -> tuple[Form, Floats]:
        """Forms over the input, and the least values that they take on the owners' boxes."""
        step = max(8, ROW_ELEMENTS // max(self.network.sizes))
        forms = []
        for start in range(0, len(rows.owner), step):
            some = slice(start, start + step)
            chosen = None if multipliers is None else multipliers[some]
            forms.append(_Back(self, rows[some], chosen).run())
        form = Form.join(forms)
        return form, self.least(form, rows.owner)

    def least(self, form: Form, owner: Ints) -> Floats:
        """The least value of each form over its owner's input box."""
        number = self.arithmetic
        a = form.coefficients
        at_lower, at_upper = a * self.lower[0][owner], a * self.upper[0][owner]
        error = np.maximum(abs(at_lower), abs(at_upper)).sum(1) + abs(form.constant)
        total = np.minimum(at_lower, at_upper).sum(1) + form.constant
        size = a.shape[1]
        return total - (2 * number.gamma(size + 8) * error + number.tiny * (size + 8))


@dataclass(eq=False)
class _Back:
    """One chunk of rows on its way back to the input."""

    enclosure: Enclosure
    rows: Rows
    multipliers: Multipliers | None

    def run(self) -> Form:
        """From the outputs to the input: what is left is a form over the input."""
        enclosure = self.enclosure
        number = enclosure.arithmetic
        self.coefficients = dict(self.rows.start)
        self.total, self.single = self.rows.constant, self.rows.single
        self.absolute = abs(self.total)
        self.terms = 8
        for value in range(len(enclosure.network.nodes), 0, -1):
            nu = self.coefficients.pop(value, None)
            if nu is None:
                continue
            if isinstance(enclosure.network.nodes[value - 1].rule, Affine):
                self._affine(value, nu)
            else:
                self._atom(value, nu)
        shape = len(self.rows.owner), enclosure.network.sizes[0]
        at_input = self.coefficients.get(0)
        if at_input is None:
            at_input = number.zeros(*shape)
        error = 2 * number.gamma(self.terms) * self.absolute + number.tiny * self.terms
        return Form(at_input, self.total - error, self.single)

    def _spread(self, x: Floats) -> Floats:
        """A row of a batch array for each of ours."""
        return x if len(x) == 1 else x[self.rows.owner]

    def _spread_one(self, x: Floats) -> Floats:
        """The same for an array [batch]."""
        return x if len(x) == 1 else x[self.rows.owner]

    def _dot(self, rows: Floats, x: Floats) -> Floats:
        """rows . x of the owner: [rows]."""
        if len(x) == 1:
            return rows @ x[0]
        return (rows * x[self.rows.owner]).sum(1)

    def _add(self, term: Floats) -> None:
        self.total = self.total + term
        self.absolute = self.absolute + abs(term)
        self.terms += 1

    def _affine(self, value: int, nu: Floats) -> None:
        enclosure, node = self.enclosure, self.enclosure.network.nodes[value - 1]
        rule = node.rule
        assert isinstance(rule, Affine)
        size = abs(nu)
        self._add(nu @ rule.bias)
        self._add(
            -self._dot(size, enclosure.noise[value]) - self._spread_one(enclosure.slack[value])
        )
        if enclosure.single and rule.terms_float32:
            self._charge_single(self._dot(size, enclosure.noise32[value]))
        for source, part in zip(node.inputs, rule.backward(nu), strict=True):
            self._put(source, part)

    def _charge_single(self, cost: Floats) -> None:
        cost = 1.001 * cost
        self._add(-cost)
        self.single = self.single + 1.001 * cost

    def _put(self, value: int, part: Floats) -> None:
        """Coefficients that meet at a value are added; what that rounds is charged."""
        old = self.coefficients.get(value)
        if old is not None:
            number = self.enclosure.arithmetic
            part = old + part
            cost = self._dot(abs(part), self.enclosure.magnitude(value))
            self._add(-number.gamma(part.shape[1] + 8) * cost)
        self.coefficients[value] = part

    def _atom(self, value: int, nu: Floats) -> None:
        enclosure, node = self.enclosure, self.enclosure.network.nodes[value - 1]
        (source,) = node.inputs
        chosen = self.multipliers
        if chosen is not None and (value in chosen.slopes or value in chosen.added):
            multiplier = self._choose(value, nu, source)
        else:
            lines = enclosure.lines[value]
            positive = np.maximum(nu, 0)
            negative = nu - positive
            multiplier = positive * self._spread(lines.below)
            multiplier += negative * self._spread(lines.above)
            self._add(self._dot(positive, lines.low) - self._dot(negative, lines.high))
        self._add(-self._spread_one(enclosure.slack[value]))
        if value in enclosure.noise32:
            self._charge_single(self._dot(abs(nu), enclosure.noise32[value]))
        self._put(source, multiplier)

    def _choose(self, value: int, nu: Floats, source: int) -> Floats:
        """The multiplier A that the certificate chose; the least of nu phi(x) - A x is added."""
        enclosure, chosen = self.enclosure, self.multipliers
        rule, lines = enclosure.network.nodes[value - 1].rule, enclosure.lines[value]
        assert chosen is not None
        assert not isinstance(rule, Affine)
        lower, upper = (
            self._spread(x[source]) + 0 * nu for x in (enclosure.lower, enclosure.upper)
        )
        below = self._spread(lines.below) + 0 * nu
        if value in chosen.slopes:
            columns, alpha = chosen.slopes[value]
            crossing = ((lower < 0) & (upper > 0))[:, columns]
            below[:, columns] = np.where(crossing, alpha, below[:, columns])
        positive = np.maximum(nu, 0)
        multiplier = positive * below + (nu - positive) * self._spread(lines.above)
        if value in chosen.added:
            columns, beta = chosen.added[value]
            multiplier[:, columns] = multiplier[:, columns] + beta
        cost = rule.intercept(nu, multiplier, lower, upper)
        rounding = enclosure.arithmetic.gamma(nu.shape[1] + 8)
        self._add(cost.sum(1) - 2 * rounding * abs(cost).sum(1))
        return multiplier
