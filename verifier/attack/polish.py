"""Near misses driven over the line, by gradient steps of the length that they lack."""

from __future__ import annotations

import math

from verifier.attack.effort import Effort
from verifier.attack.gradient import backward
from verifier.attack.target import Candidates, Regions, Target

OVERSHOOT = 0.2
"""How much further than the linear model asks each step goes, as a share of it."""
STEPS = 12
"""How many steps to take: they converge fast, or not at all."""


def polish(target: Target, regions: Regions, near: Candidates, effort: Effort) -> Candidates:
    """The points with the least margins on the way from each of ``near``.

    Each step projects a point onto the half-space in which its worst row holds to first order, in
    units of the box's widths; inputs at a bound that would leave the box keep still. Steps have the
    length of Polyak (1969) for the value 0 that is asked for: they arrive in a small set where
    several rows meet, when sign steps only zigzag. It ends as soon as one point reaches the goal.
    """
    graph, xp = target.graph, target.graph.xp
    case = xp.ints(near.case)
    box, bounds = regions.box[case], regions.bounds[case]
    width = box.upper - box.lower
    x = best = xp.floats(near.points)
    least = xp.full((len(near),), math.inf)
    one, zero = xp.full((1,), 1.0), xp.zeros(1)
    for step in range(STEPS):
        values = graph.values(x)
        g = target.violations(x, values[graph.output], bounds)
        worst = target.worst(g)
        margin = xp.amin(worst, 1)
        better = margin < least
        best, least = xp.where(better[:, None], x, best), xp.where(better, margin, least)
        if bool((margin <= effort.goal).any()) or effort.over or step == STEPS - 1:
            break
        weights = target.sharp(g, (-worst).argmax(1))
        slope = backward(graph, values, target.seeds(weights)) * width
        blocked = ((x <= box.lower) & (slope > 0)) | ((x >= box.upper) & (slope < 0))
        usable = xp.function("isfinite", slope) & ~blocked
        slope = xp.where(usable, slope, zero)
        squared = (slope * slope).sum(1)
        length = (1 + OVERSHOOT) * margin / xp.where(squared > 0, squared, one)
        moved = x - length[:, None] * slope * width
        x = xp.minimum(xp.maximum(moved, box.lower), box.upper)
    return Candidates.of(xp.numpy(best), near.case, xp.numpy(least))
