"""Declarations: flat variables in 1.0, networks of tensors in 2.0."""

from __future__ import annotations

import re
from dataclasses import field

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.general import TOKEN, Word
from verifier.load.vnnlib.names import Names
from verifier.load.vnnlib.text import Form, Text, shown
from verifier.records import dataclass
from verifier.spec.query import Declaration, NetworkDeclaration

FLAT_HEADS = frozenset({b"declare-const", b"declare-fun"})
MAX_SIZE = 2**31 - 1

_FLAT = re.compile(rb"([XY])_(0|[1-9][0-9]{0,8})")
_VERSION = re.compile(rb"<?(2\.[01])>?")


def words_of(text: Text, form: Form) -> list[Word]:
    """All tokens of a short form, parentheses included."""
    found = TOKEN.finditer(text.data, form.start, form.stop)
    return [Word(match.start(), match[0]) for match in found]


@dataclass
class FlatDeclarations:
    """The variables that a 1.0 file declares: X_0 .. and Y_0 .., in any order."""

    text: Text
    seen: dict[bytes, set[int]] = field(default_factory=lambda: {b"X": set(), b"Y": set()})

    def add(self, form: Form) -> None:
        """Take `(declare-const X_i Real)` or `(declare-fun X_i () Real)`."""
        words = words_of(self.text, form)
        texts = [word.text for word in words]
        between = [b"(", b")"] if texts[1] == b"declare-fun" else []
        if len(texts) != 5 + len(between) or texts[3:-2] != between:
            raise self.text.error(
                form.start, "a malformed declaration; need (declare-const X_i Real)"
            )
        name, kind = words[2], words[-2]
        match = _FLAT.fullmatch(name.text)
        if not match:
            raise self.text.error(name.position, f"variable {shown(name.text)}; need X_i or Y_j")
        if kind.text != b"Real":
            raise self.text.error(kind.position, f"variables of sort {shown(kind.text)}; need Real")
        group, number = self.seen[match[1]], int(match[2])
        if number in group:
            raise self.text.error(name.position, f"{shown(name.text)} is declared twice")
        group.add(number)

    def add_all(self, inputs: npt.NDArray[np.int64], outputs: npt.NDArray[np.int64]) -> bool:
        """Take many at once; False, and take none, if one of them is declared twice."""
        for name, numbers in ((b"X", inputs), (b"Y", outputs)):
            group = self.seen[name]
            if (np.diff(np.sort(numbers)) == 0).any() or not group.isdisjoint(numbers.tolist()):
                return False
        self.seen[b"X"].update(inputs.tolist())
        self.seen[b"Y"].update(outputs.tolist())
        return True

    def names(self) -> Names:
        """The network with all of them.

        Raises:
            PropertyError: no input is declared, or the numbers have a gap.
        """
        for name, numbers in self.seen.items():
            if numbers and max(numbers) >= len(numbers):
                missing = next(number for number in range(len(numbers)) if number not in numbers)
                raise self.text.error(
                    0,
                    f"{name.decode()}_{max(numbers)} is declared but "
                    f"{name.decode()}_{missing} is not; need all numbers from 0 on",
                )
        if not self.seen[b"X"]:
            raise self.text.error(0, "no input is declared; need (declare-const X_0 Real)")
        inputs = Declaration("X", "Real", (len(self.seen[b"X"]),))
        outputs = Declaration("Y", "Real", (len(self.seen[b"Y"]),))
        return Names(NetworkDeclaration("", (inputs,), (outputs,)), flat=True)


def version_of(text: Text, form: Form) -> str:
    """The version in `(vnnlib-version <2.0>)`."""
    words = words_of(text, form)
    match = _VERSION.fullmatch(words[2].text) if len(words) == 4 else None
    if not match:
        met = b"".join(word.text for word in words[2:-1])
        raise text.error(form.start, f"VNN-LIB version {shown(met)}; supported are 2.0 and 2.1")
    return match[1].decode()
