"""Rewrites of graphs, each exact up to roundings that the rewritten operators account for."""

from verifier.graph.passes.drop_identities import drop_identities
from verifier.graph.passes.merge_affine import merge_affine
from verifier.graph.passes.restrict_inputs import restrict_inputs
from verifier.graph.passes.simplify import simplify

__all__ = ["drop_identities", "merge_affine", "restrict_inputs", "simplify"]
