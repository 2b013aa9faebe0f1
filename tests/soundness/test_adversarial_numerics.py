"""Networks built to fool floating-point verifiers fool neither semantics.

In the spirit of Zombori et al. 2021, "Fooling a complete neural network verifier", and of Jia and
Rinard 2021, "Exploiting verified neural networks via floating point numerical error". What is said
about real arithmetic is held against fractions, what is said about float32 against executions.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from tests.soundness.enclosed import escapes
from tests.soundness.executions import Net, Step, badly_scaled, fma32, gemm, points
from tests.soundness.judged import Split, at_most, judge, text_of, write
from verifier.api import verify
from verifier.checker import bounds, network
from verifier.checker.arithmetic import Arithmetic
from verifier.errors import ImportMismatch
from verifier.settings import Options
from verifier.verdict import Verified

over_seeds = pytest.mark.parametrize("block", range(5))
BLOCK = 4
BIG, UNIT32 = 2.0**30, 2.0**-24


@dataclass(frozen=True, eq=False)
class Known:
    """A network whose exact least value over a box is known, and where it is reached."""

    net: Net
    lower: np.ndarray
    upper: np.ndarray
    at: np.ndarray
    real_only: Fraction | None = None
    """A threshold that is never met in real arithmetic, but is by some float32 execution."""

    @cached_property
    def least(self) -> Fraction:
        return self.net.exact(self.at)[-1][0]

    @cached_property
    def worst(self) -> float:
        """The least of many float32 executions, ONNX Runtime's among them; -inf where one fails."""
        generator = np.random.default_rng(0)
        inside = [self.at, *points(self.lower, self.upper, 6, generator)]
        results = [run[-1][0] for x in inside for run in self.net.runs(x, generator)]
        results += [y[0] for x in inside[:2] for y in self.net.runtime(x)]
        return min(float(y) if np.isfinite(y) else -np.inf for y in results)

    def text(self, threshold: Fraction) -> str:
        return text_of(self.lower, self.upper, at_most(threshold))

    def met(self, threshold: Fraction) -> bool:
        """Does some float32 execution reach a threshold?"""
        return self.worst <= threshold


def known(steps: list[Step], low: list, high: list, at: list, limit: float | None = None) -> Known:
    lower, upper, place = (np.array(x, dtype=np.float64) for x in (low, high, at))
    threshold = None if limit is None else Fraction(limit)
    return Known(Net(len(low), tuple(steps)), lower, upper, place, threshold)


def absorbed(c: float) -> Known:
    """(2^30 x + c) - 2^30 x: c, though float32 says 0 where c is small."""
    steps = [gemm(0, [[BIG], [BIG]], [c, 0.0]), Step("Relu", (1,)), gemm(2, [1.0, -1.0], 0.0)]
    return known(steps, [1], [2], [1], c / 2 if c > 0 else None)


def delayed(depth: int) -> Known:
    """The same, the two sums carried through many layers, as Zombori et al. hide it."""
    steps = [gemm(0, [[BIG], [BIG]], [1.0, 0.0])]
    for _ in range(depth):
        steps += [Step("Relu", (len(steps),)), gemm(len(steps) + 1, np.eye(2), 0.0)]
    steps.append(gemm(len(steps), [1.0, -1.0], 0.0))
    return known(steps, [1], [2], [1], 0.5)


def lost() -> Known:
    """(x + 2^25) - 2^25: x, though float32 says 0 or 4."""
    steps = [gemm(0, 1.0, 2.0**25), gemm(1, 1.0, -(2.0**25))]
    return known(steps, [0.5], [1], [0.5], 0.25)


def hidden() -> Known:
    """2 - x, though float32 says 2 or less only beyond 2: ONNX Runtime never shows that."""
    steps = [gemm(0, 1.0, 2.0**26), gemm(1, -1.0, 2.0**26), gemm(2, 1.0, 2.0)]
    return known(steps, [0], [1], [1])


def ordered() -> Known:
    """2^30 a - 2^30 b + c: 1 in the order of the file, 0 in others."""
    steps = [gemm(0, [BIG, -BIG, 1.0], 0.0)]
    return known(steps, [1, 1, 1], [1, 1, 2], [1, 1, 1], 0.5)


def underflowing() -> Known:
    """2^-100 x 2^-60 2^100 2^60: x, though float32 says 0."""
    scales = [[2.0**-60], [2.0**100], [2.0**60]]
    steps = [Step("Mul", (k,), np.array(s, np.float32)) for k, s in enumerate(scales)]
    return known(steps, [2.0**-100], [2.0**-99], [2.0**-100], 2.0**-1)


def denormal() -> Known:
    """2^149 (2^-25 (2^-124 x)) for x = 1.5: 1.5, though products round to even numbers of units."""
    scales = [[2.0**-124], [2.0**-25], [2.0**100], [2.0**49]]
    steps = [Step("Mul", (k,), np.array(s, np.float32)) for k, s in enumerate(scales)]
    return known(steps, [1.25], [1.25], [1.25], 1.125)


