"""Of the benchmark files the checker and the engine, which share no code, read the same."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from verifier.checker.errors import Unsupported
from verifier.checker.property import read_property
from verifier.load.vnnlib import read_query
from verifier.spec.cases import cases_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"


def files():
    """Of each family the smallest file, the one in the middle, and the largest that is small."""
    found = []
    for family in sorted(SHARED.glob("*/")):
        paths = [path for path in family.rglob("*.vnnlib*") if path.stat().st_size < 40_000]
        paths.sort(key=lambda path: (path.stat().st_size, path.name))
        places = sorted({0, len(paths) // 2, len(paths) - 1}) if paths else []
        found += [paths[place] for place in places]
    return found


def dense(row, size):
    vector = np.zeros(size)
    for variable, coefficient in row.coefficients:
        vector[variable] = float(coefficient)
    return (*vector.tolist(), float(row.bound))


def engine_clauses(rows, bounds, n_inputs):
    """The clauses of one case of the engine, in its order, by rules 1 and 5."""
    inputs = rows.input_coefficients
    if inputs is None:
        inputs = np.zeros((len(rows.clause), n_inputs))
    clauses = []
    for clause in range(rows.n_clauses):
        own = np.flatnonzero(rows.clause == clause)
        if np.isneginf(bounds[own]).any():
            continue
        least = {}
        for row in own:
            vector = (*inputs[row].tolist(), *rows.output_coefficients[row].tolist())
            if any(vector):
                least[vector] = min(least.get(vector, np.inf), bounds[row])
        clauses.append([(*vector, least[vector]) for vector in sorted(least)])
    return clauses


@pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmark files are not here")
@pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.parent.name}-{path.name}")
def test_the_engine_reads_the_same(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        prop = read_property(text)
    except Unsupported:
        assert path.relative_to(SHARED).parts[0].endswith("_2026")
        return
    cases = cases_of(read_query(path))
    numbers = cases.numbers().tolist()
    assert len(numbers) + cases.n_empty == prop.n_cases
    rng = random.Random(0)
    for place in sorted(rng.sample(range(len(numbers)), min(20, len(numbers)))):
        batch = cases.take(place, place + 1, nearest=True)
        case = prop.case(numbers[place])
        assert [float(x) for x in case.lower] == batch.lower[0].tolist()
        assert [float(x) for x in case.upper] == batch.upper[0].tolist()
        size = prop.n_inputs + prop.n_outputs
        mine = [[dense(row, size) for row in rows] for rows in case.clauses]
        assert mine == engine_clauses(cases.rows, batch.bounds[0], prop.n_inputs)
    empty = sorted(set(range(prop.n_cases)) - set(numbers))
    for number in empty[:20]:
        case = prop.case(number)
        assert any(low > high for low, high in zip(case.lower, case.upper, strict=True))
