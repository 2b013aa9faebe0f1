"""Where to split: one heuristic per file."""

from verifier.search.split.gap_smear import gap_smear

__all__ = ["gap_smear"]
