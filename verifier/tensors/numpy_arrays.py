"""The NumPy backend: no import cost beyond NumPy's, small overhead per operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from verifier.tensors.annotations import Array
from verifier.tensors.backend import Backend, ScatterPlan
from verifier.tensors.memory import keep_freed
from verifier.tensors.rough import RoughProduct, has_tiles, rough_product_of_numpy, threads_again


def _sigmoid(x: np.ndarray) -> np.ndarray:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))


def _erf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return erf(x)


def _erfc(x: np.ndarray) -> np.ndarray:
    from scipy.special import erfc

    return erfc(x)


_FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "arctanh": np.arctanh,
    "sigmoid": _sigmoid,
    "floor": np.floor,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "round": np.rint,
    "sign": np.sign,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arctan": np.arctan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "erf": _erf,
    "erfc": _erfc,
}


class NumpyBackend(Backend):
    """NumPy on the CPU."""

    name = "numpy"
    device = "cpu"
    supports_convolution = False

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = dtype
        self._float = np.dtype(dtype)
        keep_freed()

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(limits=1, user_api="blas"):
            try:
                yield
            finally:
                threads_again()

    def floats(self, x: Any) -> Array:
        return np.asarray(x, dtype=self._float)

    def doubles(self, x: Any) -> Array:
        return np.asarray(x, dtype=np.float64)

    def ints(self, x: Any) -> Array:
        return np.asarray(x, dtype=np.int64)

    def bools(self, x: Any) -> Array:
        return np.asarray(x, dtype=bool)

    def numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def zeros(self, *shape: int) -> Array:
        return np.zeros(shape, dtype=self._float)

    def empty(self, *shape: int) -> Array:
        return np.empty(shape, dtype=self._float)

    def full(self, shape: Sequence[int], value: float) -> Array:
        return np.full(tuple(shape), value, dtype=self._float)

    def arange(self, stop: int) -> Array:
        return np.arange(stop)

    def where(self, condition: Array, yes: Any, no: Any) -> Array:
        return np.where(condition, yes, no)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def cat(self, parts: Sequence[Array], axis: int) -> Array:
        return np.concatenate(list(parts), axis=axis)

    def nonzero(self, mask: Array) -> tuple[Array, ...]:
        return np.nonzero(mask)

    def repeat(self, x: Array, counts: Any) -> Array:
        return np.repeat(x, counts, axis=0)

    def take_along(self, x: Array, index: Array, axis: int) -> Array:
        return np.take_along_axis(x, index, axis)

    def argsort(self, x: Array, axis: int = -1) -> Array:
        return np.argsort(x, axis=axis, kind="stable")

    def amax(self, x: Array, axis: int) -> Array:
        return np.max(x, axis=axis)

    def amin(self, x: Array, axis: int) -> Array:
        return np.min(x, axis=axis)

    def cumsum(self, x: Array, axis: int) -> Array:
        return np.cumsum(x, axis=axis)

    def row_dot(self, a: Array, b: Array) -> Array:
        size = a.shape[-1]
        if self.dtype == "float64" or size <= self.dot_terms:
            return np.einsum("...n,...n->...", a, b).astype(np.float64, copy=False)
        total = np.zeros(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), dtype=np.float64)
        for start in range(0, size, self.dot_terms):
            block = slice(start, start + self.dot_terms)
            total += np.einsum("...n,...n->...", a[..., block], b[..., block])
        return total

    @property
    def dot_terms(self) -> int:
        return 1 << 20 if self.dtype == "float64" else 256

    def columns(self, x: Array, index: Array) -> Array:
        return np.take(x, index, axis=1)

    def rows(self, x: Array, index: Array) -> Array:
        return np.take(x, index, axis=0)

    def product_into(self, a: Array, b: Array, out: Array) -> None:
        np.matmul(a, b, out=out)

    def rough_product(self, matrix: Array) -> RoughProduct | None:
        if self.dtype != "float32" or not has_tiles():
            return None
        return rough_product_of_numpy(matrix)

    def turned(self, x: Array) -> Array:
        return np.ascontiguousarray(x.T)

    def scatter_columns(self, source: Array, plan: ScatterPlan) -> Array:
        if plan.unique:
            result = np.zeros((source.shape[0], plan.size), dtype=source.dtype)
            result[:, plan.index] = source
            return result
        rounds = plan.rounds
        total = np.take(source, rounds.columns[0], axis=1)
        for columns in rounds.columns[1:]:
            total[:, : len(columns)] += np.take(source, columns, axis=1)
        if rounds.rest is not None:
            columns, starts = rounds.rest
            rest = np.add.reduceat(np.take(source, columns, axis=1), starts, axis=1)
            total[:, : len(starts)] += rest
        if len(plan.targets) < plan.size:
            total = np.concatenate([total, np.zeros((len(total), 1), dtype=total.dtype)], 1)
        return np.take(total, rounds.place, axis=1)

    def scatter_rows(self, source: Array, index: Array, size: int) -> Array:
        rows = source.shape[0]
        flat = (index + size * np.arange(rows)[:, None]).ravel()
        total = np.bincount(flat, weights=source.ravel(), minlength=rows * size)
        return total.reshape(rows, size).astype(source.dtype, copy=False)

    def segment_sum(self, source: Array, owner: Array, count: int) -> Array:
        result = np.zeros((count, *source.shape[1:]), dtype=source.dtype)
        each = len(owner) // max(1, count)
        if each * count == len(owner) and np.array_equal(owner[::each], np.arange(count)):
            # As many rows for everyone (owners are sorted): a plain sum, and much faster.
            return source.reshape(count, each, *source.shape[1:]).sum(1)
        if len(owner):
            targets, starts = np.unique(owner, return_index=True)
            result[targets] = np.add.reduceat(source, starts, axis=0)
        return result

    def segment_max(self, source: Array, owner: Array, count: int) -> Array:
        result = np.full((count, *source.shape[1:]), -np.inf, dtype=source.dtype)
        if len(owner):
            starts = np.flatnonzero(np.diff(owner, prepend=-1))
            result[owner[starts]] = np.maximum.reduceat(source, starts, axis=0)
        return result

    def function(self, name: str, x: Array) -> Array:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return _FUNCTIONS[name](x)

    def astype_double(self, x: Array) -> Array:
        return x.astype(np.float64, copy=False)

    def copy(self, x: Array) -> Array:
        return np.array(x)
