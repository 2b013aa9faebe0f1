"""VNN-LIB 1.0 and 2.0: properties in, witnesses out."""

from verifier.load.vnnlib.assignment import format_assignment
from verifier.load.vnnlib.parse import exact_rows, parse_query, read_query

__all__ = ["exact_rows", "format_assignment", "parse_query", "read_query"]
