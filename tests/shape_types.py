"""The type checker that jaxtyping's import hook applies to every function of the package."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def enforce(checked: Callable[..., Any]) -> Callable[..., Any]:
    """Apply beartype to one function; ``Self`` has no meaning outside its class: unchecked."""
    hints = getattr(checked, "__annotations__", {})
    for name, hint in hints.items():
        if "Self" in str(hint):
            hints[name] = Any
    return beartype(checked)
