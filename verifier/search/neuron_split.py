"""Branch and bound over neurons: one box, its hidden bounds fixed at the root, ReLUs split by sign.

Every open subproblem is a clause and a sign for some unstable neurons. It is bounded with one
multiplier for each neuron: alpha where the neuron is free, beta where it is split (Wang et al.
2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property

import numpy as np

from verifier.bounds import DOUBLE_ROUNDOFF, Enclosure, Objective
from verifier.bounds.columns import Patterns
from verifier.bounds.optimise import TILT_STEPS, Rows, default_tilts
from verifier.bounds.paired import PairedNet
from verifier.bounds.reduced import Reduced, Reducer
from verifier.bounds.sure import SureNet
from verifier.bounds.sure_rows import sure_rows
from verifier.bounds.sweep import Ascent, Swept, counted_seconds, sweep_in_parts, sweep_patterns
from verifier.certify import Chosen, Hulls, ProofTree, Tilts
from verifier.families import Planes
from verifier.records import dataclass
from verifier.search.propagate import Propagator
from verifier.search.sign_patterns import (
    Neurons,
    SignPatterns,
    cut_to_sides,
    passing_neurons,
    unstable_neurons,
)
from verifier.sets import Owner
from verifier.settings import BoundSettings, SearchSettings, Spread
from verifier.tensors import Array, Backend, Float, Int, gamma

REFRESHED_BYTES, ARRAYS, LEAST_BATCH = 1_000_000_000, 10, 16
"""About the memory of a round's rows, how many arrays there are; and the least rows of a round."""
BESIDES, EACH, SWEPT_SPEED = 1.3, 2e-5, 2e9
"""What a round takes beside its sweeps: a factor, and seconds for a subproblem; and multiply-adds
per second where the graph is swept. All measured, on two cores."""


@dataclass(frozen=True)
class Refreshing:
    """How boxes of neurons are tightened in a subproblem."""

    neurons: int
    """So many are bounded: those whose chords cost its rows most."""
    steps: int
    """Sweeps for each bound."""


@dataclass(frozen=True, eq=False)
class Paired:
    """A reduced network with neurons in pairs or cuts: what finds multipliers, and what proves."""

    net: PairedNet
    sure: SureNet
    neuron: Int[Array, " cuts"] | None = None
    """Of which neurons the cuts are."""
    hulls: Hulls | None = None
    """The cuts as proofs hold them; None: they cannot, or there are pairs."""

    def tried(
        self, patterns: Patterns, steps: int, bounds: BoundSettings, spread: Spread
    ) -> tuple[Swept, Float[Array, " proved"]]:
        """Bounds from some multipliers on; and of the proved ones, for certain."""
        xp, tilt = self.net.xp, patterns.tilt
        if self.neuron is not None:
            # The function of a neuron that is split is known.
            kappa = tilt[:, 2 * self.net.neurons :]
            kappa = kappa * xp.floats(patterns.phase[:, self.neuron] == 0)
            tilt = xp.cat([tilt[:, : 2 * self.net.neurons], kappa], 1)
            patterns = replace(patterns, tilt=tilt)
        points = self.neuron is not None
        ascent = Ascent(steps, bounds.split_rate, bounds.learning_rate_decay, points=points)
        found = sweep_in_parts(self.net, patterns, ascent, spread)
        patterns = replace(patterns, tilt=found.tilt, weight=found.weight)
        done = xp.nonzero(found.proved > 0)[0]
        if done.shape[0] == 0:
            return found, xp.doubles(xp.zeros(0))
        return found, self.sure.least(patterns[done], spread)


