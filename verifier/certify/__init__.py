"""Write the proof down."""

from verifier.certify.proof_tree import ProofTree

__all__ = ["ProofTree"]
