"""Open regions of the input space, a batch as one struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from verifier.records import dataclass
from verifier.tensors import Array, Backend, Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Subproblems:
    """One row = one open box of one case, with what is known about it.

    Laws: the boxes of open rows and of closed leaves cover every case; a row's planes are lower
    bounds of the property's rows (threshold subtracted) on its box; its hidden boxes contain the
    values of the hidden neurons there; ``margin`` never falls from parent to child.
    """

    lower: Float[Array, "batch n"]
    upper: Float[Array, "batch n"]
    live: Bool[Array, "batch clauses"]
    """Clauses that may still be met in the box."""
    thresholds: Float[Array, "batch rows"]
    coefficients: Float[Array, "batch rows n"]
    constant: Float[Array, "batch rows"]
    hidden_lower: Float[Array, "batch hidden"]
    hidden_upper: Float[Array, "batch hidden"]
    margin: Float[Array, " batch"]
    """The least over live clauses of the greatest bound of a row; -inf at first."""
    case: Int[Array, " batch"]
    node: Int[Array, " batch"]
    """The number of the box in the proof tree."""
    depth: Int[Array, " batch"]

    def __len__(self) -> int:
        return self.lower.shape[0]

    def __getitem__(self, index: Array | slice) -> Subproblems:
        return Subproblems(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Subproblems], xp: Backend) -> Subproblems:
        """All rows of several batches."""
        return xp.joined(parts)

    @property
    def bytes_each(self) -> int:
        """About how much memory a row takes."""
        columns = (
            self.lower.shape[1] * (2 + self.constant.shape[1]) + 2 * self.hidden_lower.shape[1]
        )
        return 8 * (columns + 2 * self.constant.shape[1] + 8)
