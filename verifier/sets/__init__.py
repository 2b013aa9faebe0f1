"""Where a point can be."""

from verifier.sets.box import Box
from verifier.sets.owner import Owner

__all__ = ["Box", "Owner"]
