"""Certificates made by hand, for a network of two relus and properties of a few rows."""

from __future__ import annotations

import hashlib
import zipfile
from typing import Any

import numpy as np
from onnx.helper import make_node as node

from tests.checker.containers import build, npy
from tests.checker.onnx_files import file
from verifier.checker.check import Effort, Report, check
from verifier.checker.proof import MEMBERS

LEAF, INPUT, NEURON, CLAUSE = range(4)
CLIP, JOINTLY, HIDDEN, ROWS = 4, 8, 16, 32
MIX = 2**32 - 1


def relus(weights: Any, sums: Any, bias: Any = (0, 0)) -> bytes:
    """y = sums relu(weights x + bias): the tensors are x, z, r and y."""
    constants = {
        "w": np.array(weights, np.float32).T,
        "b": np.array(bias, np.float32),
        "v": np.array(sums, np.float32).T,
    }
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
    ]
    return file(nodes, [1, len(constants["w"])], constants)


SIZE = relus([[1], [-1]], [[1, 1], [1, -1]])
"""Of one input: |x| and x."""


def prop(
    *assertions: str, inputs: int = 1, outputs: int = 2, box: tuple[Any, Any] = (-1, 1)
) -> bytes:
    """Every input in a box, and some assertions."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(outputs)]
    lines += [f"(assert (and (>= X_{i} {box[0]}) (<= X_{i} {box[1]})))" for i in range(inputs)]
    return "\n".join([*lines, *(f"(assert {text})" for text in assertions)]).encode()


def certificate(
    network: bytes, text: bytes, neurons: Any = (), semantics: str = "float32", **arrays: Any
) -> bytes:
    """The arrays of a proof; ``roots`` is one root of case 0 unless it is given."""
    arrays = {"roots": [0]} | arrays
    contents = {
        f"{name}.npy": npy(np.array(values, dtype=MEMBERS[name][0]))
        for name, values in arrays.items()
    }
    hashes = {
        f"{name}_sha256": hashlib.sha256(data).hexdigest()
        for name, data in (("network", network), ("property", text))
    }
    return build(
        contents,
        zipfile.ZIP_DEFLATED,
        semantics=semantics,
        neurons=[list(n) for n in neurons],
        **hashes,
    )


def verdict(network: bytes, text: bytes, effort: Effort | None = None, **proof: Any) -> Report:
    """What the checker finds."""
    return check(network, text, certificate(network, text, **proof), effort)


def accepted(network: bytes, text: bytes, **proof: Any) -> str | None:
    """For which semantics the checker accepts; exact arithmetic has to agree."""
    found = verdict(network, text, **proof).semantics
    real = {**proof, "semantics": "real"}
    exact = verdict(network, text, Effort(exact=True), **real).semantics
    assert not found or exact == "real"
    return found


def failure(network: bytes, text: bytes, **proof: Any) -> str:
    """The first step that fails."""
    report = verdict(network, text, **proof)
    assert report.semantics is None
    return report.failures[0].step


TWO = [("r", 2)]
COLUMNS = {"neurons": TWO, "column_atom": [0, 0], "column_neuron": [0, 1]}
"""relu(x) and relu(-x)."""


IS_X = prop("(<= (- Y_1 X_0) -0.01)")
"""Never, as y_1 = relu(x) - relu(-x) = x; by lines over -1 to 1 it may be 1 less."""


def row(at, *, number=0, alpha=(0, 0), beta=()) -> dict[str, Any]:
    """A record of a row."""
    record = {"row_node": [at], "row": [number], "row_alpha": [alpha], "beta_count": [len(beta)]}
    return COLUMNS | record | ({"row_beta": beta} if len(beta) else {})


def split(kind=INPUT, axis=0, point=0.0, children=(ROWS, ROWS), actions=0, **more):
    return {
        "node": [kind | actions, *children],
        "split_axis": [axis],
        "split_point": [point],
        **more,
    }
