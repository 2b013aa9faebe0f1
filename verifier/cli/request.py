"""What the user of ``verifier verify`` asks for: which file is the network, which the property."""

from __future__ import annotations

import ast
import filecmp
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.errors import BadInput, ModelError, PropertyError
from verifier.records import dataclass

if TYPE_CHECKING:
    from verifier.spec import Query

NETWORK_SUFFIXES, PROPERTY_SUFFIXES = (".onnx", ".pb"), (".vnnlib", ".smt2")
PEEK = 4096


@dataclass(frozen=True)
class Request:
    """A property, and the network files by name; the name None fits any declaration."""

    prop: str
    networks: tuple[tuple[str | None, str], ...]

    @classmethod
    def of(cls, files: Sequence[str], networks: Sequence[str]) -> Request:
        """Sort out the arguments.

        Args:
            files: ``QUERY``, or a network and a query in either order
            networks: ``NAME=FILE``, for the first form

        Raises:
            click.UsageError: the arguments fit neither form.
            BadInput: a list of networks that is none.
        """
        named = tuple(_named(text) for text in networks)
        if len({name for name, _ in named}) < len(named):
            message = "--network gives a name twice; need each name once"
            raise click.UsageError(message)
        if not all(files):
            message = "an empty file name; need MODEL.onnx QUERY.vnnlib"
            raise click.UsageError(message)
        if len(files) == 1 and named:
            return cls(files[0], named)
        if len(files) == 1:
            message = f"{files[0]} alone; need --network NAME=MODEL.onnx, or MODEL.onnx before it"
            raise click.UsageError(message)
        if len(files) != 2:
            message = f"{len(files)} files; need MODEL.onnx QUERY.vnnlib"
            raise click.UsageError(message)
        if named:
            message = "two files and --network; need QUERY.vnnlib and --network, or two files"
            raise click.UsageError(message)
        prop, network = _sorted(*files)
        return cls(prop, _listed(network) or ((None, network),))

    def networks_of(self, query: Query) -> tuple[str, ...]:
        """The file of each network that the query declares, in the order of declaration.

        Raises:
            PropertyError: the names given are not those that are declared.
        """
        declared = query.network.networks
        if len(declared) == 1:
            return (self._only(query),)
        given = {declared[0].name if name is None else name: path for name, path in self.networks}
        files: dict[str, str] = {}
        for network in declared:
            path = given.pop(network.name, None)
            same = files.get(network.equal_to)
            if path is None and same is None:
                message = f"no file for {network.name!r}; need --network {network.name}=MODEL.onnx"
                raise PropertyError(f"{query.source} declares {len(declared)} networks: {message}")
            if path is not None and same is not None and not _same_file(path, same):
                message = f"{network.name!r} is to equal {network.equal_to!r}, but {path} is not"
                raise PropertyError(f"{query.source}: {message} {same}; leave it out")
            files[network.name] = same or path or ""
        if given:
            names = ", ".join(map(repr, given))
            message = f"the network {names}, which {query.source} does not declare; leave it out"
            raise PropertyError(message)
        return tuple(files[network.name] for network in declared)

    def _only(self, query: Query) -> str:
        declared = query.network.name
        given = ", ".join(repr(name) for name, _ in self.networks)
        fits = [path for name, path in self.networks if not declared or name in {None, declared}]
        if not fits:
            message = f"the network {given}; {query.source} declares {declared!r}, need that name"
            raise PropertyError(message)
        if len(self.networks) > 1:
            message = f"networks {given}, but {query.source} declares one; give that one alone"
            raise PropertyError(message)
        return fits[0]


def _same_file(first: str, second: str) -> bool:
    """Do two files hold the same bytes?"""
    try:
        return Path(first).samefile(second) or filecmp.cmp(first, second, shallow=False)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}; need an ONNX file"
        raise ModelError(message) from None


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        message = f"--network {text!r}; need NAME=MODEL.onnx"
        raise click.UsageError(message)
    return name.strip(), path


def _listed(text: str) -> tuple[tuple[str | None, str], ...]:
    """The competition's way to name networks, a Python literal; empty: it is not that."""
    if not text.lstrip().startswith("["):
        return ()
    try:
        pairs = tuple((str(name), str(path)) for name, path in ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError):
        pairs = ()
    if not pairs:
        message = f"networks {text!r}; need a list of pairs, [('NAME', 'MODEL.onnx')]"
        raise BadInput(message)
    if len({name for name, _ in pairs}) < len(pairs):
        message = f"networks {text!r}; need a list of pairs with each name once"
        raise BadInput(message)
    return pairs


def _sorted(first: str, second: str) -> tuple[str, str]:
    """The property, then the network; where both or none look like one, the network is first."""
    if is_property(first) and not is_property(second):
        return first, second
    return second, first


def is_certificate(path: str) -> bool:
    """Is a file a certificate? It begins as a zip archive does."""
    return _head(path).startswith(b"PK\x03\x04")


def is_property(path: str) -> bool:
    """Is a file a property? Its name decides; where that does not, its first bytes."""
    name = path.strip().lower().removesuffix(".gz")
    if name.startswith("[") or name.endswith(NETWORK_SUFFIXES):
        return False
    return name.endswith(PROPERTY_SUFFIXES) or _begins_as_property(path)


def _begins_as_property(path: str) -> bool:
    """Does the file begin as VNN-LIB does: with a parenthesis or a comment?"""
    return _head(path).removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"(", b";"))


def _head(path: str) -> bytes:
    """The first bytes, decompressed; none of what is no file (to open a pipe would be to wait)."""
    try:
        if not Path(path).is_file():
            return b""
        with Path(path).open("rb") as file:
            head = file.read(PEEK)
        packed = head.startswith(b"\x1f\x8b")
        return zlib.decompressobj(wbits=31).decompress(head, PEEK) if packed else head
    except (OSError, ValueError, zlib.error):
        return b""
