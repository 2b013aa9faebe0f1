"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from verifier.families.affine import Affine, plus, times
from verifier.ops.columns import Geometry, convolve, convolve_adjoint, unit_adjoint
from verifier.ops.scale import Scale
from verifier.tensors import Array, Float, Int


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Affine):
    """y = W * x + b over ``images`` images of ``in_shape`` (channels, then space).

    ``weight`` is ``[out_channels, in_channels / groups, *kernel]``; ``pads`` are (begin..., end...)
    per spatial axis, as ONNX writes them; the bias is flat over the output.
    """

    convolves: ClassVar[bool] = True

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
        if begin != end:
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
        # The full correlation covers the padded input from its first cell: cut or extend it.
        around: list[int] = []
        for i in reversed(range(half)):
            after = begin[i] + self.in_shape[1 + i] - full.shape[2 + i]
            around += [-begin[i], after]
        return (F.pad(full, around).reshape(count, self.sizes[0]),)

    def unit_rows(self, index: Int[Array, " rows"]) -> tuple[Float[Array, "rows _"], ...]:
        if not isinstance(index, np.ndarray):
            return super().unit_rows(index)
        image, place = np.divmod(index, math.prod(self.out_shape))
        rows = unit_adjoint(place, self.weight, self._geometry, self.groups)
        shape = (len(index), self.images, math.prod(self.in_shape))
        result = np.zeros(shape, dtype=rows.dtype)
        result[np.arange(len(index)), image] = rows.reshape(len(index), math.prod(self.in_shape))
        return (result.reshape(len(index), self.sizes[0]),)

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


def _per_channel(scale: np.ndarray | None, images: int, channels: int) -> np.ndarray | None:
    """The one factor of each channel, or None where they differ within a channel."""
    if scale is None:
        return None
    cells = scale.reshape(images, channels, -1)
    factors = cells[:1, :, :1]
    return factors.reshape(-1) if (cells == factors).all() else None
