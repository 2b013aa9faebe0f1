"""Read the file of a certificate, a zip archive of arrays, and trust nothing that it says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from verifier.checker.errors import Rejected, Unreadable
from verifier.checker.members import LENGTHS, MEMBERS, OPTIONAL, WIDTHS

MAX_MEMBER = 2**30
MAX_TOTAL = 3 * 2**29
MAX_MANIFEST = 2**20
MAX_FILE = 2**32
MAX_CERTIFICATE = 2**31
READ_SIZE = 2**24
MAX_NAME = 1000

MANIFEST = "manifest.json"
GZIP = b"\x1f\x8b"
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
NAMES = {f"{name}.npy" for name in MEMBERS}
CENTRAL_HEADER = 46
END_RECORD = struct.Struct("<4s4H2IH")
OLDEST = 1 << 5 | 1  # 1980-01-01
NPY_HEADER = 128
NPY_TEXT = re.compile(
    rb"\{'descr': '([|<][uif][1248])', 'fortran_order': False, "
    rb"'shape': \((|(?:0|[1-9][0-9]*),|(?:0|[1-9][0-9]*), (?:0|[1-9][0-9]*))\), \} *\n"
)
DTYPES = {b"|u1", b"|i1", b"<u2", b"<u4", b"<i4", b"<i8", b"<f4", b"<f8"}


@dataclass(frozen=True)
class Container:
    """A certificate as read: the manifest, and each member NAME.npy as the array NAME."""

    manifest: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


def read_file(path: Path) -> bytes:
    """The bytes of a network or a property, decompressed if they are gzip data.

    Raises:
        Unreadable: it is no regular file, cannot be read, or is larger than 4 GiB
    """
    return _read(path, MAX_FILE)


def read_certificate(path: Path) -> bytes:
    """The bytes of a certificate, decompressed if they are gzip data.

    Raises:
        Unreadable: it is no regular file, cannot be read, or is larger than 2 GiB
    """
    return _read(path, MAX_CERTIFICATE)


def _read(path: Path, most: int) -> bytes:
    parts, size = list[bytes](), 0
    try:
        # To open a pipe would wait for somebody who writes to it.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{path} is a folder, a pipe or a device; need a regular file")
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            step = READ_SIZE if packed else max(READ_SIZE, min(found.st_size, most) + 1)
            while size <= most and (part := file.read(step)):
                parts.append(part)
                size += len(part)
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"{path} cannot be read: {problem}") from None
    if size > most:
        raise Unreadable(f"{path} has more than {most} bytes")
    return b"".join(parts)


def read_container(data: bytes) -> Container:
    """Read a certificate.

    Raises:
        Rejected: it is not exactly an archive as certificates are, or disagrees with its manifest
    """
    entries = _entries(data)
    if MANIFEST not in entries or entries[MANIFEST].file_size > MAX_MANIFEST:
        raise Rejected(f"the certificate has no {MANIFEST} of at most {MAX_MANIFEST} bytes")
    manifest = _manifest(_content(data, entries.pop(MANIFEST)))
    members = manifest["members"]
    if set(members) != set(entries):
        raise Rejected("the certificate's members are not those that its manifest lists")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, entry in entries.items():
        if members[name]["bytes"] != entry.file_size:
            raise Rejected(f"{name}: the manifest says another size")
        content = _content(data, entry)
        if hashlib.sha256(content).hexdigest() != members[name]["sha256"]:
            raise Rejected(f"{name}: the manifest says another SHA-256")
        arrays[name.removesuffix(".npy")] = _array(name, content)
    return Container(manifest, arrays)


# ------------------------------------------------------------------------------------- archive


def _entries(data: bytes) -> dict[str, zipfile.ZipInfo]:
    """The members by name, after checking that they fill the file without gap or overlap."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except Exception:  # of many types, since any bytes may come here
        raise Rejected("the certificate is not a zip archive") from None
    position = 0
    for entry in entries:
        _check_entry(entry)
        if entry.header_offset != position or not _local_header(data, entry):
            raise Rejected(f"{entry.filename}: its header is not where or what it should be")
        position += LOCAL_HEADER.size + len(entry.filename) + entry.compress_size
    end = position + sum(CENTRAL_HEADER + len(entry.filename) for entry in entries)
    counts = (len(entries), len(entries), end - position, position, 0)
    if data[end:] != END_RECORD.pack(b"PK\5\6", 0, 0, *counts):
        raise Rejected("the certificate has bytes that belong to no member")
    if sum(entry.file_size for entry in entries) > MAX_TOTAL:
        raise Rejected(f"the certificate has more than {MAX_TOTAL} bytes")
    names = {entry.filename: entry for entry in entries}
    if len(names) < len(entries):
        raise Rejected("the certificate has two members of one name")
    _check_sizes({name: entry.file_size for name, entry in names.items() if name != MANIFEST})
    return names


