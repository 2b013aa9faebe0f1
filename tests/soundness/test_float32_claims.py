"""What ONNX Runtime refutes is not claimed for every float32 execution: range, not rounding.

Each network is fine in real arithmetic, and no number that the file names or the real function
takes is out of float32's range; an intermediate result of the execution is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto
from onnx.helper import make_node as node

from tests.checker.onnx_files import execute, file
from tests.soundness.judged import at_least, at_most, judge, text_of


@dataclass(frozen=True, eq=False)
class Claim:
    """A network, the one value that all its inputs have, and a bound that an execution breaks."""

    nodes: list[NodeProto]
    shape: list[int]
    x: float
    above: float | None = None
    """Unsafe from here on,"""
    below: float | None = None
    """or down from here."""
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> bytes:
        named = {k: np.asarray(v, np.float32) for k, v in self.constants.items()}
        return file(self.nodes, self.shape, named)

    @property
    def inputs(self) -> np.ndarray:
        return np.full(int(np.prod(self.shape)), float(np.float32(self.x)))

    def proved(self) -> str | None:
        condition = at_most(self.below or 0.0) if self.above is None else at_least(self.above)
        return judge(self.network, text_of(self.inputs, self.inputs, condition), "float32")

    def broken(self) -> bool:
        """Does ONNX Runtime meet what is unsafe?"""
        runs = [execute(self.network, self.inputs, optimised=flag)[0] for flag in (True, False)]
        return any(not y > self.below if self.above is None else not y < self.above for y in runs)


def scaled_gemm(alpha: float) -> list[NodeProto]:
    return [node("Gemm", ["x", "w"], ["y"], alpha=alpha)]


def scaled_product() -> list[NodeProto]:
    return [node("Conv", ["x", "w"], ["h"]), node("Mul", ["h", "d"], ["y"])]


NORM = {"s": [3e8], "b": [0.0], "m": [1.1e30], "v": [1.0]}
CLAIMS = {
    "alpha after products that underflow": Claim(
        scaled_gemm(2.0**100), [1, 2], 1e-30, below=1e-32, constants={"w": [[1e-30], [1e-30]]}
    ),
    "alpha after products that overflow": Claim(
        scaled_gemm(1e-30), [1, 2], 1e30, above=3e30, constants={"w": [[1e30], [1e30]]}
    ),
    "mean of large numbers": Claim([node("ReduceMean", ["x"], ["y"])], [1, 4], 1e38, above=1.5e38),
    "global average": Claim(
        [node("GlobalAveragePool", ["x"], ["y"])], [1, 1, 2, 2], 1e38, above=1.5e38
    ),
    "average": Claim(
        [node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2])], [1, 1, 2, 2], 1e38, above=1.5e38
    ),
    "normalisation that multiplies first": Claim(
        [node("BatchNormalization", ["x", *"sbmv"], ["y"])],
        [1, 1, 1],
        1.2e30,
        above=1e38,
        constants=NORM,
    ),
    "weights merged with a factor: overflow": Claim(
        scaled_product(),
        [1, 1, 1, 1],
        1e-30,
        above=1e30,
        constants={"w": [[[[1e30]]]], "d": [[[1e20]]]},
    ),
    "weights merged with a factor: underflow": Claim(
        scaled_product(),
        [1, 1, 1, 1],
        1e30,
        below=1e-32,
        constants={"w": [[[[1e-30]]]], "d": [[[1e-30]]]},
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_what_the_runtime_breaks_is_not_claimed(name: str):
    claim = CLAIMS[name]
    assert claim.broken()
    assert claim.proved() != "float32"


def overflowing() -> tuple[bytes, np.ndarray]:
    """2^127 and 60,000 numbers that round up: a sum below the greatest float32, executed beyond."""
    weight = np.full(60_001, np.float32((139.5 + 2.0**-10) * 2.0**104))
    weight[0] = np.float32(2.0**127)
    nodes = [node("Expand", ["x", "n"], ["h"]), node("MatMul", ["h", "w"], ["y"])]
    size = np.array([1, len(weight)])
    return file(nodes, [1, 1], {"n": size, "w": weight[:, None]}), weight


def test_a_sum_that_rounding_makes_overflow_is_not_claimed():
    network, weight = overflowing()
    assert weight.astype(np.float64).sum() < 3.4e38
    with np.errstate(over="ignore"):
        assert np.isinf(np.add.accumulate(weight)[-1])
    text = text_of([1], [1], at_least(3.45e38))
    assert judge(network, text, "real") == "real"
    assert judge(network, text, "float32") == "real"
