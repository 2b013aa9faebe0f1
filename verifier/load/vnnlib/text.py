"""The text of a property, its top-level forms, and messages that say where in it something is."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from verifier.errors import PropertyError
from verifier.load.files import read_regular
from verifier.records import dataclass

MAX_BYTES = 2**31 - 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"

_COMMENT = re.compile(rb";[^\r\n]*")
_PARENTHESIS_OR_WORD = re.compile(rb"[()]|[^\s()]+")
_HEAD = re.compile(rb"\(\s*([^\s()]*)")


class Form(NamedTuple):
    """A top-level form: data[start:stop] is `( ... )`."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Text:
    """The bytes of a property with its comments blanked out, so that positions stay true."""

    data: bytes
    source: str

    @classmethod
    def of(cls, data: bytes, source: str) -> Text:
        if len(data) > MAX_BYTES:
            raise PropertyError(f"{source}: a property of {len(data)} bytes; at most {MAX_BYTES}")
        data = data.removeprefix(BYTE_ORDER_MARK)
        if b";" in data:
            data = _COMMENT.sub(lambda comment: b" " * len(comment[0]), data)
        return cls(data, source)

    def error(self, position: int, message: str) -> PropertyError:
        """An error whose message starts with `source:line:column`."""
        before = self.data[:position].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        line = before.count(b"\n") + 1
        column = len(before) - (before.rfind(b"\n") + 1) + 1
        return PropertyError(f"{self.source}:{line}:{column}: {message}")

    def head(self, form: Form) -> bytes:
        """The word that a form starts with; empty if it starts with a parenthesis."""
        match = _HEAD.match(self.data, form.start, form.stop)
        return match[1] if match else b""

    def first_form(self) -> Form | None:
        return next(self.each_form(0), None)

    def forms(self, start: int) -> list[Form]:
        return list(self.each_form(start))

    def each_form(self, start: int) -> Iterator[Form]:
        """The top-level forms from a place on.

        Raises:
            PropertyError: parentheses do not match, or words stand outside of them.
        """
        depth, begin = 0, start
        for match in _PARENTHESIS_OR_WORD.finditer(self.data, start):
            token = match[0]
            if token == b"(":
                begin = begin if depth else match.start()
                depth += 1
            elif depth == 0:
                met = shown(token)
                raise self.error(match.start(), f"met {met}; need ( or the end of the file")
            elif token == b")":
                depth -= 1
                if depth == 0:
                    yield Form(begin, match.end())
        if depth:
            raise self.error(begin, f"this form lacks {depth} closing parentheses; need )")


def read_bytes(path: Path) -> bytes:
    """The file's bytes, decompressed if they are gzip data.

    Raises:
        PropertyError: it cannot be read, or is too large.
    """
    try:
        data = read_regular(path)
    except OSError as problem:
        raise PropertyError(f"{path}: {problem.strerror}; need a VNN-LIB file") from problem
    return _decompress(data, path) if data.startswith(GZIP_MAGIC) else data


def _decompress(data: bytes, path: Path) -> bytes:
    """All members of gzip data, but no more than a property may have."""
    pieces, size = [], 0
    while data:
        inflate = zlib.decompressobj(wbits=31)
        try:
            piece = inflate.decompress(data, MAX_BYTES + 1 - size)
        except zlib.error as problem:
            raise PropertyError(f"{path}: broken gzip data ({problem})") from problem
        size += len(piece)
        if size > MAX_BYTES:
            raise PropertyError(f"{path}: more than {MAX_BYTES} bytes when decompressed")
        if not inflate.eof:
            raise PropertyError(f"{path}: the gzip data ends early; need the whole file")
        pieces.append(piece)
        data = inflate.unused_data.lstrip(b"\x00")
    return b"".join(pieces)


def shown(token: bytes) -> str:
    """A token for a message: in quotes, and not too long."""
    text = token.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else text[:37] + "...")
