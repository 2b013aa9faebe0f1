"""Decide clauses where curves and products see a few numbers only, by splitting these.

A network whose deep part is ReLUs, and which then computes products and curves of a few numbers,
the fringe, is bad at being split at its ReLUs: the curves lose most, however many signs are known.
Here a subproblem is a box of the fringe. Over it the tail bounds the clause's rows by functions of
the fringe, row >= A z + c; these, and the ends of the box, go back to the input:

    row >= min over x of (A + g) z(x) + c - sum_i max(g_i l_i, g_i u_i),   for any g,

since g z <= max(g l, g u) in the box. g = 0 is what the ReLUs say of A z, g = -A what the box says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from verifier.bounds import (
    DOUBLE_ROUNDOFF,
    Enclosure,
    HiddenOptimiser,
    LowerForm,
    Objective,
    Trace,
    back_substitute,
    crown,
)
from verifier.bounds.optimise import Adam, Rows, default_tilts, descend
from verifier.graph import Graph
from verifier.graph.passes import Severed
from verifier.search.frontier import Frontier
from verifier.sets import Box, Owner
from verifier.settings import BoundSettings, SearchSettings
from verifier.tensors import Array, Backend, Float, Int, gamma

log = logging.getLogger(__name__)

MOST_NUMBERS = 16
"""Boxes of at most so many numbers are split."""
AT_ONCE = 64
"""Subproblems that are bounded together."""
STEPS = 12
"""Steps for the multipliers of a subproblem."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Open subproblems, a batch as one struct of arrays."""

    clause: Int[Array, " batch"]
    lower: Float[Array, "batch numbers"]
    upper: Float[Array, "batch numbers"]
    start: Float[Array, "batch width numbers"]
    """A + g for each row of the clause."""
    tilts: Float[Array, "batch width tilts"]
    margin: Float[Array, " batch"]

    def __len__(self) -> int:
        return self.clause.shape[0]

    def __getitem__(self, index: Array | slice) -> Pieces:
        return Pieces(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Pieces], xp: Backend) -> Pieces:
        """All rows of several batches."""
        if len(parts) == 1:
            return parts[0]
        names = [f.name for f in fields(Pieces)]
        return Pieces(*(xp.cat([getattr(p, name) for p in parts], 0) for name in names))

    @property
    def bytes_each(self) -> int:
        """About how much memory a row takes."""
        return 8 * (2 + 2 * self.lower.shape[1] + self.start[0].size + self.tilts[0].size)


@dataclass(frozen=True, eq=False)
class Planes:
    """Rows of the clauses of a batch as functions of the fringe: rows are [batch width]."""

    form: LowerForm
    box: Box
    """Each row's."""


