"""Shape annotations: jaxtyping's where it is loaded (in tests, which enforce them), else inert."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

Array = Any
"""A NumPy array or a torch tensor."""

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int
else:

    class _Inert:
        def __class_getitem__(cls, item: object) -> Any:
            return Any

    class Float(_Inert):
        """A floating-point array."""

    class Int(_Inert):
        """An integer array."""

    class Bool(_Inert):
        """An array of truth values."""


__all__ = ["Array", "Bool", "Float", "Int"]
