"""Declarations: flat variables in 1.0, networks of tensors in 2.0."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from verifier.load.vnnlib.general import TOKEN, Word
from verifier.load.vnnlib.names import Names
from verifier.load.vnnlib.text import Form, Text, shown
from verifier.spec.query import Declaration, NetworkDeclaration

FLAT_HEADS = frozenset({b"declare-const", b"declare-fun"})
MAX_SIZE = 2**31 - 1

_FLAT = re.compile(rb"([XY])_(0|[1-9][0-9]{0,8})")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_SHAPE = re.compile(rb"\[\s*(?:[0-9]{1,10}\s*(?:,\s*[0-9]{1,10}\s*)*)?\]")
_VERSION = re.compile(rb"<?(2\.[01])>?")

Nested = Word | list["Nested"]


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


@dataclass(frozen=True, eq=False)
class NetworkReader:
    """Reads `(declare-network NAME (declare-input ...) ... (declare-output ...) ...)`."""

    text: Text

    def read(self, form: Form) -> NetworkDeclaration:
        """The declared network.

        Raises:
            PropertyError: it is malformed, or has parts that are not supported.
        """
        items = self._items(form)
        if len(items) < 2 or not isinstance(items[1], Word):
            raise self.text.error(form.start, "met a network without a name; need one")
        name = self._name(items[1])
        seen: set[str] = set()
        tensors: dict[bytes, list[Declaration]] = {b"declare-input": [], b"declare-output": []}
        for item in items[2:]:
            head = item[0] if isinstance(item, list) and item else item
            if not isinstance(item, list) or not isinstance(head, Word):
                position = head.position if isinstance(head, Word) else form.start
                raise self.text.error(position, "met a stray word; need (declare-input ...)")
            self._require_supported(head)
            if head.text == b"declare-input" and tensors[b"declare-output"]:
                raise self.text.error(head.position, "an input after an output; need inputs first")
            declaration = self._tensor(item, head)
            if declaration.name in seen:
                raise self.text.error(head.position, f"{declaration.name!r} is declared twice")
            seen.add(declaration.name)
            tensors[head.text].append(declaration)
        size = sum(tensor.size for kind in tensors.values() for tensor in kind)
        if size > MAX_SIZE:
            raise self.text.error(form.start, f"met {size} variables; need at most {MAX_SIZE}")
        for kind, declarations in tensors.items():
            if not declarations:
                raise self.text.error(
                    form.start, f"met a network without {kind.decode()}; need one"
                )
        return NetworkDeclaration(
            name, tuple(tensors[b"declare-input"]), tuple(tensors[b"declare-output"])
        )

    def _require_supported(self, head: Word) -> None:
        unsupported = {
            b"declare-hidden": "hidden nodes",
            b"equal-to": "a network equal to another one",
            b"isomorphic-to": "a network isomorphic to another one",
        }
        if head.text in unsupported:
            raise self.text.error(head.position, f"{unsupported[head.text]}; not supported yet")
        if head.text not in {b"declare-input", b"declare-output"}:
            raise self.text.error(
                head.position, f"met {shown(head.text)}; need declare-input or declare-output"
            )

    def _items(self, form: Form) -> list[Nested]:
        stack: list[list[Nested]] = [[]]
        for word in words_of(self.text, form):
            if word.text == b"(":
                stack.append([])
            elif word.text == b")":
                done = stack.pop()
                stack[-1].append(done)
            else:
                stack[-1].append(word)
            if len(stack) > 4:
                raise self.text.error(word.position, "met a nested list; need a declaration")
        (items,) = stack[0]
        assert isinstance(items, list)
        return items

    def _name(self, word: Word) -> str:
        if not _NAME.fullmatch(word.text):
            raise self.text.error(
                word.position, f"name {shown(word.text)}; need a letter, then letters, digits or _"
            )
        return word.text.decode()

    def _tensor(self, item: list[Nested], head: Word) -> Declaration:
        """`(declare-input NAME TYPE [n,...])`, in 2.1 with `initialized` at the end."""
        words = [word for word in item if isinstance(word, Word)]
        texts = [word.text for word in words]
        if len(words) == 5 and texts[0] == b"declare-input" and texts[4] == b"initialized":
            raise self.text.error(words[4].position, "initialized inputs; not supported yet")
        if len(words) != 4 or len(words) != len(item):
            raise self.text.error(head.position, f"need ({head.text.decode()} NAME TYPE [n,...])")
        name, kind, shape = words[1:]
        if not _SHAPE.fullmatch(shape.text):
            raise self.text.error(shape.position, f"shape {shown(shape.text)}; need [n,...]")
        sizes = tuple(int(size) for size in re.findall(rb"[0-9]+", shape.text))
        declaration = Declaration(self._name(name), self._name(kind), sizes)
        if not 0 < declaration.size <= MAX_SIZE:
            raise self.text.error(
                shape.position,
                f"shape {shown(shape.text)}; need sizes from 1 and at most {MAX_SIZE} elements",
            )
        return declaration
