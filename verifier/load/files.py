"""Files that are read as a whole."""

from __future__ import annotations

import stat
from pathlib import Path


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; a pipe would be waited for, and a device may have no end.

    Raises:
        OSError: it is none, or cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(0, "it is a pipe or a device", str(path))
    return path.read_bytes()
