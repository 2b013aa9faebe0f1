"""Projected gradient descent on many points at once (Madry et al. 2018, section 2.1)."""

from __future__ import annotations

import math
from dataclasses import field, replace

import numpy as np

from verifier.attack.effort import Effort
from verifier.attack.gradient import backward, points_at_once
from verifier.attack.loss import Loss
from verifier.attack.polish import polish
from verifier.attack.target import Candidates, Regions, Target
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, Int

KEPT = 64
"""How many near misses are remembered."""
NEAR = 0.25
"""The share of starts near the best points so far."""
LEAST_REACH = 0.03
"""Starts near a known point scale their steps by a factor between this and 1, log-uniformly."""
SPREAD = 0.2
"""How far such a start may lie from the known point, in widths of the box times that factor."""
MOMENTUM = 0.5
"""How much of the earlier steps' direction stays in the next."""


@dataclass(frozen=True, eq=False)
class Launch:
    """Where points start, which box each stays in, and which clause each aims at.

    A clause of -1 stands for the one that is nearest to being met. Steps are scaled by ``reach``.
    The first steps go against ``direction``, in the space of the outputs, where that is not 0:
    output-diversified starts (Tashiro et al. 2020, section 3).
    """

    points: Float[Array, "batch n"]
    case: Int[Array, " batch"]
    clause: Int[Array, " batch"]
    direction: Float[Array, "batch m"]
    reach: Float[Array, "batch 1"]


@dataclass
class Launcher:
    """Draws starts: the pairs of a box and a clause that can be met there take turns."""

    target: Target
    regions: Regions
    generator: np.random.Generator
    pairs: Int[np.ndarray, "pairs 2"] = field(init=False)
    turn: int = 0

    def __post_init__(self) -> None:
        xp = self.target.graph.xp
        pairs = xp.nonzero(self.regions.open(self.target))
        self.pairs = np.stack([xp.numpy(i) for i in pairs], axis=1)
        self.generator.shuffle(self.pairs)

    def launch(self, count: int, given: Candidates, known: Candidates) -> Launch:
        """``given`` points as they are, then fresh ones, a third of them diverse, and near ones."""
        xp, generator = self.target.graph.xp, self.generator
        given = given.best(count)
        near = known.best(count)
        near = near.repeated(min(int((count - len(given)) * NEAR), 8 * len(near)))
        fresh = count - len(given) - len(near)
        pairs = self.pairs[(self.turn + np.arange(fresh)) % len(self.pairs)]
        self.turn += fresh
        case = xp.ints(np.concatenate([given.case, pairs[:, 0], near.case]))
        clause = np.concatenate([given.case * 0 - 1, pairs[:, 1], near.case * 0 - 1])
        lower, upper = self.regions.box.lower[case], self.regions.box.upper[case]
        share = xp.floats(generator.random(lower.shape))
        middle = slice(len(given), len(given) + fresh)
        uniform = (lower + (upper - lower) * share)[middle]
        points = xp.cat([xp.floats(given.points), uniform, xp.floats(near.points)], 0)
        reach = np.ones((count, 1))
        reach[count - len(near) :, 0] = LEAST_REACH ** generator.random(len(near))
        away = SPREAD * (2 * share - 1) * (upper - lower) * xp.floats(reach * (reach < 1))
        points = points + away
        points = xp.minimum(xp.maximum(points, lower), upper)
        direction = generator.uniform(-1, 1, (count, self.target.graph.output_size))
        diverse = np.zeros((count, 1))
        diverse[middle][::3] = 1.0
        return Launch(
            points, case, xp.ints(clause), xp.floats(direction * diverse), xp.floats(reach)
        )


def pgd(
    target: Target,
    regions: Regions,
    effort: Effort,
    generator: np.random.Generator,
    starts: Candidates | None = None,
) -> Candidates:
    """Descend again and again until some points reach the goal, or the effort is spent.

    All points of the descent that found one come back, and the best near misses. The first descent
    begins at ``starts``; later ones begin at random points and near the best so far.
    """
    launcher = Launcher(target, regions, generator)
    known = Candidates.none(target.graph.input_size) if starts is None else starts
    steps, count = effort.steps, effort.points or points_at_once(target.graph)
    fresh = known.best(max(1, count // 8))
    while steps > 0 and len(launcher.pairs) and not effort.over:
        launch = launcher.launch(count, fresh, known)
        found, used = descend(
            target, regions, launch, replace(effort, descent=min(steps, effort.descent))
        )
        steps -= used
        known = known.join(found)
        if not len(known.unsafe(effort.goal)):
            near = known.best(max(4, count // 8))
            known = known.join(polish(target, regions, near, effort))
        if len(known.unsafe(effort.goal)):
            break
        fresh = Candidates.none(target.graph.input_size)
        known = known.best(KEPT)
    return known


def descend(
    target: Target, regions: Regions, launch: Launch, effort: Effort
) -> tuple[Candidates, int]:
    """One descent of all points: the best point of each, and the number of steps.

    It ends early as soon as one point reaches the goal, and when most have stopped to move.
    """
    graph, xp = target.graph, target.graph.xp
    box, bounds = regions.box[launch.case], regions.bounds[launch.case]
    width = box.upper - box.lower
    loss = Loss(target)
    x = best = launch.points
    least = xp.full((x.shape[0],), math.inf)
    speed = x * 0
    clause, step = launch.clause, 0
    for step in range(effort.descent):
        values = graph.values(x)
        g = target.violations(x, values[graph.output], bounds)
        margin = xp.amin(target.worst(g), 1)
        better = margin < least
        best, least = xp.where(better[:, None], x, best), xp.where(better, margin, least)
        if bool((margin <= effort.goal).any()) or effort.over:
            break
        if step == 0:
            nearest = (-target.worst(g)).argmax(1)
            clause = xp.where(clause < 0, nearest, clause)
        relative = loss.observe(g)
        weights = loss.smooth if step % 2 else target.sharp
        seeds = target.seeds(weights(relative, clause))
        if step < effort.diversify:
            seeds = _diversify(seeds, launch.direction, graph.output, xp)
        slope = _unit(backward(graph, values, seeds) * width, xp)
        speed = MOMENTUM * speed + slope
        moved = x - effort.stride * effort.decay**step * launch.reach * width * xp.function(
            "sign", speed
        )
        moved = xp.minimum(xp.maximum(moved, box.lower), box.upper)
        still = (moved == x).all(-1)
        x = moved
        if step >= effort.diversify and float(xp.floats(still).sum(0)) >= 0.75 * x.shape[0]:
            break
    points, margins = xp.numpy(best), xp.numpy(least)
    return Candidates.of(points, xp.numpy(launch.case), margins), step + 1


def _diversify(
    seeds: dict[int, Array], direction: Array, output: int, xp: Backend
) -> dict[int, Array]:
    """The seeds, but ``direction`` alone for points where that is not 0."""
    plain = xp.floats((direction == 0).all(-1))[:, None]
    seeds = {value: seed * plain for value, seed in seeds.items()}
    seeds[output] = seeds[output] + direction
    return seeds


def _unit(gradient: Float[Array, "batch n"], xp: Backend) -> Float[Array, "batch n"]:
    """Scaled to a greatest entry of 1; entries that are no numbers count as 0."""
    gradient = xp.where(xp.function("isfinite", gradient), gradient, xp.zeros(1))
    greatest = xp.amax(abs(gradient), 1)[:, None]
    return gradient / xp.where(greatest > 0, greatest, xp.full((1,), 1.0))
