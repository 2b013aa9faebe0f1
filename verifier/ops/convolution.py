"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.families.affine import Affine
from verifier.tensors import Array, Float


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Affine):
    """y = W * x + b over ``images`` images of ``in_shape`` (channels, then space).

    ``weight`` is ``[out_channels, in_channels / groups, *kernel]``; ``pads`` are (begin..., end...)
    per spatial axis, as ONNX writes them; the bias is flat over the output.
    """

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
        """From float64 weights, a bias per channel, and geometry (strides, pads, dilations, groups)."""
        strides, pads, dilations, groups = geometry
        space, kernel = in_shape[1:], weight.shape[2:]
        half = len(space)
        out_space = tuple(
            (space[i] + pads[i] + pads[half + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
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

    def _convolve(self, x: Array, weight: Array) -> Array:
        import torch.nn.functional as F  # noqa: N812

        rows = x.shape[0]
        half = len(self.in_shape) - 1
        x = x.reshape(rows * self.images, *self.in_shape)
        begin, end = self.pads[:half], self.pads[half:]
        padding: Any = begin
        if begin != end:
            around = [p for i in reversed(range(half)) for p in (begin[i], end[i])]
            x, padding = F.pad(x, around), 0
        function = (F.conv1d, F.conv2d, F.conv3d)[half - 1]
        y = function(
            x, weight, stride=self.strides, padding=padding, dilation=self.dilations, groups=self.groups
        )
        return y.reshape(rows, -1)

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        y = self._convolve(inputs[0], self.weight)
        return y if self.bias is None else y + self.bias

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        return self._convolve(inputs[0], abs(self.weight))

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        import torch.nn.functional as F  # noqa: N812

        count = rows.shape[0]
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
        # The full correlation covers the padded input from its first cell; cut or extend to the input.
        around: list[int] = []
        for i in reversed(range(half)):
            after = begin[i] + self.in_shape[1 + i] - full.shape[2 + i]
            around += [-begin[i], after]
        return (F.pad(full, around).reshape(count, -1),)
