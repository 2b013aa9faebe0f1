#!/usr/bin/env python3
"""Give the verifier malformed networks: it must end with an answer or one of its own errors.

python scripts/fuzz_models.py [--first SEED] [--count N] [--keep FOLDER]

Each file is loaded, described, and verified for a second in a forked process of its own. Prints
every file that ends otherwise, takes over 10 seconds or over 2 GB, and how often each end occurred.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MOST_SECONDS = 10.0
MOST_BYTES = 2 * 2**30
LIMIT = 6 * 2**30
"""Address space of one process, so that nothing here fills the machine."""


@dataclass(frozen=True)
class End:
    """How one file ended."""

    outcome: str
    seconds: float
    bytes: int

    @property
    def bad(self) -> bool:
        """Is it none of the ends that a malformed file may have?"""
        slow, large = self.seconds > MOST_SECONDS, self.bytes > MOST_BYTES
        return slow or large or self.outcome.startswith(("crash", "signal", "hang"))


def attempt(path: Path) -> str:
    """Load, describe and verify one file; the verdict, or the kind of error."""
    from verifier.errors import VerifierError

    results = []
    for step in (_describe, _verify):
        try:
            results.append(step(path))
        except VerifierError as error:
            if "\n" in str(error):
                return f"crash: an error of several lines: {str(error)[:200]!r}"
            results.append(type(error).__name__)
        except BaseException:
            return f"crash: {_last_lines(traceback.format_exc())}"
    return " ".join(dict.fromkeys(results))


def _last_lines(text: str) -> str:
    found = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', text)
    places = [f"{Path(f).name}:{n}" for f, n, _ in found if "verifier/" in f][-3:]
    return f"{text.strip().splitlines()[-1][:200]} at {' '.join(places)}"


def _describe(path: Path) -> str:
    from verifier.load.onnx.describe import describe

    return "loads" if describe(path).model else "UnsupportedModel"


def _verify(path: Path) -> str:
    import numpy as np

    from verifier import api
    from verifier.load.onnx import runtime
    from verifier.verdict import Verified

    model = api.load(path)
    prop = path.with_suffix(".vnnlib")
    sizes = [sum(port.size for port in ports) for ports in (model.inputs, model.outputs)]
    if max(sizes) > 100_000 or not sizes[1]:
        return "no output, or too many"
    lines = [f"(declare-const X_{i} Real)" for i in range(sizes[0])]
    lines += [f"(declare-const Y_{i} Real)" for i in range(sizes[1])]
    for i in range(sizes[0]):
        lines += [f"(assert (>= X_{i} -0.5))", f"(assert (<= X_{i} 0.75))"]
    points = np.random.default_rng(0).uniform(-0.5, 0.75, (20, sizes[0]))
    values = runtime.run(model, points)[:, 0]
    threshold = float(np.nan_to_num(values[:4]).min()) - 0.5
    lines.append(f"(assert (<= Y_0 {threshold:.20f}))")
    prop.write_text("\n".join(lines) + "\n", encoding="utf-8")
    verdict = api.verify(path, prop, timeout=1.0).verdict
    if isinstance(verdict, Verified) and not (values > threshold).all():
        return f"crash: verified, but {values.min()} is at most {threshold}"
    return type(verdict).__name__


def run(path: Path) -> End:
    """One file in a process of its own."""
    reader, writer = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        warnings.simplefilter("error" if "-W" in sys.argv else "ignore")
        os.write(writer, attempt(path).encode("utf-8", "replace")[:60_000])
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], 3 * MOST_SECONDS)
    outcome = os.read(reader, 60_000).decode() if ready else "hang"
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and outcome != "hang":
        outcome = f"signal {os.WTERMSIG(status)}"
    return End(outcome, time.monotonic() - start, usage.ru_maxrss * 1024)


def main() -> int:
    """Run the files of a range of seeds; 1 if some ended badly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=2000, help="the number of files")
    parser.add_argument("--keep", type=Path, help="a folder for the files that end badly")
    given, _ = parser.parse_known_args()
    # What the children need is imported once.

    from tests.load.malformed import mutant, seeds

    seeds()
    ends: Counter[str] = Counter()
    bad, slowest, largest = 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.count):
            label, data = mutant(seed)
            path = Path(folder) / "model.onnx"
            path.write_bytes(data)
            end = run(path)
            ends[end.outcome.split(":", 1)[0]] += 1
            slowest, largest = max(slowest, end.seconds), max(largest, end.bytes)
            if end.bad:
                bad += 1
                where = f"{end.seconds:.1f} s, {end.bytes / 2**20:.0f} MB"
                print(f"{seed} {label}: {end.outcome} ({where})", flush=True)
            if end.bad and given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
                (given.keep / f"{seed}.onnx").write_bytes(data)
    for outcome, count in ends.most_common():
        print(f"{count:6d} {outcome}")
    print(
        f"{given.count} files, {bad} bad; slowest {slowest:.1f} s, most memory {largest >> 20} MB"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
