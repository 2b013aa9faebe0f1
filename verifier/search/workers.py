"""Several threads on parts of a batch: one core each, without barriers inside an operation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Self, TypeVar

import numpy as np

from verifier.graph import Graph
from verifier.search import apart as processes
from verifier.settings import Spread
from verifier.tensors import Backend
from verifier.tensors.memory import give_back

SEALED_BYTES = 200_000_000
"""About the memory of the enclosures that are sealed at once."""

T = TypeVar("T")
R = TypeVar("R")


class Workers(AbstractContextManager["Workers"], Spread):
    """A pool that maps a function over parts of a batch, in order: results are deterministic.

    On a CPU: one thread for each core, each with operations of one thread (small ones gain nothing
    from more, and waiting at a barrier for a core that others use costs far more than the operation
    itself). A GPU has one worker.
    """

    def __init__(self, xp: Backend) -> None:
        self.xp = xp
        self.count = _cores() if xp.device == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.count > 1:
            self._stack.enter_context(self.xp.single_threaded())
            pool = ThreadPoolExecutor(self.count, initializer=_be_quiet)
            self._pool = self._stack.enter_context(pool)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The function's results for each part."""
        if self._pool is None or len(parts) == 1:
            return [function(part) for part in parts]
        results = list(self._pool.map(function, parts))
        give_back()
        return results

    def apart(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The same for parts that are many small operations: in processes, where that is possible.

        The function may not map over parts itself, and what it changes may be lost.
        """
        if self._pool is None or len(parts) < 2 or not processes.possible:
            return [function(part) for part in parts]
        return processes.apart(function, parts, self.count)


def _be_quiet() -> None:
    """NumPy's error state belongs to a thread."""
    np.seterr(over="ignore", invalid="ignore", divide="ignore")


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def sealed_at_once(graph: Graph, count: int, workers: Workers) -> int:
    """How many subproblems, of so many, to enclose together."""
    floats = sum(graph.size(v) for v in range(len(graph.nodes) + 1))
    return max(1, min(SEALED_BYTES // (8 * 16 * floats), -(-count // workers.count)))
