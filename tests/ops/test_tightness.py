"""Lines are close to the best: measured against brute force over random boxes."""

import numpy as np
import pytest

from tests.ops.cases import Case, nonlinear, operators
from tests.ops.reference import reference
from tests.ops.test_every_nonlinear import limits
from verifier.families import Elementwise, Planes
from verifier.ops.clip import Clip
from verifier.ops.piecewise import PiecewiseLinear
from verifier.ops.reciprocal import Reciprocal
from verifier.sets import Box
from verifier.tensors import numpy_backend

ELEMENTWISE = [pytest.param(case, value, id=label) for label, case, value in operators(Elementwise)]
BOXES, GRID = 60, 257
MOST = 1.05


def envelope(x, y):
    """The least value in the middle of the chords of the points (x, y) [grid, boxes]."""
    half = GRID // 2
    best = y[half]
    for k in range(half):
        apart = x[half + 1 :] - x[k]
        chord = (y[half + 1 :] - y[k]) / apart
        best = np.minimum(best, (y[k] + chord * (x[half] - x[k])).min(0))
    return best


def ratios(operator, plain):
    """The distance of the planes in the middle of boxes, over that of the two envelopes.

    A line's area depends on its height in the middle only.
    """
    generator = np.random.default_rng(0)
    low, high = (np.clip(x, -8.0, 8.0) for x in limits(plain))
    if isinstance(plain, Reciprocal):
        low = 0.125
    if isinstance(plain, Clip):
        # Boxes that hold its corners, wherever they are.
        corners = [c for c in (plain.low, plain.high) if np.isfinite(c)]
        low, high = min(low, *corners) - 8, max(high, *corners) + 8
    ends = generator.uniform(low, high, (2, BOXES))
    lower, upper = (np.repeat(x[:, None], plain.size, 1) for x in (ends.min(0), ends.max(0)))
    planes = operator.relax(Box(lower, upper))
    assert isinstance(planes, Planes)
    middle = (lower + upper) / 2
    highest = planes.above[0] * middle + planes.upper_offset
    lowest = planes.below[0] * middle + planes.lower_offset
    grid = np.linspace(0.0, 1.0, GRID)[:, None, None]
    x = lower + grid * (upper - lower)
    y = np.asarray(reference(plain, [x]), dtype=np.float64)
    best = -envelope(x, -y) - envelope(x, y)
    # What is linear on the box is exact, up to rounding.
    curved = best > 1e-6 * (1 + abs(y).max(0))
    return ((highest - lowest) / np.where(curved, best, 1.0))[curved]


@pytest.mark.parametrize(("case", "value"), ELEMENTWISE)
def test_the_area_between_the_lines_is_close_to_the_least(case: Case, value: int):
    plain = nonlinear(case, value)
    if isinstance(plain, PiecewiseLinear) and not (
        np.ptp(plain.offsets, 0).any() or np.ptp(plain.bends, 0).any()
    ):
        return  # flat but for single points, which the grid does not hit
    found = ratios(plain.on(numpy_backend()), plain)
    assert len(found) > BOXES / 20
    assert np.median(found) <= MOST
