"""Freed memory goes back to the system, and no more often than a process grows."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from verifier.tensors import memory

PIECES = """
import numpy as np
from verifier.tensors import memory, numpy_backend

numpy_backend("float64")
memory.LARGE = 0
kept = [np.ones(25_000) for _ in range(2_000)]
holes = kept[::2]
before = memory.resident()
del kept[::2], holes
freed = memory.resident()
memory.give_back()
print(before, freed, memory.resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc only")
def test_what_lies_between_arrays_goes_back():
    run = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    before, freed, after = map(int, run.stdout.split())
    assert freed > before - 100_000_000
    assert after < before - 150_000_000


def test_it_is_given_back_when_a_process_has_grown(monkeypatch: pytest.MonkeyPatch):
    calls = list[int]()
    now = [0]
    monkeypatch.setattr(memory, "_after_last", [0])
    monkeypatch.setattr(memory, "resident", lambda: now[0])
    monkeypatch.setattr(memory, "_libc", lambda: SimpleNamespace(malloc_trim=calls.append))
    large, grown = memory.LARGE, memory.GROWN
    for size, expected in [
        (large - 1, 0),
        (large + 1, 1),
        (int(large * grown) - 9, 1),
        (int(large * grown) + 9, 2),
        (int(large * grown) + 10, 2),
        (large - 1, 2),
    ]:
        now[0] = size
        memory.give_back()
        assert len(calls) == expected


def test_systems_that_say_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_libc", lambda: None)
    monkeypatch.setattr(memory, "resident", lambda: 10**12)
    memory.give_back()
    memory.keep_freed()
