"""Published properties, where they are at hand: they mean what the referee says they mean."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

from verifier.load.lower import LoweredQuery, lower_query
from verifier.load.vnnlib import parse_query, read_query
from verifier.load.vnnlib.text import read_bytes
from verifier.spec import cases_of

SHARED = Path(__file__).parents[2] / "../shared"
BENCHMARKS = SHARED / "benchmarks"
SMALL = 20_000

pytestmark = pytest.mark.skipif(
    not BENCHMARKS.exists(), reason="the shared benchmarks are not beside this checkout"
)
FOLDERS = sorted({path.parent for path in BENCHMARKS.glob("**/vnnlib/**/*.vnnlib.gz")})


def files_of(folder):
    return sorted(folder.glob("*.vnnlib.gz"), key=lambda path: path.stat().st_size)


def referee():
    spec = importlib.util.spec_from_file_location("referee", SHARED / "referee/referee.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name_of(folder):
    return str(folder.relative_to(BENCHMARKS))


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_published_files_are_read_and_have_cases(folder):
    for path in files_of(folder)[:3]:
        cases = cases_of(lower_query(read_query(path)))
        batch = cases.take(0, min(len(cases), 50))
        assert (batch.lower <= batch.upper).all()
        nearest = cases.take(0, min(len(cases), 50), nearest=True)
        assert (batch.lower <= nearest.lower).all()
        assert (batch.upper >= nearest.upper).all()
        assert (batch.bounds >= nearest.bounds).all()


def sampled_points(query, cases, dice):
    """Points on corners and near the bounds of some cases, which make assertions true and false."""
    for _ in range(4):
        case = dice.randrange(len(cases))
        batch = cases.take(case, case + 1, nearest=True)
        lower, upper = batch.lower[0], batch.upper[0]
        mix = np.array([dice.choice([0.0, 1.0, dice.random()]) for _ in lower])
        inputs = np.where(mix == 0, lower, np.where(mix == 1, upper, lower + mix * (upper - lower)))
        if dice.random() < 0.3:
            inputs[dice.randrange(len(inputs))] += dice.choice([-1e-16, 1e-9, -1e-3])
        bounds = batch.bounds[0][np.isfinite(batch.bounds[0])]
        values = np.array([dice.choice([*bounds, *-bounds, dice.gauss(0, 1)]) for _ in range(20)])
        yield inputs, values[[dice.randrange(20) for _ in range(query.n_outputs)]]


@pytest.mark.skipif(not (SHARED / "referee/referee.py").exists(), reason="no referee at hand")
@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_referee_agrees_at_sampled_points(folder):
    judge, dice = referee(), random.Random(1)
    for path in [path for path in files_of(folder) if path.stat().st_size < SMALL][:4]:
        query = read_query(path)
        lowered = lower_query(query)
        cases = cases_of(lowered)
        if not len(cases):
            continue
        assertions = [
            form[1] for form in judge.parse_forms(judge.read_text(path)) if form[0] == "assert"
        ]
        names = [query.variable_name(i) for i in range(query.n_inputs + query.n_outputs)]
        for point, results in sampled_points(lowered, cases, dice):
            inputs, outputs = point, results[: query.n_outputs]
            if isinstance(lowered, LoweredQuery):
                inputs = point[lowered.place]
            values = [*inputs.tolist(), *outputs.tolist()]
            named = dict(zip(names, values, strict=True))
            expected = all(judge.holds(form, named, set(), 0.0) for form in assertions)
            assert query.holds(inputs, outputs) == expected


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_general_path_reads_published_files_alike(folder):
    path = files_of(folder)[0]
    if path.stat().st_size > SMALL:
        pytest.skip("too large for the general path in a test")
    data = read_bytes(path)
    fast, general = parse_query(data, "p"), parse_query(data, "p", fast=False)
    for one, other in zip(fast.assertions, general.assertions, strict=True):
        for name, column in vars(one).items():
            np.testing.assert_array_equal(column, getattr(other, name))
