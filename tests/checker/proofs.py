"""Small networks and properties whose truth is known exactly, and their certificates."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.checker.onnx_files import file
from verifier.api import load
from verifier.certify.container import pack
from verifier.checker.check import Effort, check
from verifier.checker.container import read_container
from verifier.checker.errors import Rejected, Unreadable, Unsupported
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.sealing import Files, Seal
from verifier.search import deep, deepen, hulling, neuron_tree
from verifier.search.context import Network
from verifier.search.strategy import Strategy, decide
from verifier.settings import Options
from verifier.spec import Problem
from verifier.verdict import Verified

Pattern = tuple[tuple[int, ...], Fraction]
"""Met where the sum of coefficient * output is at most the bound."""
NAMES = ("format", "version", "members")
"""What ``pack`` itself writes into a manifest."""


@dataclass(frozen=True, eq=False)
class Net:
    """Gemm and Relu by turns; multiples of 1/64, so that the exact check stays quick."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @staticmethod
    def random(generator: np.random.Generator, sizes: tuple[int, ...]) -> Net:
        """Weights from -2 to 2."""
        layers = []
        for n, m in pairwise(sizes):
            weight, bias = generator.integers(-16, 17, (m, n)), generator.integers(-64, 65, m)
            layers.append((np.float32(weight / 8), np.float32(bias / 64)))
        return Net(tuple(layers))

    def file(self) -> bytes:
        """As ONNX."""
        nodes, constants, name = [], {}, "x"
        for k, (weight, bias) in enumerate(self.layers):
            last = k == len(self.layers) - 1
            constants |= {f"w{k}": weight, f"b{k}": bias}
            target = "y" if last else f"z{k}"
            nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], [target], transB=1))
            if not last:
                nodes.append(helper.make_node("Relu", [target], [f"r{k}"]))
            name = f"r{k}"
        return file(nodes, [1, self.layers[0][0].shape[1]], constants)

    def outputs(self, points: np.ndarray) -> np.ndarray:
        """In float64: [points, n] to [points, m]; of Fraction objects, exactly."""
        for k, (weight, bias) in enumerate(self.layers):
            exact = points.dtype == object
            a, b = (fractions(v) if exact else v.astype(float) for v in (weight, bias))
            points = (np.maximum(points, 0) if k else points) @ a.T + b
        return points

    def changed(self, generator: np.random.Generator) -> Net:
        """The same with one number changed."""
        layers = [(weight.copy(), bias.copy()) for weight, bias in self.layers]
        array = layers[generator.integers(len(layers))][generator.integers(2)].reshape(-1)
        array[generator.integers(len(array))] += generator.choice([-1, -0.125, 0.125, 1])
        return Net(tuple(layers))


def fractions(array: np.ndarray) -> np.ndarray:
    """The same numbers as Fraction objects."""
    result = np.empty(array.shape, dtype=object)
    result.reshape(-1)[:] = [Fraction(v) for v in array.reshape(-1).tolist()]
    return result


