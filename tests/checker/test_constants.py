"""What a network computes from constants alone is exact: values that no input moves."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from onnx.helper import make_node as node

from tests.checker.onnx_files import agrees, enclosed, execute, file
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.errors import Unreadable, Unsupported
from verifier.checker.network import read_network

G = np.random.default_rng(0)


def weights(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return G.normal(size=shape).astype(kind)


def joined(*nodes: Any, shape: Any = (1, 3), **constants: Any) -> bytes:
    """x + d, where the nodes compute d from constants."""
    return file([*nodes, node("Add", ["x", "d"], ["y"])], shape, constants)


NORM = {"s": weights(3), "b": weights(3), "m": weights(3), "v": abs(weights(3)) + 1}
FORMS = {
    "sum": joined(node("Add", ["a", "b"], ["d"]), a=weights(3), b=weights(3)),
    "difference": joined(node("Sub", ["a", "b"], ["d"]), a=weights(1), b=weights(3)),
    "product": joined(node("Mul", ["a", "b"], ["d"]), a=weights(3), b=weights(3)),
    "quotient": joined(node("Div", ["a", "b"], ["d"]), a=weights(3), b=1 + abs(weights(3))),
    "matrices": joined(node("MatMul", ["a", "b"], ["d"]), a=weights(2, 4), b=weights(4, 3)),
    "gemm": joined(
        node("Gemm", ["a", "b", "c"], ["d"], transA=1),
        a=weights(4, 2),
        b=weights(4, 3),
        c=weights(3),
    ),
    "function": joined(node("Tanh", ["a"], ["d"]), a=weights(3)),
    "sum over an axis": joined(
        node("ReduceSum", ["a", "n"], ["d"]), a=weights(4, 3), n=np.array([0])
    ),
    "normalisation": joined(
        node("BatchNormalization", ["a", *"sbmv"], ["d"]), a=weights(1, 3), **NORM
    ),
    "twice": joined(
        node("Mul", ["a", "a"], ["e"]), node("Sub", ["e", "b"], ["d"]), a=weights(3), b=weights(3)
    ),
    "a matrix that is computed": file(
        [node("MatMul", ["a", "b"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        (2, 3),
        {"a": weights(3, 2), "b": weights(2, 4)},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_it_is_what_the_runtime_computes(name):
    network = agrees(FORMS[name])
    x = G.normal(size=network.sizes[0])
    enclosure = enclosed(network, (x, x), single=False)
    width = enclosure.upper[-1] - enclosure.lower[-1]
    assert (width < 1e-12).all()


def test_sums_and_products_are_those_of_the_numbers_in_the_file():
    """1 + 2^-30 is no float32, and 1 + 2^-70 no float64."""
    for small in (2.0**-30, 2.0**-70):
        data = joined(
            node("Add", ["a", "b"], ["d"]),
            shape=(1, 1),
            a=np.ones(1, np.float32),
            b=np.array([small], np.float32),
        )
        network = read_network(data, Arithmetic(exact=True))
        zero = Arithmetic(exact=True).numbers(np.zeros((1, 1)))
        enclosure = Enclosure(network, Arithmetic(exact=True), False, [zero], [zero])
        for _ in network.nodes:
            enclosure.step()
        assert enclosure.lower[-1][0, 0] == enclosure.upper[-1][0, 0] == 1 + Fraction(small)


def test_nothing_is_claimed_of_float32_runtimes_that_compute_them():
    """They merge what they computed beforehand with affine nodes before and after it.

    Here ONNX Runtime multiplies a convolution's weight 1e-30 by 1e-20, which is 0, then by 1e20.
    """
    kernel, x = np.full((1, 1, 1, 1), 1e-30, np.float32), np.array([1e30])
    steps = [
        node("Conv", ["x", "k"], ["a"]),
        node("Add", ["small", "none"], ["d"]),
        node("Mul", ["a", "d"], ["b"]),
        node("Add", ["large", "none"], ["e"]),
        node("Mul", ["b", "e"], ["y"]),
    ]
    numbers = {k: np.full((1, 1, 1), v, np.float32) for k, v in SIZES.items()}
    data = file(steps, (1, 1, 1, 1), {"k": kernel, **numbers})
    network = read_network(data, Arithmetic())
    assert not network.single_precision
    y = enclosed(network, (x, x), single=False)
    assert y.lower[-1][0, 0] == pytest.approx(1) == y.upper[-1][0, 0]
    assert execute(data, x)[0] == 0
    assert execute(data, x, optimised=False)[0] == pytest.approx(1)


SIZES = {"small": 1e-20, "none": 0.0, "large": 1e20}


UNNEEDED = {
    "infinite": (node("Add", ["a", "i"], ["u"]), {"i": np.full(3, np.inf, np.float32)}),
    "division by 0": (node("Div", ["a", "z"], ["u"]), {"z": np.zeros(3, np.float32)}),
    "empty": (node("Relu", ["o"], ["u"]), {"o": np.zeros((0, 3), np.float32)}),
    "no number": (node("Cast", ["i"], ["u"], to=7), {"i": np.full(3, np.nan, np.float32)}),
    "a curve": (node("Sqrt", ["a"], ["u"]), {}),
    "many": (node("Mul", ["l", "l"], ["u"]), {"l": np.ones(2**23, np.float32)}),
}


@pytest.mark.parametrize("name", UNNEEDED)
def test_what_nothing_needs_changes_nothing(name):
    step, constants = UNNEEDED[name]
    nodes = [step, node("Add", ["x", "a"], ["y"])]
    network = agrees(file(nodes, (1, 3), {"a": abs(weights(3)), **constants}))
    assert network.single_precision
    assert len(network.nodes) == 1


INTEGERS = np.array([2, -1])


def test_integers_are_compared_and_chosen():
    steps = [
        node("Equal", ["i", "j"], ["q"]),
        node("Where", ["q", "k", "i"], ["s"]),
        node("Expand", ["x", "s"], ["y"]),
    ]
    data = file(steps, (1, 3), {"i": INTEGERS, "j": np.array([2, -1]), "k": np.array([2, 3])})
    assert agrees(data).sizes[-1] == 6


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            joined(
                node("Add", ["a", "b"], ["e"]),
                node("Cast", ["e"], ["d"], to=1),
                a=weights(3, kind=np.float16),
                b=weights(3, kind=np.float16),
            ),
            "arithmetic between constants",
        ),
        (
            joined(
                node("Add", ["a", "b"], ["e"]),
                node("Cast", ["e"], ["d"], to=1),
                a=weights(3, kind=np.float64),
                b=weights(3, kind=np.float64),
            ),
            "float64 becomes float32",
        ),
        (
            file(
                [node("Equal", ["x", "a"], ["q"]), node("Where", ["q", "x", "a"], ["y"])],
                (1, 3),
                {"a": weights(3)},
            ),
            "depends on the input is compared",
        ),
        (
            file(
                [node("Div", ["i", "j"], ["s"]), node("Expand", ["x", "s"], ["y"])],
                (1, 3),
                {"i": INTEGERS, "j": INTEGERS},
            ),
            "arithmetic between constants",
        ),
    ],
)
def test_what_is_not_known_exactly_has_no_rule(data, message):
    with pytest.raises(Unsupported, match=message):
        read_network(data, Arithmetic())


FEW = {"i": INTEGERS, "j": INTEGERS}


@pytest.mark.parametrize(
    "step",
    [
        node("Equal", ["i", "j", "i"], ["q"]),
        node("Equal", ["i"], ["q"]),
        node("Where", ["i", "i", "j"], ["q"]),
        node("Where", ["i"], ["q"]),
    ],
)
def test_comparisons_that_the_runtime_refuses_are_refused(step):
    data = file([step, node("Expand", ["x", "q"], ["y"])], (1, 3), FEW)
    with pytest.raises((Unreadable, Unsupported)):
        read_network(data, Arithmetic())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_constants_must_be_finite(bad):
    data = joined(node("Add", ["a", "b"], ["d"]), a=np.array([bad, 0, 0], np.float32), b=weights(3))
    with pytest.raises((Unreadable, Unsupported)):
        read_network(data, Arithmetic())
