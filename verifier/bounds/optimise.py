"""Alpha and beta: slopes and multipliers of splits, optimised for each row on its own.

The bound is a concave function of each multiplier block; its gradient has a closed form. Let x* be
the row's minimiser at the input, pushed forward through the lines that the row chose: the value
that arrives at a node is d(bound)/d(nu) there, and the derivative for a tilt is ``lever * x`` (the
envelope
theorem: the minimiser's own change contributes nothing). Two sweeps give a value and a gradient; no
graph is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from verifier.bounds.back import LowerForm, Route, Trace, UnitStart, back_substitute
from verifier.bounds.enclosure import Enclosure
from verifier.families import Affine, Planes
from verifier.records import dataclass
from verifier.sets import Owner
from verifier.settings import BoundSettings
from verifier.tensors import Array, Backend, Float

TILT_STEPS = 255
"""Tilts are multiples of 1 / 255: a certificate holds a byte for each."""
ADAM_MEAN, ADAM_SQUARE, ADAM_FLOOR = 0.9, 0.999, 1e-8
"""Adam's usual constants (Kingma & Ba 2015)."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to bound: coefficients on some values, a constant for each row, and their owners."""

    start: Mapping[int, Float[Array, "rows _"]]
    constant: Float[Array, " rows"]
    owner: Owner

    def part(self, some: slice) -> Rows:
        """Some rows of an only box."""
        start, constant = {v: x[some] for v, x in self.start.items()}, self.constant[some]
        return Rows(start, constant, Owner(None, 1, constant.shape[0]))


def unit_rows(enclosure: Enclosure, value: int, which: tuple[Array, Array, Array]) -> Rows:
    """The rows ``sign * neuron`` of a value, for (batch, neuron, sign)."""
    batch, neuron, sign = which
    made, owner = UnitStart.of(enclosure, value, neuron, sign), Owner.of(batch, enclosure.batch)
    return Rows(made.start, made.constant(owner, batch), owner)


@dataclass(eq=False)
class Optimised:
    """The best bound found for each row, and the tilts and the form that give it."""

    least: Float[Array, " rows"]
    tilts: dict[int, Float[Array, "rows _"]]
    form: LowerForm
    trace: Trace
    last: dict[int, Float[Array, "rows _"]] = field(default_factory=dict[int, Array])
    """The tilts of the last step."""


@dataclass(eq=False)
class Moments:
    """Adam's running means of a gradient and its square, each without its constant factor."""

    mean: Array
    square: Array

    def move(
        self,
        gradient: Array,
        step: int,
        rate: float,
        memory: tuple[float, float] = (ADAM_SQUARE, ADAM_FLOOR),
    ) -> Array:
        """By how much to move; the gradient's array is made use of. ``step`` counts from 1.

        ``memory``: what is kept of the mean square, and the least size of a gradient.
        """
        keep, floor = memory
        self.mean *= ADAM_MEAN
        self.mean += gradient
        gradient *= gradient
        self.square *= keep
        self.square += gradient
        first = (1 - ADAM_MEAN) / (1 - ADAM_MEAN**step)
        second = ((1 - keep) / (1 - keep**step)) ** 0.5
        size = self.square**0.5
        size += floor / second
        move = self.mean / size
        move *= rate * first / second
        return move


@dataclass(eq=False)
class Adam:
    """Adam, ascending, over a dictionary of arrays."""

    settings: BoundSettings
    moments: dict[int, Moments] = field(default_factory=dict[int, Moments])
    steps: int = 0

    def step(
        self, tilts: dict[int, Array], gradients: dict[int, Array], enclosure: Enclosure
    ) -> None:
        """Move tilts, in place, and back into their range."""
        for value, move in self.moves(gradients, enclosure.graph.xp).items():
            tilts[value] = project(enclosure, value, tilts[value] + move)

    def moves(self, gradients: Mapping[int, Array], xp: Backend) -> dict[int, Array]:
        """By how much to move what the gradients are about."""
        result = dict[int, Array]()
        self.steps += 1
        rate = self.settings.learning_rate * self.settings.learning_rate_decay ** (self.steps - 1)
        for value, gradient in gradients.items():
            if value not in self.moments:
                self.moments[value] = Moments(gradient * 0, gradient * 0)
            result[value] = self.moments[value].move(xp.copy(gradient), self.steps, rate)
        return result


