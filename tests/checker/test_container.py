"""A certificate's archive is read exactly, and whatever is not one is refused in one line."""

import gzip
import io
import os
import random
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checker.containers import (
    ARRAYS,
    FIELDS,
    GOOD,
    archive,
    build,
    canonical,
    members_of,
    npy,
    refused,
)
from verifier.checker.container import read_certificate, read_container, read_file
from verifier.checker.errors import Rejected, Unreadable

# ------------------------------------------------------------------------------------ accepted


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_was_written_is_read(method):
    container = read_container(build(method=method))
    assert {key: container.manifest[key] for key in FIELDS} == FIELDS
    assert set(container.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert container.arrays[name].dtype == array.dtype
        assert container.arrays[name].shape == array.shape
        assert np.array_equal(container.arrays[name], array)
        assert not container.arrays[name].flags.writeable


def test_no_arrays_at_all():
    assert read_container(build({})).arrays == {}


# ------------------------------------------------------------------------------------- archive


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"rubbish" * 100,
        b"PK\5\6" + bytes(18),
        GOOD[:-1],
        GOOD + b"\0",
        GOOD + GOOD,
        b"\0" + GOOD,
        b"#!/bin/sh\n" + GOOD,
        GOOD[: len(GOOD) // 2],
    ],
)
def test_other_bytes(data):
    refused(data)


def test_a_comment():
    file = io.BytesIO(GOOD)
    with zipfile.ZipFile(file, "a") as target:
        target.comment = b"hello"
    refused(file.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(method):
    refused(build(method=method))


@pytest.mark.parametrize(
    "name", ["A.npy", "a.NPY", "a.npz", ".npy", "d/a.npy", "../a.npy", "é.npy"]
)
def test_unexpected_names(name):
    refused(build({name: npy(np.zeros(2))}), "unexpected member")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name():
    data = npy(np.zeros(2))
    manifest = canonical({**FIELDS, "members": members_of({"node.npy": data})})
    refused(
        archive([("manifest.json", manifest), ("node.npy", data), ("node.npy", data)]), "one name"
    )
    refused(archive([("manifest.json", manifest)] * 2 + [("node.npy", data)]), "one name")


def test_an_extra_field_and_a_comment_of_a_member():
    for change in ({"extra": b"\1\0\1\0x"}, {"comment": b"x"}):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as target:
            info = zipfile.ZipInfo("manifest.json")
            for key, value in change.items():
                setattr(info, key, value)
            target.writestr(info, canonical({**FIELDS, "members": {}}))
        refused(file.getvalue())


class _OneWay(io.RawIOBase):
    """A file that cannot seek, to which zip archives are written with data descriptors."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def test_data_descriptors():
    file = _OneWay()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("manifest.json", canonical({**FIELDS, "members": {}}))
    refused(file.data)


def directory(data):
    """Where the entries of the central directory are."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        start = source.start_dir
        places = []
        for info in source.infolist():
            places.append((start, info))
            start += 46 + len(info.filename)
    return places


def patched(data, *changes):
    """Replace bytes: (place, struct format, value)."""
    data = bytearray(data)
    for place, layout, value in changes:
        struct.pack_into(layout, data, place, value)
    return bytes(data)


def test_encryption_flag():
    (place, info), *_ = directory(GOOD)
    changes = [(place + 8, "<H", 1), (info.header_offset + 6, "<H", 1)]
    refused(patched(GOOD, *changes), "encrypted")
    refused(patched(GOOD, changes[0]))
    refused(patched(GOOD, changes[1]))


def test_overlapping_members():
    _, (place, _), (_, other), *_ = directory(GOOD)
    refused(patched(GOOD, (place + 42, "<I", other.header_offset)))


@pytest.mark.parametrize("offset", [16, 20, 24])
def test_directory_and_header_disagree(offset):
    """CRC and sizes, changed in the directory, in the header, and in both."""
    place, info = directory(GOOD)[1]
    at, header = place + offset, info.header_offset + offset - 2
    changes = [(at, "<I", 77), (header, "<I", 77)]
    for change in ([changes[0]], [changes[1]], changes):
        refused(patched(GOOD, *change))


def test_sizes_beyond_the_limits():
    place, info = directory(GOOD)[1]
    for size in (2**30 + 1, 2**32 - 2, 2**32 - 1):
        changes = (place + 24, "<I", size), (info.header_offset + 22, "<I", size)
        refused(patched(GOOD, *changes))


def test_members_that_are_too_much_together(monkeypatch):
    limit = sum(info.file_size for _, info in directory(GOOD))
    monkeypatch.setattr("verifier.checker.container.MAX_TOTAL", limit)
    read_container(GOOD)
    monkeypatch.setattr("verifier.checker.container.MAX_TOTAL", limit - 1)
    refused(GOOD, f"more than {limit - 1} bytes")


def bomb(content, declared, name="node.npy"):
    """An archive whose second member declares a size, with the CRC that fits the cut content."""
    crc = zlib.crc32(content[:declared])
    data = build({name: content}, members={name: {"sha256": "0" * 64, "bytes": declared}})
    place, info = directory(data)[1]
    header = info.header_offset
    return patched(
        data,
        (place + 24, "<I", declared),
        (header + 22, "<I", declared),
        (place + 16, "<I", crc),
        (header + 14, "<I", crc),
    )


def test_a_deflate_stream_of_more_or_less_than_it_declares():
    started = time.process_time()
    refused(bomb(bytes(50_000_000), 1000), "another size")
    refused(bomb(bytes(50_000_000), 128), "another size")
    refused(bomb(bytes(1000), 2**20), "another size")
    assert time.process_time() - started < 5


@pytest.fixture
def untouched(monkeypatch):
    """Nothing is decompressed."""

    def decompress(*_):
        raise AssertionError

    monkeypatch.setattr("verifier.checker.container._content", decompress)


@pytest.mark.usefixtures("untouched")
def test_members_that_no_certificate_has_are_not_decompressed():
    refused(build({f"a{i}.npy": npy(np.zeros(99)) for i in range(3)}), "unexpected member 'a0.npy'")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "sizes",
    [
        {"roots": 9},
        {"roots": -1},
        {"row": 4},
        {"row_node": 8, "row": 4},
        {"row_node": 4, "row": 4, "row_alpha": 1},
        {"row_node": 4, "row": 4, "column_atom": 8, "column_neuron": 8, "row_alpha": 3},
    ],
)
def test_members_of_sizes_that_do_not_fit_are_not_decompressed(sizes):
    refused(build({f"{name}.npy": bytes(128 + size) for name, size in sizes.items()}), "size")


