"""Forms of the input pushed through a graph, value by value, next to the values' boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Generic, TypeVar

from verifier.bounds.enclosure import Enclosure
from verifier.families import Affine, Nonlinear
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Float

Form = TypeVar("Form")

FORM_TERMS = 16
"""Roundings in each step of a form besides those of the operator's own sums."""


@dataclass(eq=False)
class Push(ABC, Generic[Form]):
    """One form per value, each used to narrow the value's box and dropped after its last reader.

    A nonlinear node is relaxed over the narrowed boxes of its inputs, so boxes help forms and forms
    help boxes; where a form overflows, the box takes its place.
    """

    enclosure: Enclosure
    live: dict[int, Form] = field(default_factory=dict)
    """The forms of the values that are still to be read."""

    @abstractmethod
    def start(self) -> Form:
        """The form of the input."""

    @abstractmethod
    def affine(self, operator: Affine, inputs: tuple[Form, ...]) -> Form:
        """The form after an affine operator."""

    @abstractmethod
    def nonlinear(self, value: int, operator: Nonlinear, inputs: tuple[Form, ...]) -> Form:
        """The form after a nonlinear operator, relaxed as the enclosure says."""

    @abstractmethod
    def constant(self, box: Box) -> Form:
        """The form that says nothing but the box."""

    @abstractmethod
    def choose(self, where: Float[Array, "batch n"], yes: Form, no: Form) -> Form:
        """Neuron by neuron one of two forms."""

    @abstractmethod
    def box(self, form: Form) -> Box:
        """The least box around a form, rounding included; NaN or infinite where it overflowed."""

    def seen(self, value: int, form: Form) -> None:
        """After each value: what there is to keep of its form."""

    def settle(self) -> None:
        """After each value: what there is to do with the live forms."""

    def run(self, inherited: Mapping[int, Box] | None = None) -> Enclosure:
        """Push through all nodes; the boxes are cut with the inherited ones."""
        for _ in self.enclosure.graph.nodes:
            self.step(inherited)
        return self.enclosure

    def step(self, inherited: Mapping[int, Box] | None = None) -> int:
        """Box and form of the next value, and its relaxation if it is nonlinear; its number.

        Between two steps the boxes may be narrowed further by other means.
        """
        enclosure, graph = self.enclosure, self.enclosure.graph
        value = enclosure.step(inherited)
        if value == 1:
            self.live = {0: self.start()}
        node = graph.node(value)
        inputs = tuple(self.live[i] for i in node.inputs)
        if isinstance(node.operator, Affine):
            form = self.affine(node.operator, inputs)
        else:
            assert isinstance(node.operator, Nonlinear)
            enclosure.relax(value)
            form = self.nonlinear(value, node.operator, inputs)
        form = self._meet(value, form)
        self.seen(value, form)
        self.live = {v: f for v, f in self.live.items() if graph.consumers[v][-1] > value}
        if graph.consumers[value]:
            self.live[value] = form
            self.settle()
        return value

    def _meet(self, value: int, form: Form) -> Form:
        """Narrow the box with the form; where that is not finite, the box takes its place."""
        xp, old, new = self.enclosure.graph.xp, self.enclosure.boxes[value], self.box(form)
        finite = xp.function("isfinite", new.lower) & xp.function("isfinite", new.upper)
        lower = xp.where(finite & (new.lower > old.lower), new.lower, old.lower)
        upper = xp.where(finite & (new.upper < old.upper), new.upper, old.upper)
        box = self.enclosure.boxes[value] = Box(lower, upper)
        if bool(finite.all()):
            return form
        return self.choose(finite, form, self.constant(box))


def linear_part(operator: Affine) -> Affine:
    """The same operator without its bias."""
    return operator if operator.bias is None else replace(operator, bias=None)


def stacked(operator: Affine, inputs: tuple[Float[Array, "batch g _"], ...]) -> Array:
    """``sum_i M_i x_i`` for a stack of vectors per batch entry."""
    batch, count = inputs[0].shape[:2]
    if count == 0:
        return operator.xp.zeros(batch, 0, operator.size)
    rows = tuple(x.reshape(batch * count, x.shape[2]) for x in inputs)
    return linear_part(operator).evaluate(*rows).reshape(batch, count, operator.size)