def project(enclosure: Enclosure, value: int, tilt: Float[Array, "rows n"]) -> Array:
    """Tilts into [0, 1], in 255ths as in certificates; multipliers of splits into [0, inf)."""
    planes, xp = enclosure.relaxations[value], enclosure.graph.xp
    place = planes.bounded_tilts
    if place is not None:
        inside = xp.function("round", tilt[:, :place].clip(min=0, max=1) * TILT_STEPS) / TILT_STEPS
        return xp.cat([inside, tilt[:, place:]], 1)
    if not isinstance(planes, Planes) or planes.cut is None:
        return xp.function("round", tilt.clip(min=0, max=1) * TILT_STEPS) / TILT_STEPS
    limit = xp.where(planes.cut != 0, xp.full((1,), float("inf")), xp.full((1,), 1.0))
    rows = tilt.shape[0]
    if limit.shape[0] not in (1, rows):
        limit = xp.repeat(limit, rows // limit.shape[0])
    tilt = xp.minimum(tilt.clip(min=0), limit)
    return xp.where(limit > 1, tilt, xp.function("round", tilt * TILT_STEPS) / TILT_STEPS)


def default_tilts(
    enclosure: Enclosure, start: Mapping[int, Array], owner: Owner
) -> dict[int, Float[Array, "rows _"]]:
    """The relaxations' own slopes as tilts, where the rows pass; splits start at 0."""
    xp, graph = enclosure.graph.xp, enclosure.graph
    reached = frozenset().union(*(graph.ancestors[v] for v in start))
    tilts = {}
    for value, relaxation in enclosure.relaxations.items():
        tilt = relaxation.middle_tilt() if value in reached else None
        if tilt is None:
            continue
        spread = owner.spread(tilt)
        if spread.shape[0] != owner.rows:
            spread = xp.repeat(spread, owner.rows)
        tilts[value] = spread
    return tilts


def optimise(
    enclosure: Enclosure,
    rows: Rows,
    steps: int,
    settings: BoundSettings,
    tilts: dict[int, Float[Array, "rows _"]] | None = None,
) -> Optimised:
    """Raise each row's bound by ``steps`` evaluations (one: plain CROWN); keep the best."""
    xp = enclosure.graph.xp
    tilts = default_tilts(enclosure, rows.start, rows.owner) if tilts is None else dict(tilts)
    adam, route = Adam(settings), Route(shortcuts=enclosure.shortcuts(tilts))
    best: Optimised | None = None
    for step in range(steps):
        settings.check_time()
        trace = Trace()
        form = back_substitute(enclosure, rows.start, rows.owner, tilts, trace, route)
        form = LowerForm(form.coefficients, form.constant + rows.constant)
        least = form.least(enclosure.boxes[0], rows.owner, enclosure)
        best = _better(best, Optimised(least, dict(tilts), form, trace), enclosure)
        if step == steps - 1 or not tilts or bool((best.least > 0).all()):
            break
        gradients, _ = descend(enclosure, rows, (form, trace), tilts)
        adam.step(tilts, gradients, enclosure)
    assert best is not None
    for value in list(best.tilts):
        best.tilts[value] = xp.copy(best.tilts[value])
    best.last = tilts
    return best


def _better(best: Optimised | None, new: Optimised, enclosure: Enclosure) -> Optimised:
    """Row by row the better of two."""
    if best is None:
        return new
    xp = enclosure.graph.xp
    gain = new.least > best.least
    column = gain[:, None]
    return Optimised(
        xp.where(gain, new.least, best.least),
        {v: xp.where(column, t, best.tilts[v]) for v, t in new.tilts.items()},
        LowerForm(
            xp.where(column, new.form.coefficients, best.form.coefficients),
            xp.where(gain, new.form.constant, best.form.constant),
        ),
        Trace({v: xp.where(column, r, best.trace.rows[v]) for v, r in new.trace.rows.items()}),
    )


def descend(
    enclosure: Enclosure,
    rows: Rows,
    found: tuple[LowerForm, Trace],
    tilts: Mapping[int, Float[Array, "rows _"]],
    upto: int = 0,
) -> tuple[dict[int, Array], dict[int, Array]]:
    """d(bound)/d(tilt) for every tilted node, by one forward sweep from the rows' minimisers.

    And the values that arrive, at least those that lead to ``upto``.
    """
    form, trace = found
    graph, xp, owner = enclosure.graph, enclosure.graph.xp, rows.owner
    region = enclosure.boxes[0]
    low, high = owner.spread(region.lower), owner.spread(region.upper)
    primal: dict[int, Array] = {0: xp.where(form.coefficients > 0, low, high)}
    gradients = {}
    taken = {v: c for v, c in enclosure.shortcuts(tilts).items() if v in trace.rows}
    inside = frozenset().union(*(graph.funnels[v].inside for v in taken))
    last = max([upto, *trace.rows])
    for value in range(1, last + 1):
        node, composed = graph.node(value), taken.get(value)
        if composed is not None and composed.source in primal:
            primal[value] = composed.push_forward(trace.rows[value], primal[composed.source])
        if value in inside or value in primal or any(i not in primal for i in node.inputs):
            continue
        inputs = tuple(primal[i] for i in node.inputs)
        if isinstance(node.operator, Affine):
            primal[value] = node.operator.evaluate(*inputs)
        elif value in trace.rows:
            relaxation, coefficients = enclosure.relaxations[value], trace.rows[value]
            if value in tilts:
                gradients[value] = relaxation.steer(coefficients, owner, tilts[value], inputs)
            if value < last:
                primal[value] = relaxation.push_forward(
                    coefficients, owner, tilts.get(value), inputs
                )
    return gradients, primal
