"""From candidates to witnesses: rounded into the box as the network's own numbers, and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from verifier.attack.target import Candidates
from verifier.records import dataclass
from verifier.tensors import Bool, Float, Int

REPLAYED = (1, 4, 16)
"""How many candidates are replayed at once: the best, and more if those do not hold."""


@runtime_checkable
class Condition(Protocol):
    """The unsafe condition itself (`verifier.spec.Query`): judged exactly, without tolerance."""

    def holds(self, inputs: np.ndarray, outputs: np.ndarray) -> bool: ...


@dataclass(frozen=True, eq=False)
class Witness:
    """An input of the network, and the outputs that the reference runtime gives for it.

    Not ``exact``: some inputs are no numbers of the network's type, which the runtime rounds first.
    """

    inputs: Float[np.ndarray, " n"]
    outputs: Float[np.ndarray, " m"]
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Judge:
    """Says which points are counterexamples, with zero tolerance.

    A witness holds numbers of the network's own input types, lies between ``lower`` and ``upper``
    (the doubles nearest to the numbers of the property), and meets the query together with the
    finite outputs of ``replay``, the reference runtime: the rule of the 2026 competition.

    Some boxes hold no such point, as {0.1}. Where ``strict`` is false, an input without a number of
    its type in the box may be any double in it, and the one nearest to that is what is replayed:
    the best that can be asked there, marked as not exact.

    Attributes:
        query: the property
        replay: float64 [points, n_inputs] -> float64 [points, n_outputs]
        types: for each input tensor its size and NumPy type, in order
        lower: float64 [boxes, n_inputs]
        upper: float64 [boxes, n_inputs]
        free: which inputs candidates give, None for all; the others are at ``lower``
        strict: are numbers of the network's own types wanted everywhere?
    """

    query: Condition
    replay: Callable[[np.ndarray], np.ndarray]
    types: tuple[tuple[int, str], ...]
    lower: Float[np.ndarray, "boxes n"]
    upper: Float[np.ndarray, "boxes n"]
    free: Int[np.ndarray, " free"] | None = None
    strict: bool = True

    def embed(self, points: np.ndarray, case: np.ndarray) -> Float[np.ndarray, "points n"]:
        """Whole inputs from the free ones."""
        if self.free is None:
            return points
        whole = self.lower[case].copy()
        whole[:, self.free] = points
        return whole

    def rounded(
        self, inputs: Float[np.ndarray, "points n"], case: Int[np.ndarray, " points"]
    ) -> tuple[Float[np.ndarray, "points n"], Bool[np.ndarray, "points n"]]:
        """Inputs as numbers of their types, in their boxes where the mask says so."""
        result = np.empty_like(inputs)
        start = 0
        for size, kind in self.types:
            part = slice(start, start + size)
            box = self.lower[case, part], self.upper[case, part]
            result[:, part] = round_into(inputs[:, part], *box, kind)
            start += size
        return result, (result >= self.lower[case]) & (result <= self.upper[case])

    def possible(self) -> Bool[np.ndarray, " boxes"]:
        """Which boxes hold a point that could be a witness."""
        if not self.strict:
            return np.ones(len(self.lower), dtype=bool)
        _, inside = self.rounded(self.lower, np.arange(len(self.lower)))
        return np.asarray(inside.all(axis=1))

    def confirm(self, candidates: Candidates) -> Witness | None:
        """The first candidate that is a counterexample: the best is replayed alone, then more."""
        start = 0
        for count in REPLAYED:
            part = slice(start, start + count)
            start += count
            witness = self._replayed(candidates.points[part], candidates.case[part])
            if witness is not None:
                return witness
        return None

    def _replayed(self, points: np.ndarray, case: np.ndarray) -> Witness | None:
        inputs = self.embed(points, case)
        rounded, inside = self.rounded(inputs, case)
        exact = np.asarray(inside.all(axis=1))
        usable = exact | (not self.strict)
        if not usable.any():
            return None
        inputs = np.minimum(np.maximum(inputs, self.lower[case]), self.upper[case])
        inputs = np.where(inside, rounded, inputs)[usable]
        outputs = np.asarray(self.replay(rounded[usable]), dtype=np.float64)
        for x, y, whole in zip(inputs, outputs, exact[usable], strict=True):
            if np.isfinite(y).all() and self.query.holds(x, y):
                return Witness(x, y, bool(whole))
        return None


def round_into(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, kind: str) -> np.ndarray:
    """The number of type ``kind`` nearest to x within [lower, upper], as float64.

    Where the interval holds no such number, the result is the one nearest to x.
    """
    x = np.minimum(np.maximum(x, lower), upper)
    if np.dtype(kind).kind != "f":
        limits = (0, 1) if kind == "bool" else (np.iinfo(kind).min, np.iinfo(kind).max)
        whole = np.clip(np.rint(x), np.ceil(lower), np.floor(upper))
        return np.clip(whole, float(limits[0]), float(limits[1]))
    number = np.dtype(kind).type
    with np.errstate(over="ignore"):
        near = x.astype(number)
        inner = np.where(near > upper, np.nextafter(near, number(-np.inf)), near)
        inner = np.where(near < lower, np.nextafter(near, number(np.inf)), inner)
    inside = (inner >= lower) & (inner <= upper)
    return np.where(inside, inner, near).astype(np.float64)
