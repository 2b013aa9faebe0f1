"""Points tried without gradients: centres, corners, even spreads, and moves along coordinates."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from verifier.attack.effort import Effort
from verifier.attack.gradient import points_at_once
from verifier.attack.pgd import KEPT
from verifier.attack.target import Candidates, Regions, Target
from verifier.records import dataclass
from verifier.tensors import Array, Float

BLOCK = 1 << 22
"""The most numbers in the points that are tried at once."""


def examine(target: Target, regions: Regions, points: Array, case: Array) -> Candidates:
    """Points put into their boxes, with their margins: the unsafe ones and the best others."""
    xp = target.graph.xp
    index = xp.ints(case)
    box = regions.box[index]
    points = xp.minimum(xp.maximum(xp.floats(points), box.lower), box.upper)
    margins = target.margins(points, regions.bounds[index])
    best = xp.argsort(margins)[:KEPT]
    return Candidates.of(*(xp.numpy(x[best]) for x in (points, index, margins)))


def scan(
    target: Target, regions: Regions, shares: Float[np.ndarray, "points n"], effort: Effort
) -> Candidates:
    """The same points of the unit box, put into every box; it ends when unsafe ones are found."""
    xp = target.graph.xp
    found = Candidates.none(target.graph.input_size)
    share, total = xp.floats(shares), regions.count * len(shares)
    step = min(4 * points_at_once(target.graph), max(1, BLOCK // shares.shape[1]))
    for start in range(0, total, step):
        index = np.arange(start, min(start + step, total))
        case, place = xp.ints(index // len(shares)), xp.ints(index % len(shares))
        box = regions.box[case]
        points = box.lower + (box.upper - box.lower) * share[place]
        found = found.join(examine(target, regions, points, case)).best(KEPT)
        if len(found.unsafe(effort.goal)) or effort.over:
            break
    return found


def corners(regions: Regions, limit: int, generator: np.random.Generator) -> np.ndarray:
    """The centre and the corners of the unit box: all, or ``limit`` random ones.

    Inputs that are fixed in every box are left at 1/2.
    """
    free = regions.free()
    shares = np.full((1 + min(limit, 1 << min(len(free), 62)), regions.box.lower.shape[1]), 0.5)
    if len(shares) == 1 + (1 << len(free)):
        ends = np.arange(1 << len(free))[:, None] >> np.arange(len(free)) & 1
    else:
        ends = generator.integers(0, 2, (limit, len(free)))
    shares[1:, free] = ends
    return shares


def even_spread(regions: Regions, count: int, generator: np.random.Generator) -> np.ndarray:
    """Points of low discrepancy in the unit box: a randomly shifted Kronecker sequence.

    Its irrational steps are the powers of 1 / phi_d, where phi_d^(d + 1) = phi_d + 1 (Roberts 2018,
    "The unreasonable effectiveness of quasirandom sequences").
    """
    free = regions.free()
    phi = 2.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / (len(free) + 1))
    step = phi ** -np.arange(1.0, len(free) + 1)
    shares = np.full((count, regions.box.lower.shape[1]), 0.5)
    shares[:, free] = (generator.random(len(free)) + np.arange(count)[:, None] * step) % 1.0
    return shares


@dataclass(frozen=True)
class Walk:
    """How to move along coordinates: points, rounds, the first step in box widths, the deadline."""

    points: int = 8
    rounds: int = 24
    stride: float = 0.1
    effort: Effort = field(default_factory=Effort)


def refine(target: Target, regions: Regions, near: Candidates, walk: Walk) -> Candidates:
    """Coordinate search from the best points: the best move is made; if none helps, moves halve.

    Needs no gradients, so plateaus and steps do no harm; a round tries 2 moves per free input and
    point.
    """
    xp = target.graph.xp
    near = near.best(walk.points)
    free = regions.free()
    if not len(near) or not len(free):
        return near
    count, size, moves = len(near), target.graph.input_size, 1 + 2 * len(free)
    offsets = np.zeros((moves, size))
    offsets[1 + np.arange(len(free)), free] = 1.0
    offsets[1 + len(free) + np.arange(len(free)), free] = -1.0
    case = xp.ints(near.case)
    box, bounds = regions.box[case], xp.repeat(regions.bounds[case], moves)
    low, high = box.lower[:, None], box.upper[:, None]
    steps = xp.floats(offsets)[None] * (box.upper - box.lower)[:, None]
    point = xp.floats(near.points)
    margin = xp.floats(near.margins)
    stride = xp.full((count, 1), walk.stride)
    for _ in range(walk.rounds):
        tried = point[:, None] + stride[:, :, None] * steps
        tried = xp.minimum(xp.maximum(tried, low), high)
        margins = target.margins(tried.reshape(-1, size), bounds).reshape(count, moves)
        chosen = (-margins).argmax(1)
        point, margin = tried[xp.arange(count), chosen], margins[xp.arange(count), chosen]
        stride = xp.where((chosen == 0)[:, None], stride / 2, stride)
        if walk.effort.over:
            break
    return Candidates.of(xp.numpy(point), near.case, xp.numpy(margin))
