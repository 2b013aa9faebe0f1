"""What moving windows compute: convolutions, also transposed, and means."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from verifier.checker.affine import Dense, Indices
from verifier.checker.arithmetic import Floats
from verifier.checker.tensors import NoRule, Step, Tensor, Variable, bounded, exact


def inverse_of(step: Step, x: npt.NDArray[np.float64]) -> tuple[Floats, int]:
    """1 / x, and how many roundings that takes."""
    if not ((abs(x) > 2.0**-900) & (abs(x) < 2.0**900)).all():
        raise ValueError("a division by 0, or by a number too small or too large")
    return step.numbers([1.0]) / step.numbers(x), int((abs(np.frexp(x)[0]) != 0.5).any())


def patches(step: Step, x: Variable, kernel: tuple[int, ...]) -> Indices:
    """What a moving kernel meets: [batch, channels, prod(kernel), *places], -1 for padding."""
    rank, sizes = len(kernel), x.shape[2:]
    strides = step.attribute("strides", [1] * rank)
    dilations = step.attribute("dilations", [1] * rank)
    pads, auto = step.attribute("pads", [0] * 2 * rank), step.attribute("auto_pad", "NOTSET")
    if auto not in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"} or (
        auto != "NOTSET" and any(pads)
    ):
        raise NoRule(f"auto_pad {auto}, pads {pads}")
    if {len(sizes), len(strides), len(dilations)} != {rank} or min(*strides, *dilations) < 1:
        raise ValueError(f"shape {x.shape}, kernel {kernel}, strides {strides}, {dilations}")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if auto.startswith("SAME"):
        steps = zip(sizes, strides, reach, strict=True)
        whole = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in steps]
        less, more = [n // 2 for n in whole], [n - n // 2 for n in whole]
        pads = less + more if auto == "SAME_UPPER" else more + less
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    bounded(prod(n + sum(w) for n, w in zip(x.shape, widths, strict=True)))
    padded = np.pad(x.index, widths, constant_values=-1)
    rests = zip(padded.shape[2:], reach, strides, strict=True)
    if step.attribute("ceil_mode", 0) and any((n - r) % s for n, r, s in rests):
        raise NoRule("ceil_mode with a rest")
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, 2 + rank)))
    every = slice(None)
    view = view[every, every, *(slice(None, None, s) for s in [*strides, *dilations])]
    bounded(view.size)
    places = view.shape[2 : 2 + rank]
    view = np.moveaxis(view, range(2 + rank, 2 + 2 * rank), range(2, 2 + rank))
    return view.reshape(*x.shape[:2], -1, *places)


def convolution(step: Step) -> list[Tensor]:
    """A matrix times the patches, for each group of channels."""
    x = step.variable()
    weight, bias = exact(step.tensor(), x), step.constant()
    groups, kernel = step.attribute("group", 1), weight.shape[2:]
    matching = x.shape[1] == groups * weight.shape[1] and len(weight) % groups == 0
    if tuple(step.attribute("kernel_shape", kernel)) != kernel or not matching:
        raise ValueError("the shapes of weight, kernel and groups do not match")
    offset = np.zeros(len(weight)) if bias is None else exact(bias, x)
    return [convolve(step, x, (weight, offset), groups)]


def convolve(step: Step, x: Variable, given: tuple[Any, Any], groups: int) -> Tensor:
    """A convolution with weights [m, k, *kernel] and a bias [m]; padding, strides: attributes."""
    weight, bias = given
    index, name = patches(step, x, weight.shape[2:]), step.outputs[0] + ":patches"
    cut = step.values.select(name, [x], index)
    matrix = step.numbers(weight.reshape(groups, len(weight) // groups, -1))
    places = index.shape[3:]
    offset = step.numbers(bias.reshape(-1, *[1] * len(places)))
    shape = (len(index), len(weight), *places)
    return step.product(cut, Dense(matrix, len(index), prod(places)), shape, offset)


def average_pool(step: Step) -> list[Tensor]:
    x, include = step.variable(), bool(step.attribute("count_include_pad", 0))
    kernel = tuple(step.attribute("kernel_shape"))
    index = np.moveaxis(patches(step, x, kernel), 2, 0)
    share, inexact = inverse_of(step, ((index >= 0) | include).sum(axis=0).astype(np.float64))
    scale = share * step.numbers(index >= 0)
    step.values.strained.extend(step.outputs)
    return [step.affine([x], np.maximum(index, 0), scale, step.numbers(0.0), inexact)]


def transposed_convolution(step: Step) -> list[Tensor]:
    """The convolution of x, spread out by the strides, with the kernel turned about."""
    x = step.variable()
    weight, bias = exact(step.tensor(), x), step.constant()
    groups, kernel, rank = step.attribute("group", 1), weight.shape[2:], len(weight.shape) - 2
    strides = step.attribute("strides", [1] * rank)
    dilations = step.attribute("dilations", [1] * rank)
    pads, more = (
        step.attribute("pads", [0] * 2 * rank),
        step.attribute("output_padding", [0] * rank),
    )
    auto = step.attribute("auto_pad", "NOTSET")
    shape = step.attribute("output_shape")
    if auto != "NOTSET" or shape is not None or len(weight) % groups or x.shape[1] != len(weight):
        raise NoRule(f"auto_pad {auto}, output_shape {shape}, weight {weight.shape}")
    if tuple(step.attribute("kernel_shape", kernel)) != kernel:
        raise ValueError("kernel_shape is not that of the weight")
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
    spread = np.full((*x.shape[:2], *sizes), -1)
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x.index
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    before = [r - p for r, p in zip(reach, pads[:rank], strict=True)]
    after = [r - p + m for r, p, m in zip(reach, pads[rank:], more, strict=True)]
    if min(*before, *after) < 0:
        raise NoRule(f"pads {pads}")
    wide = step.values.select(f"{step.outputs[0]}:spread", [x], spread)
    inner = replace(step, attributes={"pads": before + after, "dilations": dilations})
    turned = np.flip(weight, tuple(range(2, 2 + rank)))
    turned = turned.reshape(groups, len(weight) // groups, -1, *kernel).swapaxes(1, 2)
    turned = turned.reshape(-1, len(weight) // groups, *kernel)
    offset = np.zeros(len(turned)) if bias is None else exact(bias, x)
    return [convolve(inner, wide, (turned, offset), groups)]
