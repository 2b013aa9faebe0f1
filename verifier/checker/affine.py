"""Affine rules y = sum_i M_i x_i + b, with how far their evaluation may be from the exact one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from verifier.checker.arithmetic import Floats

Indices = npt.NDArray[np.intp]


def _zeros(shape: tuple[int, ...], like: Floats) -> Floats:
    return np.full(shape, Fraction(0) if like.dtype == object else 0.0, dtype=like.dtype)


def _joined(x: tuple[Floats, ...]) -> Floats:
    return x[0] if len(x) == 1 else np.concatenate(x, axis=1)


MOST_FILLED = 1 / 48
"""A matrix is taken by its entries if no row and no column has more than this share of them."""


@dataclass(frozen=True, eq=False)
class Dense:
    """Full matrices [groups, m, k]: x is [copies, groups, k, columns], the image has m for k."""

    weight: Floats
    copies: int = 1
    columns: int = 1

    @property
    def terms(self) -> int:
        """How often ``apply`` rounds each of its products, sums included."""
        return self.weight.shape[2]

    @property
    def occupied(self) -> npt.NDArray[np.bool_]:
        """Which rows are not 0."""
        return np.ones(1, dtype=bool)

    def apply(self, x: Floats) -> Floats:
        """M x for each row of x."""
        groups, m, k = self.weight.shape
        if groups == self.columns == 1:
            image = x.reshape(len(x) * self.copies, k) @ self.weight[0].T
        else:
            image = self.weight @ x.reshape(len(x) * self.copies, groups, k, self.columns)
        return image.reshape(len(x), self.copies * groups * m * self.columns)

    def absolute(self) -> Dense:
        """|M|."""
        return Dense(abs(self.weight), self.copies, self.columns)

    def transposed(self) -> Dense:
        """The matrix of a -> a M."""
        return Dense(self.weight.swapaxes(1, 2), self.copies, self.columns)

    def thinned(self) -> Dense | Sparse:
        """The same matrix, by its entries alone where there are few in each row and column."""
        present = self.weight[0] != 0
        most = max(int(present.sum(0).max()) / len(present), int(present.sum(1).max()) / self.terms)
        if self.weight.shape[0] * self.copies * self.columns > 1 or most > MOST_FILLED:
            return self
        place = np.nonzero(present)
        packed = _packed((place[0], place[1]), self.weight[0][place], len(present))
        return Sparse(*packed, self.terms)


@dataclass(frozen=True, eq=False)
class Sparse:
    """(M x)_j = sum_t scale[t, j] x[index[t, j]]; x has ``width`` numbers.

    A product with -1, 0 or 1 and adding 0 are exact: moving numbers has 0 terms.
    """

    index: Indices
    scale: Floats
    width: int

    @property
    def terms(self) -> int:
        """How often ``apply`` rounds each of its products, sums included."""
        entries = int((self.scale != 0).sum(axis=0).max())
        return max(entries - 1, 0) + bool(((self.scale != 0) & (abs(self.scale) != 1)).any())

    @property
    def occupied(self) -> npt.NDArray[np.bool_]:
        """Which rows are not 0."""
        return (self.scale != 0).any(axis=0)

    @cached_property
    def _steps(self) -> list[tuple[Indices | None, Floats | None]]:
        """For each t: which columns, None for all in order, and factors, None for ones."""
        every = np.arange(self.width)
        return [
            (None if np.array_equal(i, every) else i, None if (s == 1).all() else s)
            for i, s in zip(self.index, self.scale, strict=True)
        ]

    def apply(self, x: Floats) -> Floats:
        """M x for each row of x."""
        total: Floats | None = None
        for index, scale in self._steps:
            part = x if index is None else x.take(index, axis=1)
            part = part if scale is None else part * scale
            total = part if total is None else total + part
        assert total is not None
        return total

    def absolute(self) -> Sparse:
        """|M|."""
        return Sparse(self.index, abs(self.scale), self.width)

    def transposed(self) -> Sparse:
        """The matrix of a -> a M."""
        present = self.scale != 0
        column, row = self.index[present], np.nonzero(present)[1]
        packed = _packed((column, row), self.scale[present], self.width)
        return Sparse(*packed, self.index.shape[1])


def _packed(place: tuple[Indices, Indices], entries: Floats, size: int) -> tuple[Indices, Floats]:
    """Index and scale [terms, size] of a matrix with these entries, (row, column) of each."""
    order = np.argsort(place[0], kind="stable")
    row, column = place[0][order], place[1][order]
    counts = np.bincount(row, minlength=size)
    rank = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    index = np.zeros((max(1, int(counts.max())), size), dtype=np.intp)
    scale = _zeros(index.shape, entries)
    index[rank, row], scale[rank, row] = column, entries[order]
    return index, scale


class Affine:
    """y = sum_i M_i x_i + b over flat arrays: x_i is [batch, n_i], y is [batch, m].

    M and b are exact real numbers; M may pass ``inexact`` roundings until it is floats (1/3 does).
    Every product |M_jk| |x_k| of a computed sum is rounded at most ``terms`` times: so by Higham
    2002, section 3.1, in float64, without overflow,

    * ``forward``, ``magnitude`` are off by at most gamma(terms_forward) (|M| |x| + |b|),
    * ``backward`` by at most gamma(terms_backward) |a| |M|,
    * any float32 execution by at most gamma32(terms_float32) (|M| |x| + |b|),

    and besides by ``terms`` times the tiny of the arithmetic, where products underflow.
    The same code computes with arrays of fractions, exactly.
    """

    def __init__(
        self, matrix: Dense | Sparse, bias: Floats, sizes: tuple[int, ...], inexact: int = 0
    ) -> None:
        """``sizes`` are those of the inputs, which the matrix meets one after the other."""
        self.matrix, self.bias, self.sizes, self.size = matrix, bias, sizes, len(bias)
        self.exact_rows = not inexact
        self.terms_forward = matrix.terms + inexact + bool((matrix.occupied & (bias != 0)).any())
        self.terms_backward = self._transposed.terms + inexact
        self.terms_float32 = self.terms_forward

    def with_bias(self, bias: Floats) -> Affine | None:
        """The same rule with this bias, if it has none and its matrix is full: as runtimes do."""
        if isinstance(self.matrix, Sparse) or (self.bias != 0).any():
            return None
        rule = Affine(self.matrix, bias, self.sizes)
        rule.terms_float32 = self.terms_float32 + 1
        return rule

    @property
    def separate(self) -> bool:
        """Whether each element is computed from one number at most."""
        matrix = self.matrix
        return isinstance(matrix, Sparse) and int((matrix.scale != 0).sum(axis=0).max()) < 2

    @property
    def extent(self) -> tuple[float, float]:
        """log2 of the least and of the greatest |weight| that is not 0."""
        matrix = self.matrix
        weights = abs(matrix.weight if isinstance(matrix, Dense) else matrix.scale)
        weights = weights[weights > 0].astype(np.float64)
        return (
            tuple(np.log2([weights.min(), weights.max()]).tolist()) if len(weights) else (0.0, 0.0)
        )

    @cached_property
    def _absolute(self) -> Dense | Sparse:
        return self.matrix.absolute()

    @cached_property
    def _transposed(self) -> Dense | Sparse:
        return self.matrix.transposed()

    def forward(self, *x: Floats) -> Floats:
        """sum M_i x_i + b."""
        return self.matrix.apply(_joined(x)) + self.bias

    def absolute(self, *x: Floats) -> Floats:
        """sum |M_i| x_i."""
        return self._absolute.apply(_joined(x))

    def magnitude(self, *x: Floats) -> Floats:
        """sum |M_i| x_i + |b|, for x >= 0."""
        return self.absolute(*x) + abs(self.bias)

    def backward(self, a: Floats) -> tuple[Floats, ...]:
        """For each input a M_i: [rows, m] to [rows, n_i]."""
        return tuple(np.split(self._transposed.apply(a), np.cumsum(self.sizes)[:-1], axis=1))

    @property
    def full(self) -> Floats | None:
        """M, exactly, if it is the matrix of the only input and at hand as a whole."""
        weight = self.matrix.weight if isinstance(self.matrix, Dense) else None
        if weight is None or weight.shape != (1, self.size, *self.sizes) or not self.exact_rows:
            return None
        return weight[0]

    def rows(self, index: Indices) -> tuple[Floats, ...]:
        """The rows M_i[index], [len(index), n_i], exactly; only where ``exact_rows``."""
        if not self.exact_rows:
            raise ValueError("the matrix is not one of floats: start from unit rows instead")
        if self.full is not None:
            return (self.full[index],)
        units = _zeros((len(index), self.size), self.bias)
        units[np.arange(len(index)), index] += 1
        return self.backward(units)
