"""Certificates' files, made by hand."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest

from verifier.checker.container import read_container
from verifier.checker.errors import Rejected

ARRAYS = {
    "clause_count": np.array(3, dtype=np.int32),
    "column_atom": np.zeros(3, dtype=np.uint32),
    "column_neuron": np.arange(3, dtype=np.uint32),
    "roots": np.array([-1, 2], dtype=np.int64),
    "row": np.array([1, 2], dtype=np.uint32),
    "row_alpha": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "row_beta": np.zeros((0, 5), dtype=np.float32),
    "row_node": np.array([1, 2], dtype=np.uint32),
    "split_point": np.array([0.5, -1e300]),
}
FIELDS = {
    "format": "verifier-certificate",
    "version": 1,
    "network_sha256": "0" * 64,
    "property_sha256": "f" * 64,
    "semantics": "float32",
    "neurons": [["relu_1", 3], ["übertrag", 0]],
    "tool": "verifier 1.0",
    "network": "net.onnx",
    "property": "p.vnnlib",
}


def npy(array, version=(1, 0)):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def members_of(contents):
    return {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in contents.items()
    }


def archive(contents, method=zipfile.ZIP_DEFLATED):
    """A zip archive of (name, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in contents:
            target.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def build(contents=None, method=zipfile.ZIP_DEFLATED, **changes):
    """A certificate of some members, the manifest of which tells the truth but for `changes`."""
    if contents is None:
        contents = {f"{name}.npy": npy(array) for name, array in ARRAYS.items()}
    manifest = {**FIELDS, "members": members_of(contents), **changes}
    manifest = {key: value for key, value in manifest.items() if value is not None}
    return archive([("manifest.json", canonical(manifest)), *contents.items()], method)


GOOD = build()


def refused(data, match=None):
    with pytest.raises(Rejected, match=match) as caught:
        read_container(data)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200
