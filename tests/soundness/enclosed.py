"""What leaves the checker's bounds: exact values, and float32 executions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.soundness.executions import Generator, Net, points
from verifier.checker.affine import Affine
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.network import read_network
from verifier.checker.rows import Form, Multipliers


@dataclass(frozen=True, eq=False)
class Bounded:
    """Bounds of the rows sign * neuron of one value."""

    value: int
    neuron: np.ndarray
    sign: np.ndarray
    form: Form
    least: np.ndarray


def enclose(
    net: Net, box: tuple[np.ndarray, np.ndarray], single: bool, generator: Generator
) -> tuple[Enclosure, list[Bounded]]:
    """Boxes as the checker has them, all neurons bounded and narrowed; with any multipliers."""
    network = read_network(net.onnx(), Arithmetic())
    enclosure = Enclosure(network, Arithmetic(), single, [box[0][None]], [box[1][None]])
    found = []
    with np.errstate(all="ignore"):
        for node in network.nodes:
            value = enclosure.step()
            if not isinstance(node.rule, Affine):
                enclosure.relax(value)
                continue
            for chosen in (None, _multipliers(enclosure, network.sizes[value], generator)):
                found.append(bounded := _bound(enclosure, value, chosen))
                _narrow(enclosure, bounded)
    return enclosure, found


def _multipliers(enclosure: Enclosure, size: int, generator: Generator) -> Multipliers:
    slopes, added = {}, {}
    for value in enclosure.lines:
        columns = np.arange(enclosure.network.sizes[value])
        slopes[value] = columns, generator.random((2 * size, len(columns)))
        beta = generator.normal(size=(2 * size, len(columns)))
        added[value] = columns, beta * 10.0 ** generator.uniform(-9, 9) * generator.integers(2)
    return Multipliers(slopes, added)


def _bound(enclosure: Enclosure, value: int, chosen: Multipliers | None) -> Bounded:
    size = enclosure.network.sizes[value]
    neuron, sign = np.tile(np.arange(size), 2), np.repeat([1.0, -1.0], size)
    rows = enclosure.unit_rows(value, np.zeros(2 * size, dtype=np.int64), neuron, sign)
    form, least = enclosure.bound(rows, chosen)
    return Bounded(value, neuron, sign, form, least)


def _narrow(enclosure: Enclosure, bounded: Bounded) -> None:
    size = len(bounded.least) // 2
    low, high = enclosure.lower[bounded.value], enclosure.upper[bounded.value]
    least = np.where(np.isnan(bounded.least), -np.inf, bounded.least)
    enclosure.narrow(
        bounded.value,
        np.where(np.isnan(low), low, least[None, :size]),
        np.where(np.isnan(high), high, -least[None, size:]),
    )


def escapes(
    net: Net, box: tuple[np.ndarray, np.ndarray], seed: int, single: bool = False, count: int = 3
) -> list[str]:
    """Values at points of a box that are not where the checker says, as text."""
    generator = np.random.default_rng(seed)
    enclosure, bounded = enclose(net, box, single, generator)
    number = {net.name(k): k for k in range(len(net.steps) + 1)}
    places = [0, *(number[node.name] for node in enclosure.network.nodes)]
    found = []
    for x in points(*box, count, generator):
        runs = [("exact", net.exact(x))]
        if single:
            runs += [("float32", values) for values in net.runs(x, generator, 1)]
        for kind, all_values in runs:
            values = [all_values[place] for place in places]
            found += [f"{kind}: {text}" for text in _outside(enclosure, values)]
            found += [f"{kind}: {text}" for text in _below(bounded, values, x)]
    return found


def _outside(enclosure: Enclosure, values: list[np.ndarray]) -> list[str]:
    found = []
    for k, value in enumerate(values):
        lows, highs = enclosure.lower[k][0].tolist(), enclosure.upper[k][0].tolist()
        for i, v in enumerate(value.tolist()):
            if not (_at_least(v, lows[i]) and _at_least(-v, -highs[i])):
                found.append(f"value {k}[{i}] is {float(v)}, not in {lows[i]}, {highs[i]}")
    return found


def _below(bounded: list[Bounded], values: list[np.ndarray], x: np.ndarray) -> list[str]:
    found = []
    for rows in bounded:
        forms = _at(rows.form, x)
        for i, neuron in enumerate(rows.neuron.tolist()):
            v, least = values[rows.value][neuron], float(rows.least[i])
            v = v if isinstance(v, Fraction) else float(v)
            v = -v if rows.sign[i] < 0 else v
            if not (_at_least(v, least) and _at_least(v, forms[i])):
                found.append(f"row {rows.value}[{neuron}] is {float(v)}, not above {least}")
    return found


def _at(form: Form, x: np.ndarray) -> list[Fraction | float]:
    """The forms at a point, exactly; what is not finite says nothing."""
    finite = np.isfinite(form.coefficients).all(1) & np.isfinite(form.constant)
    result: list[Fraction | float] = [-np.inf] * len(finite)
    for i in np.flatnonzero(finite).tolist():
        terms = zip(form.coefficients[i].tolist(), x.tolist(), strict=True)
        result[i] = sum(
            (Fraction(a) * Fraction(b) for a, b in terms), Fraction(float(form.constant[i]))
        )
    return result


def _at_least(v: Fraction | float, bound: Fraction | float) -> bool:
    """Is the bound true of v? One that is no number says nothing; v that is none breaks any."""
    if bound != bound or bound == -np.inf:  # noqa: PLR0124
        return True
    if isinstance(v, Fraction) or np.isfinite(v):
        return bound != np.inf and Fraction(v) >= Fraction(bound)
    return v == np.inf
