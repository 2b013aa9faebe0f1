"""Prove or refute properties of trained neural networks.

Names are imported when they are first used, so that ``import verifier`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from verifier.version import VERSION

if TYPE_CHECKING:
    from verifier.api import Result, check, load, verify
    from verifier.certify import Certificate
    from verifier.errors import (
        BadInput,
        ImportMismatch,
        ModelError,
        OutOfMemory,
        PropertyError,
        UnsupportedModel,
        VerifierError,
    )
    from verifier.settings import Options
    from verifier.verdict import Reason, Unknown, Verified, Violated

__version__ = VERSION

__all__ = [
    "BadInput",
    "Certificate",
    "ImportMismatch",
    "ModelError",
    "Options",
    "OutOfMemory",
    "PropertyError",
    "Reason",
    "Result",
    "Unknown",
    "UnsupportedModel",
    "Verified",
    "VerifierError",
    "Violated",
    "__version__",
    "check",
    "load",
    "verify",
]

_HOMES = {
    "verifier.api": ("Result", "check", "load", "verify"),
    "verifier.certify": ("Certificate",),
    "verifier.settings": ("Options",),
    "verifier.verdict": ("Reason", "Unknown", "Verified", "Violated"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module 'verifier' has no attribute {name!r}"
        raise AttributeError(message)
    home = _HOME.get(name, "verifier.errors")
    module = importlib.import_module(home)
    # All names of the module at once: importing it also binds the subpackage ``load`` here.
    globals().update({other: getattr(module, other) for other in _HOMES.get(home, (name,))})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
