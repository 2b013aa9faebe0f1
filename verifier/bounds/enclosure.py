"""Boxes and relaxations of every value of a graph, over a batch of input boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from verifier.bounds.composed import Composed
from verifier.families import Affine, Nonlinear, Planes, Product, Relaxation
from verifier.graph import Graph
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Float, gamma

if TYPE_CHECKING:
    from verifier.bounds.offsets import Offsets

EXTRA_TERMS = 10
"""Roundings in each bound besides those of a node's own sums: boxes' centres and radii, the input's
decimals, signs, and the few terms that are added up per node."""
SINGLE_ROUNDOFF = 2.0**-24
SINGLE_FACTOR = 2.0
"""The checker bounds float32 execution node by node; here affine nodes may have been merged."""


@dataclass(eq=False)
class Enclosure:
    """What is known about the values of a graph over a batch of input boxes, built in value order.

    ``boxes[v]`` contains every value v reachable from the batch entry's region. ``noise[v]``
    bounds, per unit of |coefficient| on an affine value v, the rounding error of the step back
    through v: gamma (|M| |x|max + |b|), so that a row's error is concretised at once and never
    propagates. ``fused`` are the values whose noise is part of the relaxation that reads them.
    """

    graph: Graph
    boxes: list[Box]
    noise: dict[int, Float[Array, "batch n"]] = field(default_factory=dict)
    relaxations: dict[int, Relaxation] = field(default_factory=dict)
    fused: set[int] = field(default_factory=set)
    single: bool = False
    """Is the network's own float32 execution counted as noise, too?"""
    underflow: dict[int, Float[Array, " batch"]] = field(default_factory=dict)
    """For each value, the absolute errors of a row's step back through it, where numbers fall below
    the least normal one: whatever the row's coefficients are."""
    composed: dict[int, Composed] = field(default_factory=dict)
    """Relaxations that take plain rows from a value to one much earlier."""
    offsets: Offsets | None = field(default=None, init=False)
    """The same in single precision, as offsets from points, once there are rows for it."""

    @staticmethod
    def over(graph: Graph, region: Box, *, single: bool = False) -> Enclosure:
        """Nothing known yet but the input's region."""
        return Enclosure(graph, [region], single=single)

    @staticmethod
    def within(
        graph: Graph, region: Box, known: Mapping[int, Box], *, single: bool = False
    ) -> Enclosure:
        """Boxes by interval arithmetic, cut with known ones, and relaxations over them."""
        made = Enclosure.over(graph, region, single=single)
        for _ in graph.nodes:
            value = made.step(known)
            if isinstance(graph.node(value).operator, Nonlinear):
                made.relax(value)
        return made

    def shortcuts(self, tilts: Mapping[int, Array]) -> dict[int, Composed]:
        """The composed relaxations that have no tilts inside."""
        funnels = self.graph.funnels
        return {
            end: composed
            for end, composed in self.composed.items()
            if end not in tilts and not any(v in tilts for v in funnels[end].inside)
        }

    @property
    def spanned(self) -> frozenset[int]:
        """The values inside composed relaxations."""
        return frozenset().union(*(self.graph.funnels[end].inside for end in self.composed))

    @property
    def batch(self) -> int:
        """How many input boxes there are."""
        return self.boxes[0].lower.shape[0]

    def step(self, inherited: Mapping[int, Box] | None = None) -> int:
        """Interval arithmetic for the next value, cut with an inherited box; its number."""
        value = len(self.boxes)
        node = self.graph.node(value)
        boxes = [self.boxes[i] for i in node.inputs]
        if isinstance(node.operator, Affine):
            box = self._affine(value, node.operator, boxes)
        else:
            assert isinstance(node.operator, Nonlinear)
            box = node.operator.interval(*boxes)
        if inherited is not None and value in inherited:
            box = box.intersect(inherited[value], self.graph.xp)
        self.boxes.append(box)
        return value

    def known(self, value: int) -> Box | None:
        """A value's box, also where its turn has not come but it is affine in the input."""
        if value < len(self.boxes):
            return self.boxes[value]
        if not self.graph.affine_of_input[value]:
            return None
        operator = self.graph.node(value).operator
        assert isinstance(operator, Affine)
        return self._affine(value, operator, [self.boxes[0]])

    def _affine(self, value: int, operator: Affine, boxes: list[Box]) -> Box:
        xp = self.graph.xp
        centers = [b.center for b in boxes]
        radii = [b.radius for b in boxes]
        off = self.charge(value, boxes)
        middle, spread = operator.evaluate(*centers), operator.absolute(*radii)
        spread = spread + off
        finite = xp.function("isfinite", middle)
        if not bool(finite.all()):
            # A sum that was too large says nothing, not that it is -inf or inf.
            middle = xp.where(finite, middle, xp.zeros(1))
            spread = xp.where(finite, spread, xp.full((1,), float("inf")))
        return Box(middle - spread, middle + spread)

    def charge(self, value: int, boxes: list[Box]) -> Float[Array, "batch n"]:
        """Set an affine value's noise; returns how far from it what interval arithmetic computes.

        ``boxes``: of what it is computed from.
        """
        xp, operator = self.graph.xp, self.graph.node(value).operator
        assert isinstance(operator, Affine)
        reach = [b.magnitude(xp) for b in boxes]
        magnitude = operator.magnitude(*reach)
        own = gamma(operator.terms + EXTRA_TERMS, xp.unit_roundoff)
        dot = gamma(min(operator.size, xp.dot_terms), xp.unit_roundoff)
        small = xp.least_normal * (operator.terms + 2) + operator.lost_of(*reach)
        if self.single:
            own = own + SINGLE_FACTOR * gamma(operator.terms + EXTRA_TERMS, SINGLE_ROUNDOFF)
        self.noise[value] = (own + dot) * magnitude + small
        self.count_underflow(value, boxes, operator.terms)
        return 2 * own * magnitude + small

    def count_underflow(self, value: int, boxes: list[Box], terms: int) -> None:
        xp = self.graph.xp
        reach = [xp.astype_double(box.magnitude(xp)).sum(1) for box in boxes]
        total = sum(reach[1:], reach[0]) + self.graph.size(value)
        self.underflow[value] = (terms + 8) * xp.least_normal * total

    def relax(self, value: int) -> None:
        """Relax the nonlinear node ``value`` over the present boxes of its inputs."""
        node = self.graph.node(value)
        assert isinstance(node.operator, Nonlinear)
        relaxation = node.operator.relax(*(self.boxes[i] for i in node.inputs))
        self.count_underflow(value, [self.boxes[i] for i in node.inputs], 8)
        if isinstance(relaxation, Planes) and len(node.inputs) == 1:
            relaxation = self.fuse(node.inputs[0], relaxation)
        self.relaxations[value] = relaxation

    def fuse(self, source: int, planes: Planes) -> Planes:
        """Charge the noise of a value that only this node reads along with the node's own."""
        if source not in self.noise or len(self.graph.consumers[source]) > 1:
            return planes
        if source == self.graph.output:
            return planes
        xp = self.graph.xp
        steepest = xp.maximum(abs(planes.below[0]), abs(planes.above[0]))
        if planes.gain is not None and planes.untilted is not None:
            steepest = xp.maximum(steepest, abs(planes.untilted) + abs(planes.gain))
        self.fused.add(source)
        return replace(planes, noise=planes.noise + steepest * self.noise[source])

    def bent(self, *, recorded: bool = False) -> Enclosure:
        """The same boxes, and relaxations that have more planes for rows to choose from.

        ``recorded``: only where certificates can say which ones were chosen, at the elementwise
        products that compute a tensor of the file.
        """
        result = replace(self, relaxations=dict(self.relaxations), fused=set(self.fused))
        for value in self.relaxations:
            node = self.graph.node(value)
            if recorded and not (isinstance(node.operator, Product) and node.tensor):
                continue
            result.bend(value)
        return result

    def bend(self, value: int) -> None:
        """Give a nonlinear node more planes for rows to choose from, if there are any."""
        node, before = self.graph.node(value), self.relaxations[value]
        assert isinstance(node.operator, Nonlinear)
        bent = node.operator.bend(before, *(self.boxes[i] for i in node.inputs))
        self.relaxations[value] = bent
        if bent is not before:
            # Rows may be steeper than what the noise of its input was charged for.
            self.fused.difference_update(node.inputs)

    def take(self, index: Array) -> Enclosure:
        """What is known for some batch entries."""
        return Enclosure(
            self.graph,
            [box[index] for box in self.boxes],
            {v: x[index] for v, x in self.noise.items()},
            {v: r.take(index) for v, r in self.relaxations.items()},
            set(self.fused),
            self.single,
            {v: x[index] for v, x in self.underflow.items()},
            # Of one box only, which all entries are then.
            self.composed,
        )
