"""Narrow the boxes of hidden neurons by short searches of their own, layer after layer.

What a deep network's rows lose is lost in layers whose neurons' boxes are too large, and each layer
hands its loss on to the next. A neuron depends on the layers before it only: a few splits there,
for thousands of neurons together, settle the signs of most (the exact bounds of hidden neurons that
mixed-integer programs give, Tjeng et al. 2019, in batches and without a program).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifier.bounds import Enclosure
from verifier.bounds.columns import Patterns
from verifier.bounds.crown import narrow, unstable_mask
from verifier.bounds.optimise import optimise, unit_rows
from verifier.bounds.reduced import Reduced, Reducer, Tail
from verifier.bounds.root import refine_root
from verifier.bounds.sure import SureNet
from verifier.bounds.sure_rows import sure_elements
from verifier.bounds.sweep import CALL, Ascent, counted_seconds, pattern_seconds, sweep_in_parts
from verifier.records import dataclass
from verifier.search.hidden_parts import Parts, Store
from verifier.search.neuron_split import NeuronProblem
from verifier.search.record import HiddenRecorder
from verifier.search.sign_patterns import Neurons, cut_to_sides
from verifier.search.workers import Workers, sealed_at_once
from verifier.sets import Box
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Bool, Float, single_precision

log = logging.getLogger(__name__)

STEPS = 5
"""Of the slope optimisation for a part: more parts gain more."""
TURNS = 20
"""Rounds of splits of a neuron at most."""
WORTH = 0.02
"""By what share of a bound it must get better to be sealed."""
FEWEST_PARTS = 12
"""Where time does not suffice for so many parts of each neuron, none is searched for."""
PROMISING = 0.1
"""The share of what relaxations of the first value's neurons lose that must be gained for others
to be looked at."""
SEALING = 0.25
"""The share of the time that is kept for sealing."""
AT_ONCE = 4096
"""How many parts are sealed at once."""
SPLIT_BYTES, LEAST_AT_ONCE = 50_000_000, 1024
"""Bytes of the signs of parts that are split at once, or so many parts."""
BESIDES = 1.4
"""What is done for parts beside their sweeps takes so much longer: measured."""
SEALED = 2.0
"""A sweep that seals takes so many times as long as one of a step."""


_End = tuple[float, float]
"""When something ends: in counted seconds, and on ``time.monotonic``'s clock."""


class Hopeless(Exception):
    """Searches for hidden neurons would not pay: an event inside a search, caught there."""


def _lost(xp: Backend, box: Box, neuron: Array) -> float:
    """How far the chords of some neurons are from ReLU at 0, summed up."""
    low, high = -box.lower[0, neuron].clip(max=0), box.upper[0, neuron].clip(min=0)
    return float((low * high / (low + high + xp.tiny)).sum()) + xp.tiny


def hidden_unstable(plain: Enclosure) -> dict[int, int]:
    """How many neurons of each value are not linear, of those that read other neurons."""
    graph = plain.graph
    values = (v for v in graph.relaxed_inputs if not graph.affine_of_input[v])
    return {v: int(unstable_mask(plain, v)[0].sum()) for v in values}


