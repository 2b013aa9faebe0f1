"""Close a subproblem by a linear program over the relaxations of its neurons.

The program is the dual of what sweeps raise step by step: its multipliers are the best slopes and
weights. They go through the same rigorous sweep as all others, so the solver is never trusted.
"""

from __future__ import annotations

import numpy as np

from verifier.bounds.reduced import Reduced
from verifier.records import dataclass
from verifier.tensors import Bool, Float, Int


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

    Minimises t with row(x, y) <= t for all of the property's rows asked for, every free neuron
    between its lines, every split one on its side of 0.
    """

    net: Reduced
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
        return Program(net, once & last & (given < 0) & (xp.numpy(net.leak) == 0))

    def solve(
        self, rows: Int[np.ndarray, " width"], phase: Float[np.ndarray, " neurons"]
    ) -> Multipliers | None:
        """The best multipliers of a sign pattern; None where the solver finds none."""
        found = self._solve(rows, phase, elastic=False)
        return self._solve(rows, phase, elastic=True) if found is None else found

    def _solve(self, rows: np.ndarray, phase: np.ndarray, *, elastic: bool) -> Multipliers | None:
        """With ``elastic``, the split neurons may be off their sides by t, too."""
        from scipy import sparse
        from scipy.optimize import linprog

        n, count, split = self.net.inputs, self.net.neurons, phase != 0
        silent = self.silent & ~split
        inequalities, equalities = self._rows(rows, phase)
        sizes = [len(part) for part, _ in inequalities]
        soft = np.zeros((sum(sizes), 1))
        soft[: sizes[0] + sizes[1]] = -1.0
        soft[sum(sizes[:-1]) :] = -1.0 if elastic else 0.0
        limits = [(0.0, 0.0) if quiet else (None, None) for quiet in silent]
        matrix = np.vstack([part for part, _ in inequalities])
        equal = np.hstack([equalities[0], np.zeros((len(equalities[0]), 1))])
        answer = linprog(
            np.append(np.zeros(n + count), 1.0),
            A_ub=sparse.csr_array(np.hstack([matrix, soft])),
            b_ub=np.concatenate([right for _, right in inequalities]),
            A_eq=sparse.csr_array(equal) if split.any() else None,
            b_eq=equalities[1] if split.any() else None,
            bounds=[(-1.0, 1.0)] * n + limits + [(None, None)],
            method="highs",
        )
        if answer.status != 0 or answer.ineqlin is None:
            return None
        duals = np.maximum(-answer.ineqlin.marginals, 0)
        weight, quiet, upper, lower, chord, beta = np.split(duals, np.cumsum(sizes)[:-1])
        tilt = np.zeros(count)
        weight, tilt[silent] = self._raised(rows, silent, weight, quiet)
        # A chord together with lower lines is no better than the lower lines less it.
        passed, total = upper + lower - chord, weight.sum()
        slope = np.maximum(upper - chord, 0.0) / np.where(passed > 0, passed, 1.0)
        tilt[(phase == 0) & ~silent] = np.where(passed > 0, slope, 0.0)
        if not total > 0:
            # The signs alone contradict each other: enough of that outweighs any row.
            if not (elastic and answer.fun > 0):
                return None
            weight[0], beta = 1.0, beta * (2 * self._most(int(rows[0])) / answer.fun)
            total = 1.0
        tilt[split] = beta / total
        return Multipliers(float(answer.fun), weight / total, tilt)

    def _raised(
        self, rows: np.ndarray, silent: np.ndarray, weight: np.ndarray, duals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the rows that allow for silent neurons' multipliers, and their slopes."""
        read = self.net.xp.numpy(self.net.row_links)[rows][:, silent].astype(float)
        needed = np.where(read > 0, duals / np.where(read > 0, read, 1.0), 0.0)
        weight = np.maximum(weight, needed.max(1, initial=0.0))
        allowed = weight @ read
        return weight, np.where(allowed > 0, duals / np.where(allowed > 0, allowed, 1.0), 0.0)

    def _rows(
        self, rows: np.ndarray, phase: np.ndarray
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[np.ndarray, np.ndarray]]:
        """Matrices and right sides: of inequalities, group by group, and of equalities."""
        xp, net = self.net.xp, self.net
        count = net.neurons
        names = (net.weights, net.links, net.bias, net.chord, net.offset, net.leak)
        weights, links, bias, chord, offset, leak = (xp.numpy(x).astype(float) for x in names)
        inputs = np.hstack([weights, links])
        outputs = np.hstack([np.zeros((count, net.inputs)), np.eye(count)])
        split = phase != 0
        silent, free = self.silent & ~split, ~self.silent & ~split
        side, known = -phase[split, None], np.where(phase > 0, 1.0, leak)
        above = np.hstack([xp.numpy(net.row_weights)[rows], xp.numpy(net.row_links)[rows]])
        return [
            (above.astype(float), -xp.numpy(net.row_bias)[rows].astype(float)),
            (inputs[silent], -bias[silent]),
            ((inputs - outputs)[free], -bias[free]),
            ((leak[:, None] * inputs - outputs)[free], -(leak * bias)[free]),
            ((outputs - chord[:, None] * inputs)[free], (offset + chord * bias)[free]),
            (side * inputs[split], -side[:, 0] * bias[split]),
        ], ((outputs - known[:, None] * inputs)[split], (known * bias)[split])

    def _most(self, row: int) -> float:
        """A bound of how large a row can be."""
        xp, net = self.net.xp, self.net
        reach = xp.numpy(xp.maximum(abs(net.lower), abs(net.upper)))
        size = abs(xp.numpy(net.row_weights)[row]).sum() + abs(xp.numpy(net.row_links)[row]) @ reach
        return float(1 + size + abs(xp.numpy(net.row_bias)[row]))
