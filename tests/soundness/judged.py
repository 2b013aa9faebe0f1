"""Certificates without a search: all boxes of a grid, bounded by the checker's own means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np

from verifier.certify.container import pack
from verifier.checker.check import check
from verifier.checker.proof import HIDDEN, INPUT, LEAF, ROWS

Split = tuple[int, float]
"""An input, and where all boxes are cut."""


def number(x: float | Fraction) -> str:
    """A dyadic number in decimals, exactly."""
    x = Fraction(x)
    with localcontext(prec=2000):
        return f"{Decimal(x.numerator) / Decimal(x.denominator):E}".replace("E+", "E")


def text_of(lower: Iterable, upper: Iterable, condition: str) -> str:
    """A property of one output: a box, and what is unsafe."""
    box = list(zip(lower, upper, strict=True))
    lines = [f"(declare-const X_{i} Real)" for i in range(len(box))]
    lines.append("(declare-const Y_0 Real)")
    for i, (low, high) in enumerate(box):
        lines.append(f"(assert (and (>= X_{i} {number(low)}) (<= X_{i} {number(high)})))")
    return "\n".join([*lines, f"(assert {condition})", ""])


def at_most(threshold: float | Fraction) -> str:
    return f"(<= Y_0 {number(threshold)})"


def at_least(threshold: float | Fraction) -> str:
    return f"(>= Y_0 {number(threshold)})"


def certificate(network: bytes, prop: bytes, splits: Sequence[Split] = ()) -> bytes:
    """A certificate that claims everything; level k of the tree is cut by split k."""
    cut = [split for depth, split in enumerate(splits) for _ in range(2**depth)]
    nodes = [INPUT] * len(cut) + [LEAF | HIDDEN | ROWS] * 2 ** len(splits)
    manifest = {
        "network": "network.onnx",
        "property": "property.vnnlib",
        "network_sha256": hashlib.sha256(network).hexdigest(),
        "property_sha256": hashlib.sha256(prop).hexdigest(),
        "semantics": "float32",
        "neurons": [],
        "tool": "a test",
    }
    arrays = {
        "roots": np.zeros(1, "<i8"),
        "node": np.array(nodes, "|u1"),
        "split_axis": np.array([axis for axis, _ in cut], "<u4"),
        "split_point": np.array([point for _, point in cut], "<f8"),
    }
    return pack(manifest, arrays)


def judge(
    network: bytes, text: str, semantics: str = "float32", splits: Sequence[Split] = ()
) -> str | None:
    """What the checker says is proved."""
    prop = text.encode()
    proof = certificate(network, prop, splits)
    return check(network, prop, proof, semantics=semantics).semantics


def write(folder: Path, network: bytes, text: str) -> tuple[Path, Path]:
    """The files of a query."""
    files = folder / "network.onnx", folder / "property.vnnlib"
    files[0].write_bytes(network)
    files[1].write_text(text)
    return files
