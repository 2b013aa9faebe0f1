"""The answer: a verdict's words, its witness, and the files that they go to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from verifier.cli.process import drop
from verifier.errors import BadInput
from verifier.records import dataclass

if TYPE_CHECKING:
    import numpy as np

    from verifier.api import Result
    from verifier.load.onnx import Port
    from verifier.spec import Declaration
    from verifier.verdict import Verdict

COMPETITION_WORDS = {"timed-out": "timeout"}
"""Where the competition's words differ from the standard's."""


@dataclass(frozen=True)
class Answer:
    """The first line of standard output, in the standard's words, and the witness after it."""

    word: str
    witness: str = ""

    def text(self, style: str) -> str:
        """The lines in a style: ``standard`` or ``vnncomp``."""
        word = COMPETITION_WORDS.get(self.word, self.word) if style == "vnncomp" else self.word
        return f"{word}\n{self.witness}\n" if self.witness else f"{word}\n"


def word_of(verdict: Verdict) -> str:
    """The standard's word for a verdict."""
    from verifier.verdict import Reason, Verified, Violated

    if isinstance(verdict, Verified):
        return "unsat"
    if isinstance(verdict, Violated):
        return "sat"
    return "timed-out" if verdict.reason is Reason.OUT_OF_TIME else "unknown"


def witness_of(result: Result) -> str:
    """The witness as text; empty where there is none."""
    from verifier.load.vnnlib import format_assignment
    from verifier.verdict import Violated

    verdict = result.verdict
    if not isinstance(verdict, Violated):
        return ""
    return format_assignment(result.query, verdict.inputs, verdict.outputs)


def write_tensors(result: Result, folder: Path) -> None:
    """One serialised ``TensorProto`` for each variable: ``FOLDER/NAME.pb``.

    Where there is no witness, those of an earlier run are removed.

    Raises:
        BadInput: a file cannot be written, or not be removed.
    """
    from verifier.load.onnx.write import tensor_bytes
    from verifier.verdict import Violated

    verdict = result.verdict
    if not isinstance(verdict, Violated):
        network = result.query.network
        for declaration in (*network.inputs, *network.outputs):
            _remove(folder / f"{declaration.name}.pb")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder {folder} cannot be made: {error.strerror}"
        raise BadInput(message) from None
    for name, array in _tensors(result, verdict.inputs, verdict.outputs):
        write(folder / f"{name}.pb", tensor_bytes(name, array))


def _tensors(
    result: Result, inputs: np.ndarray, outputs: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Every declared variable with its value, in the network's own type."""
    network, model = result.query.network, result.model
    for declared, ports, values in (
        (network.inputs, model.inputs, inputs),
        (network.outputs, model.outputs, outputs),
    ):
        start = 0
        for place, declaration in enumerate(declared):
            part = values[start : start + declaration.size]
            start += declaration.size
            yield declaration.name, _typed(part, declaration, ports[min(place, len(ports) - 1)])


def _typed(values: np.ndarray, declaration: Declaration, port: Port) -> np.ndarray:
    return values.astype(port.dtype).reshape(declaration.shape)


def _remove(path: Path) -> None:
    """Remove a file, or a link to one; what is neither was never ours."""
    if not (path.is_symlink() or path.is_file()):
        return
    try:
        path.unlink()
    except OSError as error:
        message = f"the file {path} of an earlier run cannot be removed: {error.strerror}"
        raise BadInput(message) from None


def require_writable(path: Path) -> None:
    """Refuse a results file that could not be written at the end.

    Raises:
        BadInput: its folder is missing or closed to us, or it is a folder itself.
    """
    folder = _target(path).parent
    problem = ""
    if path.is_dir():
        problem = "it is a folder"
    elif _is_special(path):
        problem = "" if os.access(path, os.W_OK) else "no permission to write to it"
    elif not folder.is_dir():
        problem = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"no permission to write in {folder}"
    if problem:
        message = f"the file {path} cannot be written: {problem}"
        raise BadInput(message)


def _is_special(path: Path) -> bool:
    """Is something there that is no regular file, such as a pipe or a device?"""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _target(path: Path) -> Path:
    """The file itself where the path is a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all; a pipe or a device takes the bytes and stays there.

    Raises:
        BadInput: it cannot be written; what was there before is still there.
    """
    try:
        if _is_special(path):
            path.write_bytes(content)
        else:
            _replace(_target(path), content)
    except OSError as error:
        message = f"the file {path} cannot be written: {error.strerror}"
        raise BadInput(message) from None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def say(text: str) -> None:
    """Write to standard output, now; a reader that has gone away has seen enough.

    Raises:
        BadInput: standard output is full or closed.
    """
    stream: TextIO | None = sys.stdout
    if stream is None:
        message = "standard output cannot be written: it is closed"
        raise BadInput(message)
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        drop(stream)
    except OSError as error:
        drop(stream)
        message = f"standard output cannot be written: {error.strerror}"
        raise BadInput(message) from None
