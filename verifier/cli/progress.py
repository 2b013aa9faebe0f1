"""How far a search is: drawn on a terminal, logged elsewhere."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from verifier.search.context import Progress

log = logging.getLogger(__name__)

DRAW_AFTER_SECONDS = 1.0
LOG_EVERY_SECONDS = 10.0


def words(progress: Progress) -> str:
    """One line."""
    return (
        f"{progress.open:,} open, {progress.closed:,} closed, "
        f"worst margin {progress.margin:.4g}, {progress.seconds:.0f} s"
    )


class Reporter:
    """Takes progress while it is entered; draws only where somebody looks.

    ``rich`` is imported when there is something to draw: easy instances never pay for it.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.draws = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self.logged = 0.0
        self.status: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show the progress."""
        if self.draws and progress.seconds >= DRAW_AFTER_SECONDS:
            self._draw(words(progress))
        elif not self.draws and progress.seconds - self.logged >= LOG_EVERY_SECONDS:
            self.logged = progress.seconds
            log.info("%s", words(progress))

    def _draw(self, line: str) -> None:
        if self.status is None:
            from rich.console import Console

            self.status = Console(stderr=True).status(line, refresh_per_second=4)
            self.status.start()
        else:
            self.status.update(line)

    def stop(self) -> None:
        """Draw no more, and leave the terminal as it was."""
        if self.status is not None:
            self.status.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
