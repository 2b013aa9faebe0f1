"""Products of two matrices of values."""

from __future__ import annotations

from verifier.families.band import Band
from verifier.families.nonlinear import Nonlinear
from verifier.families.relaxation import Relaxation
from verifier.records import dataclass
from verifier.sets import Box, Owner
from verifier.tensors import Array, Bool, Float, gamma


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixProduct(Nonlinear):
    """Z_l = X_l Y_l for matrices [p, k] and [k, q], one pair for each l of ``count``, all flat.

    With centres X', Y' and half-widths R, S of the boxes, Z = X' Y + X Y' - X' Y' + (X - X')(Y -
    Y'), whose last part is at most R S in size: the mean of McCormick's planes (1976) on each side,
    for all p k q products at once.
    """

    count: int
    shape: tuple[int, int, int]
    """(p, k, q)"""

    @staticmethod
    def of(count: int, p: int, k: int, q: int) -> MatrixProduct:
        """For so many pairs of matrices."""
        sizes = (count * p * k, count * k * q)
        return MatrixProduct(sizes=sizes, size=count * p * q, count=count, shape=(p, k, q))

    @property
    def work(self) -> int:
        p, k, q = self.shape
        return self.count * p * k * q

    def matrices(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Flat values [..., n] as matrices [..., count, p, k] and [..., count, k, q]."""
        p, k, q = self.shape
        leading = tuple(x.shape[:-1])
        return x.reshape(*leading, self.count, p, k), y.reshape(*leading, self.count, k, q)

    def _product(self, x: Array, y: Array) -> Array:
        first, second = self.matrices(x, y)
        return (first @ second).reshape(x.shape[0], self.size)

    def evaluate(self, *inputs: Float[Array, "batch _"]) -> Float[Array, "batch m"]:
        return self._product(*inputs)

    def gradient(
        self, rows: Float[Array, "batch m"], *inputs: Float[Array, "batch _"]
    ) -> tuple[Float[Array, "batch _"], ...]:
        x, y = self.matrices(*inputs)
        p, _, q = self.shape
        nu = rows.reshape(rows.shape[0], self.count, p, q)
        parts = (nu @ y.swapaxes(-1, -2), x.swapaxes(-1, -2) @ nu)
        return tuple(z.reshape(rows.shape[0], n) for z, n in zip(parts, self.sizes, strict=True))

    def unstable(self, which: int, box: Box) -> Bool[Array, "batch n"]:
        return box.upper > box.lower

    def interval(self, *boxes: Box) -> Box:
        """The sums of the least and greatest products over k."""
        xp = self.xp
        low_x, low_y = self.matrices(boxes[0].lower, boxes[1].lower)
        high_x, high_y = self.matrices(boxes[0].upper, boxes[1].upper)
        magnitude = self._magnitude(*boxes)
        batch = magnitude.shape[0]
        low = high = 0 * magnitude.reshape(batch, self.count, self.shape[0], self.shape[2])
        for k in range(self.shape[1]):
            left = [x[:, :, :, k : k + 1] for x in (low_x, high_x)]
            right = [y[:, :, k : k + 1, :] for y in (low_y, high_y)]
            corners = [x * y for x in left for y in right]
            least = greatest = corners[0]
            for corner in corners[1:]:
                least, greatest = xp.minimum(least, corner), xp.maximum(greatest, corner)
            low, high = low + least, high + greatest
        error = gamma(self.shape[1] + 4, xp.unit_roundoff) * magnitude
        error = error + (self.shape[1] + 2) * xp.least_normal
        flat = (batch, self.size)
        return Box(low.reshape(flat) - error, high.reshape(flat) + error)

    def _magnitude(self, x: Box, y: Box) -> Array:
        return self._product(x.magnitude(self.xp), y.magnitude(self.xp))

    def sensitivity(
        self, positive: Float[Array, "batch m"], negative: Float[Array, "batch m"], *boxes: Box
    ) -> tuple[Float[Array, "batch _"], ...]:
        widths = tuple(box.radius for box in boxes)
        return self.gradient(positive + negative, *widths)

    def relax(self, *boxes: Box) -> MatrixBand:
        xp = self.xp
        p, k, q = self.shape
        centres = [box.center for box in boxes]
        widths = [
            xp.maximum(box.upper - c, c - box.lower) for box, c in zip(boxes, centres, strict=True)
        ]
        magnitude = self._magnitude(*boxes)
        terms = k + max(p, q)
        # Every rounding, here and of the rows that use the planes, is relative to |X||Y|.
        rounding = gamma(min(self.size, xp.dot_terms) + terms + 24, xp.unit_roundoff)
        reach = [xp.astype_double(box.magnitude(xp)).sum(1) for box in boxes]
        return MatrixBand(
            xp,
            terms,
            -self._product(*centres),
            self._product(*widths),
            8 * rounding * magnitude + (16 + 4 * k) * xp.least_normal,
            4 * (terms + 4) * xp.least_normal * (reach[0] + reach[1]),
            self,
            (centres[0], centres[1]),
        )

    def bend(self, relaxation: Relaxation, *boxes: Box) -> Relaxation:
        if not isinstance(relaxation, MatrixBand):
            return relaxation
        xp, count = self.xp, sum(self.sizes)
        rounding = gamma(min(count, xp.dot_terms) + relaxation.terms + 24, xp.unit_roundoff)
        return MatrixCorners(
            relaxation,
            tuple(b.radius for b in boxes),
            8 * rounding * self._magnitude(*boxes) + 16 * xp.least_normal,
            2 * relaxation.underflow + 8 * count * xp.least_normal,
        )


@dataclass(frozen=True, eq=False)
class MatrixBand(Band):
    """L (X, Y) = X' Y + X Y'."""

    operator: MatrixProduct
    centres: tuple[Float[Array, "batch _"], Float[Array, "batch _"]]

    def _factors(self, which: Array | None) -> tuple[Array, Array]:
        """X' and Y' for some batch entries, [entries 1 count ...]."""
        x, y = self.centres if which is None else (c[which] for c in self.centres)
        return self.operator.matrices(x[:, None], y[:, None])

    def adjoint(
        self, rows: Float[Array, "batch k m"], which: Array | None
    ) -> tuple[Float[Array, "batch k _"], ...]:
        x, y = self._factors(which)
        p, _, q = self.operator.shape
        shape = tuple(rows.shape[:2])
        nu = rows.reshape(*shape, self.operator.count, p, q)
        parts = (nu @ y.swapaxes(-1, -2), x.swapaxes(-1, -2) @ nu)
        sizes = self.operator.sizes
        return tuple(z.reshape(*shape, n) for z, n in zip(parts, sizes, strict=True))

    def _apply(self, inputs: tuple[Array, ...], factors: tuple[Array, Array]) -> Array:
        x, y = self.operator.matrices(*inputs)
        return (factors[0] @ y + x @ factors[1]).reshape(*inputs[0].shape[:2], self.operator.size)

    def linear(
        self, inputs: tuple[Float[Array, "batch k _"], ...], which: Array | None
    ) -> Float[Array, "batch k m"]:
        return self._apply(inputs, self._factors(which))

    def absolute(self, inputs: tuple[Float[Array, "batch k _"], ...]) -> Float[Array, "batch k m"]:
        x, y = self._factors(None)
        return self._apply(inputs, (abs(x), abs(y)))

    def take(self, index: Array) -> MatrixBand:
        first, second = self.centres
        return self.taken(index, centres=(first[index], second[index]))


@dataclass(frozen=True, eq=False)
class MatrixCorners(Relaxation):
    """McCormick's two planes on each side of all p k q products, mixed by tilts.

    A product x_ik y_kj has s = (a_ik + b_kj) / 2, where a and b are 2 t - 1 for a tilt t of each
    element of X and Y: then the line of nu x y has nu s r_x (y - y') + |nu| s r_y (x - x') more
    than the mean of the planes, r being half-widths and ' the centres; and all of a row are a few
    products of matrices.
    """

    mean: MatrixBand
    radii: tuple[Float[Array, "batch _"], ...]
    noise: Float[Array, "batch m"]
    """The rounding of what rows add to the mean, and what is lost below the least normal number."""
    underflow: Float[Array, " batch"]

    def middle_tilt(self) -> Float[Array, "batch t"]:
        operator = self.mean.operator
        return operator.xp.full((self.mean.offset.shape[0], sum(operator.sizes)), 0.5)

    def _matrices(self, owner: Owner, tilt: Array) -> tuple[Array, ...]:
        """Half-widths R, S and turns a / 2, b / 2, as matrices for each row."""
        operator, size = self.mean.operator, self.mean.operator.sizes[0]
        wide = operator.matrices(*(owner.spread(r) for r in self.radii))
        turn = tilt - 0.5
        return (*wide, *operator.matrices(turn[:, :size], turn[:, size:]))

    def _rows(self, rows: Array) -> Array:
        operator = self.mean.operator
        p, _, q = operator.shape
        return rows.reshape(rows.shape[0], operator.count, p, q)

    def pull_back(
        self, rows: Float[Array, "rows m"], owner: Owner, tilt: Float[Array, "rows t"] | None
    ) -> tuple[tuple[Array, ...], Float[Array, " rows"]]:
        xp, ((left, right), constant) = self.mean.xp, self.mean.pull_back(rows, owner, None)
        if tilt is None:
            return (left, right), constant
        wide, high, a, b = self._matrices(owner, tilt)
        nu = self._rows(rows)
        size = abs(nu)
        first = a * (size @ _turned(high)) + size @ _turned(high * b)
        second = _turned(wide * a) @ nu + b * (_turned(wide) @ nu)
        first, second = first.reshape(left.shape), second.reshape(right.shape)
        for part, center in zip((first, second), self.mean.centres, strict=True):
            constant = constant - xp.row_dot(part, owner.spread(center))
        constant = constant - xp.row_dot(abs(rows), owner.spread(self.noise))
        return (left + first, right + second), constant - owner.spread(self.underflow)

    def _moved(self, owner: Owner, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        """X - X' and Y - Y'."""
        centres = self.mean.centres
        parts = [x - owner.spread(c) for x, c in zip(inputs, centres, strict=True)]
        return self.mean.operator.matrices(parts[0], parts[1])

    def push_forward(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows t"] | None,
        inputs: tuple[Float[Array, "rows _"], ...],
    ) -> Float[Array, "rows m"]:
        value = self.mean.push_forward(rows, owner, None, inputs)
        if tilt is None:
            return value
        wide, high, a, b = self._matrices(owner, tilt)
        dx, dy = self._moved(owner, inputs)
        one = self.mean.xp.full((1,), 1.0)
        sign = self.mean.xp.where(self._rows(rows) >= 0, one, -one)
        extra = sign * ((a * dx) @ high + dx @ (b * high)) + (a * wide) @ dy + wide @ (b * dy)
        return value + extra.reshape(value.shape)

    def steer(
        self,
        rows: Float[Array, "rows m"],
        owner: Owner,
        tilt: Float[Array, "rows t"],
        inputs: tuple[Float[Array, "rows _"], ...],
    ) -> Float[Array, "rows t"]:
        wide, high, *_ = self._matrices(owner, tilt)
        dx, dy = self._moved(owner, inputs)
        nu, count = self._rows(rows), rows.shape[0]
        first = dx * (abs(nu) @ _turned(high)) + wide * (nu @ _turned(dy))
        second = high * (_turned(dx) @ abs(nu)) + dy * (_turned(wide) @ nu)
        return self.mean.xp.cat([first.reshape(count, -1), second.reshape(count, -1)], 1)

    def take(self, index: Array) -> MatrixCorners:
        radii = tuple(r[index] for r in self.radii)
        return MatrixCorners(self.mean.take(index), radii, self.noise[index], self.underflow[index])


def _turned(x: Array) -> Array:
    """Matrices transposed."""
    return x.swapaxes(-1, -2)