def long_sum(size: int) -> Known:
    """A long sum that cancels almost completely, of weights of all magnitudes."""
    generator = np.random.default_rng(size)
    half = generator.normal(size=size) * 10.0 ** generator.uniform(-8, 8, size)
    half = half.astype(np.float32)
    near = np.nextafter(half, np.float32(np.inf) * generator.choice([-1, 1], size))
    weight = np.concatenate([half, -near]).astype(np.float32)
    lower, upper = np.full(2 * size, 1.0), np.full(2 * size, 1.0)
    lower[::7], upper[::7] = 0.75, 1.25
    at = np.where(weight > 0, lower, upper)
    net = Net(2 * size, (gemm(0, weight, 1.0),))
    return Known(net, lower, upper, at)


def stretched() -> Known:
    """1e30 (1e-30 x) - x and such: next to nothing, by weights from 1e-30 to 1e30."""
    inner = [[1e-30, 0.0], [0.0, 1e30], [1e-15, 0.0]]
    outer = [1e30, 1e-30, -1e15]
    steps = [gemm(0, inner, 0.0), Step("Relu", (1,)), gemm(2, outer, 0.0)]
    net = Net(2, tuple(steps))
    corners = [np.array([a, b]) for a in (1.0, 2.0) for b in (1.0, 2.0)]
    at = min(corners, key=lambda x: net.exact(x)[-1][0])
    return Known(net, np.ones(2), np.full(2, 2.0), at)


def touching() -> Known:
    """Two neurons that meet 0 at the same point, a third of the way."""
    third = np.float32(1 / 3)
    steps = [gemm(0, [[1.0], [-1.0]], [-third, third]), Step("Relu", (1,)), gemm(2, [1e8, 1], 0)]
    return known(steps, [0], [1], [float(third)])


KNOWN = {
    "absorbed": absorbed(1.0),
    "absorbed, less": absorbed(-1.0),
    "absorbed, little": absorbed(2.0**-20),
    "delayed": delayed(4),
    "lost": lost(),
    "hidden": hidden(),
    "ordered": ordered(),
    "underflowing": underflowing(),
    "denormal": denormal(),
    "long sum": long_sum(40),
    "stretched": stretched(),
    "touching": touching(),
}
GAPS = (0.0, 2.0**-70, 1e-12, -1e-12, -1e-7, -1e-3, -0.5)
"""How far the threshold lies above the least value: it is met from 0 on."""
OUT_OF_RANGE = {"underflowing", "denormal"}
"""Merged, their weights are no float32 numbers: nothing is said about float32 execution."""
over_known = pytest.mark.parametrize("name", KNOWN)


def thresholds(case: Known) -> list[Fraction]:
    near = [case.least + Fraction(gap) * max(1, abs(case.least)) for gap in GAPS]
    near += [case.least + Fraction(gap) for gap in (2.0**-40, -(2.0**-40))]
    return near + ([] if case.real_only is None else [case.real_only])


def cuts(case: Known, depth: int) -> list[Split]:
    """Cuts in the middle, input by input."""
    middle = (case.lower + case.upper) / 2
    return [(axis, float(middle[axis])) for axis in range(min(depth, len(middle)))]


@over_known
def test_the_checker_is_not_fooled(name: str):
    case = KNOWN[name]
    content = case.net.onnx()
    for threshold in thresholds(case):
        for depth in {0, len(case.lower) < 4}:
            splits = cuts(case, depth)
            for asked in ("real", "float32"):
                proved = judge(content, case.text(threshold), asked, splits)
                assert proved is None or threshold < case.least, (asked, proved, float(threshold))
                assert proved != "float32" or not case.met(threshold), float(threshold)


@over_known
def test_what_holds_by_far_is_accepted(name: str):
    case = KNOWN[name]
    threshold = case.least - 10**12 * max(1, abs(case.least))
    single = "real" if name in OUT_OF_RANGE else "float32"
    assert judge(case.net.onnx(), case.text(threshold), "float32") == single
    assert judge(case.net.onnx(), case.text(threshold), "real") == "real"


@pytest.mark.parametrize("name", [name for name, case in KNOWN.items() if case.real_only])
def test_what_float32_breaks_is_proved_for_the_real_function_only(name: str):
    case = KNOWN[name]
    assert case.real_only is not None
    assert case.met(case.real_only)
    text = case.text(case.real_only)
    if name != "absorbed, little":  # 2^-20 of 2^30: float64 proves nothing
        assert judge(case.net.onnx(), text, "real") == "real"
    assert judge(case.net.onnx(), text, "float32") != "float32"