@dataclass(frozen=True)
class Region:
    """A box, and rows that all have to be met in it."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    rows: tuple[Pattern, ...] = ()


@dataclass(frozen=True)
class Statement:
    """What must not happen: a region, and in it all rows of some clause."""

    regions: tuple[Region, ...]
    clauses: tuple[tuple[Pattern, ...], ...]

    def unsafe(self, net: Net, points: np.ndarray) -> np.ndarray:
        """Which points [points, n], in Fractions or in float64, are unsafe."""
        y = net.outputs(points)
        result = np.zeros(len(points), dtype=bool)
        some = np.zeros(len(points), dtype=bool)
        for clause in self.clauses:
            some |= _all_met(clause, y)
        for region in self.regions:
            inside = (points >= _like(region.lower, points)) & (
                points <= _like(region.upper, points)
            )
            result |= inside.all(1) & _all_met(region.rows, y) & some
        return result

    def text(self) -> bytes:
        """As VNN-LIB; numbers are written as integers, so that they are exact."""
        inputs = len(self.regions[0].lower)
        outputs = len(self.clauses[0][0][0])
        lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
        lines += [f"(declare-const Y_{i} Real)" for i in range(outputs)]
        boxes = []
        for region in self.regions:
            bounds = [_bound("<=", f"X_{i}", x) for i, x in enumerate(region.upper)]
            bounds += [_bound(">=", f"X_{i}", x) for i, x in enumerate(region.lower)]
            boxes.append(f"(and {' '.join(bounds + [_row(row) for row in region.rows])})")
        clauses = [f"(and {' '.join(map(_row, clause))})" for clause in self.clauses]
        lines += [f"(assert (or {' '.join(parts)}))" for parts in (boxes, clauses)]
        return "\n".join(lines).encode()


def _like(numbers: tuple[Fraction, ...], points: np.ndarray) -> np.ndarray:
    return np.array(numbers, dtype=points.dtype)


def _all_met(rows: tuple[Pattern, ...], y: np.ndarray) -> np.ndarray:
    met = np.ones(len(y), dtype=bool)
    for coefficients, bound in rows:
        limit = bound if y.dtype == object else float(bound)
        met &= (y @ np.array(coefficients, dtype=y.dtype) <= limit).astype(bool)
    return met


def _bound(operator: str, name: str, number: Fraction) -> str:
    return f"({operator} (* {number.denominator} {name}) {number.numerator})"


def _row(row: Pattern) -> str:
    coefficients, bound = row
    scale = lcm(bound.denominator)
    terms = [f"(* {c * scale} Y_{i})" for i, c in enumerate(coefficients) if c]
    return f"(<= (+ {' '.join(terms)}) {bound * scale})"


@dataclass(frozen=True, eq=False)
class Proof:
    """A certificate taken apart, and what it is about."""

    net: Net
    statement: Statement
    manifest: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @staticmethod
    def of(net: Net, statement: Statement, data: bytes) -> Proof:
        """Take a certificate apart."""
        container = read_container(data)
        manifest = {k: v for k, v in container.manifest.items() if k not in NAMES}
        return Proof(net, statement, manifest, container.arrays)

    @cached_property
    def files(self) -> tuple[bytes, bytes]:
        """The network and the property."""
        return self.net.file(), self.statement.text()

    def about(self, net: Net, statement: Statement) -> Proof:
        """The same proof of something else, with the hashes of that."""
        other = Proof(net, statement, self.manifest, self.arrays)
        names = "network_sha256", "property_sha256"
        hashes = {
            k: hashlib.sha256(data).hexdigest() for k, data in zip(names, other.files, strict=True)
        }
        return replace(other, manifest=self.manifest | hashes)

    def bytes(self, arrays: dict[str, np.ndarray] | None = None) -> bytes:
        """The certificate with other arrays, or its own."""
        return pack(self.manifest, self.arrays if arrays is None else arrays)

    def verdict(self, data: bytes, *, exact: bool = False) -> str | None:
        """The semantics for which the checker accepts a certificate; None if it does not."""
        effort, wanted = (Effort(exact=True), "real") if exact else (None, None)
        network, prop = self.files
        try:
            return check(network, prop, data, effort, semantics=wanted).semantics
        except (Rejected, Unsupported, Unreadable):
            return None


def statement(net: Net, g: np.random.Generator, rows: int, clauses: int, regions: int) -> Statement:
    """One that holds by a margin, as far as samples tell."""
    n, m = net.layers[0][0].shape[1], len(net.layers[-1][1])
    lower = g.integers(-16, 9, (regions, n))
    upper = lower + g.integers(8, 17, (regions, n))
    boxes = [Region(_eighths(a), _eighths(b)) for a, b in zip(lower, upper, strict=True)]
    points = np.concatenate([samples(box, g) for box in boxes])
    y = net.outputs(points)
    result = []
    for _ in range(clauses):
        matrix = g.integers(-2, 3, (rows, m))
        matrix[:, 0] += ~matrix.any(1)
        values = y @ matrix.T
        middle = np.median(values, axis=0) * (rows > 1)
        worst = (values - middle).max(1)
        limits = np.floor((middle + worst.min() - 0.15 * max(1, worst.std())) * 64)
        result.append(
            tuple(
                (tuple(coefficients), Fraction(int(limit), 64))
                for coefficients, limit in zip(matrix.tolist(), limits, strict=True)
            )
        )
    return Statement(tuple(boxes), tuple(result))


def _eighths(numbers: np.ndarray) -> tuple[Fraction, ...]:
    return tuple(Fraction(int(v), 8) for v in numbers)


def samples(region: Region, g: np.random.Generator, count: int = 4000) -> np.ndarray:
    """Points of a box, multiples of 2^-20 of its width: exact numbers, in float64."""
    lower, upper = (np.array(x, dtype=float) for x in (region.lower, region.upper))
    shares = g.integers(0, 2**20 + 1, (count, len(lower))) / 2**20
    shares[: count // 2] = np.rint(shares[: count // 2] * 2) / 2
    return lower + shares * (upper - lower)


def falsified(net: Net, holds: Statement, g: np.random.Generator) -> Statement:
    """The statement with the bounds of one clause raised as far as some point needs it."""
    k, j = int(g.integers(len(holds.regions))), int(g.integers(len(holds.clauses)))
    region, clause = holds.regions[k], holds.clauses[j]
    points = samples(region, g)
    matrix = np.array([row[0] for row in clause], dtype=float)
    excess = (net.outputs(points) @ matrix.T - [float(row[1]) for row in clause]).max(1)
    place = int(excess.argmin()) if g.random() < 0.7 else int(g.integers(len(points)))
    point = fractions(points[place : place + 1])
    y = net.outputs(point)[0]
    raised = [(row, max(bound, Fraction(y @ np.array(row)))) for row, bound in clause]
    clauses = (*holds.clauses[:j], tuple(raised), *holds.clauses[j + 1 :])
    result = Statement(holds.regions, clauses)
    assert result.unsafe(net, point)[0]
    return result


def least(net: Net, row: tuple[int, ...], lower: Fraction, upper: Fraction) -> Fraction:
    """The exact minimum of row . y for a network of one input, at a kink or an end."""
    corners, layers = [lower, upper], net.layers
    for k in range(1, len(layers) + 1):
        points = np.array(sorted(corners), dtype=object)
        y = Net(layers[:k]).outputs(points[:, None])
        if k == len(layers):
            return min(y @ np.array(row))
        for values in y.T:
            i = np.flatnonzero(values[:-1] * values[1:] < 0)
            share = values[i] / (values[i] - values[i + 1])
            corners += (points[i] + share * (points[i + 1] - points[i])).tolist()
    raise AssertionError


@contextmanager
def deepened() -> Iterator[None]:
    """Hidden neurons get searches of their own in any case, and what these find is always used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep, "PATIENCE", 0.0)
        patch.setattr(neuron_tree, "HALF_DONE", 0.0)
        patch.setattr(deepen, "PROMISING", 0.0)
        patch.setattr(deep, "BETTER", float("inf"))
        patch.setattr(deep, "PARTS", (4, 12))
        patch.setattr(hulling, "STEPS", 0)
        patch.setattr(hulling, "FIRST", 0.0)
        yield


