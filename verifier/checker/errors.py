"""What the checker raises."""

from __future__ import annotations

import time


class Rejected(Exception):
    """The certificate does not prove the statement; one line says where and why."""


class Unsupported(Exception):
    """The network or the property uses what the checker has no rule for; one line names it."""


class Unreadable(Exception):
    """The network or the property cannot be read; one line says what is wrong with it."""


class OutOfTimeError(Exception):
    """The check was stopped at its deadline."""


def require_time(deadline: float) -> None:
    """Stop a check after its deadline, on ``time.monotonic``'s clock.

    Raises:
        OutOfTimeError: the deadline has passed.
    """
    if time.monotonic() > deadline:
        raise OutOfTimeError
