"""Planes of hulls as certificates hold them, and what closed subproblems took from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.cuts import STEPS, CutNet
from verifier.bounds.hulls import Planes
from verifier.bounds.sweep import Swept
from verifier.certify import Chosen, Hulls
from verifier.search.neuron_split import NeuronProblem, Paired
from verifier.search.sign_patterns import SignPatterns

MOST_TERMS = 20_000_000
"""Planes with more numbers are not recorded."""


def recordable(problem: NeuronProblem) -> bool:
    """Are all neurons ReLUs? Certificates have no planes of functions with slopes on both sides."""
    net = problem.reduced
    return net is None or bool((net.leak == 0).all())


def on_record(problem: NeuronProblem, planes: Planes, case: int) -> tuple[Planes, Hulls | None]:
    """Planes whose numbers are those of a record, and the record.

    None where they are too many, or neurons have slopes on both sides of 0.
    """
    assert problem.reducer is not None
    assert problem.reduced is not None
    numpy, net = problem.root.graph.xp.numpy, problem.reduced
    radius = numpy(problem.reducer.enclosure.boxes[0].radius)[0].astype(np.float64)
    scale = np.concatenate([radius, np.ones(net.neurons)])
    moves = scale > 0
    # Slopes of large networks take gigabytes: no copies on the way.
    real = np.zeros(planes.slope.shape, dtype=np.float32)
    np.divide(planes.slope, scale, out=real, where=moves, casting="same_kind")
    unit = (planes.weight / STEPS).astype(np.float32)
    fits = all(bool(np.isfinite(x).all()) for x in (real, planes.gamma, unit))
    slope = real.astype(np.float64)
    slope *= scale
    planes = replace(
        planes,
        slope=slope,
        gamma=planes.gamma.clip(min=0).astype(np.float32),
        weight=unit.astype(np.float64) * STEPS,
    )
    hull, read = np.nonzero(real)
    if not fits or len(hull) > MOST_TERMS or not recordable(problem):
        return planes, None
    names = np.concatenate([np.arange(net.inputs), problem.columns])
    count = np.bincount(hull, minlength=len(unit))
    column = problem.columns[planes.neuron]
    arrays = column, planes.gamma, unit, count, names[read], real[hull, read]
    return planes, Hulls(case, *arrays)


def choices(
    problem: NeuronProblem, made: Paired, batch: SignPatterns, found: Swept
) -> list[Chosen]:
    """What closes subproblems by planes: of their rows, neurons and planes.

    Nothing where pairs have a part in it, or planes are not on record.
    """
    if made.hulls is None or len(batch) == 0:
        return []
    net = made.sure.net
    assert isinstance(net, CutNet)
    tilts, count = problem.xp.numpy(found.tilt).astype(np.float64), problem.neurons
    taken = net.cuts.in_steps(net.xp.floats(tilts[:, 2 * count :]))
    taken = net.xp.numpy(taken).astype(np.uint8)
    batch, start = replace(batch, weight=found.weight), 0
    result = list[Chosen]()
    for chosen in problem.choices(batch, tilts[:, :count].clip(min=0)):
        stop = start + len(chosen.node)
        result.append(replace(chosen, hulls=(made.hulls, taken[start:stop])))
        start = stop
    return result
