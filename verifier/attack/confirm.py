"""From candidates to witnesses: rounded into the box as the network's own numbers, and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from verifier.attack.target import Candidates
from verifier.tensors import Bool, Float, Int

REPLAYED = (1, 4, 16)
"""How many candidates are replayed at once: the best, and more if those do not hold."""


class Condition(Protocol):
    """The unsafe condition itself (`verifier.spec.Query`): judged exactly, without tolerance."""

    def holds(self, inputs: np.ndarray, outputs: np.ndarray) -> bool: ...


@dataclass(frozen=True, eq=False)
class Witness:
    """An input of the network, and the outputs that the reference runtime gives for it."""

    inputs: Float[np.ndarray, " n"]
    outputs: Float[np.ndarray, " m"]


@dataclass(frozen=True, eq=False)
class Judge:
    """Says which points are counterexamples, with zero tolerance.

    A witness holds numbers of the network's own input types, lies between ``lower`` and ``upper``
    (the doubles nearest to the numbers of the property), and meets the query together with the
    finite outputs of ``replay``, the reference runtime: the rule of the 2026 competition.

    Attributes:
        query: the property
        replay: float64 [points, n_inputs] -> float64 [points, n_outputs]
        types: for each input tensor its size and NumPy type, in order
        lower: float64 [boxes, n_inputs]
        upper: float64 [boxes, n_inputs]
        free: which inputs candidates give, None for all; the others are at ``lower``
    """

    query: Condition
    replay: Callable[[np.ndarray], np.ndarray]
    types: tuple[tuple[int, str], ...]
    lower: Float[np.ndarray, "boxes n"]
    upper: Float[np.ndarray, "boxes n"]
    free: Int[np.ndarray, " free"] | None = None

    def embed(self, points: np.ndarray, case: np.ndarray) -> Float[np.ndarray, "points n"]:
        """Whole inputs from the free ones."""
        if self.free is None:
            return points
        whole = self.lower[case].copy()
        whole[:, self.free] = points
        return whole

    def rounded(
        self, inputs: Float[np.ndarray, "points n"], case: Int[np.ndarray, " points"]
    ) -> tuple[Float[np.ndarray, "points n"], Bool[np.ndarray, " points"]]:
        """Inputs rounded to numbers of their types in their boxes, and where there are such."""
        result = np.empty_like(inputs)
        start = 0
        for size, kind in self.types:
            part = slice(start, start + size)
            box = self.lower[case, part], self.upper[case, part]
            result[:, part] = round_into(inputs[:, part], *box, kind)
            start += size
        inside = (result >= self.lower[case]) & (result <= self.upper[case])
        return result, inside.all(axis=1)

    def possible(self) -> Bool[np.ndarray, " boxes"]:
        """Which boxes hold a point of the network's types: there is no witness in the others."""
        return self.rounded(self.lower, np.arange(len(self.lower)))[1]

    def confirm(self, candidates: Candidates) -> Witness | None:
        """The first candidate that is a counterexample, of the best: one is replayed, then more."""
        start = 0
        for count in REPLAYED:
            part = slice(start, start + count)
            start += count
            inputs = self.embed(candidates.points[part], candidates.case[part])
            inputs, usable = self.rounded(inputs, candidates.case[part])
            inputs = inputs[usable]
            outputs = np.asarray(self.replay(inputs), dtype=np.float64) if len(inputs) else []
            for x, y in zip(inputs, outputs, strict=True):
                if np.isfinite(y).all() and self.query.holds(x, y):
                    return Witness(x, y)
        return None


def round_into(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, kind: str) -> np.ndarray:
    """The number of type ``kind`` nearest to x within [lower, upper], as float64.

    Where the interval holds no such number, the result lies outside.
    """
    x = np.minimum(np.maximum(x, lower), upper)
    if np.dtype(kind).kind != "f":
        limits = (0, 1) if kind == "bool" else (np.iinfo(kind).min, np.iinfo(kind).max)
        return np.clip(np.clip(np.rint(x), np.ceil(lower), np.floor(upper)), *map(float, limits))
    number = np.dtype(kind).type
    with np.errstate(over="ignore"):
        near = x.astype(number)
        near = np.where(near > upper, np.nextafter(near, number(-np.inf)), near)
        near = np.where(near < lower, np.nextafter(near, number(np.inf)), near)
    return near.astype(np.float64)
