"""What may be said about a problem, and what it takes to say it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from verifier.certify import Certificate, ProofTree


class Reason(Enum):
    """Why nothing is known; the value is the advice."""

    OUT_OF_TIME = "the time ran out; allow more with --timeout"
    TOO_THIN = "boxes became too thin to split: the margin is below what the precision resolves"
    NO_SPLIT = "every neuron that can be split is split, and a bound is still missing"
    NEAR_MISS = (
        "a counterexample of our arithmetic is none in ONNX Runtime: the property is at its edge"
    )
    NOT_SEALED = "the checker does not accept the proof that was found"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, eq=False)
class Verified:
    """No counterexample exists: every leaf of the proof tree is closed by a bound over the reals.

    ``proof`` is None where every case's box is empty, so that there is nothing to prove.
    """

    proof: ProofTree | None
    note: str = ""
    certificate: Certificate | None = None
    """The proof written down, and whether the checker has accepted it."""


@dataclass(frozen=True, eq=False)
class Violated:
    """ONNX Runtime maps ``inputs`` to ``outputs``, and the property's text holds for them exactly.

    Not ``exact``: the property fixes some inputs to numbers that the network's type does not have,
    so that ONNX Runtime rounded them; the violation at ``inputs`` themselves is then proved over
    the reals.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    exact: bool = True


@dataclass(frozen=True, eq=False)
class Unknown:
    """Neither was found: why, and how far it got."""

    reason: Reason
    margin: float
    """The least lower bound of an open subproblem; above 0 would be proved."""
    open: int
    """How many subproblems are open."""
    note: str = ""
    """What else is known of the reason."""


Verdict = Verified | Violated | Unknown
