"""No certificate proves what is false, and none that was changed is accepted but for valid ones.

Statements come with what is known of them: that they hold, since the exact checker accepts the
engine's proof, or a point at which they do not. A changed certificate of a true statement may be
accepted only if the exact checker accepts the same bytes; of a false one, never.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests.checker.mutants import (
    Mutant,
    added,
    of_array,
    of_bytes,
    of_manifest,
    of_tree,
    random_proof,
    without,
)
from tests.checker.proofs import (
    Net,
    Proof,
    Region,
    Statement,
    falsified,
    fractions,
    least,
    prove,
    samples,
    statement,
)
from tests.checker.trees import complete, flatten, grow
from verifier.checker.container import read_container
from verifier.checker.proof import MEMBERS

SUBJECTS = [
    # seed, search, sizes, rows of a clause, clauses, regions
    (15, "inputs", (2, 3, 3, 2), 2, 1, 1),
    (9, "inputs", (2, 3, 4, 2), 1, 2, 2),
    (7, "neurons", (2, 3, 4, 2), 2, 2, 1),
    (13, "deepened", (2, 4, 4, 2), 1, 2, 1),
    (0, "hulled", (2, 4, 4, 2), 2, 2, 2),
]
OWN = {"deepened": "hidden_splits", "hulled": "hull_root"}
"""What proofs of a search must have."""
OF_EACH = {"array": 3, "bytes": 30, "tree": 25, "random": 8}
FALSE = {"array": 1, "bytes": 0, "tree": 12, "random": 8}
EDGES = 8
MANIFESTS = (1, 3)
LEAST = {"true": 110, "false": 45, "edge": 15, "manifest": 80, "bytes": 250}
"""Mutants of each subject, or edge, at least: more than 1,000 together."""


@cache
def proof(number: int) -> Proof:
    """The engine's proof of a subject."""
    seed, search, sizes, rows, clauses, regions = SUBJECTS[number]
    g = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(50):
            net = Net.random(g, sizes)
            holds = statement(net, g, rows, clauses, regions)
            found = prove(Path(folder), net, holds, search)
            if found is None or not 5 <= len(found.arrays["node"]) <= 15:
                continue
            if OWN.get(search, "roots") in found.arrays:
                return found
    raise AssertionError("no small proof")


def mutants(p: Proof, g: np.random.Generator, counts: dict[str, int]) -> Iterator[Mutant]:
    """Of every kind."""
    for name in MEMBERS:
        if name in p.arrays:
            yield from (of_array(p, name, g) for _ in range(counts["array"]))
            yield without(p, name)
        else:
            yield added(p, name, g)
    yield added(p, "other", g)
    for maker in (of_bytes, of_tree, random_proof):
        kind = {of_bytes: "bytes", of_tree: "tree", random_proof: "random"}[maker]
        yield from (maker(p, g) for _ in range(counts[kind]))


def weigh(p: Proof, found: Iterable[Mutant]) -> Counter[str]:
    """How many are rejected, and how many valid; each that is accepted must be valid."""
    count: Counter[str] = Counter()
    for label, data in found:
        if p.verdict(data) is None:
            count["rejected"] += 1
            continue
        assert p.verdict(data, exact=True) == "real", label
        count["valid"] += 1
    return count


def refuse_all(p: Proof, found: Iterable[Mutant]) -> int:
    """How many there are; none may be accepted."""
    total = 0
    for label, data in found:
        assert p.verdict(data) is None, label
        total += 1
    return total


def test_the_subjects_are_of_every_kind():
    proofs = [proof(k) for k in range(len(SUBJECTS))]
    assert {name for p in proofs for name in p.arrays} == set(MEMBERS)
    for p in proofs:
        assert p.verdict(p.bytes()) == "float32"
        assert p.verdict(p.bytes(), exact=True) == "real"


def test_there_are_a_thousand():
    total = len(SUBJECTS) * (LEAST["true"] + LEAST["false"]) + EDGES * LEAST["edge"]
    assert total + len(MANIFESTS) * LEAST["manifest"] + LEAST["bytes"] >= 1000


@pytest.mark.parametrize("number", range(len(SUBJECTS)))
def test_the_tree_can_be_rebuilt(number: int):
    arrays = complete(proof(number).arrays)
    again = flatten(grow(arrays), arrays)
    for name in MEMBERS:
        assert arrays[name].dtype == again[name].dtype
        np.testing.assert_array_equal(arrays[name], again[name], err_msg=name)


@pytest.mark.parametrize("number", range(len(SUBJECTS)))
def test_what_is_changed_is_rejected_or_valid(number: int):
    p = proof(number)
    count = weigh(p, mutants(p, np.random.default_rng(number), OF_EACH))
    assert count.total() >= LEAST["true"]
    assert count["rejected"] > count.total() / 2


@pytest.mark.parametrize("number", range(len(SUBJECTS)))
def test_nothing_proves_what_is_false(number: int):
    g, p = np.random.default_rng(number), proof(number)
    false = p.about(p.net, falsified(p.net, p.statement, g))
    assert (
        refuse_all(false, [("itself", false.bytes()), *mutants(false, g, FALSE)]) >= LEAST["false"]
    )


