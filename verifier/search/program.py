"""Close a subproblem by a linear program over the relaxations of its neurons.

The program is the dual of what sweeps raise step by step: its multipliers are the best slopes and
weights. They go through the same rigorous sweep as all others, so the solver is never trusted.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Bool, Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class Multipliers:
    """What bounds a sum of rows best."""

    least: float
    """The bound, by the solver's word."""
    weight: Float[np.ndarray, " width"]
    tilt: Float[np.ndarray, " neurons"]
    """alpha of free neurons, beta of split ones."""


@dataclass(frozen=True, eq=False)
class Program:
    """The rows of a reduced network in the variables (inputs, outputs of neurons, greatest row).

    Minimises t with row(x, y) <= t for all of some of the property's rows, every free neuron
    between its lines, every split one on its side of 0.
    """

    net: Reduced
    rows: Int[np.ndarray, " width"]
    silent: Bool[np.ndarray, " neurons"]
    """Neurons at most 0 wherever the rows are: their outputs are 0, and their inputs at most t.

    Each of them is read by one of the rows only, with a plus; a weight of that row as large as the
    multiplier of "at most 0" demands is no loss, since all that it adds is the neuron's output.
    """

    @staticmethod
    def of(
        net: Reduced, rows: Int[np.ndarray, " width"], given: Float[np.ndarray, " neurons"]
    ) -> Program:
        """``given``: the signs of neurons that the rows imply."""
        xp = net.xp
        read = xp.numpy(net.row_links)[rows]
        once = (read >= 0).all(0) & ((read > 0).sum(0) == 1)
        last = ~(xp.numpy(net.links) != 0).any(0)
        return Program(net, rows, once & last & (given < 0) & (xp.numpy(net.leak) == 0))

    def solve(self, phase: Float[np.ndarray, " neurons"]) -> Multipliers | None:
        """The best multipliers of a sign pattern; None where the solver finds none."""
        found = self._solve(phase, elastic=False)
        return self._solve(phase, elastic=True) if found is None else found

    def _solve(self, phase: np.ndarray, *, elastic: bool) -> Multipliers | None:
        """With ``elastic``, the split neurons may be off their sides by t, too."""
        from scipy.optimize import linprog

        n, count, split = self.net.inputs, self.net.neurons, phase != 0
        silent = self.silent & ~split
        kinds, equal = self._chosen(phase, elastic=elastic)
        below, matched = np.concatenate(kinds), self._equalities
        limits = np.full((n + count + 1, 2), (-np.inf, np.inf))
        limits[:n] = -1.0, 1.0
        limits[n:-1][silent] = 0.0
        answer = linprog(
            np.append(np.zeros(n + count), 1.0),
            A_ub=self._inequalities[0][below],
            b_ub=self._inequalities[1][below],
            A_eq=matched[0][equal] if split.any() else None,
            b_eq=matched[1][equal] if split.any() else None,
            bounds=limits,
            method="highs",
        )
        if answer.status != 0 or answer.ineqlin is None:
            return None
        duals = np.maximum(-answer.ineqlin.marginals, 0)
        sizes = [len(kind) for kind in kinds]
        weight, quiet, upper, lower, chord, beta = np.split(duals, np.cumsum(sizes)[:-1])
        tilt = np.zeros(count)
        weight, tilt[silent] = self._raised(silent, weight, quiet)
        # A chord together with lower lines is no better than the lower lines less it.
        passed, total = upper + lower - chord, weight.sum()
        slope = np.maximum(upper - chord, 0.0) / np.where(passed > 0, passed, 1.0)
        tilt[(phase == 0) & ~silent] = np.where(passed > 0, slope, 0.0)
        if not total > 0:
            # The signs alone contradict each other: enough of that outweighs any row.
            if not (elastic and answer.fun > 0):
                return None
            weight[0], beta = 1.0, beta * (2 * self._most(int(self.rows[0])) / answer.fun)
            total = 1.0
        tilt[split] = beta / total
        return Multipliers(float(answer.fun), weight / total, tilt)

    def _raised(
        self, silent: np.ndarray, weight: np.ndarray, duals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the rows that allow for silent neurons' multipliers, and their slopes."""
        read = self.net.xp.numpy(self.net.row_links)[self.rows][:, silent].astype(float)
        needed = np.where(read > 0, duals / np.where(read > 0, read, 1.0), 0.0)
        weight = np.maximum(weight, needed.max(1, initial=0.0))
        allowed = weight @ read
        return weight, np.where(allowed > 0, duals / np.where(allowed > 0, allowed, 1.0), 0.0)

    def _chosen(
        self, phase: np.ndarray, *, elastic: bool
    ) -> tuple[list[Int[np.ndarray, " some"]], Int[np.ndarray, " split"]]:
        """Which inequalities a sign pattern has, kind by kind, and which equalities."""
        count, first, split = self.net.neurons, len(self.rows), np.nonzero(phase)[0]
        silent, free = (
            first + np.nonzero(some & (phase == 0))[0] for some in (self.silent, ~self.silent)
        )
        below = phase[split] < 0
        side = first + (4 + 2 * elastic + below) * count + split
        kinds = [np.arange(first), silent, *(free + k * count for k in (1, 2, 3)), side]
        return kinds, split + below * count

    @cached_property
    def _inequalities(self) -> tuple[csr_array, np.ndarray]:
        """Matrix and right side of all inequalities that some pattern has.

        The property's rows; then for each neuron, kind by kind: silent; above its input; above its
        lower line; below its chord; active and inactive, both also with t.
        """
        from scipy import sparse

        inputs, outputs, right = self._sides
        rows, leak, chord, offset = self._numbers("row_bias", "leak", "chord", "offset")
        above = np.hstack(self._numbers("row_weights", "row_links"))[self.rows]
        kinds = [
            (sparse.csr_array(above), -rows[self.rows], -1.0),
            (inputs, right, -1.0),
            (inputs - outputs, right, 0.0),
            (_times(leak, inputs) - outputs, leak * right, 0.0),
            (outputs - _times(chord, inputs), offset - chord * right, 0.0),
            *((side * inputs, side * right, soft) for soft in (0.0, -1.0) for side in (-1, 1)),
        ]
        matrix = sparse.vstack([part for part, _, _ in kinds])
        last = np.concatenate([np.full(len(side), soft) for _, side, soft in kinds])
        whole = sparse.csr_array(sparse.hstack([matrix, sparse.csr_array(last[:, None])]))
        return whole, np.concatenate([side for _, side, _ in kinds])

    @cached_property
    def _equalities(self) -> tuple[csr_array, np.ndarray]:
        """Matrix and right side of all equalities: every neuron's output, active, then inactive."""
        from scipy import sparse

        inputs, outputs, right = self._sides
        (leak,) = self._numbers("leak")
        matrix = sparse.vstack([outputs - inputs, outputs - _times(leak, inputs)])
        none = sparse.csr_array((2 * self.net.neurons, 1))
        whole = sparse.csr_array(sparse.hstack([matrix, none]))
        return whole, -np.concatenate([right, leak * right])

    @cached_property
    def _sides(self) -> tuple[csr_array, csr_array, np.ndarray]:
        """Every neuron's input and its output as rows, and the first one's right side."""
        from scipy import sparse

        weights, links, bias = self._numbers("weights", "links", "bias")
        inputs = sparse.csr_array(np.hstack([weights, links]))
        none = sparse.csr_array((self.net.neurons, self.net.inputs))
        ones = sparse.diags_array(np.ones(self.net.neurons))
        outputs = sparse.csr_array(sparse.hstack([none, ones]))
        return inputs, outputs, -bias

    def _numbers(self, *names: str) -> list[np.ndarray]:
        """Arrays of the network, in double precision."""
        return [self.net.xp.numpy(getattr(self.net, name)).astype(float) for name in names]

    def _most(self, row: int) -> float:
        """A bound of how large a row can be."""
        xp, net = self.net.xp, self.net
        reach = xp.numpy(xp.maximum(abs(net.lower), abs(net.upper)))
        size = abs(xp.numpy(net.row_weights)[row]).sum() + abs(xp.numpy(net.row_links)[row]) @ reach
        return float(1 + size + abs(xp.numpy(net.row_bias)[row]))


def _times(factor: np.ndarray, matrix: csr_array) -> csr_array:
    """Each row times a number."""
    from scipy import sparse

    return sparse.csr_array(sparse.diags_array(factor) @ matrix)
