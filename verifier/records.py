"""Dataclasses that are made when they are first used.

To make one is to compile its methods, nearly a millisecond each: for all classes a third of the
time to a verdict on a small network, to which most of them are of no use.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    _making = RLock()

    def _shown(self: Any) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    class _Fields:
        """Stands for the fields of a class that is not made yet: whoever asks has it made."""

        def __init__(self, make: Any) -> None:
            self.make = make

        def __get__(self, instance: object, owner: type) -> dict[str, dataclasses.Field]:
            return self.make()

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """``dataclasses.dataclass``, done when there is a first instance.

        Or once somebody asks for the fields, as subclasses do. Without ``slots``, and without
        what patterns of ``match`` need.
        """
        if cls is None:
            return partial(dataclass, **options)
        options = {"match_args": False, "repr": False} | options
        if not options["repr"] and "__repr__" not in vars(cls):
            cls.__repr__ = _shown  # One for all: those of their own would have to be compiled.
        made = False

        def make() -> dict[str, dataclasses.Field]:
            nonlocal made
            with _making:
                if not made:
                    dataclasses.dataclass(cls, **options)
                    made = True
            return vars(cls)["__dataclass_fields__"]

        def new(kind: type, *_args: Any, **_values: Any) -> Any:
            if not made:
                make()
            return object.__new__(kind)

        cls.__new__ = staticmethod(new)
        cls.__dataclass_fields__ = _Fields(make)
        return cls
