"""What a proof for the real function lacks to be one for float32 execution, told beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds import Enclosure, Objective, bound_objective
from verifier.tensors import Array, Float


def room_for_single(
    plain: Enclosure, objective: Objective, thresholds: Float[Array, "1 rows"]
) -> float:
    """By how much bounds of the property's rows fall, at least, if float32 execution is charged.

    Over the same boxes (of batch 1): in truth these become larger, too. 0: nothing is known.
    """
    graph, asked = plain.graph, thresholds > -float("inf")
    boxes = dict(enumerate(plain.boxes))
    charged = Enclosure.within(graph, plain.boxes[0], boxes, single=True)
    before, after = (
        graph.xp.numpy(bound_objective(e, objective, thresholds, asked).least)
        for e in (replace(plain, composed={}), charged)
    )
    known = np.isfinite(before) & np.isfinite(after)
    if not known.any():
        return 0.0
    return max(0.0, float((before[known] - after[known]).min()))
