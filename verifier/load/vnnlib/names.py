"""What the words of a property mean: numbers, and the variables that it declares."""

from __future__ import annotations

import re
from fractions import Fraction

from verifier.records import dataclass
from verifier.spec.query import Declaration, NetworkDeclaration

MAX_LITERAL = 1000
MAX_EXPONENT = 400

_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]+))?")
_INDEXED = re.compile(rb"([^\[\]]*)(?:\[\s*([0-9]+(?:\s*,\s*[0-9]+)*)?\s*\])?")
_FLAT = re.compile(rb"([XY])_(0|[1-9][0-9]{0,8})")


def looks_like_number(word: bytes) -> bool:
    return word[:1].isdigit() or (word[:1] in {b"+", b"-", b"."} and len(word) > 1)


def number(word: bytes) -> Fraction | None:
    """The exact value of a decimal literal; None if it is none, or too long to be meant."""
    match = _NUMBER.fullmatch(word)
    if not match or len(word) > MAX_LITERAL or abs(int(match[1] or 0)) > MAX_EXPONENT:
        return None
    return Fraction(word.decode())


class UnknownName(Exception):
    """A word that names no variable; the message says what would."""


@dataclass(frozen=True)
class Names:
    """The variables of a network, by the names that a property gives them.

    Attributes:
        network: the declarations
        flat: 1.0 names `X_3` rather than 2.0 names `X[0,3]`
    """

    network: NetworkDeclaration
    flat: bool

    def offsets(self) -> dict[bytes, tuple[int, Declaration]]:
        """For each declared tensor, the number of its first element."""
        offsets, offset = {}, 0
        for declaration in (*self.network.inputs, *self.network.outputs):
            offsets[declaration.name.encode()] = (offset, declaration)
            offset += declaration.size
        return offsets

    @property
    def size(self) -> int:
        """How many variables are declared."""
        return sum(d.size for d in (*self.network.inputs, *self.network.outputs))

    def resolver(self) -> Resolver:
        return Resolver(self.offsets(), self.flat)


@dataclass(frozen=True)
class Resolver:
    """Turns words into the numbers of variables."""

    tensors: dict[bytes, tuple[int, Declaration]]
    flat: bool

    def variable(self, word: bytes) -> int:
        """The number of a variable.

        Raises:
            UnknownName: no such variable is declared.
        """
        name, index = self._split_flat(word) if self.flat else self._split_indexed(word)
        if name not in self.tensors:
            known = b", ".join(self.tensors).decode()
            raise UnknownName(f"need a number or an element of {known}")
        offset, declaration = self.tensors[name]
        if len(index) != len(declaration.shape):
            raise UnknownName(
                f"need {len(declaration.shape)} indices, for shape {_shape(declaration)}"
            )
        number = 0
        for place, size in zip(index, declaration.shape, strict=True):
            if place >= size:
                raise UnknownName(f"index {place} is out of range for {_declared(declaration)}")
            number = number * size + place
        return offset + number

    def _split_flat(self, word: bytes) -> tuple[bytes, tuple[int, ...]]:
        match = _FLAT.fullmatch(word)
        if not match:
            raise UnknownName("need a number, X_i or Y_j")
        return match[1], (int(match[2]),)

    def _split_indexed(self, word: bytes) -> tuple[bytes, tuple[int, ...]]:
        match = _INDEXED.fullmatch(word)
        if not match or len(word) > MAX_LITERAL:
            raise UnknownName("need a number, NAME or NAME[i,j,...]")
        return match[1], tuple(int(place) for place in (match[2] or b"").split(b",") if place)


def _shape(declaration: Declaration) -> str:
    return "[" + ",".join(str(size) for size in declaration.shape) + "]"


def _declared(declaration: Declaration) -> str:
    return f"{declaration.name} {_shape(declaration)}"
