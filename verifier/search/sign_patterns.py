"""Open subproblems of a search over neurons, and the bounds of a box where they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from verifier.bounds import Enclosure
from verifier.bounds.columns import Patterns, Sides
from verifier.families import Planes
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Float, Int, gamma


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of a layer that can be split: unstable at the root, with a tilt."""

    value: int
    """The nonlinear node."""
    source: int
    """The value it reads."""
    index: Int[Array, " neurons"]


def unstable_neurons(enclosure: Enclosure) -> dict[int, Int[np.ndarray, " neurons"]]:
    """For each nonlinear node with tilts the neurons that have one, in the first batch entry."""
    xp, result = enclosure.graph.xp, {}
    for value, planes in enclosure.relaxations.items():
        if isinstance(planes, Planes) and planes.gain is not None:
            result[value] = xp.numpy(xp.nonzero(planes.gain[0] > 0)[0])
    return result


def passing_neurons(enclosure: Enclosure) -> Int[np.ndarray, " neurons"]:
    """Those that are their own input, as the proof tree counts them (value * 2^32 + element)."""
    xp, found = enclosure.graph.xp, [np.zeros(0, dtype=np.int64)]
    for value, planes in sorted(enclosure.relaxations.items()):
        if isinstance(planes, Planes) and planes.gain is not None:
            passing = (planes.gain[0] == 0) & (planes.below[0][0] == 1)
            found.append((value << 32) + xp.numpy(xp.nonzero(passing)[0]))
    return np.concatenate(found)


def cut_to_sides(
    root: Enclosure,
    layers: Sequence[Neurons],
    phase: Float[Array, "batch neurons"],
    sides: Sides | None = None,
) -> Enclosure:
    """The bounds of a root of batch 1, or others, with split neurons cut to their sides."""
    xp, count = root.graph.xp, phase.shape[0]
    result = root.take(xp.ints(xp.zeros(count)))
    start = 0
    for layer in layers:
        stop = start + layer.index.shape[0]
        side = xp.floats(phase[:, start:stop])
        box = result.boxes[layer.source]
        lower, upper = xp.copy(box.lower), xp.copy(box.upper)
        if sides is not None:
            lower[:, layer.index] = xp.floats(sides.lower[:, start:stop])
            upper[:, layer.index] = xp.floats(sides.upper[:, start:stop])
        zero = xp.zeros(1)
        lower[:, layer.index] = xp.where(side > 0, zero, lower[:, layer.index])
        upper[:, layer.index] = xp.where(side < 0, zero, upper[:, layer.index])
        result.boxes[layer.source] = Box(lower, upper)
        start = stop
        result.relax(layer.value)
        _cut(root, result, layer, side)
    return result


def _cut(
    root: Enclosure, result: Enclosure, layer: Neurons, phase: Float[Array, "batch neurons"]
) -> None:
    """Give the split neurons of a layer their multipliers, and charge their rounding."""
    xp = root.graph.xp
    planes = result.relaxations[layer.value]
    assert isinstance(planes, Planes)
    size = root.graph.size(layer.value)
    cut = xp.zeros(len(phase), size)
    cut[:, layer.index] = -phase
    rounding = gamma(min(size, xp.dot_terms) + 16, xp.unit_roundoff)
    noise = planes.noise + 4 * rounding * abs(cut) * root.boxes[layer.source].magnitude(xp)
    # A multiplier adds to the coefficient of the source: its own noise must be charged there.
    result.fused.discard(layer.source)
    result.relaxations[layer.value] = replace(planes, cut=cut, noise=noise)


@dataclass(frozen=True, eq=False)
class SignPatterns:
    """Open subproblems, a batch as one struct of arrays."""

    clause: Int[Array, " batch"]
    phase: Float[Array, "batch neurons"]
    """+1: the neuron is at least 0; -1: at most 0; 0: free."""
    tilts: Float[Array, "batch sums tilts"]
    """alpha or beta of each neuron for each row of the clause, or for the one sum of them."""
    margin: Float[Array, " batch"]
    branch: Int[Array, " batch"]
    """The neuron to split next; -1 where no free neuron's relaxation costs anything."""
    node: Int[Array, " batch"]
    weight: Float[Array, "batch width"]
    """The sum of the clause's rows that is bounded; where the graph is swept, each row is."""
    depth: Float[Array, " batch"]
    """How many splits it took."""
    lower: Float[Array, "batch boxed"]
    """The boxes of the neurons' inputs; of no neuron where they are the root's."""
    upper: Float[Array, "batch boxed"]

    @property
    def sides(self) -> Sides | None:
        """The boxes of the neurons' inputs; None: the root's."""
        return Sides(self.lower, self.upper) if self.lower.shape[1] else None

    def patterns(self, rows: Int[Array, "batch width"]) -> Patterns:
        """What a reduced network sweeps: the one sum of rows."""
        return Patterns(rows, self.weight, self.phase, self.tilts[:, 0], self.sides)

    def __len__(self) -> int:
        return self.clause.shape[0]

    def __getitem__(self, index: Array | slice) -> SignPatterns:
        return SignPatterns(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[SignPatterns], xp: Backend) -> SignPatterns:
        """All rows of several batches."""
        return xp.joined(parts)

    @property
    def bytes_each(self) -> int:
        """About how much memory a row takes."""
        tilts = self.tilts.shape[1] * self.tilts.shape[2]
        return 8 * (self.phase.shape[1] + tilts + 2 * self.lower.shape[1] + 5)
