"""The root of a search over neurons: every unstable neuron optimises its slopes for its own bound.

Slopes are sought on the reduced network of the layers before, in single precision; the graph's own
sweep, in its own precision and with its rounding, gives the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verifier.bounds.columns import Patterns
from verifier.bounds.crown import narrow, unstable_mask
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.optimise import default_tilts, optimise, unit_rows
from verifier.bounds.reduced import Reducer, Tail
from verifier.bounds.sweep import Ascent, sweep_in_parts
from verifier.families import Nonlinear
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings, Spread
from verifier.tensors import Array, Backend

PARTS_AT_ONCE = 8
"""So many chunks of rows have their slopes in memory."""

Deepen = Callable[[Reducer, int, Array, Tail], object]
"""Narrows the boxes of a value's neurons further: reducer, value, neurons, and their rows."""
Bounded = tuple[tuple[Array, Array, Array], Array, dict[int, Array]]
"""(batch, neuron, sign) of some rows, their least values, and the tilts that give them."""
Record = Callable[[int, tuple[Array, Array], dict[int, Array]], object]
"""Is told which rows made a box smaller: value, (neuron, sign), and their tilts."""


@dataclass(eq=False)
class _Root:
    """A root at work."""

    enclosure: Enclosure
    plain: Enclosure
    reducer: Reducer
    settings: BoundSettings
    record: Record | None
    deepen: Deepen | None = None

    def refine(self, value: int) -> None:
        """Narrow the box of a value, the side first that may settle a neuron."""
        xp, enclosure = self.enclosure.graph.xp, self.enclosure
        neuron = xp.nonzero(unstable_mask(enclosure, value)[0])[0]
        if neuron.shape[0] == 0:
            return
        box, one = enclosure.boxes[value], xp.full((neuron.shape[0],), 1.0)
        sign = xp.where(box.upper[0, neuron] > -box.lower[0, neuron], one, -one)
        tail = self.reducer.unit_tail(enclosure, value, neuron)
        self._half(value, neuron, sign, tail)
        left = xp.nonzero(unstable_mask(enclosure, value)[0, neuron])[0]
        if left.shape[0]:
            neuron, tail = neuron[left], tail.signed(left, one[left])
            self._half(value, neuron, -sign[left], tail)
            if self.deepen is not None:
                self.deepen(self.reducer, value, neuron, tail)

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
                record(value, (neurons[which], signs[which]), tilts)

    def _half(self, value: int, neuron: Array, sign: Array, tail: Tail) -> None:
        xp, box = self.enclosure.graph.xp, self.enclosure.boxes[value]
        count = neuron.shape[0]
        net = self.reducer.net(tail.signed(xp.arange(count), sign))
        fast = net.xp
        tilt = fast.zeros(count, net.neurons) + net.tilt
        one = fast.full((count, 1), 1.0)
        patterns = Patterns(fast.arange(count)[:, None], one, tilt * 0, tilt)
        settings = self.settings
        ascent = Ascent(
            settings.hidden_steps,
            settings.learning_rate,
            settings.learning_rate_decay,
            last=False,
        )
        found = sweep_in_parts(net, patterns, ascent, settings.spread)
        known = xp.where(sign > 0, box.lower[0, neuron], -box.upper[0, neuron])
        better = xp.nonzero(xp.floats(found.least) > known)[0]
        chunk = max(16, settings.rows_at_once(self.enclosure.graph, xp) // 4)
        parts = [better[start : start + chunk] for start in range(0, better.shape[0], chunk)]

        def bound(some: Array) -> Bounded:
            which = xp.ints(some * 0), neuron[some], sign[some]
            return which, *self._bound(value, which, found.tilt[some])

        # Slopes of whole layers are large: those of a few parts at a time.
        for first in range(0, len(parts), PARTS_AT_ONCE):
            group = parts[first : first + PARTS_AT_ONCE]
            for made in settings.spread.map(bound, group):
                self._dispose(value, made)

    def _bound(
        self, value: int, which: tuple[Array, Array, Array], tilt: Array
    ) -> tuple[Array, dict[int, Array]]:
        """The bounds that the slopes found give on the graph itself, and these slopes."""
        self.settings.check_time()
        rows = unit_rows(self.enclosure, value, which)
        tilts = self.reducer.whole_tilts(self.enclosure, rows, tilt)
        found = optimise(self.enclosure, rows, 1, self.settings, tilts)
        return found.least, found.tilts

    def _dispose(self, value: int, made: Bounded) -> None:
        """Narrow the boxes, and say by what."""
        xp, (which, least, tilts) = self.enclosure.graph.xp, made
        _, neuron, sign = which
        narrowed = xp.nonzero(narrow(self.enclosure, value, which, least))[0]
        if narrowed.shape[0] and self.record is not None:
            told = {v: t[narrowed] for v, t in tilts.items()}
            self.record(value, (neuron[narrowed], sign[narrowed]), told)


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
    root = _Root(enclosure, plain, reducer, settings, record, deepen)
    tight = set(graph.relaxed_inputs)
    for _ in graph.nodes:
        value = enclosure.step()
        own = enclosure.boxes[value]
        if value in tight:
            enclosure.boxes[value] = own.intersect(plain.boxes[value], graph.xp)
        if isinstance(graph.node(value).operator, Nonlinear):
            enclosure.relax(value)
            reducer.add(value)
        if value in tight and not graph.affine_of_input[value]:
            root.keep_promises(value, own)
            root.refine(value)
    return reducer