def test_a_proof_without_neurons_is_changed_too(tmp_path):
    """Two rows that contradict each other, whatever the network computes."""
    one, none = np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32)
    net, box = Net(((one, none + 5), (one, none))), Region((Fraction(-1),) * 2, (Fraction(1),) * 2)
    rows = (((1, -1), Fraction(-1, 8)), ((-1, 1), Fraction(-1, 8)))
    p, g = prove(tmp_path, net, Statement((box,), (rows,)), "neurons"), np.random.default_rng(0)
    assert p is not None
    assert "mix_row" in p.arrays
    assert "column_atom" not in p.arrays
    assert p.verdict(p.bytes()) == "float32"
    assert p.verdict(p.bytes(), exact=True) == "real"
    assert weigh(p, mutants(p, g, OF_EACH))["rejected"] > LEAST["true"] / 2
    false = p.about(net, falsified(net, p.statement, g))
    assert refuse_all(false, [("itself", false.bytes()), *mutants(false, g, FALSE)]) > 20


@pytest.mark.parametrize("number", MANIFESTS)
def test_a_changed_manifest_is_rejected_or_as_good(number: int):
    p = proof(number)
    count: Counter[str] = Counter()
    for label, data in of_manifest(p, np.random.default_rng(number)):
        key = label.partition(":")[0]
        good = p.verdict(data) is not None
        count["good" if good else "rejected"] += 1
        assert not good or key in {"tool", "network", "property", "semantics", "neurons"}, label
        assert not good or p.verdict(data, exact=True) == "real", label
    assert count["rejected"] >= LEAST["manifest"]


def test_a_changed_byte_is_rejected_or_means_nothing():
    p = proof(0)
    data, before = p.bytes(), read_container(p.bytes())
    places, silent = range(0, len(data), 9), 0
    assert len(places) >= LEAST["bytes"]
    for i in places:
        changed = data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :]
        if p.verdict(changed) is None:
            continue
        silent += 1
        after = read_container(changed)
        assert after.manifest == before.manifest
        assert {n: a.tobytes() for n, a in after.arrays.items()} == {
            n: a.tobytes() for n, a in before.arrays.items()
        }
    assert silent < len(places) / 5


@pytest.mark.parametrize("number", range(len(SUBJECTS)))
def test_a_proof_is_that_of_one_network_and_one_property(number: int):
    g, p = np.random.default_rng(number), proof(number)
    others = [(p.net.changed(g), p.statement) for _ in range(4)]
    others += [(p.net, falsified(p.net, p.statement, g)), (p.net, wider(p.statement, g))]
    for net, about in others:
        other = p.about(net, about)
        assert replace(other, manifest=p.manifest).verdict(p.bytes()) is None
        points = np.concatenate([samples(region, g) for region in about.regions])
        unsafe = points[about.unsafe(net, points)][:1]
        if len(unsafe) and about.unsafe(net, fractions(unsafe))[0]:
            assert other.verdict(other.bytes()) is None
        else:
            weigh(other, [("another", other.bytes())])


def wider(holds: Statement, g: np.random.Generator) -> Statement:
    """One bound of an input moved outward."""
    region = holds.regions[0]
    i = int(g.integers(len(region.lower)))
    upper = (*region.upper[:i], region.upper[i] + 1, *region.upper[i + 1 :])
    return replace(holds, regions=(replace(region, upper=upper), *holds.regions[1:]))


@pytest.mark.parametrize("seed", range(EDGES))
def test_nothing_proves_what_fails_at_one_point(seed: int):
    """The bound is the exact minimum of the output: any error of rounding would show."""
    g = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        found = next(filter(None, (edge(Path(folder), g, seed) for _ in range(50))))
    holds, fails = found
    assert holds.verdict(holds.bytes()) is not None
    some = (of_tree(fails, g) if k % 2 else random_proof(fails, g) for k in range(LEAST["edge"]))
    assert refuse_all(fails, [("itself", fails.bytes()), *some]) > LEAST["edge"]


def edge(folder: Path, g: np.random.Generator, seed: int) -> tuple[Proof, Proof] | None:
    """A proof that an output stays above a little less than its minimum; the same of that."""
    net, row = Net.random(g, (1, 3, 3, 1)), (1,)
    lower = Fraction(int(g.integers(-16, 9)), 8)
    upper = lower + Fraction(int(g.integers(4, 25)), 8)
    bound = least(net, row, lower, upper)
    region = (Region((lower,), (upper,)),)
    holds = Statement(region, (((row, bound - Fraction(1, 1024)),),))
    found = prove(folder, net, holds, ("inputs", "neurons")[seed % 2])
    if found is None or len(found.arrays["node"]) > 30:
        return None
    return found, found.about(net, Statement(region, (((row, bound),),)))


def test_the_exact_minimum_is_one():
    for seed in range(20):
        g = np.random.default_rng(seed)
        net, lower, upper = Net.random(g, (1, 4, 4, 2)), Fraction(-1), Fraction(2)
        points = np.linspace(-1, 2, 3001)[:, None]
        sampled = (net.outputs(points) @ [1, -2]).min()
        found = float(least(net, (1, -2), lower, upper))
        assert sampled - 0.2 <= found <= sampled + 1e-9


def test_the_mutants_differ():
    p = proof(0)
    data = [d for _, d in islice(mutants(p, np.random.default_rng(0), OF_EACH), 100)]
    assert len(set(data)) > 0.7 * len(data)
