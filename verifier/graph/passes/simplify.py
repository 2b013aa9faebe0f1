"""The passes that every network goes through."""

from __future__ import annotations

from verifier.graph.graph import Graph
from verifier.graph.passes.bypass import bypass
from verifier.graph.passes.drop_identities import drop_identities
from verifier.graph.passes.merge_affine import merge_affine


def simplify(graph: Graph) -> Graph:
    """The same function with fewer nodes: no identities, no dead nodes, affine chains merged."""
    return merge_affine(drop_identities(bypass(graph)))