@contextmanager
def hulled() -> Iterator[None]:
    """Neurons are bounded as functions of all that they read after the first round."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FIRST": 0.0, "FIRST_SHARE": 0.0, "WORTH": -1.0}.items():
            patch.setattr(hulling, name, value)
        patch.setattr(deep, "PARTS", ())
        yield


def prove(folder: Path, net: Net, statement: Statement, search: str) -> Proof | None:
    """The engine's proof by splitting ``inputs`` or ``neurons``, if it finds one.

    ``deepened``: by neurons, with hidden neurons bounded in parts; ``hulled``: with planes.
    """
    files = Files(folder / "net.onnx", folder / "p.vnnlib")
    files.network.write_bytes(net.file())
    files.prop.write_bytes(statement.text())
    model = load(files.network)
    problem = Problem.of(model.graph, read_query(files.prop))
    seal = Seal(problem, files, Options(), time.monotonic() + 20.0)
    types = tuple((port.size, port.dtype.name) for port in model.inputs)
    network = Network(lambda points: run(model, points), types)
    kind = "inputs" if search == "inputs" else "neurons"
    strategy = Strategy(kind, "numpy", "float64", "cpu", "a test")
    with {"deepened": deepened, "hulled": hulled}.get(search, nullcontext)():
        verdict = decide(problem, network, 20.0, strategy, seal=seal)
    if not isinstance(verdict, Verified) or verdict.certificate is None:
        return None
    data = verdict.certificate.data
    return None if data is None else Proof.of(net, statement, data)
