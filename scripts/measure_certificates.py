#!/usr/bin/env python3
"""What certificates cost: solve instances, and measure their writing, their checking, their size.

One forked process for each instance, with everything imported; folders are laid out as the
competition's are (instances.csv, onnx/, vnnlib/). Times: `solve` is all but sealing, `check` all
calls of the checker and its reading of the files, `write` the making of the certificates,
`record` what the search spends on the proof tree, which is a part of `solve`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from verifier import Options, Verified, sealing, verify
from verifier.certify import ProofTree
from verifier.families.registry import readers

Row = dict[str, Any]
Clock = Callable[[], float]
TIMED = {
    "seal": (sealing.Seal, ("__call__", "settle")),
    "check": (sealing.Seal, ("_open", "_run")),
    "write": (sealing, ("certificate",)),
    "record": (ProofTree, ("split", "by_clause", "close", "act", "choose", "tighten")),
}
GRACE = 60


@contextmanager
def timed(clock: Clock) -> Iterator[dict[str, float]]:
    """Seconds within some functions, from now on."""
    spent: dict[str, float] = dict.fromkeys(TIMED, 0.0)
    within = set[str]()

    def wrap(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*given: Any, **named: Any) -> Any:
            if name in within:
                return whole(*given, **named)
            started = clock()
            within.add(name)
            try:
                return whole(*given, **named)
            finally:
                within.remove(name)
                spent[name] += clock() - started

        return inner

    for name, (owner, functions) in TIMED.items():
        for function in functions:
            setattr(owner, function, wrap(name, getattr(owner, function)))
    yield spent


def solve(files: list[Path], seconds: float, options: Options, clock: Clock) -> Row:
    """One instance."""
    with timed(clock) as spent:
        started = clock()
        verdict = verify(*files, timeout=seconds, options=options).verdict
        total = clock() - started
    row: Row = {"verdict": type(verdict).__name__.lower(), "solve": total - spent["seal"], **spent}
    if isinstance(verdict, Verified) and verdict.certificate is not None:
        found = verdict.certificate
        row |= {"semantics": found.semantics, "note": found.note, "leaves": found.leaves}
        row["bytes"] = len(found.data) if found.data else 0
    return row


def child(connection: Connection, *given: Any) -> None:
    """The same in a process of its own."""
    try:
        connection.send(solve(*given))
    except Exception as error:
        connection.send({"verdict": "error", "note": f"{type(error).__name__}: {error}"})


def measure(folder: Path, names: tuple[str, str], how: tuple[float, Options, Clock]) -> Row:
    """An instance whose files are unpacked first, as reading them is none of ours."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [unpacked(folder / name, Path(scratch)) for name in names]
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=child, args=(there, files, *how))
        process.start()
        row: Row = here.recv() if here.poll(how[0] + GRACE) else {"verdict": "killed"}
        process.kill()
        process.join()
    return row


def unpacked(path: Path, folder: Path) -> Path:
    """A file, or what its .gz holds."""
    packed = path.with_name(path.name + ".gz")
    target = folder / path.name
    found = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    target.write_bytes(found)
    return target


def chosen(folder: Path, given: argparse.Namespace) -> list[tuple[str, str]]:
    """Every ``--step``-th instance, or so many drawn."""
    with (folder / "instances.csv").open(newline="") as file:
        names = [(row[0], row[1]) for row in csv.reader(file)]
    names = [n for n in names if all(any(folder.glob(f"{part}*")) for part in n)][:: given.step]
    if given.draw is not None and given.draw < len(names):
        names = sorted(random.Random(given.seed).sample(names, given.draw))
    return names


def summary(name: str, rows: list[Row]) -> str:
    """One line."""
    proved = [row for row in rows if row["verdict"] == "verified"]
    how = Counter(str(row.get("semantics")) for row in proved)
    verdicts = ", ".join(f"{n} {v}" for v, n in Counter(row["verdict"] for row in rows).items())
    parts = [f"{name}: {verdicts}; float32 {how['float32']}, real only {how['real']}"]
    certified = [row for row in proved if row.get("semantics")]
    if certified:
        sizes = [row["bytes"] for row in certified]
        parts.append(f"bytes {statistics.median(sizes):,.0f} / {max(sizes):,}")
        for part in ("check", "write", "record"):
            shares = [row.get(part, 0) / row["solve"] for row in certified]
            parts.append(f"{part} : solve {statistics.median(shares):.3f} / {max(shares):.3f}")
        checked = sum(row["check"] for row in certified) / sum(row["solve"] for row in certified)
        parts.append(f"check : solve of all together {checked:.2f}")
    return "; ".join(parts)


def main() -> None:
    """Measure some benchmarks; medians and maxima."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="benchmarks")
    parser.add_argument("--draw", type=int, help="so many instances of each")
    parser.add_argument("--step", type=int, default=1, help="every so many-th instance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--semantics", default="auto")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds: for a busy machine")
    given = parser.parse_args()
    clock = time.process_time if given.cpu else time.perf_counter
    importlib.import_module("onnxruntime")  # or else it is part of the time to solve each instance
    readers()
    options = Options(dtype=given.dtype, semantics=given.semantics)
    found: dict[str, list[Row]] = defaultdict(list)
    for folder in given.folder:
        for names in chosen(folder, given):
            row = measure(folder, names, (given.seconds, options, clock))
            found[folder.name].append(row)
            shown = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()}
            print(folder.name, *names, shown, flush=True)
    for name, rows in found.items():
        print(summary(name, rows))


if __name__ == "__main__":
    sys.exit(main())
