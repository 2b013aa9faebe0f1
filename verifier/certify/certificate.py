"""A certificate, and what checking it has shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from verifier.certify.proof_tree import ProofTree


@dataclass(frozen=True, eq=False)
class Certificate:
    """A proof that no counterexample exists, as a file for ``verifier check``.

    ``data`` is None where the proof uses what the checker has no rule for; ``note`` says what.
    """

    data: bytes | None
    semantics: str | None = None
    """What the check has proved: ``float32`` (the real function, and every float32 execution),
    ``real`` (the real function), or None: it was not checked."""
    note: str = ""
    """Why it was not checked, or not written, or what float32 execution lacks."""
    leaves: int = 0
    seconds: float = 0.0
    """How long writing and checking took."""

    @property
    def checked(self) -> bool:
        """Has the checker accepted it?"""
        return self.semantics is not None


@dataclass(frozen=True, eq=False)
class Leaf:
    """A leaf that the checker does not accept: all of the case in it that is left to prove."""

    node: int
    """Its number in the proof tree."""
    case: int
    lower: np.ndarray
    """float64 [n_inputs]: of all inputs of the network"""
    upper: np.ndarray


@dataclass(frozen=True, eq=False)
class Sealed:
    """What came of writing a proof down and checking it."""

    certificate: Certificate
    reopen: tuple[Leaf, ...] = ()
    """Leaves that need more splits, or the proof does not hold what was asked for."""
    single: bool = False
    """Do they lack only the proof for float32 execution?"""
    required: bool = False
    """Is there no verdict without them?"""
    refused: bool = False
    """Can what was asked for not be proved at all, or not in time?"""


@runtime_checkable
class Sealer(Protocol):
    """Writes a finished proof down and checks it."""

    single: bool
    """Is it to be checked for float32 execution first?"""
    strict: bool
    """Is a proof that is not accepted for float32 execution none?"""
    most_failures: int
    """A check for float32 execution ends after more leaves that are not accepted."""

    def __call__(self, tree: ProofTree | None) -> Sealed:
        """The certificate of a finished proof, and the leaves that it still lacks.

        Another call is to be about the same tree with more below these leaves.
        """
        ...

    def settle(self) -> Sealed:
        """Be content with the real function: the same for the proof that was sealed last."""
        ...
