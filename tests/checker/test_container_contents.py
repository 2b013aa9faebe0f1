"""A certificate's manifest and arrays are as the format says, or refused in one line."""

import json
import struct

import numpy as np
import pytest

from tests.checker.containers import FIELDS, archive, build, canonical, members_of, npy, refused
from verifier.checker.container import read_container

# ------------------------------------------------------------------------------------ manifest


@pytest.mark.parametrize(
    "changes",
    [
        *({key: None} for key in [*FIELDS, "members"]),
        {"more": 1},
        {"format": "verifier"},
        {"version": 2},
        {"version": True},
        {"version": 1.0},
        {"version": "1"},
        {"network_sha256": "0" * 63},
        {"network_sha256": "F" * 64},
        {"network_sha256": "0" * 64 + "\n"},
        {"property_sha256": 0},
        {"semantics": "double"},
        {"semantics": ["real"]},
        {"tool": 1},
        {"tool": "two\nlines"},
        {"tool": "x" * 2000},
        {"tool": "\ud800"},
        {"neurons": {}},
        {"neurons": [["a"]]},
        {"neurons": [["a", -1]]},
        {"neurons": [["a", True]]},
        {"neurons": [["a", 1.0]]},
        {"neurons": [[1, 1]]},
        {"neurons": ["ab"]},
        {"neurons": [["a", 10**30]]},
        {"members": []},
        {"members": {}},
        {"members": {"row.npy": None}},
    ],
)
def test_manifests_that_are_not_as_they_should_be(changes):
    refused(build(**changes))


def with_manifest(manifest):
    return archive([("manifest.json", manifest)])


def test_a_manifest_that_is_not_canonical_json():
    good = canonical({**FIELDS, "members": {}})
    assert read_container(with_manifest(good)).arrays == {}
    for bad in [
        b"",
        b"null",
        b"[]",
        good + b"\n",
        good.replace(b":1}", b": 1}"),
        good[:-1] + b',"version":1}',
        b'{"format":"verifier-certificate",' + good[1:],
        good.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + good,
        json.dumps({**FIELDS, "members": {}}, separators=(",", ":")).encode(),
        json.dumps(
            {**FIELDS, "members": {}}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode(),
        b"[" * 500_000,
        b"[" * 500_000 + b"]" * 500_000,
        b"1" * 10_000,
        b"\xff",
        b"NaN",
    ]:
        refused(with_manifest(bad))
    refused(with_manifest(canonical({**FIELDS, "members": {}, "tool": "x" * 2**20})), "at most")
    refused(archive([("node.npy", npy(np.zeros(2)))]), "no manifest")


def test_members_that_the_manifest_describes_otherwise():
    data = npy(np.zeros(2))
    truth = members_of({"node.npy": data})["node.npy"]
    for members in [
        {},
        {"node": truth},
        {"node.npy": truth, "clause.npy": truth},
        {"node.npy": {**truth, "bytes": truth["bytes"] + 1}},
        {"node.npy": {**truth, "sha256": "0" * 64}},
        {"node.npy": {**truth, "more": 1}},
        {"node.npy": {"sha256": truth["sha256"]}},
        {"node.npy": truth, "manifest.json": truth},
    ]:
        refused(build({"node.npy": data}, members=members))


# -------------------------------------------------------------------------------------- arrays


def header(text, width=118):
    return b"\x93NUMPY\1\0" + struct.pack("<H", width) + text.ljust(width - 1) + b"\n"


PLAIN = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"


def test_the_header_by_hand_is_the_one_of_numpy():
    assert header(PLAIN) + bytes(16) == npy(np.zeros(2))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        header(PLAIN),
        header(PLAIN) + bytes(15),
        header(PLAIN) + bytes(17),
        header(PLAIN, 182) + bytes(16),
        header(PLAIN, 54 + 64)[:-1] + b" " + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(2)")) + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(02,)")) + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(-2,)")) + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(1+1,)")) + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(2, 1, 1)")) + bytes(16),
        header(PLAIN.replace(b"(2,)", b"(0, 99999999999999999999)")),
        header(PLAIN.replace(b"(2,)", b"(4294967296, 4294967296)")),
        header(PLAIN.replace(b"<f8", b">f8")) + bytes(16),
        header(PLAIN.replace(b"<f8", b"<f2")) + bytes(4),
        header(PLAIN.replace(b"<f8", b"|O")) + bytes(16),
        header(PLAIN.replace(b"<f8", b"<c16")) + bytes(32),
        header(PLAIN.replace(b"<f8", b"|b1")) + bytes(2),
        header(PLAIN.replace(b"<f8", b"<u1")) + bytes(2),
        header(PLAIN.replace(b"False", b"True")) + bytes(16),
        header(PLAIN.replace(b"}", b"'x': 1, }")) + bytes(16),
        npy(np.zeros(2), (2, 0)),
        npy(np.zeros((2, 2, 2))),
        npy(np.zeros((2, 3), order="F")),
        npy(np.array([1.0, np.nan])),
        npy(np.array([np.inf, 1.0])),
        npy(np.array([-np.inf], dtype=np.float32)),
        npy(np.zeros(2, dtype=np.complex128)),
        npy(np.zeros(2, dtype=np.uint64)),
        npy(np.zeros(2, dtype=bool)),
        npy(np.array(["a"])),
        npy(np.array([{}], dtype=object)),
        npy(np.zeros(2, dtype=[("a", "<f8")])),
    ],
)
def test_arrays_that_are_refused(content):
    refused(build({"node.npy": content}), r"^node\.npy: ")
