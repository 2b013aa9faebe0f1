"""Several threads on parts of a batch: NumPy's own operations use one core each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Self, TypeVar

from verifier.tensors import Backend

T = TypeVar("T")
R = TypeVar("R")


class Workers(AbstractContextManager["Workers"]):
    """A pool that maps a function over parts of a batch, in order: results are deterministic.

    On NumPy: one thread for each core, each with a BLAS of one thread (small products gain nothing
    from more, and waiting threads cost time). Torch parallelises by itself: one worker.
    """

    def __init__(self, xp: Backend) -> None:
        self.count = _cores() if xp.name == "numpy" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.count > 1:
            from threadpoolctl import threadpool_limits

            self._stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.count))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The function's results for each part."""
        if self._pool is None or len(parts) == 1:
            return [function(part) for part in parts]
        return list(self._pool.map(function, parts))


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