def _check_sizes(sizes: dict[str, int]) -> None:
    """Whether members of these sizes can fit each other, before any of them is decompressed."""
    count = dict.fromkeys(MEMBERS, 0)
    for name, size in sizes.items():
        array = name.removesuffix(".npy")
        count[array], rest = divmod(size - NPY_HEADER, np.dtype(MEMBERS[array][0]).itemsize)
        if rest or size < NPY_HEADER:
            raise Rejected(f"{name}: not the size of an array of type {MEMBERS[array][0]}")
    for array, other in LENGTHS.items():
        width = count[WIDTHS[array]] if array in WIDTHS else 1
        left_out = array in OPTIONAL and not count[array]
        if count[array] != count[other] * width and not left_out:
            raise Rejected(f"{array}.npy: its size does not fit that of {other}.npy")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    if name != MANIFEST and name not in NAMES:
        raise Rejected(f"the certificate has an unexpected member {name[:40]!a}")
    if entry.flag_bits:
        raise Rejected(f"{name}: encrypted, or of unknown size")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Rejected(f"{name}: a compression other than deflate")
    versions = entry.create_system, entry.create_version, entry.extract_version, entry.reserved
    if versions != (3, 20, 20, 0) or entry.date_time != (1980, 1, 1, 0, 0, 0):
        raise Rejected(f"{name}: another version or time than all certificates have")
    if entry.internal_attr or entry.external_attr != 0o600 << 16:
        raise Rejected(f"{name}: other attributes than all certificates have")
    if entry.extra or entry.comment or entry.volume:
        raise Rejected(f"{name}: comments or other extras")
    if entry.file_size > MAX_MEMBER:
        raise Rejected(f"{name}: more than {MAX_MEMBER} bytes")


def _local_header(data: bytes, entry: zipfile.ZipInfo) -> bool:
    """Whether the header before a member says the same as the directory, and nothing more."""
    start = entry.header_offset
    header = data[start : start + LOCAL_HEADER.size + len(entry.filename)]
    sizes = entry.CRC, entry.compress_size, entry.file_size, len(entry.filename), 0
    expected = LOCAL_HEADER.pack(b"PK\3\4", 20, 0, entry.compress_type, 0, OLDEST, *sizes)
    return header == expected + entry.filename.encode()


def _content(data: bytes, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more of them than it declares."""
    start = entry.header_offset + LOCAL_HEADER.size + len(entry.filename)
    content = data[start : start + entry.compress_size]
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        stream = zlib.decompressobj(-15)
        try:
            content = stream.decompress(content, entry.file_size + 1)
        except zlib.error:
            raise Rejected(f"{entry.filename}: not a deflate stream") from None
        if not stream.eof or stream.unused_data:
            raise Rejected(f"{entry.filename}: its deflate stream has another size")
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise Rejected(f"{entry.filename}: another size or CRC than declared")
    return content


# ------------------------------------------------------------------------------------ manifest


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _is_name(value: Any) -> bool:
    """Networks name their tensors as they like."""
    return isinstance(value, str) and len(value) <= 64 * MAX_NAME


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()


def _is_neurons(value: Any) -> bool:
    pairs = cast("list[Any]", value) if isinstance(value, list) else [None]
    return all(isinstance(pair, list) and _is_pair(cast("list[Any]", pair)) for pair in pairs)


def _is_pair(pair: list[Any]) -> bool:
    return len(pair) == 2 and _is_name(pair[0]) and _is_count(pair[1])


def _is_members(value: Any) -> bool:
    members = cast("dict[str, Any]", value) if isinstance(value, dict) else {"": None}
    return all(
        isinstance(member, dict) and _is_member(cast("dict[str, Any]", member))
        for member in members.values()
    )


def _is_member(member: dict[str, Any]) -> bool:
    known = set(member) == {"sha256", "bytes"}
    return known and _is_hash(member["sha256"]) and _is_count(member["bytes"])


KEYS: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: value == "verifier-certificate",
    "version": lambda value: type(value) is int and value == 1,
    "network_sha256": _is_hash,
    "property_sha256": _is_hash,
    "semantics": lambda value: value in ("real", "float32"),
    "neurons": _is_neurons,
    "tool": _is_text,
    "network": _is_text,
    "property": _is_text,
    "members": _is_members,
}


def _manifest(content: bytes) -> dict[str, Any]:
    """The manifest, which has to be canonical JSON; that excludes duplicate keys too."""
    try:
        manifest = json.loads(content)
        canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        raise Rejected(f"{MANIFEST} is not JSON") from None
    if canonical != content:
        raise Rejected(f"{MANIFEST} is not canonical JSON")
    if not isinstance(manifest, dict) or set(cast("dict[str, Any]", manifest)) != set(KEYS):
        raise Rejected(f"{MANIFEST} lacks keys or has unknown ones")
    for key, is_valid in KEYS.items():
        if not is_valid(manifest[key]):
            raise Rejected(f"{MANIFEST}: {key} is not as it should be")
    return cast("dict[str, Any]", manifest)


# -------------------------------------------------------------------------------------- arrays


def _array(name: str, content: bytes) -> npt.NDArray[Any]:
    """An array from the content of an .npy file, which has to be as NumPy writes it."""
    header = NPY_TEXT.fullmatch(content[10:NPY_HEADER])
    if content[:10] != b"\x93NUMPY\x01\x00\x76\x00" or not header or header[1] not in DTYPES:
        raise Rejected(f"{name}: not an .npy file of version 1.0, C order and a known type")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[2].split(b",") if size)
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(content) - NPY_HEADER or max(shape, default=0) > MAX_MEMBER:
        raise Rejected(f"{name}: another size than its shape says")
    array = np.ndarray(shape, dtype, buffer=content, offset=NPY_HEADER)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise Rejected(f"{name}: infinite, or not a number")
    return array
