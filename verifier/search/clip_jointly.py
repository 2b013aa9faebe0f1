"""Complete clipping: bound each coordinate subject to all rows of a clause at once.

The lower bound of c . x over a box cut by planes a_s . x + b_s <= 0 is the maximum over multipliers
beta >= 0 of D(beta) = min over the box of (c + sum beta_s a_s) . x + sum beta_s b_s. D is concave
and piecewise linear; one multiplier at a time is maximised exactly, by walking its breakpoints in
order (Clip-and-Verify 2025). Any beta >= 0 gives a sound bound, so only the last evaluation
accounts for rounding.
"""

from __future__ import annotations

from verifier.bounds import DOUBLE_ROUNDOFF
from verifier.records import dataclass
from verifier.sets import Box
from verifier.tensors import Array, Backend, Bool, Float, gamma

PASSES = 2
"""Times that each multiplier is maximised in turn."""


@dataclass(frozen=True, eq=False)
class _Duals:
    """The dual functions of several directions c over each box, at their present multipliers."""

    xp: Backend
    center: Float[Array, "batch 1 n"]
    radius: Float[Array, "batch 1 n"]
    coefficients: Float[Array, "batch rows n"]
    constant: Float[Array, "batch rows"]

    def best_multiplier(self, direction: Float[Array, "batch c n"], row: int) -> Array:
        """The beta >= 0 that maximises D along one row, all else fixed: [batch c]."""
        xp = self.xp
        slope = self.coefficients[:, row][:, None, :] + direction * 0
        step = 2 * self.radius * abs(slope)
        usable = slope != 0
        point = -direction / xp.where(usable, slope, slope * 0 + 1)
        ahead = usable & (point > 0)
        # D's slope just right of 0: the coordinates that turn later pull with their present sign.
        sign = xp.where(direction != 0, xp.function("sign", direction), xp.function("sign", slope))
        start = (slope * self.center).sum(-1) + self.constant[:, row][:, None]
        start = start - (self.radius * slope * sign).sum(-1)
        infinity = xp.doubles(xp.zeros(1)) + float("inf")
        last = xp.amax(xp.where(ahead, point, point * 0), -1)
        point = xp.where(ahead, point, infinity)
        order = xp.argsort(point, axis=-1)
        fall = xp.take_along(xp.where(ahead, step, step * 0), order, -1)
        after = start[:, :, None] - xp.cumsum(fall, -1)
        point = xp.take_along(point, order, -1)
        turned = after <= 0
        first = xp.floats(turned).argmax(-1)
        chosen = xp.take_along(point, first[:, :, None], -1)[:, :, 0]
        # Where D rises for ever the planes contradict each other, by rounding as a rule.
        chosen = xp.where(after[:, :, -1] > 0, last, chosen)
        usable = (start > 0) & xp.function("isfinite", chosen)
        return xp.where(usable, chosen, xp.doubles(xp.zeros(1)))

    def value(
        self, direction: Float[Array, "batch c n"], multipliers: Float[Array, "batch c rows"]
    ) -> Float[Array, "batch c"]:
        """D at some multipliers, lowered by its rounding errors; the direction includes them."""
        size = direction.shape[-1]
        rows = multipliers.shape[-1]
        reach = abs(self.center) + self.radius
        least = (direction * self.center).sum(-1) - (abs(direction) * self.radius).sum(-1)
        offset = (multipliers * self.constant[:, None, :]).sum(-1)
        weights = multipliers @ abs(self.coefficients)
        scale = ((weights + 1) * reach).sum(-1)
        scale = scale + (multipliers * abs(self.constant)[:, None, :]).sum(-1)
        error = gamma(2 * (size + rows) + 16, DOUBLE_ROUNDOFF) * scale
        return least + offset - error - self.xp.tiny


def clip_jointly(
    box: Box,
    coefficients: Float[Array, "batch rows n"],
    constant: Float[Array, "batch rows"],
    xp: Backend,
) -> tuple[Box, Bool[Array, " batch"]]:
    """Cut float64 boxes to where all planes can be <= 0 together; and which are empty."""
    size, rows = coefficients.shape[-1], coefficients.shape[1]
    known = xp.function("isfinite", constant)
    constant = xp.where(known, constant, xp.doubles(xp.zeros(1)) - 1)
    center = box.center[:, None, :]
    radius = box.radius[:, None, :]
    duals = _Duals(xp, center, radius, coefficients, constant)
    axes = xp.doubles(xp.zeros(size, size))
    axes[xp.arange(size), xp.arange(size)] = 1.0
    start = xp.cat([axes, -axes], 0)[None] + center * 0
    direction = start
    betas = [direction[:, :, 0] * 0 for _ in range(rows)]
    for _ in range(PASSES):
        for row in range(rows):
            plane = coefficients[:, row][:, None, :]
            without = direction - betas[row][:, :, None] * plane
            betas[row] = duals.best_multiplier(without, row)
            direction = without + betas[row][:, :, None] * plane
    multipliers = xp.cat([b[:, :, None] for b in betas], -1)
    # Recomputed from scratch: the running sums have drifted.
    direction = start + multipliers @ coefficients
    bound = duals.value(direction, multipliers)
    lower, upper = bound[:, :size], -bound[:, size:]
    lower = xp.where(lower > box.lower, lower, box.lower)
    upper = xp.where(upper < box.upper, upper, box.upper)
    empty = (lower > upper).any(1)
    kept = empty[:, None]
    return Box(xp.where(kept, box.lower, lower), xp.where(kept, box.upper, upper)), empty
