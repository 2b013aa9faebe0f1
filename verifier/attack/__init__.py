"""Look for a counterexample; a find counts only once the reference runtime has replayed it."""

from verifier.attack.attack import Attack, falsify
from verifier.attack.confirm import Judge, Witness
from verifier.attack.effort import Effort
from verifier.attack.gradient import backward
from verifier.attack.pgd import pgd
from verifier.attack.target import Candidates, Regions, Target, evaluate_candidates

__all__ = [
    "Attack",
    "Candidates",
    "Effort",
    "Judge",
    "Regions",
    "Target",
    "Witness",
    "backward",
    "evaluate_candidates",
    "falsify",
    "pgd",
]
