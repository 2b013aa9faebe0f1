"""How far values can go: one method per file, each written once for all operators of a family."""

from verifier.bounds.back import DOUBLE_ROUNDOFF, LowerForm, Trace, back_substitute
from verifier.bounds.correlate import Correlation
from verifier.bounds.crown import CrownResult, HiddenOptimiser, HiddenRows, crown
from verifier.bounds.enclosure import Enclosure
from verifier.bounds.first import by_forms, crown_some, first_bounds, forward_pays
from verifier.bounds.forward import free_inputs
from verifier.bounds.interval import interval
from verifier.bounds.nearby import nearby
from verifier.bounds.objective import (
    Objective,
    ObjectiveBounds,
    Sharpened,
    bound_objective,
    sharpen,
)
from verifier.bounds.tiles import Tiler
from verifier.bounds.whole import whole_interval

__all__ = [
    "DOUBLE_ROUNDOFF",
    "Correlation",
    "CrownResult",
    "Enclosure",
    "HiddenOptimiser",
    "HiddenRows",
    "LowerForm",
    "Objective",
    "ObjectiveBounds",
    "Sharpened",
    "Tiler",
    "Trace",
    "back_substitute",
    "bound_objective",
    "by_forms",
    "crown",
    "crown_some",
    "first_bounds",
    "forward_pays",
    "free_inputs",
    "interval",
    "nearby",
    "sharpen",
    "whole_interval",
]
