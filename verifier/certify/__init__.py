"""Write the proof down."""

from verifier.certify.proof_tree import Action, Chosen, ProofTree, Tightened, Tilts
from verifier.certify.write import NoCertificateError, Subject, certificate

__all__ = [
    "Action",
    "Chosen",
    "NoCertificateError",
    "ProofTree",
    "Subject",
    "Tightened",
    "Tilts",
    "certificate",
]
