"""Work in processes of their own: what they bring back, and what becomes of those that do not."""

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from verifier.search import apart as module
from verifier.search.apart import apart
from verifier.search.workers import Workers
from verifier.settings import DeadlinePassed
from verifier.tensors import numpy_backend

pytestmark = pytest.mark.skipif(not module.possible, reason="processes are copied on Linux only")
HERE = os.getpid()


def children() -> set[int]:
    """The processes that are ours, at work or not waited for."""
    found = set[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


@pytest.fixture
def _other_thread():
    """A signal may reach any thread, and not the one that it disturbs."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Other tests may have left a process of theirs, but none of these does, nor an open file."""
    before = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert (children(), len(os.listdir("/proc/self/fd"))) == before


def elsewhere() -> bool:
    return os.getpid() != HERE


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_results_come_in_order(count: int, parts: int):
    assert apart(lambda part: (part, part**2), range(parts), count) == [
        (k, k * k) for k in range(parts)
    ]


def test_arrays_come_back_from_other_processes():
    found = apart(lambda k: (os.getpid(), np.full(300_000, float(k))), range(4), 2)
    assert len({pid for pid, _ in found}) == 2
    assert [float(x.sum()) for _, x in found] == [300_000.0 * k for k in range(4)]


def _odd(what: str, part: int) -> int:
    if elsewhere():
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        if what == "raises":
            raise ValueError
        if what == "stuck":
            time.sleep(60)
    return 10 * part


@pytest.mark.parametrize("what", ["killed", "interrupted", "raises", "stuck", "unpickled"])
def test_what_a_process_does_not_bring_back_is_done_here(
    what: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "GRACE", 0.5)

    def function(part: int):
        return (lambda: 0) if what == "unpickled" and elsewhere() else _odd(what, part)

    begun = time.monotonic()
    assert apart(function, range(5), 2) == [0, 10, 20, 30, 40]
    assert time.monotonic() - begun < 30


def test_no_room_for_a_process(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    assert apart(partial(_odd, ""), range(5), 3) == [0, 10, 20, 30, 40]


def test_no_file_for_a_process(monkeypatch: pytest.MonkeyPatch):
    real, calls = os.pipe, list[int]()

    def refuse_second() -> tuple[int, int]:
        calls.append(0)
        if len(calls) > 1:
            raise OSError(24, "Too many open files")
        return real()

    monkeypatch.setattr(os, "pipe", refuse_second)
    assert apart(partial(_odd, ""), range(5), 3) == [0, 10, 20, 30, 40]


def test_many_open_files():
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert apart(partial(_odd, ""), range(5), 2) == [0, 10, 20, 30, 40]
    finally:
        for file in files:
            os.close(file)


@pytest.mark.usefixtures("_other_thread")
def test_an_interrupt_while_processes_are_made(monkeypatch: pytest.MonkeyPatch):
    real = os.fork

    def interrupted() -> int:
        pid = real()
        if pid:
            os.kill(os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", interrupted)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            apart(lambda _: time.sleep(60), range(4), 3)
    finally:
        signal.signal(signal.SIGINT, old)


def test_what_lies_about_is_not_collected_twice():
    made = list[int]()

    class Last:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            made.append(os.getpid())

    gc.disable()
    try:
        Last()
        found = apart(lambda _: ([[k] for k in range(10**5)], len(made))[1], range(2), 2)
    finally:
        gc.enable()
    assert found == [0, 0]
    gc.collect()
    assert made == [HERE]


def test_errors_are_raised_here():
    def fails(part: int) -> int:
        if part == 1:
            message = "no"
            raise ValueError(message)
        return part

    with pytest.raises(ValueError, match="no"):
        apart(fails, range(4), 2)


@pytest.mark.parametrize("late", [0, 1])
def test_deadlines_pass_there_and_here(late: int):
    def function(part: int) -> int:
        if part == late:
            raise DeadlinePassed
        return part

    with pytest.raises(DeadlinePassed):
        apart(function, range(4), 2)


def test_handlers_of_signals_are_put_back():
    numbers = sorted(signal.valid_signals())
    before = [signal.getsignal(n) for n in numbers]
    apart(lambda part: part, range(4), 4)
    assert [signal.getsignal(n) for n in numbers] == before


def test_workers_use_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verifier.search.workers._cores", lambda: 3)
    with Workers(numpy_backend()) as workers:
        assert len(set(workers.apart(lambda _: os.getpid(), range(6)))) == 3
        assert workers.apart(lambda x: x, []) == []
    alone = Workers(numpy_backend())
    assert set(alone.apart(lambda _: os.getpid(), range(6))) == {HERE}
