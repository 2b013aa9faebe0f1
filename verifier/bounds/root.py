"""The root of a search over neurons: every unstable neuron optimises its slopes for its own bound.

Slopes are sought on the reduced network of the layers before, in single precision; the same in
float64, with all rounding charged, gives the bounds, or else the graph's own sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verifier.bounds.columns import Patterns
from verifier.bounds.crown import narrow, unstable_mask
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import default_tilts, optimise, unit_rows
from verifier.bounds.reduced import Reduced, Reducer, SureRows, Tail
from verifier.bounds.sure import SureNet
from verifier.bounds.sure_rows import sure_elements
from verifier.bounds.sweep import Ascent, sweep_in_parts
from verifier.bounds.within import Outer, Slopes, Within
from verifier.families import Nonlinear
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings, Spread
from verifier.tensors import Array, Backend

PARTS_AT_ONCE = 2
"""So many chunks of rows have their slopes in memory."""

Deepen = Callable[[Reducer, int, Array, Tail], object]
"""Narrows the boxes of a value's neurons further: reducer, value, neurons, and their rows."""
Record = Callable[[Enclosure, int, tuple[Array, Array], dict[int, Array]], object]
"""Is told which rows made a box smaller: where, value, (neuron, sign), and their tilts."""


@dataclass(eq=False)
class _Root:
    """A root at work."""

    enclosure: Enclosure
    plain: Enclosure
    reducer: Reducer
    settings: BoundSettings
    record: Record | None
    deepen: Deepen | None = None
    within: Within | None = None
    """What a region around this one's tells of rows."""
    slopes: Slopes | None = None
    """Of all bounds, where regions within are to have them."""

    def run(self) -> Reducer:
        """Bound all values, one after another."""
        graph, enclosure, plain = self.enclosure.graph, self.enclosure, self.plain
        tight = set(graph.relaxed_inputs)
        for _ in graph.nodes:
            value = enclosure.step()
            own = enclosure.boxes[value]
            if value in tight:
                enclosure.boxes[value] = own.intersect(plain.boxes[value], graph.xp)
            if isinstance(graph.node(value).operator, Nonlinear):
                enclosure.relax(value)
                self.reducer.add(value)
            if self.within is not None:
                self.within.see(value)
            if value in tight and not graph.affine_of_input[value]:
                if self.deepen is None:
                    self.keep_promises(value, own)
                self.refine(value)
        return self.reducer

    def refine(self, value: int) -> None:
        """Narrow the box of a value, the side first that may settle a neuron."""
        xp, enclosure = self.enclosure.graph.xp, self.enclosure
        neuron = xp.nonzero(unstable_mask(enclosure, value)[0])[0]
        if neuron.shape[0] == 0:
            return
        box, one = enclosure.boxes[value], xp.full((neuron.shape[0],), 1.0)
        sign = xp.where(box.upper[0, neuron] > -box.lower[0, neuron], one, -one)
        rows = self.reducer.known_rows(value, neuron)
        if rows is None:
            rows = sure_elements(self.reducer, value, neuron)
            self.reducer.known[value] = neuron, rows
        self._half(value, neuron, sign, rows)
        left = xp.nonzero(unstable_mask(enclosure, value)[0, neuron])[0]
        if left.shape[0]:
            neuron, rows = neuron[left], rows.signed(left, one[left])
            self._half(value, neuron, -sign[left], rows)
            if self.deepen is not None:
                self.deepen(self.reducer, value, neuron, rows.tail)

    def keep_promises(self, value: int, own: Box) -> None:
        """Record what makes neurons linear that are so by plain CROWN, but not by ``own`` box.

        Tighter boxes before them may give other lines and a worse bound, and who repeats the proof
        has nothing but these boxes; the slopes that plain CROWN had still do on tighter boxes.
        """
        xp, enclosure, record = self.enclosure.graph.xp, self.enclosure, self.record
        if record is None:
            return
        now = enclosure.boxes[value]
        enclosure.boxes[value] = own
        mask = unstable_mask(enclosure, value)[0]
        enclosure.boxes[value] = now
        neurons = xp.nonzero(mask & ~unstable_mask(enclosure, value)[0])[0]
        one = xp.full((neurons.shape[0],), 1.0)
        signs = xp.where(now.lower[0, neurons] >= 0, one, -one)
        chunk = self.settings.rows_at_once(enclosure.graph, xp)

        def broken(first: int) -> tuple[Array, dict[int, Array]]:
            """Which of a chunk's are broken, and their tilts: rows of all would take too much."""
            self.settings.check_time()
            part = slice(first, first + chunk)
            rows = unit_rows(enclosure, value, (xp.ints(one[part] * 0), neurons[part], signs[part]))
            least = optimise(enclosure, rows, 1, self.settings, {}).least
            which = xp.nonzero(~(least >= 0))[0]
            if not which.shape[0]:
                return which, {}
            start = {v: x[which] for v, x in rows.start.items()}
            tilts = default_tilts(self.plain, start, Owner.equal(1, which.shape[0], xp))
            return which + first, {v: t for v, t in tilts.items() if v in enclosure.relaxations}

        starts = range(0, neurons.shape[0], chunk)
        for which, tilts in self.settings.spread.map(broken, starts):
            if which.shape[0]:
                record(enclosure, value, (neurons[which], signs[which]), tilts)

    def _half(self, value: int, neuron: Array, sign: Array, rows: SureRows) -> None:
        xp, box = self.enclosure.graph.xp, self.enclosure.boxes[value]
        count, settings = neuron.shape[0], self.settings
        rows = rows.signed(xp.arange(count), sign)
        net = self.reducer.net(rows.tail)
        fast = net.xp
        tilt = self._tilt(value, (neuron, sign), net)
        one = fast.full((count, 1), 1.0)
        patterns = Patterns(fast.arange(count)[:, None], one, tilt * 0, tilt)
        ascent = Ascent(
            settings.hidden_steps,
            settings.learning_rate,
            settings.learning_rate_decay,
            last=False,
        )
        found = sweep_in_parts(net, patterns, ascent, settings.spread)
        if self.slopes is not None:
            which = xp.numpy(neuron), xp.numpy(sign)
            self.slopes.keep(value, which, fast.numpy(found.tilt))
        known = xp.where(sign > 0, box.lower[0, neuron], -box.upper[0, neuron])
        better = xp.nonzero(xp.floats(found.least) > known)[0]
        which = xp.ints(better * 0), neuron[better], sign[better]
        tilt = found.tilt[better]
        sure = SureNet.of(self.reducer, rows.signed(better, xp.full((better.shape[0],), 1.0)))
        if sure is None:
            self._by_graph(value, which, tilt)
            return
        patterns = patterns[fast.arange(better.shape[0])]
        self._dispose(value, which, sure.least(replace(patterns, tilt=tilt), settings.spread), tilt)

    def _tilt(self, value: int, which: tuple[Array, Array], net: Reduced) -> Array:
        """Slopes to begin with: those of the region around, or else the nearest."""
        found = None if self.within is None else self.within.tilts(value, which)
        if found is None:
            return net.xp.zeros(which[0].shape[0], net.neurons) + net.tilt
        return net.xp.floats(found)

    def _by_graph(self, value: int, which: tuple[Array, Array, Array], tilt: Array) -> None:
        """The bounds that the slopes found give on the graph itself."""
        xp, settings, count = self.enclosure.graph.xp, self.settings, which[0].shape[0]
        chunk = max(16, settings.rows_at_once(self.enclosure.graph, xp) // 4)

        def bound(first: int) -> Array:
            settings.check_time()
            batch, neuron, sign = (x[first : first + chunk] for x in which)
            rows = unit_rows(self.enclosure, value, (batch, neuron, sign))
            tilts = self.reducer.whole_tilts(self.enclosure, rows, tilt[first : first + chunk])
            return optimise(self.enclosure, rows, 1, settings, tilts).least

        if count:
            least = settings.spread.map(bound, range(0, count, chunk))
            self._dispose(value, which, xp.cat(least, 0), tilt)

    def _dispose(
        self, value: int, which: tuple[Array, Array, Array], least: Array, tilt: Array
    ) -> None:
        """Narrow the boxes, and say by what."""
        xp, (batch, neuron, sign) = self.enclosure.graph.xp, which
        narrowed = xp.nonzero(narrow(self.enclosure, value, which, least))[0]
        # Slopes of whole layers are large.
        chunk = PARTS_AT_ONCE * self.settings.rows_at_once(self.enclosure.graph, xp)
        for first in range(0, narrowed.shape[0] if self.record is not None else 0, chunk):
            assert self.record is not None
            some = narrowed[first : first + chunk]
            rows = unit_rows(self.enclosure, value, (batch[some], neuron[some], sign[some]))
            told = self.reducer.whole_tilts(self.enclosure, rows, tilt[some])
            self.record(self.enclosure, value, (neuron[some], sign[some]), told)


def refine_root(
    graph: Graph,
    settings: BoundSettings,
    plain: Enclosure,
    record: Record | None,
    how: tuple[Backend, Spread],
    deepen: Deepen | None = None,
) -> Reducer:
    """Boxes of all values over the region of ``plain``, as tight as optimised slopes make them.

    ``plain`` is what CROWN gives without optimised slopes. ``how``: what slopes are sought in, and
    who works on parts. ``deepen`` may do more for the neurons of each value that slopes leave
    unstable. Without ``record`` nobody is to repeat the proof. Returns what reduces the network;
    its ``enclosure`` holds the boxes.
    """
    enclosure = Enclosure.over(graph, plain.boxes[0], single=settings.single)
    settings = replace(settings, spread=how[1])
    reducer = Reducer.of(enclosure, how[0], settings)
    return _Root(enclosure, plain, reducer, settings, record, deepen).run()


def refine_outer(
    plain: Enclosure, settings: BoundSettings, how: tuple[Backend, Spread]
) -> tuple[Reducer, Slopes]:
    """The same for a region of which parts are to be refined later; also what these begin with."""
    enclosure = Enclosure.over(plain.graph, plain.boxes[0], single=settings.single)
    settings, slopes = replace(settings, spread=how[1]), Slopes()
    reducer = Reducer.of(enclosure, how[0], settings)
    return _Root(enclosure, plain, reducer, settings, None, slopes=slopes).run(), slopes


def refine_within(
    outer: Outer, settings: BoundSettings, region: Box, how: tuple[Backend, Spread]
) -> tuple[Reducer, Slopes]:
    """The same over a region within another, without a sweep of the graph."""
    enclosure = Enclosure.over(outer.plain.graph, region, single=settings.single)
    settings = replace(settings, spread=how[1], hidden_steps=settings.within_steps)
    reducer, slopes = Reducer.of(enclosure, how[0], settings), Slopes()
    within = Within(outer, reducer)
    root = _Root(enclosure, outer.plain, reducer, settings, None, within=within, slopes=slopes)
    return root.run(), slopes
