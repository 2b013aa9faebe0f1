"""Proofs whose leaves were opened again: what is checked, and what the search comes back to."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.cli.made import flat, twice
from tests.search.test_sealing import BARELY, slack
from verifier import Verified, sealing, verify
from verifier.certify import ProofTree
from verifier.checker.check import Report, check
from verifier.checker.nodes import Failure
from verifier.search import by_inputs, extension
from verifier.tensors import numpy_backend


def _sealed_again(monkeypatch, *failing: tuple[str, int]) -> list[tuple[str, int, int]]:
    """Of each check: what for, how many nodes it need not look at, and how many there are.

    Those of the ``failing``, a semantics and how many checks for it came before, do not accept the
    last leaf.
    """
    runs, whole = list[tuple[str, int, int]](), sealing.Seal._run

    def run(seal: sealing.Seal, data: bytes, semantics: str, known: np.ndarray | None = None):
        report = whole(seal, data, semantics, known)
        if (semantics, [asked for asked, *_ in runs].count(semantics)) in failing:
            cases = seal.problem.cases.take(0, 1)
            single, last = semantics == "float32", report.nodes - 1
            failure = Failure(last, "", single, 0, cases.lower[0], cases.upper[0])
            proved = "real" if single else None
            report = replace(report, semantics=proved, failures=(failure,))
        runs.append((semantics, 0 if known is None else int(known.sum()), report.nodes))
        return report

    monkeypatch.setattr(sealing.Seal, "_run", run)
    return runs


def _accepted(files: tuple[Path, Path], verdict: object) -> Report:
    """What the checker says of the whole certificate of a verdict."""
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.data is not None
    net, prop = (file.read_bytes() for file in files)
    report = check(net, prop, verdict.certificate.data)
    assert report.semantics == verdict.certificate.semantics
    assert report.leaves == verdict.certificate.leaves
    return report


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_accepted_is_not_checked_again(tmp_path, monkeypatch, most):
    """The first case is clear, the second one needs splits for float32 execution.

    Where a check may have ended before it saw all, all is checked again.
    """
    monkeypatch.setattr(sealing, "MOST_FAILURES", most)
    net, prop = slack(tmp_path)
    box = "(>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1)"
    cases = " ".join(f"(and {box} (<= Y_0 {y}))" for y in ("-0.7", "-0.500000001"))
    flat(prop, f"(assert (or {cases}))", "")
    of = by_inputs.InputSearch.of

    def late(context, workers):
        search = of(context, workers)
        bounds = replace(search.problem.bounds, single=False)
        return replace(search, ahead=False, problem=replace(search.problem, bounds=bounds))

    monkeypatch.setattr(by_inputs.InputSearch, "of", late)
    runs = _sealed_again(monkeypatch)
    report = _accepted((net, prop), verify(net, prop, timeout=20.0).verdict)
    assert report.semantics == "float32"
    (first, none, nodes), (second, known, more) = runs
    assert (first, none, nodes) == ("float32", 0, 2)
    assert (second, known, more) == ("float32", most - 1, report.nodes)
    assert report.nodes > 2


def test_what_float32_execution_opened_is_dropped_where_the_real_function_lacks_a_leaf(
    tmp_path, monkeypatch
):
    net, prop = twice(tmp_path / "net.onnx"), flat(tmp_path / "p.vnnlib", BARELY)
    for limit in ("SECONDS", "SHARE", "SHARE_OF_TIME"):
        monkeypatch.setattr(extension, limit, 0.0)
    runs = _sealed_again(monkeypatch, ("real", 0))
    verdict = verify(net, prop, timeout=20.0).verdict
    assert _accepted((net, prop), verdict).semantics == "real"
    assert isinstance(verdict, Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.note.endswith("are not proved for float32 execution")
    (*_, last), (first, unknown, before), (second, known, after) = runs[-3:]
    assert (first, second, unknown) == ("real", "real", 0)
    assert before == last
    assert after == before + 2
    assert 0 < known < before


@pytest.mark.parametrize("inside", [True, False])
def test_the_proof_that_was_sealed_last_is_come_back_to(tmp_path, monkeypatch, inside):
    """Two checks for float32 execution lack a leaf, and one for the real function does.

    ``inside``: it is made at once, as too many leaves lack float32 execution.
    """
    net, prop = slack(tmp_path)
    runs = _sealed_again(monkeypatch, ("float32", 0), ("float32", 1), ("real", 0))

    def hopeless(*_: object) -> bool:
        monkeypatch.setattr(sealing, "MOST_REFINED", 0 if inside else 4096)
        return len(runs) > 1

    monkeypatch.setattr(extension.Extension, "hopeless", hopeless)
    report = _accepted((net, prop), verify(net, prop, timeout=20.0).verdict)
    assert report.semantics == "real"
    assert [asked for asked, *_ in runs] == ["float32", "float32", "real", "real"]
    nodes = [count for *_, count in runs]
    assert nodes[0] < nodes[1] == nodes[2] == nodes[3] - 2


def test_an_extension_to_float32_execution_ends():
    begun = partial(extension.Extension.of, sealed=(ProofTree(numpy_backend(), 1).mark(), 1))
    now = time.monotonic()
    first, long = begun(100, now, 10), begun(100_000, now - 1000, 1000)
    assert not first.hopeless(4100, 512)
    assert first.hopeless(4101, 512)
    assert first.hopeless(4100, 513)
    assert not long.hopeless(200_000, 8000)
    assert long.hopeless(200_000, 8001)
    assert long.until - time.monotonic() == pytest.approx(500, abs=5)
    assert replace(first, until=now).hopeless(0, 0)
