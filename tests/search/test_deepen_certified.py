"""Proofs by searches of hidden neurons are certified, and what is changed in them is noticed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.checker.proofs import Net, Proof, falsified, prove, statement
from tests.cli.made import save
from verifier import Verified, verify
from verifier.certify import Parts, ProofTree, Tightened, Tilts, write
from verifier.search import deep, deepen, hulling
from verifier.tensors import numpy_backend

OF_RECORDS = (
    *("hidden_node", "hidden_atom", "hidden_neuron", "hidden_sign", "hidden_alpha"),
    *("hidden_round", "hidden_splits"),
)
OF_PARTS = "hidden_splits", "hidden_column", "hidden_beta"


@pytest.fixture(scope="module")
def proofs(tmp_path_factory) -> list[Proof]:
    """Proofs that rest on bounds in parts."""
    folder: Path = tmp_path_factory.mktemp("deepened")
    g, found = np.random.default_rng(3), list[Proof]()
    while len(found) < 2:
        net = Net.random(g, (3, 8, 8, 8, 2))
        proof = prove(folder, net, statement(net, g, 1, 2, 1), "deepened")
        if proof is not None and set(OF_PARTS) <= set(proof.arrays):
            found.append(proof)
    return found


def changed(proof: Proof, **arrays: np.ndarray) -> bytes:
    return proof.bytes({**proof.arrays, **arrays})


def refused(proof: Proof, data: bytes) -> bool:
    """Is it; if it is not, it must be valid."""
    if proof.verdict(data) is None:
        return True
    assert proof.verdict(data, exact=True) == "real"
    return False


def test_they_are_accepted(proofs):
    for proof in proofs:
        assert proof.verdict(proof.bytes()) is not None
        assert proof.verdict(proof.bytes(), exact=True) == "real"
        assert proof.arrays["hidden_splits"].max() > 0


@pytest.mark.parametrize("seed", [21, 27])
def test_a_second_search_may_rest_on_the_first(seed, tmp_path):
    """The slopes that the first one found prove less in the boxes that the second one leaves."""
    g = np.random.default_rng(seed)
    net = Net.random(g, (3, 12, 12, 12, 12, 2))
    proof = prove(tmp_path, net, statement(net, g, 1, 2, 1), "deepened")
    assert proof is not None
    assert proof.arrays["hidden_round"].max() == 2
    assert proof.verdict(proof.bytes(), exact=True) == "real"
    at_once = {k: v for k, v in proof.arrays.items() if k != "hidden_round"}
    assert proof.verdict(proof.bytes(at_once)) is None


def test_they_are_of_use(proofs):
    """One of them at least does not hold without."""
    left = [{k: v for k, v in p.arrays.items() if not k.startswith("hidden")} for p in proofs]
    verdicts = [p.verdict(p.bytes(rest)) for p, rest in zip(proofs, left, strict=True)]
    assert None in verdicts


def test_whatever_lacks_of_the_parts_is_refused(proofs):
    g = np.random.default_rng(0)
    for proof in proofs:
        arrays = proof.arrays
        for name in OF_PARTS:
            rest = {k: v for k, v in arrays.items() if k != name}
            assert proof.verdict(proof.bytes(rest)) is None
            assert proof.verdict(changed(proof, **{name: arrays[name][:-1]})) is None
        for _ in range(4):
            some = int(g.integers(len(arrays["hidden_node"])))
            rest = {name: np.delete(arrays[name], some, 0) for name in OF_RECORDS}
            refused(proof, changed(proof, **rest))


def test_other_numbers_prove_nothing_else(proofs):
    g, count = np.random.default_rng(1), 0
    for proof in proofs:
        beta, column = proof.arrays["hidden_beta"], proof.arrays["hidden_column"]
        alpha, neuron = proof.arrays["hidden_alpha"], proof.arrays["hidden_neuron"]
        count += refused(proof, changed(proof, hidden_beta=-beta - np.float32(1)))
        count += refused(proof, changed(proof, hidden_column=g.permutation(column)))
        count += refused(proof, changed(proof, hidden_neuron=neuron[::-1].copy()))
        count += refused(proof, changed(proof, hidden_alpha=alpha[::-1].copy()))
    assert count > 2


def test_they_do_not_prove_what_is_false(proofs):
    g = np.random.default_rng(2)
    for proof in proofs:
        for _ in range(3):
            false = proof.about(proof.net, falsified(proof.net, proof.statement, g))
            assert false.verdict(false.bytes()) is None


# -------------------------------------------------------------------------------------- the record


def grown(g, columns, depth):
    """The sides of the leaves of a random tree, in preorder."""
    free = np.flatnonzero(columns == 0)
    if depth == 0 or not len(free) or g.random() < 0.2:
        return [columns]
    column, found = int(g.choice(free)), []
    for side in (-1, 1):
        below = columns.copy()
        below[column] = side
        found += grown(g, below, depth - 1)
    return found


def followed(parts, width):
    """The sides of all parts, read as the format has it."""
    path, at, result = [], 0, []
    for further, depth in zip(parts.further.tolist(), parts.depth.tolist(), strict=True):
        path += [[c, -1] for c in parts.column[at : at + further].tolist()]
        at += further
        assert depth == len(path)
        sides = np.zeros(width, dtype=int)
        for column, side in path:
            sides[column] = side
        result.append((sides, [column for column, _ in path]))
        while path and path[-1][1] > 0:
            path.pop()
        if path:
            path[-1][1] = 1
    assert not path
    return result


@pytest.mark.parametrize("seed", range(20))
def test_parts_in_order_are_those_that_were_given(seed):
    g, width = np.random.default_rng(seed), 7
    trees = [grown(g, np.zeros(width, dtype=int), int(g.integers(6))) for _ in range(5)]
    phase = np.array([sides for tree in trees for sides in tree])
    owner = np.repeat(np.arange(5) * 3, [len(tree) for tree in trees])
    shuffled = g.permutation(len(phase))
    phase, owner = phase[shuffled], owner[shuffled]
    beta = np.where(phase != 0, g.normal(size=phase.shape), 0).astype(np.float32)
    order, parts = Parts.of(owner, phase, np.arange(width), beta)
    assert sorted(order.tolist()) == list(range(len(phase)))
    assert (np.diff(owner[order]) >= 0).all()
    found, at = followed(parts, width), 0
    for part, (sides, path) in zip(order.tolist(), found, strict=True):
        assert sides.tolist() == phase[part].tolist()
        assert parts.beta[at : at + len(path)].tolist() == beta[part, path].tolist()
        at += len(path)
    assert at == len(parts.beta)


def test_slopes_that_would_not_fit_are_not_written(proofs, tmp_path, monkeypatch):
    """One row over many columns counts for all of them."""
    proof = proofs[0]
    monkeypatch.setattr(write, "MOST_BYTES", 100)
    assert prove(tmp_path, proof.net, proof.statement, "deepened") is None


def test_what_was_recorded_since_a_restart_is_forgotten_but_for_neurons():
    xp = numpy_backend()
    tree = ProofTree(xp, 2)
    tree.close(tree.by_clause(np.array([0]), np.arange(2)))
    mark = tree.mark()
    children = tree.by_clause(np.array([1]), np.arange(3))
    halves = tree.split(children, np.zeros(3, int), np.zeros(3), of_neurons=True)
    tree.close(halves)
    tilts = Tilts(np.arange(2), np.zeros((1, 2), np.uint8))
    tree.tighten(Tightened(1, 5, np.zeros(1, int), np.ones(1, np.int8), tilts))
    more = Tightened(1, 6, np.zeros(1, int), np.ones(1, np.int8), tilts, Parts.whole(1))
    tree.restart(mark, [more])
    assert [t.atom for t in tree.tightened] == [5, 6]
    assert (tree.count, tree.closed, len(tree.splits), len(tree.clauses)) == (4, 2, 0, 1)
    assert tree.by_clause(np.array([1]), np.arange(3)).tolist() == children.tolist()
    assert tree.hidden_bytes == 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_leaky_relus_are_certified_too(seed, patience, tmp_path, monkeypatch):
    """255ths stand for the slopes between the leak and 1."""
    monkeypatch.setattr(deep, "PATIENCE", patience)
    monkeypatch.setattr(hulling, "STEPS", 0)
    monkeypatch.setattr(deepen, "PROMISING", 0.0)
    net, prop = leaky_problem(tmp_path, seed)
    verdict = verify(net, prop, timeout=60.0).verdict
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.data is not None
    assert verdict.certificate.semantics is not None


def leaky_problem(folder: Path, seed: int) -> tuple[Path, Path]:
    """An MLP of 16 inputs, and "its output is at least" more than any of many points gives."""
    numbers = np.random.default_rng(seed)
    sizes, nodes, stored, name = (16, 10, 10, 1), [], {}, "x"
    points = numbers.uniform(-0.5, 0.5, size=(20000, 16))
    points = value = np.concatenate([points, np.sign(points) / 2])
    for k, (before, after) in enumerate(pairwise(sizes)):
        weight = (numbers.normal(size=(before, after)) / np.sqrt(before)).astype(np.float32)
        stored[f"w{k}"] = weight
        nodes.append(helper.make_node("MatMul", [name, f"w{k}"], [f"s{k}"], name=f"m{k}"))
        name, value = f"s{k}", value @ weight
        if after > 1:
            nodes.append(helper.make_node("LeakyRelu", [name], [f"r{k}"], name=f"l{k}", alpha=0.01))
            name, value = f"r{k}", np.maximum(value, 0.01 * value)
    nodes[-1].output[0] = "y"
    net = save(folder / "net.onnx", nodes, stored, inputs={"x": [1, 16]}, outputs={"y": [1, 1]})
    lines = [f"(declare-const X_{k} Real)" for k in range(16)] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{k} -0.5))\n(assert (<= X_{k} 0.5))" for k in range(16)]
    lines.append(f"(assert (>= Y_0 {float(value.max()) * 1.6 + 0.05}))")
    (folder / "p.vnnlib").write_text("\n".join(lines))
    return net, folder / "p.vnnlib"
