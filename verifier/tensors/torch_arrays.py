"""The torch backend: convolutions, threads on the CPU, and CUDA."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from verifier.tensors.annotations import Array
from verifier.tensors.backend import Backend, ScatterPlan
from verifier.tensors.rough import RoughProduct, has_tiles, rough_product

_FUNCTIONS = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "arctanh": torch.arctanh,
    "sigmoid": torch.sigmoid,
    "floor": torch.floor,
    "isfinite": torch.isfinite,
    "isnan": torch.isnan,
    "round": torch.round,
    "sign": torch.sign,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "arctan": torch.arctan,
    "arcsin": torch.arcsin,
    "arccos": torch.arccos,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "arcsinh": torch.arcsinh,
    "arccosh": torch.arccosh,
    "erf": torch.erf,
    "erfc": torch.erfc,
}


def has_cuda() -> bool:
    """Can this build of torch use a GPU of this machine?"""
    return torch.cuda.is_available()


class TorchBackend(Backend):
    """Torch on a CPU or a CUDA device. TF32 is off: its rounding is no float32 rounding."""

    name = "torch"
    supports_convolution = True

    def __init__(self, dtype: str = "float32", device: str = "cpu") -> None:
        self.dtype = dtype
        self.device = device
        self._float = torch.float32 if dtype == "float32" else torch.float64
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def _as(self, x: Any, dtype: torch.dtype) -> Array:
        if isinstance(x, np.ndarray) and not x.flags.writeable:
            x = x.copy()
        return torch.as_tensor(x, dtype=dtype, device=self.device)

    def floats(self, x: Any) -> Array:
        return self._as(x, self._float)

    def doubles(self, x: Any) -> Array:
        return self._as(x, torch.float64)

    def ints(self, x: Any) -> Array:
        return self._as(x, torch.int64)

    def bools(self, x: Any) -> Array:
        return self._as(x, torch.bool)

    def numpy(self, x: Array) -> np.ndarray:
        return x.detach().cpu().numpy()

    def zeros(self, *shape: int) -> Array:
        return torch.zeros(shape, dtype=self._float, device=self.device)

    def empty(self, *shape: int) -> Array:
        return torch.empty(shape, dtype=self._float, device=self.device)

    def full(self, shape: Sequence[int], value: float) -> Array:
        return torch.full(tuple(shape), value, dtype=self._float, device=self.device)

    def arange(self, stop: int) -> Array:
        return torch.arange(stop, device=self.device)

    def where(self, condition: Array, yes: Any, no: Any) -> Array:
        if not isinstance(yes, torch.Tensor) and not isinstance(no, torch.Tensor):
            yes = torch.as_tensor(yes, dtype=self._float, device=self.device)
        return torch.where(condition, yes, no)

    def maximum(self, a: Array, b: Array) -> Array:
        return torch.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return torch.minimum(a, b)

    def cat(self, parts: Sequence[Array], axis: int) -> Array:
        return torch.cat(list(parts), dim=axis)

    def nonzero(self, mask: Array) -> tuple[Array, ...]:
        return torch.nonzero(mask, as_tuple=True)

    def repeat(self, x: Array, counts: Any) -> Array:
        return torch.repeat_interleave(x, counts, dim=0)

    def take_along(self, x: Array, index: Array, axis: int) -> Array:
        return torch.take_along_dim(x, index, axis)

    def argsort(self, x: Array, axis: int = -1) -> Array:
        return torch.argsort(x, dim=axis, stable=True)

    def amax(self, x: Array, axis: int) -> Array:
        return torch.amax(x, axis)

    def amin(self, x: Array, axis: int) -> Array:
        return torch.amin(x, axis)

    def cumsum(self, x: Array, axis: int) -> Array:
        return torch.cumsum(x, axis)

    def row_dot(self, a: Array, b: Array) -> Array:
        size = a.shape[-1]
        if self.dtype == "float64" or size <= self.dot_terms:
            return torch.linalg.vecdot(a, b).double()
        whole = size // self.dot_terms * self.dot_terms
        parts = [x[..., :whole].unflatten(-1, (-1, self.dot_terms)) for x in (a, b)]
        rest = torch.linalg.vecdot(a[..., whole:], b[..., whole:]).double()
        if a.ndim == 2 and b.shape[0] == 1:
            blocks, row = (x.transpose(0, 1) for x in parts)
            return torch.bmm(blocks, row.transpose(1, 2)).double().sum(0)[:, 0] + rest
        return torch.linalg.vecdot(*parts).double().sum(-1) + rest

    @property
    def dot_terms(self) -> int:
        return 1 << 20 if self.dtype == "float64" else 256

    def columns(self, x: Array, index: Array) -> Array:
        return x.index_select(1, index)

    def rows(self, x: Array, index: Array) -> Array:
        return x.index_select(0, index)

    def product_into(self, a: Array, b: Array, out: Array) -> None:
        torch.matmul(a, b, out=out)

    def rough_product(self, matrix: Array) -> RoughProduct | None:
        fast = torch.cuda.is_bf16_supported() if self.device == "cuda" else has_tiles()
        return rough_product(matrix) if fast and self.dtype == "float32" else None

    def turned(self, x: Array) -> Array:
        return x.T.contiguous()

    def scatter_columns(self, source: Array, plan: ScatterPlan) -> Array:
        result = torch.zeros(source.shape[0], plan.size, dtype=source.dtype, device=source.device)
        if plan.unique:
            return result.scatter_(1, plan.index.expand(source.shape), source)
        return result.index_add_(1, plan.index, source)

    def scatter_rows(self, source: Array, index: Array, size: int) -> Array:
        result = torch.zeros(source.shape[0], size, dtype=source.dtype, device=source.device)
        return result.scatter_add_(1, index.expand(source.shape), source)

    def segment_sum(self, source: Array, owner: Array, count: int) -> Array:
        shape = (count, *source.shape[1:])
        result = torch.zeros(shape, dtype=source.dtype, device=source.device)
        return result.index_add_(0, owner, source)

    def segment_max(self, source: Array, owner: Array, count: int) -> Array:
        shape = (count, *source.shape[1:])
        result = torch.full(shape, -math.inf, dtype=source.dtype, device=source.device)
        index = owner.reshape(-1, *(1,) * (source.ndim - 1)).expand(source.shape)
        return result.scatter_reduce_(0, index, source, "amax")

    def function(self, name: str, x: Array) -> Array:
        return _FUNCTIONS[name](x)

    def astype_double(self, x: Array) -> Array:
        return x.double()

    def copy(self, x: Array) -> Array:
        return x.clone()
