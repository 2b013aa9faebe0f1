"""Floors on tightness: a looser bound is a failure, even though it is sound.

The limits are those measured, with a few percent to spare; better bounds lower them.
"""

import numpy as np
import pytest

from tests.bounds.checks import METHODS, SETTINGS
from tests.bounds.graphs import boxes, mixed, mlp, placed, residual
from verifier.bounds import crown, interval
from verifier.graph import Graph
from verifier.tensors import numpy_backend

NETS = {
    "mlp": [mlp(seed, (4, 12, 12, 12, 3)) for seed in range(4)],
    "leaky": [mlp(seed, (4, 12, 12, 3), leak=0.1) for seed in range(4)],
    "residual": [residual(seed, width=8, blocks=3) for seed in range(4)],
    "mixed": [mixed(seed, steps=9, inputs=2) for seed in range(24)],
}
LIMITS = {
    ("mlp", "crown"): 0.64,
    ("mlp", "optimised crown"): 0.605,
    ("leaky", "crown"): 0.735,
    ("leaky", "optimised crown"): 0.71,
    ("residual", "crown"): 0.325,
    ("residual", "optimised crown"): 0.325,
    ("mixed", "crown"): 0.845,
}
"""Mean over nets and values of the ratio of widths to interval arithmetic's."""


def widths(graph: Graph, method: str, seed: int) -> np.ndarray:
    """Mean width of each value's boxes that CROWN or its readers can narrow."""
    xp = numpy_backend()
    box = placed(xp, *boxes("normal", [seed], 8, graph.input_size))
    with np.errstate(all="ignore"):
        found = METHODS[method](graph.on(xp), box).boxes
    values = [v for v in graph.relaxed_inputs if not graph.affine_of_input[v]]
    return np.array([(found[v].upper - found[v].lower).mean() for v in values])


@pytest.mark.parametrize(("family", "method"), LIMITS)
def test_boxes_are_as_tight_as_they_were(family: str, method: str):
    ratios = []
    for seed, graph in enumerate(NETS[family]):
        plain, tight = widths(graph, "interval", seed), widths(graph, method, seed)
        ratios += (tight[plain > 0] / plain[plain > 0]).tolist()
    assert np.mean(ratios) <= LIMITS[family, method]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_costs_next_to_nothing(dtype: str):
    """The allowance for rounding is a few thousand units in the last place, not more."""
    xp = numpy_backend(dtype)
    limit = 1e-3 if dtype == "float32" else 1e-11
    for seed, graph in enumerate(NETS["mlp"]):
        lower, _ = boxes("normal", [seed], 8, graph.input_size)
        point = placed(xp, lower.astype(np.float32), lower.astype(np.float32))
        for method in (interval, lambda g, b: crown(g, b, SETTINGS).enclosure):
            box = method(graph.on(xp), point).boxes[graph.output]
            assert (box.upper - box.lower).max() <= limit
