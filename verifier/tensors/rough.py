"""Products of matrices in bfloat16: several times as fast where a processor has units for them.

What goes in and comes out keeps 8 bits, sums are in float32. That is for proposals: no bound that
is believed rests on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from verifier.tensors.annotations import Array, Float

RoughProduct = Callable[[Array], Array]
"""[read, batch] -> [made, batch]."""

_threads: list[int] = []
"""How many threads torch had for an operation before it was to use one."""


@cache
def has_tiles() -> bool:
    """Does this processor multiply tiles of bfloat16 (AMX)? Found out without importing torch."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def rough_product(matrix: Float[Array, "made read"]) -> RoughProduct:
    """``matrix @ x`` for columns x, of torch's tensors."""
    half = matrix.bfloat16().contiguous()

    def product(x: Any) -> Any:
        return (half @ x.bfloat16()).float()

    return product


def rough_product_of_numpy(matrix: Float[Array, "made read"]) -> RoughProduct:
    """The same of NumPy's arrays, by torch, on one thread until ``threads_again``."""
    import torch

    if not _threads:
        _threads.append(torch.get_num_threads())
        torch.set_num_threads(1)
    product = rough_product(torch.from_numpy(matrix))
    return lambda x: product(torch.from_numpy(x)).numpy()


def threads_again() -> None:
    """Give torch its threads back."""
    if _threads:
        import torch

        torch.set_num_threads(_threads.pop())
