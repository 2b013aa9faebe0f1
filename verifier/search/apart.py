"""Parts of a work in processes of their own: of many small operations, Python runs one thread.

The processes are copies of this one (``fork``), so nothing is handed to them, and only results come
back. What one of them does not bring back is done here.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import pickle
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from types import FrameType
from typing import NoReturn, TypeVar

from verifier.records import dataclass
from verifier.settings import DeadlinePassed

T = TypeVar("T")
R = TypeVar("R")

SLOWER, GRACE = 3.0, 5.0
"""A process that takes so many times as long as this one does for as much, and so many seconds
more, is given up."""
DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux's ``prctl``."""
CHUNK = 1 << 20

possible = sys.platform == "linux" and hasattr(os, "fork")
"""Elsewhere, libraries of a process that has threads may not survive its being copied."""


def apart(function: Callable[[T], R], parts: Sequence[T], count: int) -> list[R]:
    """The function's results for each part, in order, by this process and some more.

    Results are pickled; what else the function does is lost. Raises what it raises.
    """
    shares = [parts[k::count] for k in range(min(count, len(parts)))]
    children = list[_Child]()
    try:
        with _undisturbed():
            for share in shares[1:]:
                children.append(_Child.of(function, share))
        begun = time.monotonic()
        found = [[function(part) for part in shares[0]]]
        now = time.monotonic()
        until = now + SLOWER * (now - begun) + GRACE
        for share, child in zip(shares[1:], children, strict=True):
            results = child.results(until)
            found.append([function(part) for part in share] if results is None else results)
    finally:
        with _undisturbed():
            for child in children:
                child.end()
    return [found[k % len(shares)][k // len(shares)] for k in range(len(parts))]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Handlers of signals wait meanwhile, so that nothing that is begun is forgotten.

    They may raise, and Python runs them in its main thread between any two steps, whichever thread
    the signal reached.
    """
    come = list[tuple[int, FrameType | None]]()
    here = threading.current_thread() is threading.main_thread()
    handlers = ((n, signal.getsignal(n)) for n in (signal.valid_signals() if here else ()))
    held = {number: handler for number, handler in handlers if callable(handler)}
    try:
        for number in held:
            signal.signal(number, lambda *given: come.append(given))
        yield
    finally:
        for number in sorted(held, key=lambda n: n == signal.SIGINT):
            signal.signal(number, held[number])
        for number, frame in come:
            held[signal.Signals(number)](number, frame)


@dataclass(eq=False)
class _Child:
    """A copy of this process at work."""

    pid: int = 0
    """0: there is none."""
    pipe: int = -1
    read: bytearray = field(default_factory=bytearray)

    ended: bool = False
    """Did it close its end of the pipe?"""

    @staticmethod
    def of(function: Callable[[T], R], share: Sequence[T]) -> _Child:
        """A copy that applies a function to some parts; none where there is no room for one."""
        try:
            out, into = os.pipe()
        except OSError:
            return _Child()
        parent = os.getpid()
        try:
            with warnings.catch_warnings():
                # Threads of ours are idle meanwhile, and the copy uses none.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError:
            os.close(out)
            os.close(into)
            return _Child()
        if pid == 0:
            _work(parent, into, lambda: [function(part) for part in share])
        os.close(into)
        return _Child(pid, out)

    def results(self, until: float) -> list[R] | None:
        """What it found by a time; None: nothing, for whatever reason. DeadlinePassed: it did."""
        while self.pid and not self.ended and self._waits(until - time.monotonic()):
            part = os.read(self.pipe, CHUNK)
            self.read += part
            self.ended = not part
        if not self.ended:
            return None
        try:
            late, found = pickle.loads(bytes(self.read))
        except (EOFError, pickle.UnpicklingError, ValueError, TypeError):
            return None
        if late:
            raise DeadlinePassed
        return found

    def _waits(self, seconds: float) -> bool:
        """Is there something to be read, if only the end?"""
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        return bool(poll.poll(1000 * max(0.0, seconds)))

    def end(self) -> None:
        """Make sure that it is gone."""
        if not self.pid:
            return
        if not self.ended:
            # It is there: whoever has closed the pipe may be gone, and its number another's.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.pipe)
        self.pid = 0


def _work(parent: int, into: int, run: Callable[[], list[R]]) -> NoReturn:
    """What the copy does: send results, and end at once, whatever its parent would still do."""
    try:
        gc.disable()  # what its parent has left to be collected is its parent's
        logging.disable()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() == parent:
            try:
                words = pickle.dumps((False, run()), pickle.HIGHEST_PROTOCOL)
            except DeadlinePassed:
                words = pickle.dumps((True, []))
            with os.fdopen(into, "wb") as pipe:
                pipe.write(words)
    finally:
        os._exit(0)
