"""Every number that shapes a run, in frozen dataclasses passed explicitly.

Nothing here needs to be set by anybody: the strategy chooses from the network, the property, the
device and the time. At most 40 knobs in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from verifier.graph import Graph
    from verifier.tensors import Backend


T = TypeVar("T")
R = TypeVar("R")


class Spread:
    """Maps a function over parts, in order; here one after another."""

    count: int = 1
    """How many parts are worked on at once."""

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The function's results for each part."""
        return [function(part) for part in parts]

    def apart(self, function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The same for a function that only computes something, by many small operations."""
        return self.map(function, parts)


ONE_BY_ONE = Spread()


class DeadlinePassed(Exception):
    """The deadline of some bounds passed: an event inside a search, caught there."""


@dataclass(frozen=True)
class Options:
    """What a user may ask for; nobody needs to."""

    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    dtype: str = "auto"
    """``auto``, ``float32`` or ``float64``."""
    semantics: str = "auto"
    """What an ``unsat`` is to be proved for: ``real`` (the function over the real numbers),
    ``float32`` (also every float32 execution of the network), or ``auto``: the first, and the
    second where that costs little."""
    check: bool = True
    """Whether the proof of an ``unsat`` is checked before it is said."""
    keep: bool = False
    """Whether its certificate is wanted, however long writing and checking it takes."""

    @property
    def thorough(self) -> bool:
        """Was a proof asked for, so that checking it may take longer than finding it?"""
        return self.keep or self.semantics != "auto"


@dataclass(frozen=True)
class BoundSettings:
    """How bounds are computed."""

    deadline: float = float("inf")
    """When to stop, on ``time.monotonic``'s clock; not a knob, but part of every call."""

    single: bool = False
    """Whether bounds are to hold for every float32 execution of the network, not only for the real
    function; not a knob either."""

    correlate: bool = False
    """Whether rows draw the planes of products closer together; what pays is found out."""

    spread: Spread = ONE_BY_ONE
    """Who works on the chunks of rows; not a knob either."""

    chunk_bytes_cpu: int = 3_000_000
    """Bytes of one array of rows on a CPU: a few of them should stay in the cache."""
    chunk_bytes_gpu: int = 400_000_000
    """Bytes of one array of rows on a GPU."""
    hidden_steps: int = 8
    """Steps of the slope optimisation for each hidden neuron at the root; more gain little."""
    within_steps: int = 3
    """The same within a region of which slopes are known."""
    objective_steps: int = 20
    """Steps of the slope optimisation for the property's rows at the root."""
    split_steps: int = 10
    """Steps for a subproblem of the neuron-splitting search."""
    box_steps: int = 5
    """Steps for the best row of a box that plain bounds leave open, while that closes many."""
    learning_rate: float = 0.25
    """Adam's first step, in units of the slope's range."""
    split_rate: float = 0.35
    """The same in a subproblem of the neuron-splitting search."""
    product_rate: float = 0.1
    """The same where products have planes to choose from, too."""
    product_steps: int = 60
    """Steps of that optimisation for the property's rows at the root."""
    learning_rate_decay: float = 0.98
    """Factor on the learning rate after each step."""

    def check_time(self) -> None:
        """Raise DeadlinePassed once the deadline has passed."""
        if time.monotonic() > self.deadline:
            raise DeadlinePassed

    def rows_at_once(self, passed: Graph | Sequence[int], xp: Backend) -> int:
        """How many rows to sweep together so that an array of them has the size wanted.

        ``passed``: the sizes of the values that rows pass, or a graph, of which that may be all.
        """
        if not isinstance(passed, Sequence):
            passed = [passed.size(v) for v in range(len(passed.nodes) + 1)]
        width = max(passed)
        budget = self.chunk_bytes_cpu if xp.device == "cpu" else self.chunk_bytes_gpu
        item = 4 if xp.dtype == "float32" else 8
        return max(16, budget // (item * width))


@dataclass(frozen=True)
class SearchSettings:
    """How the complete search runs."""

    batch_bytes_cpu: int = 6_000_000
    """Bytes of the rows of one round on a CPU, which set the batch."""
    batch_bytes_gpu: int = 2_000_000_000
    """The same on a GPU."""
    batch_work_cpu: int = 5_000_000_000
    """Multiply-adds of one round on a CPU at most: a round takes about a second."""
    swept_work_cpu: int = 20_000_000_000
    """The same where a reduced network is swept: its products of matrices are faster."""
    batch_work_gpu: int = 5_000_000_000_000
    """The same on a GPU."""
    frontier_bytes: int = 1_200_000_000
    """Above this much memory the newest boxes go first."""
    inherited_neurons: int = 200_000
    """How many hidden neurons' boxes a child takes over from its parent."""
    clip_clauses: int = 64
    """With more clauses than this, boxes are not clipped."""

    def rows_in_round(self, graph: Graph, xp: Backend) -> int:
        """How many rows to sweep in one round: limited by the size of their arrays, and by work."""
        width = max(graph.size(v) for v in range(len(graph.nodes) + 1))
        item = 4 if xp.dtype == "float32" else 8
        cpu = xp.device == "cpu"
        size = (self.batch_bytes_cpu if cpu else self.batch_bytes_gpu) // (item * width)
        return max(1, min(size, self.rows_of_work(graph, xp)))

    def rows_of_work(self, graph: Graph, xp: Backend) -> int:
        """How many rows are as much work as one round may be."""
        work = self.batch_work_cpu if xp.device == "cpu" else self.batch_work_gpu
        return work // graph.work
