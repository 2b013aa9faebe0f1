"""How the process begins and ends: its signals, its streams, and its exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TextIO

USAGE, BUG, INTERRUPTED = 2, 70, 130
STREAMS = range(3)

Last = Callable[[], None]

_last: list[Last] = []
"""What is still to be said when an interrupt ends the process."""


def begin() -> None:
    """Take over interrupts, and see to it that no file gets the number of a closed stream.

    An interrupt ends the process from within its handler: as an exception it could be lost in, or
    made into another one by, whatever C code it meets. Where the caller has told us to ignore
    interrupts, as a shell does for what runs in its background, they stay ignored.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)
    for number in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def on_interrupt(last: Last) -> Iterator[None]:
    """Meanwhile, an interrupt calls a function before it ends the process."""
    _last.append(last)
    try:
        yield
    finally:
        _last.clear()


def _interrupted(_: int, __: FrameType | None) -> None:
    """End the process; an interrupt that comes while its last words are said ends it at once."""
    last = _last.pop() if _last else None
    if last is None:
        os._exit(INTERRUPTED)
    try:
        last()
    finally:
        end(INTERRUPTED)


def end(status: int) -> NoReturn:
    """Exit with a status that nothing changes any more: no clean-up of some library, no stream."""
    for stream in (sys.stdout, sys.stderr):
        flush(stream)
    os._exit(status)


def flush(stream: TextIO | None) -> str:
    """Write out what a stream still holds; what went wrong, or an empty text.

    What cannot be written is dropped, or Python tries again when it ends. It is nothing wrong that
    a reader has gone away: it has seen enough.
    """
    if stream is None:
        return "it is closed"
    try:
        stream.flush()
    except BrokenPipeError:
        drop(stream)
    except (OSError, ValueError) as error:
        drop(stream)
        return getattr(error, "strerror", None) or str(error)
    return ""


def drop(stream: TextIO) -> None:
    """Send what a stream holds, and all that is written to it from now on, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def remark(line: str) -> None:
    """One line on standard error, where that can be written: it never decides how we end."""
    stream = sys.stderr
    if stream is None:
        return
    with suppress(OSError, ValueError, RuntimeError):
        stream.write(f"{line}\n")
    flush(stream)
