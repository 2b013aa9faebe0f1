"""Boxes of neurons within a subproblem, for the points where its clause may be met.

There the clause's rows are at most 0, so sigma s_j >= sigma s_j + mu . rows for any mu >= 0. What
the right side is at least bounds the neuron (Kotha et al. 2023, INVPROP): its multipliers are found
on the reduced network, the bound is sealed on the graph. A subproblem whose boxes were tightened
needs far fewer splits: in networks of one hidden layer a hundred instead of hundreds of thousands.
"""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds.columns import Patterns, Sides
from verifier.bounds.crown import unit_rows
from verifier.bounds.optimise import Rows, optimise, project
from verifier.bounds.reduced import Reduced
from verifier.bounds.sure import SureNet
from verifier.bounds.sweep import Ascent, gaps, sweep_in_parts
from verifier.records import dataclass
from verifier.search.neuron_split import NeuronProblem, Refreshing
from verifier.search.sign_patterns import SignPatterns
from verifier.search.workers import Workers, sealed_at_once
from verifier.tensors import Array, Bool, Float, Int

FIRST_UNIT = 0.25
"""The rows' first multiplier, where it is to move the neuron by such a share of its box while the
row goes up to 0."""
LEAST_GAIN = 0.01
"""A bound is sealed that takes such a share off the neuron's box, or settles its sign."""


@dataclass(frozen=True, eq=False)
class _Wanted:
    """Bounds that are asked for: which subproblem, which neuron, lower (1) or upper (-1)."""

    place: Int[Array, " rows"]
    neuron: Int[Array, " rows"]
    sign: Float[Array, " rows"]

    def __getitem__(self, index: Array) -> _Wanted:
        return _Wanted(self.place[index], self.neuron[index], self.sign[index])


