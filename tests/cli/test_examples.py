"""The bundled examples give the verdicts that are written next to them, and witnesses that hold."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.cli.made import EXAMPLES, read_tensor, run_onnx
from verifier.load.vnnlib import read_query

with (EXAMPLES / "expected.csv").open() as _table:
    INSTANCES = [(row["onnx"], row["vnnlib"], row["verdict"]) for row in csv.DictReader(_table)]


@pytest.mark.parametrize(
    ("onnx", "vnnlib", "expected"), INSTANCES, ids=lambda part: Path(part).stem
)
def test_every_example(cli, tmp_path, onnx, vnnlib, expected):
    net, prop = EXAMPLES / onnx, EXAMPLES / vnnlib
    seconds = 5 if expected == "unknown" else 60
    done = cli("verify", net, prop, "--timeout", seconds, "--serialise-assignments", tmp_path)
    assert done.status == 0
    assert expected in {"unknown", done.word}
    if done.word != "sat":
        assert done.word in {"unsat", "unknown", "timed-out"}
        assert list(tmp_path.iterdir()) == []
        return
    x = read_tensor(tmp_path / "X.pb")[1]
    (y,) = run_onnx(net, x.reshape(1, 1, 8, 8))
    assert read_query(prop).holds(x.ravel().astype(np.float64), y.ravel().astype(np.float64))
