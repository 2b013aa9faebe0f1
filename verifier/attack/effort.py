"""How hard to try."""

from __future__ import annotations

import math
import time

from verifier.records import dataclass


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        steps: gradient steps in all, each on all points
        deadline: when to stop, by ``time.monotonic()``
        points: how many points move at once (0: decided from the network and the device)
        descent: steps from a start to the next
        stride: the first step, in widths of the box
        decay: of the stride, from one step to the next
        diversify: steps towards a random direction of the outputs, for the starts that do so
        goal: the margin at which a point counts as found
    """

    steps: int = 400
    deadline: float = math.inf
    points: int = 0
    descent: int = 40
    stride: float = 0.25
    decay: float = 0.9
    diversify: int = 5
    goal: float = 0.0

    @property
    def over(self) -> bool:
        """Is the time up?"""
        return time.monotonic() >= self.deadline
