"""What a search over the input works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from verifier.bounds import Objective, Tiler
from verifier.certify import Action, Leaf
from verifier.families import Product
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.search.clip import JOINT_INPUTS
from verifier.search.subproblems import Subproblems
from verifier.settings import BoundSettings, SearchSettings
from verifier.spec import Problem
from verifier.tensors import Array, Float

FEW_BOXES = 8
"""Boxes per worker that a round has, if that is not too much work."""


@dataclass(frozen=True, eq=False)
class InputProblem:
    """What the search over the input works on."""

    graph: Graph
    objective: Objective
    bounds: BoundSettings
    settings: SearchSettings
    scale: Float[Array, " n"] | None = None
    """The width of each input's range, by which edges are compared; None: 1."""
    tiler: Tiler | None = None
    """Cuts rows of large convolutional networks into tiles."""

    def tiled(self) -> InputProblem:
        """The same with a tiler, if the backend convolves and the network's constants allow one."""
        source, xp = self.graph.source, self.graph.xp
        if source is None or not xp.supports_convolution:
            return self
        return replace(self, tiler=Tiler.of(source, xp))

    @property
    def hidden_values(self) -> tuple[int, ...]:
        """The values whose boxes children inherit."""
        graph = self.graph
        total = 0
        values = []
        for value in graph.relaxed_inputs:
            total += graph.size(value)
            if not graph.affine_of_input[value] and total <= self.settings.inherited_neurons:
                values.append(value)
        return tuple(values)

    @cached_property
    def hidden_neurons(self) -> int:
        """How many neurons rows may bound."""
        graph = self.graph
        return sum(graph.size(v) for v in graph.relaxed_inputs if not graph.affine_of_input[v])

    @cached_property
    def products(self) -> bool:
        """Are there products of two values?"""
        graph = self.graph
        nodes = (graph.node(v) for v in graph.ancestors[graph.output] if v)
        return any(isinstance(node.operator, Product) for node in nodes)

    def clipping(self, *, jointly: bool) -> Action:
        """How boxes are clipped."""
        if self.objective.clauses > self.settings.clip_clauses:
            return Action(0)
        jointly = jointly and self.graph.input_size <= JOINT_INPUTS
        return Action.CLIP | Action.JOINTLY if jointly else Action.CLIP

    def roots(
        self,
        lower: Float[Array, "batch n"],
        upper: Float[Array, "batch n"],
        thresholds: Array,
        node: Array,
    ) -> Subproblems:
        """Open boxes of which nothing is known."""
        xp, batch = self.graph.xp, lower.shape[0]
        size = self.objective.size
        hidden = sum(self.graph.size(v) for v in self.hidden_values)
        infinity = float("inf")
        return Subproblems(
            lower,
            upper,
            xp.bools(xp.zeros(batch, self.objective.clauses) == 0),
            thresholds,
            xp.doubles(xp.zeros(batch, size, lower.shape[1])),
            xp.doubles(xp.zeros(batch, size)) - infinity,
            xp.zeros(batch, hidden) - infinity,
            xp.zeros(batch, hidden) + infinity,
            xp.doubles(xp.zeros(batch)) - infinity,
            node,
            node,
            xp.ints(xp.zeros(batch)),
        )

    def next_batch(self, before: int, rows: float) -> int:
        """How many boxes a round takes, where one has so many rows and the last took ``before``.

        As many as make the number of rows wanted.
        """
        settings, xp, each = self.settings, self.graph.xp, max(1.0, rows)
        wanted = settings.rows_in_round(self.graph, xp)
        # Rows go in chunks: a few boxes at once cost no more memory, as far as the work allows.
        least = min(FEW_BOXES, settings.rows_of_work(self.graph, xp) / each)
        return int(min(max(1, least, wanted / each), 2 * before, 65536))

    def again(self, whole: Problem, leaves: Sequence[Leaf]) -> Subproblems:
        """Leaves of the problem's cases as open boxes."""
        xp, free = self.graph.xp, whole.free
        lower, upper = xp.outward(
            np.stack([leaf.lower[free] for leaf in leaves]),
            np.stack([leaf.upper[free] for leaf in leaves]),
        )
        bounds = [whole.take(leaf.case, leaf.case + 1).bounds for leaf in leaves]
        thresholds = xp.doubles(np.concatenate(bounds))
        rows = self.roots(lower, upper, thresholds, xp.ints([leaf.node for leaf in leaves]))
        return replace(rows, case=xp.ints([leaf.case for leaf in leaves]))