def affordable(problem: NeuronProblem, seconds: float, workers: Workers) -> bool:
    """May so many counted seconds do for the neurons of the first value that reads others?"""
    graph, net = problem.root.graph, problem.reduced
    hidden = [(v, count) for v, count in hidden_unstable(problem.root).items() if count]
    if net is None or not hidden:
        return False
    value, count = min(hidden)
    before = sum(len(x.index) for x in problem.layers if x.source in graph.ancestors[value])
    each = pattern_seconds(before * (net.inputs + before // 2), before, net.inputs)
    steps = problem.bounds.hidden_steps
    first = BESIDES * steps * (CALL + count * each / workers.count)
    return FEWEST_PARTS * first <= seconds


@dataclass(eq=False)
class Deepener:
    """Searches for all neurons of one value after the other, within a budget of seconds.

    These are counted, as turns of a search over neurons are.
    """

    workers: Workers
    bounds: BoundSettings
    limits: _End
    """Of the whole; the clock is for machines that are much slower than was counted with."""
    most_parts: int
    """In how many parts of the region a neuron is bounded at most."""
    unstable: dict[int, int]
    """How many neurons of the values that are still to come are not linear."""
    record: HiddenRecorder | None = None
    """Is told which parts made a box smaller."""
    trial: float | None = None
    """All is to be left where hardly anything is gained for the neurons of the next value in so
    many seconds."""
    subproblems: int = 0
    spent: float = 0.0
    """Seconds so far."""

    def deeper(self, problem: NeuronProblem) -> NeuronProblem:
        """The problem anew, with hidden neurons bounded by searches of their own.

        Raises:
            DeadlinePassed: before all was bounded anew.
            Hopeless: that would not pay.
        """
        graph, bounds = problem.root.graph, problem.bounds
        how = single_precision(graph.xp), self.workers
        assert self.record is not None
        reducer = refine_root(graph, bounds, problem.root, self.record, how, self)
        log.info("deepened by %d subproblems", self.subproblems)
        settings = bounds, problem.settings
        root, thresholds = reducer.enclosure, problem.thresholds
        return NeuronProblem.of(root, problem.objective, thresholds, settings, reducer)

    def __call__(self, reducer: Reducer, value: int, neuron: Array, tail: Tail) -> None:
        """Narrow the boxes of a value's neurons, whose rows over the layers before are ``tail``.

        Raises:
            Hopeless: at a trial, hardly anything was gained for the neurons of the first value.
                Those after it will fare no better.
        """
        count = neuron.shape[0]
        self.unstable.pop(value, None)
        if not reducer.layers:
            return
        share = count / (count + sum(self.unstable.values()))
        rows, (budget, latest) = (value, neuron, tail), self._end(self.limits, share)
        if self.trial is not None:
            trial, self.trial = self.trial, None
            end = min(budget, self.spent + trial), latest
            if self._both(reducer, rows, end) < PROMISING:
                raise Hopeless
            if end[0] == budget:
                return
        self._both(reducer, rows, (budget, latest))

    def _both(self, reducer: Reducer, rows: tuple[int, Array, Tail], end: _End) -> float:
        """Narrow both sides of the boxes; what that gained, as a share of what chords lose."""
        (value, neuron, tail), enclosure = rows, reducer.enclosure
        xp, count = enclosure.graph.xp, neuron.shape[0]
        box, one = enclosure.boxes[value], xp.full((count,), 1.0)
        before = _lost(xp, box, neuron)
        sign = xp.where(box.upper[0, neuron] > -box.lower[0, neuron], one, -one)
        for side, until in zip((sign, -sign), (self._end(end, 0.5), end), strict=True):
            left = xp.nonzero(unstable_mask(enclosure, value)[0, neuron])[0]
            if left.shape[0] == 0:
                break
            net = reducer.net(tail.signed(left, side[left]))
            self._side(reducer, net, (value, neuron[left], side[left]), until)
        settled = count - int(unstable_mask(enclosure, value)[0, neuron].sum())
        gained = 1 - _lost(xp, enclosure.boxes[value], neuron) / before
        log.info("deepened: %d of %d neurons settled, gained %.2f", settled, count, gained)
        return gained

    def _end(self, end: _End, share: float) -> _End:
        """A share of the way to an end."""
        now = time.monotonic()
        return self.spent + share * (end[0] - self.spent), now + share * (end[1] - now)

    def _left(self, end: _End) -> float:
        """Counted seconds until an end, or none where the clock is beyond it."""
        return 0.0 if time.monotonic() > end[1] else end[0] - self.spent

    def _seconds(self, net: Reduced, count: int, steps: int) -> float:
        return BESIDES * counted_seconds(net, (count, steps), self.workers)

    def _side(
        self, reducer: Reducer, net: Reduced, which: tuple[int, Array, Array], end: _End
    ) -> None:
        value, neuron, sign = which
        enclosure, fast = reducer.enclosure, net.xp
        xp, box = enclosure.graph.xp, reducer.enclosure.boxes[value]
        known = xp.where(sign > 0, box.lower[0, neuron], -box.upper[0, neuron])
        store = Store(net.neurons)
        known_fast = fast.floats(xp.numpy(known))
        parts = self._search(net, known_fast, store, self._end(end, 1 - SEALING))
        worst = parts.worst(neuron.shape[0], fast)
        gained = xp.floats(fast.numpy(worst)) > known + WORTH * abs(known)
        kept = fast.nonzero(fast.bools(xp.numpy(gained))[parts.row])[0]
        if kept.shape[0]:
            rows = sure_elements(reducer, value, neuron)
            sure = SureNet.of(reducer, rows.signed(xp.arange(neuron.shape[0]), sign))
            self._seal(reducer, (sure, which), (parts[kept], store), end)

    def _search(self, net: Reduced, known: Float[Array, " rows"], store: Store, end: _End) -> Parts:
        """Split what bounds each row worst, until the rows are positive or time is up."""
        fast, count = net.xp, known.shape[0]
        tilt = fast.zeros(count, net.neurons) + net.tilt
        row = fast.arange(count)
        settings = self.bounds
        ascent = Ascent(
            settings.hidden_steps, settings.learning_rate, settings.learning_rate_decay, last=False
        )
        begun = self.spent
        parts = self._swept(net, (row, tilt * 0, tilt, known), store, ascent)
        if FEWEST_PARTS * (self.spent - begun) > self._left(end):
            return parts
        ascent = replace(ascent, steps=STEPS, rate=settings.split_rate)
        for _ in range(TURNS):
            self.bounds.check_time()
            chosen = self._chosen(net, (parts, store.room), count, end)
            index = fast.nonzero(chosen)[0]
            if index.shape[0] == 0:
                break
            others = parts[fast.nonzero(~chosen)[0]]
            each = max(LEAST_AT_ONCE, SPLIT_BYTES // (4 * max(1, net.neurons)))
            starts = range(0, index.shape[0], each)
            made = [self._halves(net, parts[index[k : k + each]], store, ascent) for k in starts]
            parts = Parts.cat([others, *made], fast)
        return parts

    def _halves(self, net: Reduced, split: Parts, store: Store, ascent: Ascent) -> Parts:
        """What some parts are split into."""
        fast, place = net.xp, net.xp.arange(len(split))
        before, tilts = split.taken(store, fast)
        store.drop(fast.numpy(split.place))
        tilts[place, split.branch] = 0.0
        sides = list[Array]()
        for side in (1.0, -1.0):
            phase = fast.copy(before)
            phase[place, split.branch] = side
            sides.append(phase)
        row, least = (fast.cat([x, x], 0) for x in (split.row, split.least))
        both = row, fast.cat(sides, 0), fast.cat([tilts, tilts], 0), least
        return self._swept(net, both, store, ascent)

    def _chosen(
        self, net: Reduced, known: tuple[Parts, int], count: int, end: _End
    ) -> Bool[Array, " parts"]:
        """The parts to split: those that decide about a row which can still be improved.

        ``known``: all parts, and for how many more there is room.
        """
        parts, room = known
        xp, pace = net.xp, self._seconds(net, AT_ONCE, STEPS) / AT_ONCE
        worst = parts.worst(count, xp)[parts.row]
        one = xp.floats(parts.least[:, None] * 0 + 1)
        crowd = xp.segment_sum(one, parts.row, count)[:, 0][parts.row]
        stuck = xp.floats((parts.gap <= 0) & (parts.least <= worst))
        stuck = xp.segment_max(stuck[:, None], parts.row, count)[:, 0][parts.row] > 0
        chosen = (parts.least <= 0) & (parts.least <= worst + parts.gap) & (parts.gap > 0)
        chosen = chosen & ~stuck & (crowd < self.most_parts)
        left = self._left(end)
        if left <= 0:
            return chosen & False
        most = min(float(room), left / (2 * pace))
        if int(chosen.sum()) > most:
            # Those that lack least first.
            lack = xp.where(chosen, -worst, worst * 0 + float("inf"))
            rank = xp.argsort(xp.argsort(lack))
            chosen = chosen & (rank < most)
        return chosen

    def _swept(
        self, net: Reduced, which: tuple[Array, Array, Array, Array], store: Store, ascent: Ascent
    ) -> Parts:
        """Parts (row, phase, tilt, bound so far) with the bounds and next splits of sweeps."""
        fast, (row, phase, tilt, known) = net.xp, which
        patterns = Patterns(row[:, None], fast.full((row.shape[0], 1), 1.0), phase, tilt)
        found = sweep_in_parts(net, patterns, ascent, self.workers)
        self.subproblems += row.shape[0]
        self.spent += self._seconds(net, row.shape[0], ascent.steps)
        least = fast.where(found.least > known, found.least, known)
        # Too small to be sure of.
        least = fast.where((least > 0) & (found.proved == 0), least * 0, least)
        score = -found.passed.clip(max=0) * net.offset * fast.floats(phase == 0)
        gap = fast.amax(score, 1)
        gap = fast.where(found.proved > 0, gap * 0, gap)
        place = fast.ints(store.put(fast.numpy(phase), fast.numpy(found.tilt)))
        return Parts(row, place, least, score.argmax(1), gap)

    def _seal(
        self,
        reducer: Reducer,
        known: tuple[SureNet | None, tuple[int, Array, Array]],
        found: tuple[Parts, Store],
        end: _End,
    ) -> None:
        """The bounds that the parts' multipliers prove narrow the boxes.

        Those of neurons that there is no time for prove nothing.
        """
        (sure, which), (parts, store) = known, found
        value, neuron, sign = which
        root, xp = reducer.enclosure, reducer.enclosure.graph.xp
        layers = [Neurons(v, source, index) for v, (source, index) in reducer.layers.items()]
        each = sealed_at_once(root.graph, len(parts), self.workers)

        def seal(start: int) -> Array:
            place = reducer.xp.arange(min(each, len(parts) - start)) + start
            if time.monotonic() > end[1]:
                return xp.doubles(xp.zeros(place.shape[0])) - float("inf")
            return self._bound(reducer, layers, which, (parts[place], store))

        if sure is None:
            least = xp.cat(self.workers.map(seal, range(0, len(parts), each)), 0)
        else:
            least = self._least(sure, found, end)
        owner = xp.ints(reducer.xp.numpy(parts.row))
        worst = -xp.segment_max(-least[:, None], owner, neuron.shape[0])[:, 0]
        some = xp.nonzero(xp.function("isfinite", worst))[0]
        which = xp.ints(some * 0), neuron[some], sign[some]
        narrowed = narrow(root, value, which, worst[some])
        if self.record is not None and bool(narrowed.any()):
            told = xp.numpy(worst) * 0 > 0
            told[xp.numpy(some[narrowed])] = True
            kept = parts[reducer.xp.ints(np.flatnonzero(told[reducer.xp.numpy(parts.row)]))]
            for some in kept.by_rows(AT_ONCE, reducer.xp):
                place = reducer.xp.numpy(some.place)
                told_of = reducer.xp.numpy(some.row), *store.take(place)
                self.record.in_parts(root, value, (neuron, sign), layers, told_of)

    def _least(
        self, sure: SureNet, which: tuple[Parts, Store], end: _End
    ) -> Float[Array, " parts"]:
        """What the parts' multipliers prove on the reduced network, as far as there is time."""
        xp, (parts, store), found = sure.net.xp, which, []
        for start in range(0, len(parts), AT_ONCE):
            some = parts[start : start + AT_ONCE]
            one = xp.full((len(some), 1), 1.0)
            if start and self._left(end) <= 0:
                found.append(xp.doubles(one[:, 0]) - float("inf"))
                continue
            self.bounds.check_time()
            self.spent += SEALED * self._seconds(sure.net, len(some), 1)
            patterns = Patterns(some.row[:, None], one, *some.taken(store, xp))
            found.append(xp.astype_double(sure.least(patterns, self.workers)))
        return xp.cat(found, 0)

    def _bound(
        self,
        reducer: Reducer,
        layers: Sequence[Neurons],
        which: tuple[int, Array, Array],
        found: tuple[Parts, Store],
    ) -> Float[Array, " parts"]:
        (value, neuron, sign), (parts, store) = which, found
        root, count = reducer.enclosure, len(parts)
        xp = root.graph.xp
        # Of what later values need nothing is known yet.
        phase, tilt = parts.taken(store, reducer.xp)
        enclosure = cut_to_sides(root, layers, phase)
        row = xp.ints(parts.row)
        rows = unit_rows(enclosure, value, (xp.arange(count), neuron[row], sign[row]))
        tilts = reducer.whole_tilts(enclosure, rows, tilt)
        return optimise(enclosure, rows, 1, self.bounds, tilts).least
