"""The container: a zip of arrays and a manifest, the same bytes for the same proof."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

FORMAT, VERSION = "verifier-certificate", 1
LEVEL = 6
"""Of deflate."""
OLDEST = (1980, 1, 1, 0, 0, 0)
"""A zip has no time before this: the one that all members get."""


def pack(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A certificate's bytes; arrays without elements are left out."""
    members = {f"{name}.npy": _npy(array) for name, array in sorted(arrays.items()) if array.size}
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in members.items()
    }
    whole = {**manifest, "format": FORMAT, "version": VERSION, "members": listed}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as file:
        for name, data in {"manifest.json": text.encode(), **members}.items():
            info = zipfile.ZipInfo(name, OLDEST)
            info.create_system = 3
            file.writestr(info, data, zipfile.ZIP_DEFLATED, LEVEL)
    return result.getvalue()


def _npy(array: np.ndarray) -> bytes:
    result = io.BytesIO()
    np.lib.format.write_array(result, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    return result.getvalue()
