"""The exact minimum of a piecewise linear network: a linear program for each sign pattern."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from verifier.families import Affine
from verifier.graph import Graph
from verifier.ops.relu import Relu
from verifier.tensors import numpy_backend

XP = numpy_backend()


@dataclass(frozen=True, eq=False)
class Part:
    """Where one pattern holds: the box and ``a . x <= b`` for some rows; the forms of all values.

    A form is [size, n + 1]: the matrix of x, and the constant.
    """

    lower: np.ndarray
    upper: np.ndarray
    rows: tuple[np.ndarray, ...] = ()
    forms: tuple[np.ndarray, ...] = ()

    def cut(self, form: np.ndarray) -> "Part":
        """The points where the form is at most 0."""
        return Part(self.lower, self.upper, (*self.rows, form), self.forms)

    def solve(self, rows: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The least value of max over ``rows`` (forms), and where; None for no point."""
        size = len(self.lower)
        table = np.array([*self.rows, *rows]).reshape(-1, size + 1)
        top = np.r_[np.zeros(len(self.rows)), -np.ones(len(rows))][:, None]
        bounds = [*zip(self.lower, self.upper, strict=True), (None, None) if len(rows) else (0, 0)]
        goal = np.r_[np.zeros(size), 1.0]
        matrix = np.hstack([table[:, :size], top])
        found = linprog(goal, matrix, -table[:, size], bounds=bounds, method="highs")
        if found.status == 2:
            return None
        assert found.status == 0, found.message
        return float(found.fun), found.x[:size]

    def range(self, form: np.ndarray) -> tuple[float, float]:
        """The form's least and greatest value over the box alone."""
        center, radius = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        middle, spread = form[:-1] @ center + form[-1], abs(form[:-1]) @ radius
        return middle - spread, middle + spread


def parts(graph: Graph, lower: np.ndarray, upper: np.ndarray) -> Iterator[Part]:
    """All patterns that some point of the box has."""
    size = len(lower)
    first = np.hstack([np.eye(size), np.zeros((size, 1))])
    yield from _walk(graph.on(XP), Part(lower, upper, (), (first,)))


def _walk(graph: Graph, part: Part) -> Iterator[Part]:
    place = len(part.forms) - 1
    if place == len(graph.nodes):
        yield part
        return
    node = graph.nodes[place]
    inputs = [part.forms[i] for i in node.inputs]
    operator = node.operator
    if isinstance(operator, Affine):
        zero = operator.evaluate(*(np.zeros((1, x.shape[0])) for x in inputs))
        image = operator.evaluate(*(x.T for x in inputs)) - zero
        image[-1] += zero[0]
        branches = [(part, image.T)]
    else:
        assert isinstance(operator, Relu)
        branches = _signs(part, inputs[0], operator.leak)
    for branch, form in branches:
        follow = Part(branch.lower, branch.upper, branch.rows, (*part.forms, form))
        yield from _walk(graph, follow)


def _signs(part: Part, forms: np.ndarray, leak: float) -> list[tuple[Part, np.ndarray]]:
    """The sign patterns of one layer that are possible, with the forms of its outputs."""
    found = [(part, np.zeros((0, forms.shape[1])))]
    for form in forms:
        low, high = part.range(form)
        longer = []
        for branch, outputs in found:
            if high > 0:
                upper = branch if low >= 0 else branch.cut(-form)
                longer.append((upper, np.vstack([outputs, form])))
            if low < 0:
                lower = branch if high <= 0 else branch.cut(form)
                longer.append((lower, np.vstack([outputs, leak * form])))
        cut = low < 0 < high
        none = np.zeros((0, forms.shape[1]))
        found = [x for x in longer if not cut or x[0].solve(none) is not None]
    return found


def least(
    graph: Graph, box: tuple[np.ndarray, np.ndarray], rows: np.ndarray, thresholds: np.ndarray
) -> tuple[float, np.ndarray]:
    """min over the box of max over rows of ``rows . y - threshold``, and a point that has it."""
    best, where = np.inf, box[0]
    for part in parts(graph, *box):
        forms = rows @ part.forms[graph.output]
        forms[:, -1] -= thresholds
        found = part.solve(forms)
        if found is not None and found[0] < best:
            best, where = found
    return best, where