@dataclass(eq=False)
class FringeSearch:
    """The search for one network and some clauses of its property."""

    root: Enclosure
    """Bounds of the whole network, of batch 1."""
    severed: Severed
    objective: Objective
    thresholds: Float[Array, " rows"]
    settings: BoundSettings
    search: SearchSettings
    examine: Callable[[Array], object]
    """Tries inputs that may be counterexamples; something if one is."""
    bounded: int = 0
    found: object = None

    def __post_init__(self) -> None:
        self.xp = self.root.graph.xp
        self.tail: Graph = self.severed.tail.on(self.xp)
        sizes = [self.root.graph.size(v) for v in self.severed.fringe]
        stops = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        starts = [stop - size for stop, size in zip(stops, sizes, strict=True)]
        self.places = {
            v: slice(*ends)
            for v, *ends in zip(self.severed.fringe, starts, stops, strict=True)
        }
        # What the tail makes of the boxes stays out of rows that start before it.
        self.head = replace(self.root, fused=self.root.fused - set(self.severed.fringe))

    @property
    def width(self) -> int:
        """The most rows that a clause has."""
        return self.objective.members.shape[1]

    def run(self, clause: int, seconds: float) -> bool:
        """Is a clause met nowhere? False: it is not known. ``found`` tells of a counterexample."""
        deadline = time.monotonic() + seconds
        frontier = Frontier(self.xp, self.search.frontier_bytes, Pieces.cat)
        frontier.push(self._bounded(self._whole(clause), STEPS))
        while len(frontier):
            if time.monotonic() > deadline:
                log.info("worst margin %.4g, %d open", frontier.worst_margin, len(frontier))
                return False
            self.settings.check_time()
            batch = frontier.take(AT_ONCE)
            left = self._bounded(self._split(batch), STEPS)
            if self.found is not None:
                return False
            if len(left) and not self._splittable(left):
                return False
            frontier.push(left)
        return True

    def _splittable(self, batch: Pieces) -> bool:
        """Are boxes still wide enough to be halved?"""
        middle = (batch.lower + batch.upper) / 2
        return bool(((middle > batch.lower) & (middle < batch.upper)).any(1).all())

    def _whole(self, clause: int) -> Pieces:
        """All of the fringe."""
        xp, boxes = self.xp, [self.root.boxes[v] for v in self.severed.fringe]
        lower, upper = xp.cat([b.lower for b in boxes], 1), xp.cat([b.upper for b in boxes], 1)
        rows = Owner.equal(1, self.width, xp)
        unit = {v: xp.zeros(self.width, self.root.graph.size(v)) for v in self.severed.fringe}
        tilts = self._pack(default_tilts(self.head, unit, rows))
        margin = xp.doubles(xp.zeros(1)) - float("inf")
        planes = self._planes(xp.ints([clause]), Box(lower, upper))
        start = planes.form.coefficients / 2
        return Pieces(xp.ints([clause]), lower, upper, start[None], tilts[None], margin)

    def _planes(self, clause: Int[Array, " batch"], box: Box) -> Planes:
        """The rows of some clauses as functions of the fringe, over boxes of it."""
        xp, count = self.xp, clause.shape[0]
        plain = HiddenOptimiser(0)
        tail = crown(self.tail, box, self.settings, optimiser=plain).enclosure
        row = self.objective.members[clause].reshape(-1)
        owner = Owner.equal(count, self.width, xp)
        start, error = self.objective.start(row, tail, owner)
        form = back_substitute(tail, start, owner)
        threshold = self.thresholds[row]
        constant = form.constant - threshold - error
        rounding = 8 * DOUBLE_ROUNDOFF * (abs(form.constant) + abs(threshold) + abs(error))
        constant = xp.where(threshold == -float("inf"), -threshold, constant - rounding)
        wide = Box(owner.spread(box.lower), owner.spread(box.upper))
        zero = xp.zeros(owner.rows, 1)
        wide = Box(wide.lower + zero, wide.upper + zero)
        return Planes(LowerForm(form.coefficients + zero, constant), wide)

    def _rest(self, planes: Planes, start: Float[Array, "rows numbers"]) -> Float[Array, " rows"]:
        """c - sum max(g l, g u), rounding included; g is what ``start`` has more than A."""
        xp, box = self.xp, planes.box
        g = start - planes.form.coefficients
        cost = xp.maximum(g * box.lower, g * box.upper)
        size = (abs(start) + abs(planes.form.coefficients)) * box.magnitude(xp)
        unit = gamma(start.shape[1] + 16, max(xp.unit_roundoff, DOUBLE_ROUNDOFF))
        constant = planes.form.constant - xp.astype_double(cost).sum(1)
        rounding = unit * (xp.astype_double(size).sum(1) + abs(planes.form.constant))
        return constant - rounding - xp.tiny

    def _bounded(self, batch: Pieces, steps: int) -> Pieces:
        """What stays open of a batch, after some steps for its multipliers."""
        xp, count = self.xp, len(batch)
        box = Box(batch.lower, batch.upper)
        planes = self._planes(batch.clause, box)
        self.bounded += count
        owner = Owner.equal(1, count * self.width, xp)
        start = xp.copy(batch.start.reshape(owner.rows, -1))
        tilts = self._unpack(batch.tilts.reshape(owner.rows, -1))
        unit = self._unit(planes)
        adam = Adam(replace(self.settings, learning_rate=0.2))
        best = (xp.doubles(xp.zeros(owner.rows)) - float("inf"), start, self._pack(tilts))
        points = None
        for step in range(steps):
            self.settings.check_time()
            rows = Rows(self._parts(start), self._rest(planes, start), owner)
            trace = Trace()
            form = back_substitute(self.head, rows.start, owner, tilts, trace)
            form = LowerForm(form.coefficients, form.constant + rows.constant)
            least = form.least(self.head.boxes[0], owner, self.head)
            gain = least > best[0]
            column = gain[:, None]
            best = (
                xp.where(gain, least, best[0]),
                xp.where(column, start, best[1]),
                xp.where(column, self._pack(tilts), best[2]),
            )
            points = form.coefficients
            if step == steps - 1 or bool((self._margin(best[0]) > 0).all()):
                break
            gradients, primal = descend(self.head, rows, (form, trace), tilts, max(self.places))
            arrived = xp.cat([primal[v] + start[:, :1] * 0 for v in self.places], 1)
            g = start - planes.form.coefficients
            gradients[-1] = self._steer(g, arrived, planes.box) * unit
            moves = adam.moves(gradients, xp)
            start = start + moves.pop(-1) * unit
            for value, move in moves.items():
                tilts[value] = (tilts[value] + move).clip(min=0, max=1)
        return self._open(batch, best, points)

    def _open(
        self, batch: Pieces, best: tuple[Array, Array, Array], slope: Array | None
    ) -> Pieces:
        """The subproblems that are not closed, as they are now."""
        xp, count = self.xp, len(batch)
        margin = self._margin(best[0])
        left = xp.nonzero(~(margin > 0))[0]
        assert slope is not None
        if left.shape[0]:
            region = self.head.boxes[0]
            points = xp.where(slope > 0, region.lower, region.upper)
            points = points.reshape(count, self.width, -1)[left][:, 0]
            self.found = self.examine(points[: 4])
        start = best[1].reshape(count, self.width, -1)
        tilts = best[2].reshape(count, self.width, -1)
        return replace(batch, start=start, tilts=tilts, margin=margin)[left]

    def _margin(self, least: Float[Array, " rows"]) -> Float[Array, " batch"]:
        return self.xp.amax(least.reshape(-1, self.width), 1)

    def _steer(self, g: Array, arrived: Array, box: Box) -> Array:
        """d(bound) / d g at the numbers that arrive."""
        xp = self.xp
        outside = (arrived - box.lower).clip(max=0) + (arrived - box.upper).clip(min=0)
        turn = xp.where(g > 0, arrived - box.upper, outside)
        return xp.where(g < 0, arrived - box.lower, turn)

    def _unit(self, planes: Planes) -> Float[Array, "rows numbers"]:
        """By how much multipliers move in a step, at first."""
        size, width = abs(planes.form.coefficients), planes.box.upper - planes.box.lower
        reach = (size * width).sum(1)[:, None] / size.shape[1]
        return size + reach / (width + self.xp.tiny) * 0.1

    def _split(self, batch: Pieces) -> Pieces:
        """Both halves of each subproblem, cut where that says most."""
        xp, count, numbers = self.xp, len(batch), batch.lower.shape[1]
        every = [self._halves(batch, xp.arange(count) * 0 + i) for i in range(numbers)]
        trial = Pieces.cat(every, xp)
        margin = self._glance(trial).reshape(numbers, 2, count)
        score = margin.clip(max=0).sum(1)
        width = (batch.upper - batch.lower).T
        score = xp.where(width > 0, score, xp.zeros(1) - float("inf"))
        best = score.argmax(0)
        return self._halves(batch, best)

    def _halves(self, batch: Pieces, axis: Int[Array, " batch"]) -> Pieces:
        xp = self.xp
        place, middle = xp.arange(len(batch)), (batch.lower + batch.upper) / 2
        lower, upper = xp.copy(batch.lower), xp.copy(batch.upper)
        lower[place, axis] = middle[place, axis]
        upper[place, axis] = middle[place, axis]
        return Pieces.cat([replace(batch, upper=upper), replace(batch, lower=lower)], xp)

    def _glance(self, batch: Pieces) -> Float[Array, " batch"]:
        """The bounds of a batch with the multipliers that it has."""
        xp = self.xp
        planes = self._planes(batch.clause, Box(batch.lower, batch.upper))
        owner = Owner.equal(1, len(batch) * self.width, xp)
        start = batch.start.reshape(owner.rows, -1)
        tilts = self._unpack(batch.tilts.reshape(owner.rows, -1))
        form = back_substitute(self.head, self._parts(start), owner, tilts)
        form = LowerForm(form.coefficients, form.constant + self._rest(planes, start))
        return self._margin(form.least(self.head.boxes[0], owner, self.head))

    def _parts(self, start: Float[Array, "rows numbers"]) -> dict[int, Array]:
        return {v: start[:, place] for v, place in self.places.items()}

    def _pack(self, tilts: dict[int, Array]) -> Array:
        xp = self.xp
        self.shape = {v: t.shape[1] for v, t in sorted(tilts.items())}
        if not tilts:
            return xp.zeros(self.width, 0)
        return xp.cat([t for _, t in sorted(tilts.items())], 1)

    def _unpack(self, packed: Array) -> dict[int, Array]:
        tilts, start = dict[int, Array](), 0
        for value, size in self.shape.items():
            tilts[value], start = packed[:, start : start + size], start + size
        return tilts