@dataclass(frozen=True, eq=False)
class Refresher:
    """Tightens the boxes of open subproblems."""

    problem: NeuronProblem
    net: Reduced
    effort: Refreshing
    workers: Workers

    def run(
        self, batch: SignPatterns, passed: Float[Array, "batch neurons"]
    ) -> tuple[SignPatterns, Bool[Array, " batch"]]:
        """The batch with tighter boxes, and which of it no point is left of."""
        fast = self.net.xp
        wanted = self._wanted(batch, passed)
        if wanted.place.shape[0]:
            rows, some = self._rows_of(batch, wanted)
            if some.shape[0]:
                batch = self._narrowed(batch, wanted[some], self._sealed(rows[some], wanted[some]))
        empty = (batch.lower > batch.upper).any(1)
        phase, zero = batch.phase, batch.phase * 0
        implied = fast.where(
            batch.lower >= 0, zero + 1, fast.where(batch.upper <= 0, zero - 1, zero)
        )
        fresh = fast.floats(phase == 0) * implied
        tilts = fast.where((fresh != 0)[:, None], fast.zeros(1), batch.tilts)
        return replace(batch, phase=phase + fresh, tilts=tilts), empty

    def _wanted(self, batch: SignPatterns, passed: Array) -> _Wanted:
        """Both bounds of the neurons that cost most."""
        fast = self.net.xp
        patterns = batch.patterns(self.problem.members[batch.clause])
        cost, _ = gaps(self.net, patterns, passed)
        order = fast.argsort(-cost)[:, : self.effort.neurons]
        place, rank = fast.nonzero(fast.take_along(cost, order, 1) > 0)
        neuron, one = order[place, rank], fast.full((place.shape[0],), 1.0)
        return _Wanted(
            fast.cat([place, place], 0),
            fast.cat([neuron, neuron], 0),
            fast.cat([one, -one], 0),
        )

    def _rows_of(
        self, batch: SignPatterns, wanted: _Wanted
    ) -> tuple[SignPatterns, Int[Array, " some"]]:
        """One entry for each bound, with its multipliers; and the places of those that help.

        The clause's rows come with the multipliers mu as their weights.
        """
        fast, net, bounds = self.net.xp, self.net, self.problem.bounds
        rows = batch[wanted.place]
        here = (fast.arange(len(rows)), wanted.neuron)
        low, high = rows.lower[here], rows.upper[here]
        unit = FIRST_UNIT * (high - low) / (fast.floats(abs(rows.margin)) + fast.tiny)
        split = rows.phase != 0
        # Multipliers of splits go with the row that they were found for.
        tilt = rows.tilts[:, 0] * fast.where(split, unit[:, None], fast.full((1,), 1.0))
        members = self.problem.members[rows.clause]
        patterns = Patterns(
            fast.cat([(wanted.neuron + net.row_bias.shape[0])[:, None], members], 1),
            fast.cat([wanted.sign[:, None], rows.weight * unit[:, None]], 1),
            rows.phase,
            tilt,
            Sides(rows.lower, rows.upper),
            unit,
        )
        ascent = Ascent(
            self.effort.steps, bounds.split_rate, bounds.learning_rate_decay, last=False
        )
        found = sweep_in_parts(net.with_neurons, patterns, ascent, self.workers)
        known = fast.where(wanted.sign > 0, low, -high)
        helps = found.least > known + LEAST_GAIN * (high - low)
        helps = helps | ((found.proved > 0) & (known < 0))
        rows = replace(rows, tilts=found.tilt[:, None], weight=found.weight[:, 1:])
        return rows, fast.nonzero(helps)[0]

    def _sealed(self, rows: SignPatterns, wanted: _Wanted) -> Float[Array, " rows"]:
        """What the multipliers prove: lower bounds of sign * neuron, float64."""
        problem, xp = self.problem, self.problem.root.graph.xp
        if problem.sure is not None:
            return self._by_reduced(problem.sure.with_neurons, rows, wanted)
        least, start = xp.doubles(xp.zeros(len(rows))) - float("inf"), 0
        for layer in problem.layers:
            stop = start + layer.index.shape[0]
            mine = self.net.xp.nonzero((wanted.neuron >= start) & (wanted.neuron < stop))[0]
            element = layer.index[xp.ints(wanted.neuron[mine] - start)]
            sign, start, count = xp.floats(wanted.sign[mine]), stop, mine.shape[0]
            if count == 0:
                continue
            least[xp.ints(mine)] = self._of_layer(rows[mine], (layer.source, element, sign))
        return least

    def _by_reduced(
        self, sure: SureNet, rows: SignPatterns, wanted: _Wanted
    ) -> Float[Array, " rows"]:
        """The same on the reduced network, with what that is off by."""
        fast, members = self.net.xp, self.problem.members[rows.clause]
        neuron = (wanted.neuron + self.net.row_bias.shape[0])[:, None]
        weight = fast.cat([wanted.sign[:, None], rows.weight.clip(min=0)], 1)
        self.problem.bounds.check_time()
        patterns = Patterns(
            fast.cat([neuron, members], 1),
            weight,
            rows.phase,
            rows.tilts[:, 0],
            Sides(rows.lower, rows.upper),
            weight[:, 0] * 0 + 1,
        )
        return sure.net.xp.astype_double(sure.least(patterns, self.workers))

    def _of_layer(
        self, rows: SignPatterns, which: tuple[int, Array, Array]
    ) -> Float[Array, " rows"]:
        """The same for sign * element of one value."""
        problem, (source, element, sign) = self.problem, which
        each = sealed_at_once(problem.root.graph, len(rows), self.workers)

        def bound(start: int) -> Array:
            part = slice(start, start + each)
            problem.bounds.check_time()
            return self._bound(rows[part], (source, element[part], sign[part]))

        starts = range(0, len(rows), each)
        return problem.root.graph.xp.cat(self.workers.map(bound, starts), 0)

    def _bound(self, rows: SignPatterns, which: tuple[int, Array, Array]) -> Float[Array, " rows"]:
        problem, xp, (source, element, sign) = self.problem, self.problem.root.graph.xp, which
        enclosure = problem.enclosure(rows)
        unit = unit_rows(enclosure, source, (xp.arange(len(rows)), element, sign))
        others = problem.sums(rows, enclosure)
        start, constant = dict(unit.start), unit.constant + others.constant
        for value, part in others.start.items():
            if value not in start:
                start[value] = part
                continue
            start[value] = start[value] + part
            most = 2 * xp.unit_roundoff * enclosure.boxes[value].magnitude(xp)
            constant = constant - xp.row_dot(abs(start[value]), most)
        joint = Rows(start, constant, unit.owner)
        tilts = problem.expand(rows, enclosure, joint)
        tilts = {value: project(enclosure, value, tilt) for value, tilt in tilts.items()}
        return optimise(enclosure, joint, 1, problem.bounds, tilts).least

    def _narrowed(
        self, batch: SignPatterns, wanted: _Wanted, least: Float[Array, " rows"]
    ) -> SignPatterns:
        """The batch with its boxes cut; bounds that are no numbers cut nothing."""
        fast, xp = self.net.xp, self.problem.root.graph.xp
        infinity = xp.full((1,), float("inf"))
        least = xp.where(xp.function("isfinite", least), least, -xp.astype_double(infinity))
        low, high = fast.outward_cast(fast.doubles(xp.numpy(least)), fast.doubles(xp.numpy(-least)))
        lower, upper = fast.copy(batch.lower), fast.copy(batch.upper)
        for box, side, new, better in (
            (lower, wanted.sign > 0, low, fast.maximum),
            (upper, wanted.sign < 0, high, fast.minimum),
        ):
            some = fast.nonzero(side)[0]
            here = (wanted.place[some], wanted.neuron[some])
            box[here] = better(box[here], new[some])
        return replace(batch, lower=lower, upper=upper)
