"""Planes of products that a certificate chose: sound whatever they are, and needed to follow it."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.checker.onnx_files import file
from verifier import Options, Verified, verify
from verifier.certify import ProofTree
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.bounds import Enclosure
from verifier.checker.check import Effort, check_parsed
from verifier.checker.container import Container, read_container
from verifier.checker.errors import Rejected
from verifier.checker.groups import Product
from verifier.checker.network import read_network
from verifier.checker.property import read_property
from verifier.checker.rows import Multipliers, Rows
from verifier.search import weighing

SIZE = 3


def network_of(seed: int) -> bytes:
    """y = sum of (A x)_i (B x)_i: one elementwise product, named z."""
    a, b = (weight.astype(np.float32) for weight in _weights(seed))
    constants = {"a": a, "b": b, "c": np.ones((SIZE, 1), dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("MatMul", ["x", "b"], ["q"]),
        helper.make_node("Mul", ["p", "q"], ["z"]),
        helper.make_node("MatMul", ["z", "c"], ["y"]),
    ]
    return file(nodes, [1, 2], constants)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("exact", [False, True])
def test_rows_with_chosen_planes_are_below_every_point(seed: int, exact: bool):
    number, g = Arithmetic(exact=exact), np.random.default_rng(seed)
    network = read_network(network_of(seed), number, Path())
    lower = np.round(g.normal(size=(2, 2)) * 8) / 8
    upper = lower + np.array([[0.25, 0.0], [2.0, 1.0]])
    enclosure = Enclosure(network, number, False, [number.numbers(lower)], [number.numbers(upper)])
    for node in network.nodes:
        value = enclosure.step()
        if isinstance(node.rule, Product):
            enclosure.relax(value)
    (product,) = (
        value for value, n in enumerate(network.nodes, start=1) if isinstance(n.rule, Product)
    )
    owner = np.repeat(np.arange(2), 6)
    rows = g.normal(size=(12, SIZE)).round(2)
    columns = np.array([0, 2])
    alpha = number.numbers(np.array(g.integers(0, 256, (12, 2)) / 255))
    start = Rows({product: number.numbers(rows)}, number.zeros(12), owner)
    form, least = enclosure.bound(start, Multipliers({product: (columns, alpha)}, {}))
    a, b = (np.array(w, dtype=np.float64) for w in _weights(seed))
    for share in g.integers(0, 9, (40, 2)) / 8:
        for i in range(12):
            x = lower[owner[i]] + share * (upper[owner[i]] - lower[owner[i]])
            exact_x = [Fraction(v) for v in x]
            p, q = (
                [
                    sum(Fraction(w) * v for w, v in zip(m[:, k], exact_x, strict=True))
                    for k in range(SIZE)
                ]
                for m in (a, b)
            )
            value = sum(Fraction(r) * s * t for r, s, t in zip(rows[i], p, q, strict=True))
            line = sum(
                Fraction(c) * v for c, v in zip(form.coefficients[i].tolist(), exact_x, strict=True)
            )
            assert line + Fraction(form.constant[i]) <= value
            assert Fraction(least[i]) <= value


def _weights(seed: int) -> list[np.ndarray]:
    numbers = np.random.default_rng(seed)
    return [np.round(numbers.normal(size=(2, SIZE)) * 64) / 64 for _ in "ab"]


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes, ProofTree]:
    """A network, a property, and a certificate with chosen planes."""
    folder = tmp_path_factory.mktemp("chosen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighing, "WORTH_CLOSED", -1.0)
        for seed in range(20):
            data = network_of(seed)
            a, b = _weights(seed)
            points = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
            worst = ((points @ a) * (points @ b)).sum(1).min()
            text = _property(worst - 0.02)
            net, prop = folder / "n.onnx", folder / "p.vnnlib"
            net.write_bytes(data)
            prop.write_text(text)
            verdict = verify(net, prop, timeout=20.0, options=Options(keep=True)).verdict
            assert isinstance(verdict, Verified)
            assert verdict.certificate is not None
            assert verdict.certificate.checked, verdict.certificate.note
            tree, data_of = verdict.proof, verdict.certificate.data
            assert tree is not None
            assert data_of is not None
            if any(c.tilts.column.size for c in tree.chosen):
                return data, text.encode(), data_of, tree
    pytest.fail("no proof needed chosen planes")


def _property(bound: float) -> str:
    sides = "".join(f"(assert (>= X_{i} -1.0)) (assert (<= X_{i} 1.0))\n" for i in range(2))
    names = "(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real)\n"
    return f"{names}{sides}(assert (<= Y_0 {bound:.6f}))\n"


def _verdict(proved: tuple[bytes, bytes, bytes, ProofTree], container: Container) -> bool:
    network = read_network(proved[0], Arithmetic(), Path())
    read = network, read_property(proved[1])
    return check_parsed(container, read, Effort(), "real").accepted


def test_the_checker_follows_chosen_planes(proved: tuple[bytes, bytes, bytes, ProofTree]):
    container = read_container(proved[2])
    assert container.manifest["neurons"] == [["z", SIZE]]
    assert container.arrays["row_alpha"].shape[1] == SIZE
    assert _verdict(proved, container)


def test_other_planes_prove_nothing(proved: tuple[bytes, bytes, bytes, ProofTree]):
    container = read_container(proved[2])
    wrong = 255 - container.arrays["row_alpha"]
    arrays = container.arrays | {"row_alpha": wrong}
    assert not _verdict(proved, replace(container, arrays=arrays))


def test_a_product_is_no_neuron_to_split(proved: tuple[bytes, bytes, bytes, ProofTree]):
    container = read_container(proved[2])
    node = container.arrays["node"].copy()
    where = np.flatnonzero((node & 3) == 1)
    assert len(where)
    node[where[0]] += 1
    arrays = container.arrays | {"node": node}
    with pytest.raises(Rejected, match="a product is no neuron"):
        _verdict(proved, replace(container, arrays=arrays))
