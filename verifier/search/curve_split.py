"""Branch and bound over neurons of any elementwise function: each one's box is cut at a point.

Every open subproblem is a clause and a box for what each elementwise operator reads. The boxes of
the root hold for all; a neuron that was split is relaxed anew over its side, and has a multiplier
for the constraint (Shi et al. 2024, GenBaB; Wang et al. 2021 for the multipliers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from verifier.bounds import Enclosure, Objective, Trace, back_substitute
from verifier.bounds.optimise import Rows, default_tilts
from verifier.certify import ProofTree
from verifier.families import Elementwise, Sided
from verifier.records import dataclass
from verifier.search.product_root import ProductRoot
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import Array, Backend, Bool, Float, Int, gamma

UNIT = 0.1
"""A multiplier's unit, in sizes of the row's coefficients on the neuron and on its layer."""


def is_curved(enclosure: Enclosure) -> bool:
    """Is there a function to be cut that bends, and is every nonlinear operator one of one number?

    Where each is a ReLU at heart, signs of neurons say all.
    """
    graph = enclosure.graph
    operators = [graph.node(value).operator for value in graph.nonlinear]
    plain = all(isinstance(x, Elementwise) and not x.stepped for x in operators)
    return plain and not all(isinstance(x, Elementwise) and x.tilted for x in operators)


@dataclass(frozen=True, eq=False)
class Layer:
    """A value that elementwise operators read, and where its neurons are among all of them."""

    source: int
    readers: tuple[int, ...]
    place: slice


@dataclass(frozen=True, eq=False)
class Cuts:
    """Open subproblems, a batch as one struct of arrays."""

    clause: Int[Array, " batch"]
    lower: Float[Array, "batch neurons"]
    upper: Float[Array, "batch neurons"]
    split: Bool[Array, "batch neurons"]
    """The neurons whose boxes were cut."""
    tilts: Float[Array, "batch rows tilts"]
    """The tilts of all relaxations for each row of the clause, one value after another."""
    margin: Float[Array, " batch"]
    branch: Int[Array, " batch"]
    """The neuron to split next, -1 where none gains anything; in a child the one that was."""
    point: Float[Array, " batch"]
    """Where to split it."""
    node: Int[Array, " batch"]

    def __len__(self) -> int:
        return self.clause.shape[0]

    def __getitem__(self, index: Array | slice) -> Cuts:
        return Cuts(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Cuts], xp: Backend) -> Cuts:
        """All rows of several batches."""
        return xp.joined(parts)

    @property
    def bytes_each(self) -> int:
        """About how much memory a row takes."""
        return 8 * (3 * self.lower.shape[1] + self.tilts.shape[1] * self.tilts.shape[2] + 4)


@dataclass(frozen=True, eq=False)
class CurveProblem:
    """One box of the property with its root bounds, and the clauses' rows padded to one width."""

    root: Enclosure
    """Bent, of batch 1."""
    objective: Objective
    thresholds: Float[Array, " rows"]
    layers: tuple[Layer, ...]
    scale: Mapping[int, Float[Array, "rows n"]]
    """For each value that is split, the usual size of each row's coefficients on it."""
    bounds: BoundSettings
    settings: SearchSettings
    start: Mapping[int, Float[Array, "rows _"]]
    """Tilts for each of the property's rows to begin with."""

    @staticmethod
    def of(
        found: ProductRoot,
        objective: Objective,
        thresholds: Float[Array, " rows"],
        settings: tuple[BoundSettings, SearchSettings],
    ) -> CurveProblem:
        """From a root whose rows have chosen their lines."""
        root, xp = found.enclosure, found.enclosure.graph.xp
        layers, scale, trace = CurveProblem.layers_of(root), dict[int, Array](), Trace()
        owner = Owner.equal(1, objective.size, xp)
        start, _ = objective.start(xp.arange(objective.size), root, owner)
        back_substitute(root, start, owner, found.tilts, trace)
        for layer in layers:
            size = sum(abs(trace.rows[v]) for v in layer.readers if v in trace.rows)
            size = size + xp.zeros(objective.size, layer.place.stop - layer.place.start)
            scale[layer.source] = UNIT * (size + size.sum(1)[:, None] / size.shape[1])
        return CurveProblem(
            root, objective, thresholds, layers, scale, *settings, start=found.tilts
        )

    @staticmethod
    def layers_of(root: Enclosure) -> tuple[Layer, ...]:
        """All values that elementwise operators read."""
        graph, readers = root.graph, dict[int, list[int]]()
        for value in graph.nonlinear:
            if isinstance(graph.node(value).operator, Elementwise):
                readers.setdefault(graph.node(value).inputs[0], []).append(value)
        layers, stop = list[Layer](), 0
        for source, some in sorted(readers.items()):
            place = slice(stop, stop := stop + graph.size(source))
            layers.append(Layer(source, tuple(some), place))
        return tuple(layers)

    @property
    def width(self) -> int:
        """The most rows that a clause has."""
        return self.objective.members.shape[1]

    @property
    def neurons(self) -> int:
        """How many neurons there are."""
        return self.layers[-1].place.stop

    def roots(self, clauses: Int[Array, " batch"], node: Int[Array, " batch"]) -> Cuts:
        """One subproblem for each of some clauses."""
        xp, count = self.root.graph.xp, clauses.shape[0]
        boxes = [self.root.boxes[layer.source] for layer in self.layers]
        one = xp.zeros(count, 1)
        none = xp.zeros(count)
        lower = xp.cat([box.lower for box in boxes], 1) + one
        split = xp.bools(xp.zeros(count, self.neurons))
        cuts = Cuts(
            clauses,
            lower,
            xp.cat([box.upper for box in boxes], 1) + one,
            split,
            xp.zeros(count, self.width, 0),
            xp.doubles(none) - float("inf"),
            xp.ints(none) - 1,
            none,
            node,
        )
        enclosure = self.enclosure(cuts)
        rows = self.rows(cuts, enclosure)
        tilts, row = (
            default_tilts(enclosure, rows.start, rows.owner),
            self.objective.members[clauses],
        )
        for value, tilt in self.start.items():
            if value in tilts:
                tilts[value][:, : tilt.shape[1]] = tilt[row.reshape(-1)]
        return replace(cuts, tilts=self.pack(tilts, count))

    def rows(self, batch: Cuts, enclosure: Enclosure) -> Rows:
        """The property's rows of a batch, ``width`` for each subproblem."""
        row = self.objective.members[batch.clause].reshape(-1)
        owner = Owner.equal(len(batch), self.width, self.root.graph.xp)
        start, error = self.objective.start(row, enclosure, owner)
        return Rows(start, -self.thresholds[row] - error, owner)

    def enclosure(self, batch: Cuts) -> Enclosure:
        """The boxes of a batch, and multipliers for those of split neurons."""
        xp, count = self.root.graph.xp, len(batch)
        result = self.root.take(xp.ints(xp.zeros(count)))
        for layer in self.layers:
            box, old = self.box(batch, layer), self.root.boxes[layer.source]
            result.boxes[layer.source] = box
            if bool((box.lower > old.lower).any()) or bool((box.upper < old.upper).any()):
                for value in layer.readers:
                    result.relax(value)
                    result.bend(value)
            self._side(result, layer, batch)
        return result

    def box(self, batch: Cuts, layer: Layer) -> Box:
        """The boxes of a layer's neurons."""
        return Box(batch.lower[:, layer.place], batch.upper[:, layer.place])

    def relaxer(self, one: Cuts) -> Callable[[Enclosure, int], None]:
        """Relaxes a value for a batch of 1, over boxes within its own, with its multipliers."""
        first = {layer.readers[0]: layer for layer in self.layers}

        def relax(enclosure: Enclosure, value: int) -> None:
            enclosure.relax(value)
            enclosure.bend(value)
            layer = first.get(value)
            if layer is not None and bool(one.split[:, layer.place].any()):
                self._side(enclosure, layer, one)

        return relax

    def _side(self, result: Enclosure, layer: Layer, batch: Cuts) -> None:
        """Give the first reader of a value the multipliers of its boxes."""
        xp, box, split = self.root.graph.xp, self.box(batch, layer), batch.split[:, layer.place]
        row = self.objective.members[batch.clause][:, 0]
        scale = self.scale[layer.source][row] * xp.floats(split)
        rounding = gamma(min(split.shape[1], xp.dot_terms) + 16, xp.unit_roundoff)
        magnitude = self.root.boxes[layer.source].magnitude(xp)
        noise = 4 * rounding * magnitude + xp.zeros(len(split), 1)
        # A multiplier adds to the coefficient of the source: its own noise must be charged there.
        result.fused.discard(layer.source)
        first = layer.readers[0]
        result.relaxations[first] = Sided(xp, result.relaxations[first], box, scale, noise)

    def pack(self, tilts: Mapping[int, Array], count: int) -> Array:
        """The tilts of all values as one array."""
        xp = self.root.graph.xp
        parts = [tilt.reshape(count, self.width, -1) for _, tilt in sorted(tilts.items())]
        return xp.cat(parts, 2)

    def expand(self, batch: Cuts, enclosure: Enclosure, rows: Rows) -> dict[int, Array]:
        """The reverse of ``pack``; neurons that were just split begin with their own lines."""
        shape, count = default_tilts(enclosure, rows.start, rows.owner), len(batch)
        readers = {value: layer for layer in self.layers for value in layer.readers}
        tilts, start = dict[int, Array](), 0
        for value, tilt in sorted(shape.items()):
            stop = start + tilt.shape[1]
            part = self.root.graph.xp.copy(batch.tilts[:, :, start:stop])
            if value in readers:
                some, neuron = self._just_split(batch, readers[value])
                own = tilt.reshape(count, self.width, -1)
                part[some, :, neuron] = own[some, :, neuron]
            tilts[value] = part.reshape(rows.owner.rows, -1)
            start = stop
        return tilts

    def _just_split(self, batch: Cuts, layer: Layer) -> tuple[Array, Array]:
        """The subproblems whose parent split a neuron of a layer, and the neuron."""
        place, branch = layer.place, batch.branch
        some = self.root.graph.xp.nonzero((branch >= place.start) & (branch < place.stop))[0]
        return some, branch[some] - place.start


def split_cuts(problem: CurveProblem, batch: Cuts, tree: ProofTree) -> Cuts:
    """Both children of each subproblem; they inherit all multipliers."""
    xp, count = problem.root.graph.xp, len(batch)
    place = xp.arange(count)
    columns = np.concatenate(
        [
            (layer.readers[0] << 32) + np.arange(problem.root.graph.size(layer.source))
            for layer in problem.layers
        ]
    )
    neuron = xp.ints(columns)[batch.branch]
    children = tree.split(batch.node, neuron, batch.point, of_neurons=True)
    lower, upper, split = (xp.copy(x) for x in (batch.lower, batch.upper, batch.split))
    upper[place, batch.branch] = batch.point
    lower[place, batch.branch] = batch.point
    split[place, batch.branch] = True
    first = replace(batch, upper=upper, split=split, node=children[:count])
    second = replace(batch, lower=lower, split=split, node=children[count:])
    return Cuts.cat([first, second], xp)
