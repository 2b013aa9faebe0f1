"""A proof for the real function that is being extended to float32 execution."""

from __future__ import annotations

import time

from verifier.certify import Mark
from verifier.records import dataclass

BOXES, SHARE = 4000, 1.0
"""It may take so many boxes, or that share of those so far."""
SECONDS, SHARE_OF_TIME = 2.0, 0.5
"""And no more than so long, or that share of the time so far: what is counted is the same each
time."""
LEAVES, GROWTH = 64, 8
"""While no more is open than that many times the leaves that were opened, at least so many: errors
that splits do not outweigh keep all halves open."""


@dataclass(frozen=True)
class Extension:
    """How far it may go, and what there is to come back to."""

    boxes: int
    open: int
    until: float
    """On ``time.monotonic``'s clock."""
    mark: Mark
    """The proof as it was sealed last."""
    closed: int
    """How many leaves it has."""

    @staticmethod
    def of(boxes: int, started: float, leaves: int, sealed: tuple[Mark, int]) -> Extension:
        """After so many boxes; so many leaves are opened again."""
        now = time.monotonic()
        return Extension(
            boxes + max(BOXES, int(SHARE * boxes)),
            GROWTH * max(LEAVES, leaves),
            now + max(SECONDS, SHARE_OF_TIME * (now - started)),
            *sealed,
        )

    def hopeless(self, boxes: int, still: int) -> bool:
        """After so many boxes, with so many open: is it to end?"""
        return boxes > self.boxes or still > self.open or time.monotonic() > self.until
