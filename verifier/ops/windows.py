"""The windows of convolutions and pools: strides, pads, dilations, and ONNX's ways to give them."""

from __future__ import annotations

import itertools
import math

import numpy as np

from verifier.errors import ModelError
from verifier.families.onnx_node import OnnxNode, bounded
from verifier.records import dataclass


@dataclass(frozen=True)
class Windows:
    """A grid of windows over the spatial axes ``space``; ``pads`` are (begin..., end...)."""

    space: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil_mode: bool = False

    @staticmethod
    def of(node: OnnxNode, space: tuple[int, ...], kernel: tuple[int, ...]) -> Windows:
        """From a node's attributes."""
        rank = len(space)
        ones = (1,) * rank
        strides = node.ints("strides") or ones
        dilations = node.ints("dilations") or ones
        pads = node.ints("pads") or (0,) * (2 * rank)
        if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
            message = f"windows of {len(kernel)} axes over values of {rank} spatial axes"
            raise ModelError(message)
        if min((*kernel, *strides, *dilations), default=1) < 1:
            message = f"windows of {kernel} with strides {strides} and dilations {dilations}"
            raise ModelError(message)
        mode = node.attributes.get("auto_pad", "NOTSET")
        if mode == "VALID":
            pads = (0,) * (2 * rank)
        elif mode in {"SAME_UPPER", "SAME_LOWER"}:
            pads = _same(space, kernel, strides, dilations, upper=mode == "SAME_UPPER")
        windows = Windows(space, kernel, strides, pads, dilations, bool(node.flag("ceil_mode", 0)))
        if min(windows.counts, default=1) < 1:
            message = f"windows of {kernel} do not fit into {space} with pads {pads}"
            raise ModelError(message)
        bounded((*windows.counts, *kernel))
        return windows

    def span(self, axis: int) -> int:
        """The extent of a window, with its gaps."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    @property
    def counts(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return tuple(self._count(axis) for axis in range(len(self.space)))

    def _count(self, axis: int) -> int:
        begin, end = self.pads[axis], self.pads[len(self.space) + axis]
        stride, size = self.strides[axis], self.space[axis]
        room = size + begin + end - self.span(axis)
        if not self.ceil_mode:
            return room // stride + 1
        count = -(-room // stride) + 1
        # A window that would start in the end padding is left out.
        return count - 1 if (count - 1) * stride >= size + begin else count

    def positions(self, axis: int) -> np.ndarray:
        """[windows, kernel]: coordinates along an axis, which may lie in the padding."""
        starts = np.arange(self.counts[axis]) * self.strides[axis] - self.pads[axis]
        return starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]

    def table(self) -> np.ndarray:
        """[windows, kernel cells]: flat numbers of spatial positions, -1 in the padding."""
        rank = len(self.space)
        index = np.zeros((1,) * (2 * rank), dtype=np.int64)
        inside = np.ones((1,) * (2 * rank), dtype=bool)
        for axis, size in enumerate(self.space):
            shape = [1] * (2 * rank)
            shape[axis], shape[rank + axis] = self.counts[axis], self.kernel[axis]
            positions = self.positions(axis).reshape(shape)
            index = index * size + positions
            inside = inside & (positions >= 0) & (positions < size)
        flat = np.where(inside, index, -1)
        return flat.reshape(math.prod(self.counts), math.prod(self.kernel))

    def padded_cells(self) -> np.ndarray:
        """[windows]: how many cells of each window lie in the input or its declared padding."""
        total = np.ones((1,) * len(self.space), dtype=np.int64)
        for axis, size in enumerate(self.space):
            end = size + self.pads[len(self.space) + axis]
            cells = (self.positions(axis) < end).sum(axis=1)
            shape = [1] * len(self.space)
            shape[axis] = len(cells)
            total = total * cells.reshape(shape)
        return total.reshape(-1)


def _same(
    space: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    upper: bool,
) -> tuple[int, ...]:
    """Pads that make ceil(size / stride) windows; an odd one goes to the end, or the beginning."""
    begins, ends = [], []
    for size, width, stride, gap in zip(space, kernel, strides, dilations, strict=True):
        count = -(-size // stride)
        total = max((count - 1) * stride + gap * (width - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return tuple(itertools.chain(begins, ends))


def image_table(spatial: np.ndarray, images: int, cells: int) -> np.ndarray:
    """``Windows.table`` repeated for every image (batch and channel): [images windows, kernel]."""
    offsets = (np.arange(images) * cells)[:, None, None]
    table = np.where(spatial >= 0, spatial + offsets, -1)
    return table.reshape(-1, spatial.shape[1])
