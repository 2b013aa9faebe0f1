"""ConvTranspose: the adjoint of a convolution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np

from verifier.errors import ModelError, UnsupportedModel
from verifier.families.affine import Affine, plus, some, times
from verifier.families.example import Example, numbers
from verifier.families.onnx_node import OnnxNode, Operand
from verifier.families.operator import Part
from verifier.families.registry import examples, reads
from verifier.graph import Builder
from verifier.ops.convolution import Convolution, block, grid, hull
from verifier.ops.scale import Scale
from verifier.records import dataclass
from verifier.tensors import Array, Backend, Float, numpy_backend


@dataclass(frozen=True, eq=False, kw_only=True)
class TransposedConvolution(Affine):
    """y = W' x + b, where W is the matrix of the convolution ``forward``, which has no bias."""

    convolves: ClassVar[bool] = True
    flushes: ClassVar[tuple[str, ...]] = ("bias",)

    forward: Convolution

    @staticmethod
    def of(forward: Convolution, bias: np.ndarray | None) -> TransposedConvolution:
        """From a convolution without a bias, and a bias for each of its input channels."""
        cells = math.prod(forward.in_shape[1:])
        flat = None if bias is None else np.tile(np.repeat(bias, cells), forward.images)
        return TransposedConvolution(
            sizes=(forward.size,),
            size=forward.sizes[0],
            terms=forward.terms,
            bias=flat,
            forward=forward,
        )

    def on(self, backend: Backend) -> Self:
        return replace(super().on(backend), forward=self.forward.on(backend))

    def flushed(self, limit: float) -> Self:
        forward = self.forward.flushed(limit)
        bare = super().flushed(limit)
        return replace(bare, forward=forward, lost=max(bare.lost, forward.lost))

    def ordinary(self, limit: float) -> bool:
        return super().ordinary(limit) and self.forward.ordinary(limit)

    @property
    def work(self) -> int:
        return self.forward.work

    def evaluate(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        (y,) = self.forward.adjoint(inputs[0])
        return y if self.bias is None else y + self.bias

    def adjoint(self, rows: Float[Array, "rows m"]) -> tuple[Float[Array, "rows n"], ...]:
        return (self.forward.evaluate(rows),)

    def absolute(self, *inputs: Float[Array, "batch n"]) -> Float[Array, "batch m"]:
        (y,) = replace(self.forward, weight=abs(self.forward.weight)).adjoint(inputs[0])
        return y

    def layout(self, *inputs: np.ndarray | None) -> np.ndarray | None:
        return grid(self.forward.in_shape, self.forward.images)

    def part(self, index: np.ndarray) -> Part | None:
        """The smallest rectangle around some cells, with all channels."""
        forward = self.forward
        if forward.images > 1:
            return None
        first, last = hull(index, forward.in_shape)
        begin, end, pads = [], [], []
        for i, out in enumerate(forward.out_shape[1:]):
            # Cell o spreads to o * stride - pad + (0 .. reach).
            stride, pad = forward.strides[i], forward.pads[i]
            reach = forward.dilations[i] * (forward.weight.shape[2 + i] - 1)
            begin.append(max(-((reach - pad - first[i]) // stride), 0))
            end.append(min((last[i] + pad) // stride, out - 1))
            pads.append(pad + first[i] - begin[i] * stride)
        if any(b > e for b, e in zip(begin, end, strict=True)):
            return None
        cells, taken = (
            block(first, last, forward.in_shape),
            block(begin, end, forward.out_shape),
        )
        in_shape = (forward.in_shape[0], *(b - a + 1 for a, b in zip(first, last, strict=True)))
        out_shape = (forward.out_shape[0], *(b - a + 1 for a, b in zip(begin, end, strict=True)))
        ends = [
            (out_shape[1 + i] - 1) * forward.strides[i]
            - pads[i]
            + forward.dilations[i] * (forward.weight.shape[2 + i] - 1)
            - (in_shape[1 + i] - 1)
            for i in range(len(pads))
        ]
        smaller = replace(
            forward,
            sizes=(len(cells),),
            size=len(taken),
            in_shape=in_shape,
            out_shape=out_shape,
            pads=(*pads, *ends),
        )
        part = replace(
            self,
            sizes=(len(taken),),
            size=len(cells),
            forward=smaller,
            bias=some(self.bias, cells),
            bias_magnitude=some(self.bias_magnitude, cells),
        )
        return Part(part, cells, (taken,))

    def absorb_next(self, following: Affine) -> Affine | None:
        """s (W' x + b) + t = (W s)' x + (s b + t), as in ``Linear``."""
        if not isinstance(following, Scale):
            return None
        forward = self.forward.absorb_previous(_factor(following))
        if not isinstance(forward, Convolution):
            return None
        factor = None if following.scale is None else abs(following.scale)
        return replace(
            self,
            terms=self.terms + following.terms + 1,
            forward=forward,
            bias=plus(times(self.bias, following.scale), following.bias),
            bias_magnitude=plus(times(self.bias_bound(), factor), following.bias_bound()),
        )

    def absorb_previous(self, preceding: Affine) -> Affine | None:
        """W' (s x + t) + b = (s W)' x + (W' t + b), as in ``Linear``."""
        if not isinstance(preceding, Scale):
            return None
        forward = self.forward.absorb_next(_factor(preceding))
        if not isinstance(forward, Convolution):
            return None
        shift = bound = None
        size = preceding.bias_bound()
        if preceding.bias is not None and size is not None:
            placed = replace(self, bias=None, bias_magnitude=None).on(numpy_backend("float64"))
            shift = placed.evaluate(preceding.bias[None])[0]
            bound = placed.absolute(size[None])[0]
        return replace(
            self,
            terms=self.terms + preceding.terms + 1,
            forward=forward,
            bias=plus(self.bias, shift),
            bias_magnitude=plus(self.bias_bound(), bound),
        )


def _factor(scale: Scale) -> Scale:
    return replace(scale, bias=None, bias_magnitude=None)


@reads("ConvTranspose")
def read_conv_transpose(node: OnnxNode, builder: Builder) -> Operand:
    """A transposed convolution with constant weights, in one to three dimensions."""
    value, weight = node.value(0), node.weights(1, "weights")
    groups = node.flag("group", 1)
    if (
        weight is None
        or not len(value.shape) == weight.ndim >= 3
        or weight.shape[0] != value.shape[1]
        or value.shape[1] % groups
    ):
        shape = None if weight is None else weight.shape
        message = f"weights of shape {shape} over a value of shape {value.shape}"
        raise ModelError(message)
    if weight.ndim > 5:
        message = f"{weight.ndim - 2} spatial dimensions"
        raise UnsupportedModel(message)
    channels = weight.shape[1] * groups
    space, strides, pads, dilations = _geometry(node, value.shape[2:], weight.shape[2:])
    geometry = (strides, pads, dilations, groups)
    forward = Convolution.of(weight, None, (channels, *space), geometry, images=value.shape[0])
    operator = TransposedConvolution.of(forward, node.weights(2, "bias"))
    return builder.add(node.name, operator, [value], (value.shape[0], channels, *space))


def _geometry(
    node: OnnxNode, counts: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """(output space, strides, pads, dilations) of the convolution that is transposed.

    Its end pads are such that it has exactly ``counts`` windows; they may be negative.
    """
    rank = len(counts)
    strides = node.ints("strides") or (1,) * rank
    dilations = node.ints("dilations") or (1,) * rank
    extra = node.ints("output_padding") or (0,) * rank
    given, wanted = node.ints("pads") or (0,) * (2 * rank), node.ints("output_shape")
    if wanted is not None:
        wanted = wanted[-rank:]
    if not len(strides) == len(dilations) == len(extra) == rank or len(given) != 2 * rank:
        message = f"strides, dilations, pads and output_padding for {rank} spatial axes"
        raise ModelError(message)
    mode = node.attributes.get("auto_pad", "NOTSET")
    space, begins, ends = [], [], []
    for axis, count in enumerate(counts):
        span = dilations[axis] * (kernel[axis] - 1) + 1
        full = (count - 1) * strides[axis] + span
        begin, size = given[axis], full + extra[axis] - given[axis] - given[rank + axis]
        if mode == "VALID":
            begin, size = 0, full + extra[axis]
        if mode.startswith("SAME") and wanted is None:
            size = count * strides[axis]
        elif wanted is not None:
            size = wanted[axis]
        if mode.startswith("SAME") or wanted is not None:
            total = max(full + extra[axis] - size, 0)
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        if size < 1:
            message = f"an output of length {size} along spatial axis {axis}"
            raise ModelError(message)
        space.append(size)
        begins.append(begin)
        ends.append(full - size - begin)
    return tuple(space), strides, tuple(itertools.chain(begins, ends)), dilations


@examples("ConvTranspose")
def _conv_transpose() -> Iterator[Example]:
    def example(inputs: tuple, opset: int = 17, **attributes: object) -> Example:
        return Example("ConvTranspose", inputs, attributes, opset)

    yield example(((1, 2, 3, 2), numbers(2, 3, 3, 2), numbers(3)))
    yield example(((2, 4, 2, 3), numbers(4, 1, 2, 3), numbers(2)), group=2, strides=[2, 3])
    yield example(
        ((1, 1, 3, 4), numbers(1, 2, 3, 3)),
        strides=[2, 2],
        pads=[1, 0, 0, 2],
        output_padding=[1, 0],
        kernel_shape=[3, 3],
    )
    yield example(((1, 2, 3), numbers(2, 1, 2)), dilations=[2], strides=[2], output_padding=[1])
    yield example(((1, 1, 2, 2, 3), numbers(1, 2, 2, 1, 2), numbers(2)), strides=[1, 2, 2])
    yield example(((1, 1, 3, 2), numbers(1, 1, 3, 3)), output_shape=[7, 4], strides=[2, 2])
    yield example(((1, 1, 3), numbers(1, 1, 2)), output_shape=[7], strides=[2], auto_pad="NOTSET")
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield example(((1, 1, 3, 2), numbers(1, 1, 2, 3)), 11, auto_pad=mode, strides=[1, 2])
    yield example(
        ((1, 1, 3), numbers(1, 1, 4)), 1, output_shape=[6], strides=[2], auto_pad="SAME_UPPER"
    )
    yield example(((1, 3, 1, 1), numbers(3, 2, 1, 1), numbers(2)))
