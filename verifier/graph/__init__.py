"""What a network is."""

from verifier.graph.builder import Builder, Value
from verifier.graph.graph import Graph, Node

__all__ = ["Builder", "Graph", "Node", "Value"]