@over_known
@pytest.mark.parametrize("semantics", ["real", "float32", "auto"])
def test_the_verifier_is_not_fooled(name: str, semantics: str, tmp_path: Path):
    case = KNOWN[name]
    limits = [case.least, case.least - Fraction(1e-3) * max(1, abs(case.least))]
    if case.real_only is not None:
        limits = [case.least, case.real_only]
    for threshold in limits:
        files = write(tmp_path, case.net.onnx(), case.text(threshold))
        try:
            verdict = verify(*files, timeout=0.4, options=Options(semantics=semantics)).verdict
        except ImportMismatch:
            continue  # ONNX Runtime is too far from the real function: nothing is said
        if not isinstance(verdict, Verified):
            continue
        assert threshold < case.least
        assert verdict.certificate is not None
        proved = verdict.certificate.semantics
        assert proved != "float32" or not case.met(threshold)
        assert semantics != "float32" or proved != "real"


@over_seeds
@pytest.mark.parametrize("single", [False, True])
def test_no_value_leaves_its_bounds(block: int, single: bool):
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        net, *box = badly_scaled(seed)
        assert not escapes(net, (box[0], box[1]), seed, single, 2), seed


def above(x: Fraction) -> float:
    """The least double that is no less, but for a unit in the last place."""
    near = float(x)
    return near if Fraction(near) >= x else float(np.nextafter(near, np.inf))


def sampled(seed: int) -> Known:
    """A network, and the best of some points."""
    generator = np.random.default_rng(seed)
    net, lower, upper = badly_scaled(seed)
    inside = points(lower, upper, 8, generator)
    at = min(inside, key=lambda x: net.exact(x)[-1][0])
    return Known(net, lower, upper, at)


def mistakes(seed: int) -> tuple[list[str], int]:
    """Claims of the checker that samples refute, and how many others it makes."""
    case = sampled(seed)
    least, worst = case.least, case.worst
    content, found, accepted = case.net.onnx(), [], 0
    if abs(least) > 1e300:
        return [], 0
    size = abs(least) + Fraction(2) ** -140
    for gap in (0, 1e-11, -1e-13, -UNIT32 / 2, -UNIT32 * 4, -10.0):
        threshold = Fraction(above(least + Fraction(gap) * size))
        proved = judge(content, case.text(threshold), "float32", cuts(case, seed % 3))
        accepted += proved is not None
        if proved and threshold >= least:
            found.append(f"{seed}: {proved} at {float(threshold)}, but {float(least)} is reached")
        if proved == "float32" and worst <= threshold:
            found.append(f"{seed}: float32 at {float(threshold)}, but {worst} is executed")
    return found, accepted


@over_seeds
def test_no_claim_is_refuted_by_a_sample(block: int):
    accepted = 0
    for seed in range(100 * block, 100 * block + BLOCK):
        wrong, right = mistakes(seed)
        assert not wrong
        accepted += right
    assert accepted > BLOCK // 2


def test_a_fused_product_is_rounded_once():
    """fma32 against fractions: the nearest float32, ties to even."""
    generator = np.random.default_rng(0)
    for _ in range(300):
        bits, powers = generator.integers(2**23, 2**24, 3), generator.integers(-30, 30, 3)
        a, b, c = (bits * 2.0 ** (powers - 23)).astype(np.float32)[:, None]
        c = (-np.float64(a) * b).astype(np.float32) if generator.random() < 0.3 else c
        exact = Fraction(a.item()) * Fraction(b.item()) + Fraction(c.item())
        near = np.float32(float(exact))
        around = [np.nextafter(near, np.float32(s)) for s in (-np.inf, np.inf)]
        best = min(abs(Fraction(float(y)) - exact) for y in (near, *around))
        assert abs(Fraction(fma32(a, b, c).item()) - exact) == best


def test_without_the_errors_of_float64_exact_values_escape(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Arithmetic, "gamma", lambda self, terms: 0.0)
    found = []
    for seed in range(4 * BLOCK):
        net, *box = badly_scaled(seed)
        found += escapes(net, (box[0], box[1]), seed, count=2)
    assert found
    wrong = 0
    for case in map(long_sum, (50, 100, 150, 151)):  # which way the rounding goes is chance
        touched = [case.least, *(case.least + Fraction(2) ** -k for k in (90, 70, 60, 55, 50))]
        wrong += any(judge(case.net.onnx(), case.text(t), "real") for t in touched)
    assert wrong


def test_without_the_errors_of_float32_executions_escape(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounds, "gamma32", lambda terms: 0.0)
    net, *box = badly_scaled(2)
    assert escapes(net, (box[0], box[1]), 2, single=True)
    for name in ("absorbed", "delayed", "lost", "ordered"):
        case = KNOWN[name]
        assert case.real_only is not None
        assert judge(case.net.onnx(), case.text(case.real_only), "float32") == "float32"


def test_without_underflow_executions_escape(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounds, "TINY32", 0.0)
    monkeypatch.setattr(network, "_merges_in_range", lambda nodes: True)
    case = KNOWN["underflowing"]
    assert case.real_only is not None
    assert judge(case.net.onnx(), case.text(case.real_only), "float32") == "float32"
    assert case.met(case.real_only)
