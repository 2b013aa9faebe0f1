"""Which function reads which ONNX operator, and examples of each."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from verifier.records import dataclass

Reader = Callable[..., Any]
"""``(OnnxNode, Builder) -> operand``, or a tuple of operands for several outputs."""

Examples = Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Entry:
    """A reader; ``folds``: it also takes nodes whose inputs are all constants."""

    read: Reader
    folds: bool


_READERS: dict[str, Entry] = {}
_EXAMPLES: dict[str, list[Examples]] = {}


def reads(*op_types: str, folds: bool = False) -> Callable[[Reader], Reader]:
    """Register the reader of some ONNX operators (of the default domain)."""

    def register(read: Reader) -> Reader:
        for op_type in op_types:
            if op_type in _READERS:
                message = f"two readers for the ONNX operator {op_type}"
                raise ValueError(message)
            _READERS[op_type] = Entry(read, folds)
        return read

    return register


def examples(*op_types: str) -> Callable[[Examples], Examples]:
    """Register a generator of small models (``Example``) that the tests run for these operators."""

    def register(generate: Examples) -> Examples:
        for op_type in op_types:
            _EXAMPLES.setdefault(op_type, []).append(generate)
        return generate

    return register


@cache
def _discover() -> None:
    """Import every module of the package of operators, which fills the tables.

    By name, since the operators are a layer above.
    """
    package = importlib.import_module("verifier.ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"verifier.ops.{module.name}")


def reader_of(op_type: str) -> Entry | None:
    """The reader of an operator, if there is one; imports no module that does not have it."""
    if op_type not in _READERS:
        home = importlib.import_module("verifier.ops").HOMES.get(op_type)
        if home is None:
            return None
        importlib.import_module(f"verifier.ops.{home}")
    return _READERS[op_type]


def readers() -> dict[str, Entry]:
    """The readers of all operators, by ONNX name."""
    _discover()
    return _READERS


def all_examples() -> dict[str, list[Examples]]:
    """The example generators of all operators, by ONNX name."""
    _discover()
    return _EXAMPLES
