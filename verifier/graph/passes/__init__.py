"""Rewrites of graphs, each exact up to roundings that the rewritten operators account for."""

from verifier.graph.passes.crop import Crop, crop
from verifier.graph.passes.drop_identities import drop_identities
from verifier.graph.passes.fold_integers import fold_integers
from verifier.graph.passes.fold_tables import fold_tables
from verifier.graph.passes.merge_affine import merge_affine
from verifier.graph.passes.recentre import Recentred, recentre
from verifier.graph.passes.restrict_inputs import restrict_inputs
from verifier.graph.passes.sever import Severed, sever
from verifier.graph.passes.simplify import simplify

__all__ = [
    "Crop",
    "Recentred",
    "Severed",
    "crop",
    "drop_identities",
    "fold_integers",
    "fold_tables",
    "merge_affine",
    "recentre",
    "restrict_inputs",
    "sever",
    "simplify",
]
