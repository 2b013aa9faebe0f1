"""``python -m verifier.checker NETWORK PROPERTY CERTIFICATE``: check a certificate."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifier.checker.check import Report

PROVED = {
    "real": "for the real function",
    "float32": "for the real function and for every float32 execution",
}
REJECTED, BAD_INPUT, UNSUPPORTED, OUT_OF_MEMORY = 1, 65, 69, 75


def run(
    files: tuple[Path, Path], certificate: bytes | Path, *, semantics: str | None, exact: bool
) -> Report:
    """Check a certificate against the files of a network and a property.

    Raises:
        Rejected, Unreadable, Unsupported: see ``check``.
    """
    # The products are small: more threads would wait for each other. NumPy reads this once.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from verifier.checker.check import Effort, check
    from verifier.checker.container import read_certificate, read_file

    if isinstance(certificate, Path):
        certificate = read_certificate(certificate)
    network, prop = (read_file(path) for path in files)
    effort = Effort(exact=exact, threads=os.cpu_count() or 1)
    if exact and semantics is None:
        semantics = "real"
    return check(network, prop, certificate, effort, files[0].parent, semantics)


def words(report: Report) -> str:
    """A report as one line."""
    size = f"{report.nodes:,} nodes, {report.leaves:,} leaves, {report.seconds:.2f} s"
    if report.accepted:
        return f"accepted {PROVED[report.wanted]} ({size})"
    step = f"not every tensor of the network is float32 ({size})"
    if report.failures:
        step = f"{report.failures[0].step} ({len(report.failures):,} failures; {size})"
    if report.semantics is not None:
        step = f"proved for the real function, but not for float32 execution: {step}"
    return f"rejected: {step}"


def main(arguments: list[str] | None = None) -> int:
    """Print one line, and return the exit status: 0 accepted, 1 rejected."""
    from verifier.checker.errors import Rejected, Unreadable, Unsupported

    parser = argparse.ArgumentParser("python -m verifier.checker", description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("property", type=Path)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--semantics", choices=sorted(PROVED))
    parser.add_argument("--exact", action="store_true", help="in fractions, for small networks")
    given = parser.parse_args(arguments)
    try:
        files = given.network, given.property
        report = run(files, given.certificate, semantics=given.semantics, exact=given.exact)
    except Rejected as error:
        sys.stdout.write(f"rejected: {error}\n")
        return REJECTED
    except Unreadable as error:
        problem, status = f"unreadable: {error}", BAD_INPUT
    except Unsupported as error:
        problem, status = f"unsupported: {error}", UNSUPPORTED
    except MemoryError:
        problem, status = "out of memory", OUT_OF_MEMORY
    else:
        sys.stdout.write(f"{words(report)}\n")
        return 0 if report.accepted else REJECTED
    sys.stderr.write(f"{problem}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
