"""Write the proof down."""

from verifier.certify.certificate import Certificate, Leaf, Sealed, Sealer
from verifier.certify.parts import Parts
from verifier.certify.proof_tree import Action, Chosen, Mark, ProofTree, Tightened, Tilts
from verifier.certify.write import NoCertificateError, Subject, certificate

__all__ = [
    "Action",
    "Certificate",
    "Chosen",
    "Leaf",
    "Mark",
    "NoCertificateError",
    "Parts",
    "ProofTree",
    "Sealed",
    "Sealer",
    "Subject",
    "Tightened",
    "Tilts",
    "certificate",
]
