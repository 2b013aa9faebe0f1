"""Rows are bounded in parts that fit into memory: how large they are changes nothing."""

from pathlib import Path

import pytest

import verifier
from verifier.checker import walk

EXAMPLES = Path(__file__).parents[2] / "benchmarks" / "examples"
FILES = (
    EXAMPLES / "onnx" / "digits_mlp.onnx",
    EXAMPLES / "vnnlib" / "digits_mlp_image3_eps0.01.vnnlib",
)


@pytest.fixture(scope="module")
def certificate() -> bytes:
    verdict = verifier.verify(*FILES).verdict
    assert isinstance(verdict, verifier.Verified)
    assert verdict.certificate is not None
    assert verdict.certificate.data is not None
    return verdict.certificate.data


@pytest.mark.parametrize("elements", [1, 500, 10**7])
def test_parts_of_any_size_accept_the_same(certificate, monkeypatch, elements):
    monkeypatch.setattr(walk, "PART_ELEMENTS", elements)
    report = verifier.check(certificate, *FILES)
    assert report.accepted
    assert report.semantics == "float32"