def test_every_corrupt_byte_is_noticed_or_means_nothing():
    good = read_container(GOOD)
    rng = random.Random(0)
    for place in range(len(GOOD)):
        data = patched(GOOD, (place, "B", GOOD[place] ^ (1 << rng.randrange(8))))
        same(data, good)


def read_or_none(data):
    try:
        return read_container(data)
    except Rejected:
        return None


def same(data, good):
    """It is refused, or its content is what it was (dates and attributes mean nothing)."""
    container = read_or_none(data)
    if container is None:
        return
    assert container.manifest == good.manifest
    assert container.arrays.keys() == good.arrays.keys()
    for name, array in good.arrays.items():
        assert np.array_equal(container.arrays[name], array)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_edits_of_several_bytes(data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:stop] = data.draw(st.binary(max_size=40))
    same(bytes(content), read_container(GOOD))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data):
    refused(data)


# ---------------------------------------------------------------------------------------- files


def test_files_are_decompressed(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"network")
    (tmp_path / "a.onnx.gz").write_bytes(gzip.compress(b"net") + gzip.compress(b"work"))
    assert read_file(tmp_path / "a.onnx") == read_file(tmp_path / "a.onnx.gz") == b"network"


@pytest.mark.parametrize("read", [read_file, read_certificate])
def test_content_says_whether_a_file_is_compressed_and_not_its_name(tmp_path, read):
    (tmp_path / "plain.gz").write_bytes(b"network")
    (tmp_path / "packed").write_bytes(gzip.compress(b"network"))
    assert read(tmp_path / "plain.gz") == read(tmp_path / "packed") == b"network"


@pytest.mark.parametrize("read", [read_file, read_certificate])
def test_only_regular_files_are_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Unreadable, match="need a regular file") as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8brubbish",
        gzip.compress(b"network", mtime=0)[:-3],
        gzip.compress(b"network", mtime=0) + b"rubbish",
    ],
)
def test_files_of_broken_gzip_data(tmp_path, data):
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(Unreadable):
        read_file(tmp_path / "a.gz")


@pytest.mark.parametrize("read", [read_file, read_certificate])
def test_files_are_read_up_to_their_limit(tmp_path, monkeypatch, read):
    content = bytes(range(250)) * 40
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(gzip.compress(content))
    paths = tmp_path / "a", tmp_path / "b"
    assert [read(path) for path in paths] == [content] * 2
    limit = "MAX_FILE" if read is read_file else "MAX_CERTIFICATE"
    monkeypatch.setattr(f"verifier.checker.container.{limit}", len(content))
    assert [read(path) for path in paths] == [content] * 2
    monkeypatch.setattr(f"verifier.checker.container.{limit}", len(content) - 1)
    for path in paths:
        with pytest.raises(Unreadable, match="has more than 9999 bytes"):
            read(path)


def test_files_that_are_not_there_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(Unreadable):
        read_file(tmp_path)
    with pytest.raises(Unreadable, match=r"cannot be read: No such file or directory$"):
        read_file(tmp_path / "none")
    monkeypatch.setattr("verifier.checker.container.MAX_FILE", 5)
    (tmp_path / "a").write_bytes(b"network")
    (tmp_path / "b").write_bytes(gzip.compress(b"network"))
    for path in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(Unreadable, match="more than 5"):
            read_file(path)
