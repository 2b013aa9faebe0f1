"""Every error raised on purpose.

::

    VerifierError
    ├── BadInput                 a file or an argument is at fault           (exit status 65)
    │   ├── ModelError           a network cannot be read, or is broken
    │   │   └── ImportMismatch   our graph and ONNX Runtime disagree
    │   └── PropertyError        a property cannot be read, or does not fit its network
    ├── UnsupportedModel         operators or forms without bound rules       (exit status 69)
    └── OutOfMemory              the work does not fit, even in small batches (exit status 75)

A message is one line: what we met, with the value; what we need; what to do. Anything else that is
raised is a bug of ours and shows its traceback. Outcomes of a search are values, not exceptions.
"""

from __future__ import annotations

from typing import ClassVar


class VerifierError(Exception):
    """Base of all errors raised on purpose."""

    exit_status: ClassVar[int] = 70


class BadInput(VerifierError):
    """A file or an argument is at fault."""

    exit_status: ClassVar[int] = 65


class ModelError(BadInput):
    """A network cannot be read, or is broken."""


class ImportMismatch(ModelError):
    """Our graph and ONNX Runtime compute different values."""


class PropertyError(BadInput):
    """A property cannot be read, or does not fit its network."""


class UnsupportedModel(VerifierError):
    """The network holds operators, or forms of them, without bound rules."""

    exit_status: ClassVar[int] = 69


class OutOfMemory(VerifierError):
    """The work does not fit into memory, even in small batches."""

    exit_status: ClassVar[int] = 75