@dataclass(frozen=True, eq=False)
class NeuronProblem:
    """One box of the property with its root bounds, and the clauses' rows padded to one width."""

    root: Enclosure
    objective: Objective
    thresholds: Float[Array, " rows"]
    members: Int[Array, "clauses width"]
    """The rows of each clause; shorter ones repeat a row."""
    layers: tuple[Neurons, ...]
    bounds: BoundSettings
    settings: SearchSettings
    reduced: Reduced | None = None
    """The network with only these neurons left, where it pays to sweep that."""
    reducer: Reducer | None = None
    """What made it."""
    propagator: Propagator | None = None
    """Finds what signs imply, where that pays."""
    refreshing: Refreshing | None = None
    """How boxes of neurons are tightened in each subproblem, where they are."""
    paired: Paired | None = None
    """The reduced network with neurons in pairs, where subproblems get a second try with them."""
    hulled: Mapping[int, Paired] = field(default_factory=dict[int, Paired])
    """The same for clauses that have planes of hulls as cuts of their own."""
    start: Mapping[int, Float[Array, "rows _"]] = field(default_factory=dict)
    """Tilts for each of the property's rows to begin with, of what is no neuron to be split."""
    recorded: bool = True
    """Are multipliers kept of what is closed?"""

    @staticmethod
    def of(
        root: Enclosure,
        objective: Objective,
        thresholds: Float[Array, " rows"],
        settings: tuple[BoundSettings, SearchSettings],
        reducer: Reducer | None = None,
    ) -> NeuronProblem:
        """From a root enclosure of batch 1, and what reduces its network."""
        xp, layers, seen = root.graph.xp, [], set()
        for value, index in unstable_neurons(root).items():
            (source,) = root.graph.node(value).inputs
            if len(index) and source not in seen:
                layers.append(Neurons(value, source, xp.ints(index)))
                seen.add(source)
        problem = NeuronProblem(
            root, objective, thresholds, objective.members, tuple(layers), settings[0], settings[1]
        )
        if reducer is None or not reducer.layers:
            return problem
        owner = Owner.equal(1, objective.size, xp)
        start, _ = objective.start(xp.arange(objective.size), root, owner)
        constant = xp.where(thresholds > -float("inf"), -thresholds, thresholds * 0)
        found = reducer.net(reducer.tail(Rows(start, constant, owner)))
        return replace(problem, reduced=found, reducer=reducer) if found.finite else problem

    @cached_property
    def sure(self) -> SureNet | None:
        """The reduced network with what it may be off by."""
        if self.reducer is None:
            return None
        xp, count = self.root.graph.xp, self.objective.size
        owner, asked = Owner.equal(1, count, xp), self.thresholds > -float("inf")
        start, error = self.objective.start(xp.arange(count), self.root, owner)
        constant = xp.where(asked, -self.thresholds, self.thresholds * 0)
        low = Rows(start, constant - error, owner)
        high = Rows({v: -x for v, x in start.items()}, -constant - error, owner)
        return SureNet.of(self.reducer, sure_rows(self.reducer, low, high), self.width + 1)

    def propagating(self, clauses: Int[Array, " batch"]) -> NeuronProblem:
        """The same, with a propagator where some of the clauses imply the signs of neurons."""
        if self.reduced is None:
            return self
        return replace(self, propagator=Propagator.of(self.reduced, self.members[clauses]))

    @property
    def xp(self) -> Backend:
        """What sign patterns are kept in."""
        return self.root.graph.xp if self.reduced is None else self.reduced.xp

    @cached_property
    def columns(self) -> Int[np.ndarray, " neurons"]:
        """The neurons as the proof tree counts them: value * 2^32 + element, ascending."""
        numpy = self.root.graph.xp.numpy
        return np.concatenate(
            [np.zeros(0, dtype=np.int64), *((n.value << 32) + numpy(n.index) for n in self.layers)]
        )

    @cached_property
    def passing(self) -> Int[np.ndarray, " neurons"]:
        """Neurons that are their own input in the whole region, counted in the same way."""
        return passing_neurons(self.root)

    def choice(self, batch: SignPatterns, tilts: dict[int, Array], row: np.ndarray) -> Chosen:
        """Multipliers of one row for each subproblem of a batch, as the proof tree records them."""
        return self._chosen(batch, self.of_neurons(tilts, len(batch)), row)

    def of_neurons(self, tilts: dict[int, Array], count: int) -> Float[np.ndarray, "_ neurons"]:
        """Tilts of whole layers, as those of the neurons; 0 where a layer has none."""
        xp, parts = self.root.graph.xp, [np.zeros((count, 0))]
        for layer in self.layers:
            known, index = layer.value in tilts, layer.index
            part = xp.numpy(tilts[layer.value][:, index]) if known else index[None] * 0.0
            parts.append(part + np.zeros((count, 1)))
        return np.concatenate(parts, 1)

    def _chosen(
        self, batch: SignPatterns, tilts: Float[np.ndarray, "batch neurons"], row: np.ndarray
    ) -> Chosen:
        phase = self.xp.numpy(batch.phase)
        alpha = np.rint(np.clip(tilts, 0, 1) * TILT_STEPS).astype(np.uint8)
        # What is said of a neuron is the slope of its lower line: known where it is split.
        alpha[phase > 0], alpha[phase < 0] = TILT_STEPS, 0
        beta = np.where(phase != 0, -phase * tilts, np.nan).astype(np.float32)
        return Chosen(
            self.xp.numpy(batch.node), row, Tilts(self.columns, alpha, self.passing), beta
        )

    @property
    def width(self) -> int:
        """The most rows that a clause has."""
        return self.members.shape[1]

    @property
    def neurons(self) -> int:
        """How many neurons can be split."""
        return sum(layer.index.shape[0] for layer in self.layers)

    def batch_size(self) -> int:
        """How many subproblems to bound together."""
        graph, xp, settings = self.root.graph, self.root.graph.xp, self.settings
        if self.reduced is not None:
            most = settings.swept_work_cpu if xp.device == "cpu" else settings.batch_work_gpu
            sweeps, rows = self.bounds.split_steps, 1
            if self.refreshing is not None:
                rows = 2 * self.refreshing.neurons
                sweeps = 2 * sweeps + rows * self.refreshing.steps
            held = REFRESHED_BYTES // (4 * ARRAYS * rows * (self.neurons + self.reduced.inputs))
            many = self.reduced.bands.at_once * most // (self.reduced.work * 2 * sweeps)
            return max(LEAST_BATCH, min(many, held))
        rows = settings.rows_in_round(graph, xp)
        sweeps = 2 * self.bounds.split_steps
        work = settings.batch_work_cpu if xp.device == "cpu" else settings.batch_work_gpu
        return max(1, min(rows, work // (graph.work * sweeps)) // self.width)

    def seconds(self, count: int, steps: int, spread: Spread) -> float:
        """About how long bounding so many subproblems takes: counted, the same in every run."""
        net, how = self.reduced, self.refreshing
        if net is None:
            return count * 2 * steps * self.width * self.root.graph.work / SWEPT_SPEED
        swept = counted_seconds(net, (count, steps), spread)
        if how is not None:
            rows = count * 2 * min(how.neurons, self.neurons)
            swept = 2 * swept + counted_seconds(net, (rows, how.steps), spread)
        return BESIDES * swept + count * EACH

    def roots(self, clauses: Int[Array, " batch"], node: Int[Array, " batch"]) -> SignPatterns:
        """One subproblem for each of some clauses, with the relaxations' own slopes."""
        xp, batch = self.xp, clauses.shape[0]
        width = self.width if self.reduced is None else 1
        tilts = xp.zeros(batch, width, self.neurons)
        start = 0
        for layer in self.layers:
            planes = self.root.relaxations[layer.value]
            assert isinstance(planes, Planes)
            assert planes.untilted is not None
            default = xp.floats(planes.below[0][0] > planes.untilted[0])[layer.index]
            stop = start + layer.index.shape[0]
            tilts[:, :, start:stop] = default
            start = stop
        return SignPatterns(
            clauses,
            xp.zeros(batch, self.neurons),
            tilts,
            xp.doubles(xp.zeros(batch)) - float("inf"),
            xp.ints(xp.zeros(batch)) - 1,
            node,
            self._weights(clauses, tilts),
            xp.zeros(batch),
            *self._boxes(batch),
        )

    def _boxes(self, batch: int) -> tuple[Array, Array]:
        """The neurons' boxes at the root, where subproblems have their own."""
        xp, graph = self.xp, self.root.graph
        none = xp.zeros(batch, 0 if self.refreshing is None else self.neurons)
        if self.refreshing is None:
            return none, none
        boxes = [(self.root.boxes[n.source], n.index) for n in self.layers]
        sides = [
            xp.doubles(graph.xp.numpy(graph.xp.cat([x[0, index] for x, index in side], 0)))
            for side in ([(b.lower, i) for b, i in boxes], [(b.upper, i) for b, i in boxes])
        ]
        lower, upper = xp.outward_cast(sides[0], sides[1])
        return none + lower, none + upper

    def _weights(
        self, clauses: Int[Array, " batch"], tilts: Float[Array, "batch _ neurons"]
    ) -> Float[Array, "batch width"]:
        """Half on the row of each clause that is bounded best at the root, half on all alike."""
        xp, count, net = self.xp, clauses.shape[0], self.reduced
        weight = xp.full((count, self.width), 0.5 / self.width)
        best = xp.arange(count) * 0
        if net is not None and self.width > 1:
            rows = self.members[clauses].reshape(-1, 1)
            one, tilt = xp.full((rows.shape[0], 1), 1.0), xp.repeat(tilts[:, 0], self.width)
            plain = sweep_patterns(net, Patterns(rows, one, tilt * 0, tilt), Ascent(1, 0.0, 1.0))
            best = plain.least.reshape(count, self.width).argmax(1)
        weight[xp.arange(count), best] += 0.5
        return weight

    def enclosure(self, batch: SignPatterns) -> Enclosure:
        """The root's bounds with the split neurons cut to their sides."""
        return cut_to_sides(self.root, self.layers, batch.phase, batch.sides)

    def rows(self, batch: SignPatterns, enclosure: Enclosure) -> Rows:
        """The property's rows of a batch, ``width`` for each subproblem."""
        xp = self.root.graph.xp
        row = self.members[batch.clause].reshape(-1)
        owner = Owner.equal(len(batch), self.width, xp)
        start, error = self.objective.start(row, enclosure, owner)
        return Rows(start, -self.thresholds[row] - error, owner)

    def sums(self, batch: SignPatterns, enclosure: Enclosure) -> Rows:
        """The weighted sum of each subproblem's rows, rounding included."""
        rows = self.rows(batch, enclosure)
        if self.width == 1 and bool((batch.weight == 1).all()):
            return rows
        xp, count, width = self.root.graph.xp, len(batch), self.width
        weight = xp.floats(batch.weight)
        owner = Owner.equal(count, 1, xp)
        wide = xp.astype_double(weight)
        parts = rows.constant.reshape(count, width)
        constant = (wide * parts).sum(1)
        cost = 2 * gamma(width + 2, DOUBLE_ROUNDOFF) * (wide * abs(parts)).sum(1)
        start = {}
        for value, part in rows.start.items():
            terms = weight[:, :, None] * part.reshape(count, width, -1)
            start[value] = terms.sum(1)
            most = enclosure.boxes[value].magnitude(xp)
            off = xp.row_dot(abs(terms).sum(1), most)
            cost = cost + 2 * gamma(width + 2, xp.unit_roundoff) * off
        return Rows(start, constant - cost - xp.tiny, owner)

    def choices(
        self, batch: SignPatterns, tilts: Float[np.ndarray, "batch neurons"]
    ) -> list[Chosen]:
        """Multipliers of closed subproblems: one record, or one for each where rows are mixed."""
        numpy = self.xp.numpy
        rows, weight = numpy(self.members[batch.clause]), numpy(batch.weight)
        if self.width == 1:
            return [self._chosen(batch, tilts, rows[:, 0])]
        found = []
        for i in range(len(batch)):
            some, used = slice(i, i + 1), np.flatnonzero(weight[i])
            chosen = self._chosen(batch[some], tilts[some], rows[i, used[:1]])
            if len(used) > 1:
                sums = (rows[i, used], weight[i, used].astype(np.float64))
                chosen = replace(chosen, row=np.array([-1]), weights=sums)
            found.append(chosen)
        return found

    def expand(self, batch: SignPatterns, enclosure: Enclosure, rows: Rows) -> dict[int, Array]:
        """The batch's tilts as the optimiser wants them: whole layers, one row after another."""
        xp = self.root.graph.xp
        tilts = default_tilts(enclosure, rows.start, rows.owner)
        flat = xp.floats(batch.tilts[:, :, : self.neurons])
        flat = flat.reshape(rows.owner.rows, self.neurons)
        for value, tilt in self.start.items():
            if value in tilts and value not in {layer.value for layer in self.layers}:
                tilts[value] = tilt[self.members[batch.clause].reshape(-1)]
        start = 0
        for layer in self.layers:
            stop = start + layer.index.shape[0]
            if layer.value in tilts:
                whole = xp.copy(tilts[layer.value])
                whole[:, layer.index] = flat[:, start:stop]
                tilts[layer.value] = whole
            start = stop
        return tilts

    def pack(
        self, tilts: dict[int, Array], batch: SignPatterns
    ) -> Float[Array, "batch sums neurons"]:
        """The reverse of ``expand``; layers that the rows do not pass keep their tilts."""
        xp = self.root.graph.xp
        flat = xp.copy(batch.tilts).reshape(len(batch) * self.width, self.neurons)
        start = 0
        for layer in self.layers:
            stop = start + layer.index.shape[0]
            if layer.value in tilts:
                flat[:, start:stop] = tilts[layer.value][:, layer.index]
            start = stop
        return flat.reshape(batch.tilts.shape)


def split_neurons(problem: NeuronProblem, batch: SignPatterns, tree: ProofTree) -> SignPatterns:
    """Both children of each subproblem; they inherit all multipliers but the split neuron's."""
    xp = problem.root.graph.xp
    place, count = xp.arange(len(batch)), len(batch)
    neuron = xp.ints(problem.columns)[batch.branch]
    children = tree.split(batch.node, neuron, xp.zeros(count), of_neurons=True)
    tilts = xp.copy(batch.tilts)
    tilts[place, :, batch.branch] = 0.0
    batch, parts = replace(batch, tilts=tilts, depth=batch.depth + 1), []
    for sign, node in ((-1.0, children[:count]), (1.0, children[count:])):
        phase, side = xp.copy(batch.phase), "upper" if sign < 0 else "lower"
        phase[place, batch.branch] = sign
        box = xp.copy(getattr(batch, side))
        if box.shape[1]:
            box[place, batch.branch] = 0.0
        parts.append(replace(batch, phase=phase, node=node, **{side: box}))
    return SignPatterns.cat(parts, xp)
