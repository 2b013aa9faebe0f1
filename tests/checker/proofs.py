"""Small networks and properties whose truth is known exactly, and their certificates."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from tests.checker.onnx_files import file
from verifier.api import load
from verifier.certify.container import pack
from verifier.checker.check import Effort, check
from verifier.checker.container import read_container
from verifier.checker.errors import Rejected, Unreadable, Unsupported
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.sealing import Files, Seal, Wish
from verifier.search.context import Network
from verifier.search.strategy import Strategy, decide
from verifier.spec import Problem
from verifier.verdict import Verified

Point = list[Fraction]
Pattern = tuple[tuple[int, ...], Fraction]
"""Met where the sum of coefficient * output is at most the bound."""
NAMES = ("format", "version", "members")
"""What ``pack`` itself writes into a manifest."""


@dataclass(frozen=True, eq=False)
class Net:
    """Gemm and Relu by turns; multiples of 1/8, so that the exact check stays quick."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @staticmethod
    def random(generator: np.random.Generator, sizes: tuple[int, ...]) -> Net:
        """Weights from -2 to 2."""
        layers = []
        for n, m in zip(sizes, sizes[1:], strict=False):
            weight, bias = generator.integers(-16, 17, (m, n)), generator.integers(-8, 9, m)
            layers.append((np.float32(weight / 8), np.float32(bias / 8)))
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
            weight, bias = (fractions(v) if exact else v.astype(float) for v in (weight, bias))
            points = (np.maximum(points, 0) if k else points) @ weight.T + bias
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
            inside = (points >= _like(region.lower, points)) & (points <= _like(region.upper, points))
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

    def about(self, net: Net, statement: Statement) -> Proof:
        """The same proof of something else, with the hashes of that."""
        hashes = {"network_sha256": _hash(net.file()), "property_sha256": _hash(statement.text())}
        return replace(self, net=net, statement=statement, manifest=self.manifest | hashes)

    def bytes(self, arrays: dict[str, np.ndarray] | None = None) -> bytes:
        """The certificate with other arrays, or its own."""
        return pack(self.manifest, self.arrays if arrays is None else arrays)

    def verdict(self, data: bytes, *, exact: bool = False) -> str | None:
        """The semantics for which the checker accepts a certificate; None if it does not."""
        effort, wanted = (Effort(exact=True), "real") if exact else (None, None)
        network, prop = self.net.file(), self.statement.text()
        try:
            return check(network, prop, data, effort, semantics=wanted).semantics
        except (Rejected, Unsupported, Unreadable):
            return None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def prove(folder: Path, net: Net, statement: Statement, search: str) -> Proof | None:
    """The engine's proof by splitting ``inputs`` or ``neurons``, if it finds one."""
    files = Files(folder / "net.onnx", folder / "p.vnnlib")
    files.network.write_bytes(net.file())
    files.prop.write_bytes(statement.text())
    model = load(files.network)
    problem = Problem.of(model.graph, read_query(files.prop))
    seal = Seal(problem, files, Wish(), time.monotonic() + 20)
    types = tuple((port.size, port.dtype.name) for port in model.inputs)
    network = Network(lambda points: run(model, points), types)
    strategy = Strategy(search, "numpy", "float64", "cpu", "a test")
    verdict = decide(problem, network, 20, strategy, seal=seal)
    if not isinstance(verdict, Verified) or verdict.certificate is None:
        return None
    data = verdict.certificate.data
    return None if data is None else Proof.of(net, statement, data)
