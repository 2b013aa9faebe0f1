"""Files that programs read differently, or that ask for all the memory, have no rule."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_attribute
from onnx.helper import make_node as node

from tests.checker.onnx_files import file
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.cases import Tensor
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network
from verifier.checker.property import read_property

ONES = np.ones(2, np.float32)


def read(*nodes, shape=(1, 2), opset=17, **constants):
    return read_network(file(list(nodes), shape, constants, ("y",), opset), Arithmetic())


@pytest.mark.parametrize(("start", "end"), [(-10, -100), (3, 2**31 - 1), (0, 4)])
def test_backward_slices_beyond_the_ends_have_no_rule(start, end):
    """ONNX clamps the start, ONNX Runtime reads a great end as no end."""
    given = (("s", start), ("e", end), ("a", 0), ("t", -1))
    cut: dict[str, Any] = {name: np.array([n]) for name, n in given}
    with pytest.raises(Unsupported, match="a slice from"):
        read(
            node("Slice", ["c", "s", "e", "a", "t"], ["d"]),
            node("Add", ["x", "d"], ["y"]),
            c=np.arange(4, dtype=np.float32),
            **cut,
        )


def test_empty_slices_of_constants_have_no_rule():
    with pytest.raises(Unsupported, match="an empty slice"):
        read(
            node("Slice", ["c", "s", "s"], ["d"]),
            node("Concat", ["d", "x"], ["y"], axis=0),
            shape=(2,),
            c=np.arange(4, dtype=np.float32),
            s=np.array([2]),
        )


def test_batch_normalization_that_names_its_statistics_was_training():
    with pytest.raises(Unsupported, match="the output mean"):
        read(
            node("BatchNormalization", ["x", *"sbmv"], ["y", "mean", "var"]),
            opset=9,
            s=ONES,
            b=ONES,
            m=ONES,
            v=ONES,
        )


def test_attributes_have_the_types_of_their_operator():
    good = node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    read(good)
    twice = node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    twice.attribute.append(make_attribute("alpha", 0.25))
    undefined = node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    undefined.attribute[0].type = onnx.AttributeProto.UNDEFINED
    of_a_function = node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    of_a_function.attribute[0].ref_attr_name = "beta"
    for odd in (node("LeakyRelu", ["x"], ["y"], alpha=1), twice, undefined, of_a_function):
        with pytest.raises(Unreadable, match="attribute"):
            read(odd)


def test_small_files_do_not_ask_for_all_the_memory():
    shape = np.array([2**31, 2])
    with pytest.raises(Unsupported, match=r"a tensor of 4,294,967,296 elements"):
        read(node("Expand", ["x", "s"], ["y"]), s=shape)
    with pytest.raises(Unsupported, match="elements"):
        read(node("Tile", ["x", "s"], ["y"]), s=shape)
    with pytest.raises(Unsupported, match="elements"):
        read(node("ConstantOfShape", ["s"], ["y"]), s=shape)
    with pytest.raises(Unsupported, match="elements"):
        read(node("Pad", ["x", "s"], ["y"]), s=np.array([0, 0, 0, 2**40]))


def test_float32_execution_may_merge_a_bias_with_the_scale_after_it():
    """2^38 x - 2^98, times 2^30: merged, the bias overflows, however small the difference is."""
    network = read(
        node("Conv", ["x", "w", "b"], ["h"]),
        node("Mul", ["h", "s"], ["y"]),
        shape=(1, 1, 1),
        w=np.full((1, 1, 1), 2.0**38, np.float32),
        b=np.full(1, -(2.0**98), np.float32),
        s=np.full(1, 2.0**30, np.float32),
    )
    box = [np.full((1, 1), 2.0**60)], [np.full((1, 1), 2.0**60 + 2.0**36)]
    for single in (False, True):
        enclosure = Enclosure(network, Arithmetic(), single, list(box[0]), list(box[1]))
        for _ in network.nodes:
            enclosure.step()
        assert bool(np.isfinite(enclosure.upper[-1]).all()) is not single


def test_tensors_are_compared_one_by_one():
    network = read(node("Relu", ["x"], ["y"]), shape=(1, 2, 3))
    given = Tensor("declare-input", "X", (2, 3), "float32")
    out = Tensor("declare-output", "Y", (1, 2, 3), "real")
    assert network.unlike([given, out]) is None
    for odd in (
        [Tensor("declare-input", "X", (3, 2), "float32"), out],
        [Tensor("declare-input", "X", (2, 3), "float64"), out],
        [given],
        [given, given, out],
    ):
        assert network.unlike(odd) is not None
    text = b"(vnnlib-version <2.0>)\n(declare-network N (declare-input X float64 [2, 3])"
    text += b" (declare-output Y real [2, 3]))(assert (>= Y[0,0] 1.0))"
    assert [t.element for t in read_property(text).tensors] == ["float64", "real"]
