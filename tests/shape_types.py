"""The type checker that jaxtyping's import hook applies to every function of the package.

Checked are the first calls of each function in each process, and some of the later ones: all of
them would take more time than the tests.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

FIRST, EVERY = 50, 20
"""So many first calls are checked, and then one of so many."""

_checked_by = jaxtyping.jaxtyped


def enforce(checked: Callable[..., Any]) -> Callable[..., Any]:
    """Apply beartype to one function; ``Self`` has no meaning outside its class: unchecked."""
    hints = getattr(checked, "__annotations__", {})
    for name, hint in hints.items():
        if "Self" in str(hint):
            hints[name] = Any
    return beartype(checked)


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """As ``jaxtyping.jaxtyped``, for some of the calls."""
    decorate = _checked_by(typechecker=typechecker)

    def apply(target: Any) -> Any:
        if not isinstance(target, type):
            return _now_and_then(target, functools.cache(lambda: decorate(target)))
        dataclasses.is_dataclass(
            target
        )  # Which has a late one made, and gives it its ``__init__``.
        plain = target.__init__
        result: Any = decorate(target)
        checked = result.__init__
        if checked is not plain:
            result.__init__ = _now_and_then(plain, lambda: checked)
        return result

    return apply


def _now_and_then(plain: Callable[..., Any], checked: Callable[[], Any]) -> Callable[..., Any]:
    """A function, or what checks its calls, which is made when it is first called."""
    count = itertools.count()

    @functools.wraps(plain)
    def either(*given: Any, **named: Any) -> Any:
        number = next(count)
        chosen = plain if number >= FIRST and number % EVERY else checked()
        return chosen(*given, **named)

    return either


jaxtyping.jaxtyped = jaxtyped
