"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from verifier.families.affine import Affine, plus, some, times
from verifier.families.operator import Part
from verifier.ops.columns import Geometry, convolve, convolve_adjoint, unit_adjoint
from verifier.ops.scale import Scale
from verifier.records import dataclass
from verifier.tensors import Array, Float, Int


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Affine):
    """y = W * x + b over ``images`` images of ``in_shape`` (channels, then space).

    ``weight`` is ``[out_channels, in_channels / groups, *kernel]``; ``pads`` are (begin..., end...)
    per spatial axis, as ONNX writes them; the bias is flat over the output.
    """

    convolves: ClassVar[bool] = True
    flushes: ClassVar[tuple[str, ...]] = ("weight", "bias")

    weight: Array
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    images: int = 1

    @staticmethod
    def of(
        weight: np.ndarray,
        bias: np.ndarray | None,
        in_shape: tuple[int, ...],
        geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int],
        images: int = 1,
    ) -> Convolution:
        """From weights, a bias per channel, and geometry (strides, pads, dilations, groups)."""
        strides, pads, dilations, groups = geometry
        space, kernel = in_shape[1:], weight.shape[2:]
        half = len(space)
        out_space = tuple(
            (space[i] + pads[i] + pads[half + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i]
            + 1
            for i in range(half)
        )
        out_shape = (weight.shape[0], *out_space)
        positions = int(np.prod(out_space))
        flat_bias = None if bias is None else np.tile(np.repeat(bias, positions), images)
        fan_in = int(np.prod(weight.shape[1:]))
        fan_out = int(weight.shape[0] // groups * np.prod(kernel))
        return Convolution(
            sizes=(images * int(np.prod(in_shape)),),
            size=images * int(np.prod(out_shape)),
            terms=max(fan_in, fan_out) + 3,
            bias=flat_bias,
            weight=np.ascontiguousarray(weight),
            in_shape=in_shape,
            out_shape=out_shape,
            strides=strides,
            pads=pads,
            dilations=dilations,
            groups=groups,
            images=images,
        )

    @property
    def work(self) -> int:
        return self.size * math.prod(self.weight.shape[1:])

    @property
    def _geometry(self) -> Geometry:
        shapes = (self.in_shape[1:], self.out_shape[1:], tuple(self.weight.shape[2:]))
        return Geometry(*shapes, self.strides, self.pads, self.dilations)

    def _convolve(self, x: Array, weight: Array) -> Array:
        rows = x.shape[0]
        if isinstance(x, np.ndarray):
            cells = math.prod(self.in_shape[1:])
            images = x.reshape(rows * self.images, self.in_shape[0], cells)
            result = convolve(images, weight, self._geometry, self.groups)
            return result.reshape(rows, self.size)
        import torch.nn.functional as F  # noqa: N812

        half = len(self.in_shape) - 1
        x = x.reshape(rows * self.images, *self.in_shape)
        begin, end = self.pads[:half], self.pads[half:]
        padding: Any = begin
        if begin != end or min(begin) < 0:
            around = [p for i in reversed(range(half)) for p in (begin[i], end[i])]
            x, padding = F.pad(x, around), 0
        function = (F.conv1d, F.conv2d, F.conv3d)[half - 1]
        y = function(
            x,
            weight,
            stride=self.strides,
            padding=padding,
            dilation=self.dilations,
            groups=self.groups,
        )
        return y.reshape(rows, self.size)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        y = self._convolve(inputs[0], self.weight)
        return y if self.bias is None else y + self.bias

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._convolve(inputs[0], abs(self.weight))

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        count = rows.shape[0]
        if isinstance(rows, np.ndarray):
            cells = math.prod(self.out_shape[1:])
            images = rows.reshape(count * self.images, self.out_shape[0], cells)
            back = convolve_adjoint(images, self.weight, self._geometry, self.groups)
            return (back.reshape(count, self.sizes[0]),)
        import torch.nn.functional as F  # noqa: N812

        half = len(self.in_shape) - 1
        begin = self.pads[:half]
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[half - 1]
        full = function(
            rows.reshape(count * self.images, *self.out_shape),
            self.weight,
            stride=self.strides,
            dilation=self.dilations,
            groups=self.groups,
        )
        if any(b >= n for b, n in zip(begin, full.shape[2:], strict=True)):
            return (self.xp.zeros(count, self.sizes[0]),)  # no window leaves the padding
        # The full correlation covers the padded input from its first cell: cut or extend it.
        around: list[int] = []
        for i in reversed(range(half)):
            after = begin[i] + self.in_shape[1 + i] - full.shape[2 + i]
            around += [-begin[i], after]
        return (F.pad(full, around).reshape(count, self.sizes[0]),)

    def unit_rows(self, index: Int[Array, " rows"]) -> tuple[Float[Array, "rows _"], ...]:
        xp, count, outputs = self.xp, index.shape[0], math.prod(self.out_shape)
        geometry, size = self._geometry, math.prod(self.in_shape)
        rows = unit_adjoint(index % outputs, self.weight, geometry, self.groups, xp)
        if self.images == 1:
            return (rows.reshape(count, size),)
        result = xp.zeros(count, self.images, size)
        result[xp.arange(count), index // outputs] = rows.reshape(count, size)
        return (result.reshape(count, self.sizes[0]),)

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        return grid(self.out_shape, self.images)

    def part(self, index: np.ndarray) -> Part | None:
        """The smallest rectangle around some cells, with all channels."""
        half = len(self.in_shape) - 1
        if self.images > 1 or half == 0:
            return None
        first, last = hull(index, self.out_shape)
        begin, end, pads = [], [], [[], []]
        for i in range(half):
            reach = self.dilations[i] * (self.weight.shape[2 + i] - 1)
            low = first[i] * self.strides[i] - self.pads[i]
            high = last[i] * self.strides[i] - self.pads[i] + reach
            begin.append(max(low, 0))
            end.append(min(high, self.in_shape[1 + i] - 1))
            pads[0].append(begin[i] - low)
            pads[1].append(high - end[i])
        if any(b > e for b, e in zip(begin, end, strict=True)):
            return None
        cells, taken = block(first, last, self.out_shape), block(begin, end, self.in_shape)
        smaller = replace(
            self,
            sizes=(len(taken),),
            size=len(cells),
            bias=some(self.bias, cells),
            bias_magnitude=some(self.bias_magnitude, cells),
            in_shape=(self.in_shape[0], *(e - b + 1 for b, e in zip(begin, end, strict=True))),
            out_shape=(self.out_shape[0], *(e - b + 1 for b, e in zip(first, last, strict=True))),
            pads=(*pads[0], *pads[1]),
        )
        return Part(smaller, cells, (taken,))

    def absorb_next(self, following: Affine) -> Affine | None:
        """s (W x + b) + t with one s per channel: (s W) x + (s b + t), as in ``Linear``."""
        if not isinstance(following, Scale):
            return None
        factors = _per_channel(following.scale, self.images, self.out_shape[0])
        if following.scale is not None and factors is None:
            return None
        weight = self.weight
        if factors is not None:
            weight = weight * factors.reshape(-1, *(1,) * (weight.ndim - 1))
        factor = None if following.scale is None else abs(following.scale)
        return replace(
            self,
            terms=self.terms + following.terms + 1,
            weight=weight,
            bias=plus(times(self.bias, following.scale), following.bias),
            bias_magnitude=plus(times(self.bias_bound(), factor), following.bias_bound()),
        )

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        """W (s x + t) + b with one s per channel: (W s) x + (W t + b), as in ``Linear``.

        W t is itself a convolution with the same padding, so the bias differs at the borders.
        """
        if not isinstance(preceding, Scale):
            return None
        factors = _per_channel(preceding.scale, self.images, self.in_shape[0])
        if preceding.scale is not None and factors is None:
            return None
        weight = self.weight
        if factors is not None:
            # Output channels come group by group; each group reads its own input channels.
            each = np.repeat(factors.reshape(self.groups, -1), len(weight) // self.groups, axis=0)
            weight = weight * each.reshape(*each.shape, *(1,) * (weight.ndim - 2))
        shift = bound = None
        size = preceding.bias_bound()
        if preceding.bias is not None and size is not None:
            shift = self._at(preceding.bias, self.weight)
            bound = self._at(size, abs(self.weight))
        return replace(
            self,
            terms=self.terms + preceding.terms + 1,
            weight=weight,
            bias=plus(self.bias, shift),
            bias_magnitude=plus(self.bias_bound(), bound),
        )

    def _at(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The convolution of one flat value, by NumPy."""
        half = len(self.in_shape) - 1
        axes = tuple(range(2, 2 + half))
        around = zip(self.pads[:half], self.pads[half:], strict=True)
        padded = np.pad(x.reshape(self.images, *self.in_shape), [(0, 0), (0, 0), *around])
        spans = tuple(
            d * (k - 1) + 1 for d, k in zip(self.dilations, weight.shape[2:], strict=True)
        )
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axes)
        steps = (slice(None), slice(None), *(slice(None, None, s) for s in self.strides))
        windows = windows[(*steps, *(slice(None, None, d) for d in self.dilations))]
        inputs = np.split(windows, self.groups, axis=1)
        over = (1, *range(2 + half, 2 + 2 * half))
        parts = [
            np.tensordot(part, kernel, axes=(over, tuple(range(1, kernel.ndim))))
            for part, kernel in zip(inputs, np.split(weight, self.groups), strict=True)
        ]
        return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1).reshape(-1)


def grid(shape: tuple[int, ...], images: int) -> np.ndarray:
    """Where each element of some images (channels, then space) is: [elements, axes]."""
    cells = np.indices(shape[1:]).reshape(len(shape) - 1, -1).T
    return np.tile(cells, (images * shape[0], 1))


def hull(index: np.ndarray, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The first and the last cell, along each spatial axis, of some elements of an image."""
    places = np.unravel_index(index, shape)[1:]
    return [int(x.min()) for x in places], [int(x.max()) for x in places]


def block(first: list[int], last: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """The elements of an image between two cells, both included, of all channels; ascending."""
    table = np.arange(math.prod(shape)).reshape(shape)
    spans = (slice(a, b + 1) for a, b in zip(first, last, strict=True))
    return table[(slice(None), *spans)].reshape(-1)


def _per_channel(scale: np.ndarray | None, images: int, channels: int) -> np.ndarray | None:
    """The one factor of each channel, or None where they differ within a channel."""
    if scale is None:
        return None
    cells = scale.reshape(images, channels, -1)
    factors = cells[:1, :, :1]
    return factors.reshape(-1) if (cells == factors).all() else None
