"""Write the proof down."""

from verifier.certify.certificate import Certificate, Leaf, Sealed, Sealer
from verifier.certify.parts import Parts
from verifier.certify.proof_tree import Action, Chosen, Hulls, Mark, ProofTree, Tightened, Tilts
from verifier.certify.write import NoCertificateError, Subject, certificate

__all__ = [
    "Action",
    "Certificate",
    "Chosen",
    "Hulls",
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
