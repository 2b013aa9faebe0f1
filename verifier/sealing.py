"""Seal a proof: write it down, and have it checked by the program that shares nothing with us."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verifier.certify import (
    Certificate,
    Leaf,
    NoCertificateError,
    ProofTree,
    Sealed,
    Subject,
    certificate,
)
from verifier.checker.errors import OutOfTimeError, Rejected, Unreadable, Unsupported
from verifier.records import dataclass
from verifier.settings import Options
from verifier.spec import Problem

if TYPE_CHECKING:
    # The checker is imported once there is a proof: a counterexample needs none.
    from verifier.checker.cases import Property
    from verifier.checker.check import Report
    from verifier.checker.network import Network
    from verifier.checker.nodes import Failure

log = logging.getLogger(__name__)

OUT_OF_TIME = "unchecked: the time ran out before the check"
TOO_LARGE = "unchecked: the check does not fit into memory"
TO_SAY_IT, TO_SAY_IT_SHARE = 1.0, 0.02
"""Seconds that are left for the answer when checks end: at most, and of all that is allowed."""
READ_BYTES_PER_SECOND = 1_000_000
"""About how fast the checker reads a property: one that is too long is not begun."""
DOUBTED = "the checker did not accept some leaves, and the time ran out before it saw them split"
REAL_ONLY = "it holds for the real function only: the network is no float32 one throughout"
FOLDED = "not certified: sums of ReLUs of one number were bounded as one function of it"
LEAST_CHECK_SECONDS, CHECK_SHARE = 5.0, 1.0
"""A check that nobody asked for may take so long, or so many times what the search took."""
LEAST_TRY_SECONDS = 1.0
"""The same where the checker may well not be able to follow, as it has no tables."""
MOST_FAILURES = 100_000
"""So many leaves that it does not accept, a check names."""
MOST_REFINED = 4096
"""With more leaves than this that hold for the real function only, float32 is given up."""


@dataclass(frozen=True, eq=False)
class _Pending:
    """A proof that was checked for float32 execution, to be content with for the real function."""

    data: bytes
    numbers: np.ndarray
    """int64 [nodes]: what its nodes are in the tree"""
    lacking: str


@dataclass(frozen=True)
class Files:
    """The files that a certificate is about."""

    network: Path
    prop: Path


class Seal:
    """Writes the proofs of one problem down, and checks them."""

    def __init__(
        self, problem: Problem, files: Files | str, options: Options, deadline: float
    ) -> None:
        """``files`` may be the reason why there is nothing to certify."""
        self.problem, self.files, self.options, self.deadline = problem, files, options, deadline
        self.started = time.monotonic()
        self.subject: Subject | None = None
        self.read: tuple[Network, Property] | None = None
        self.unread = "unchecked, as asked"
        self.strict = options.semantics == "float32"
        self.single = options.semantics != "real" and options.check and not isinstance(files, str)
        self.pending: _Pending | None = None
        self.left: tuple[str, np.ndarray] | None = None
        """What the last check was for, and the leaves (int64: their nodes) that it left.

        None: it did not look at all others.
        """
        self.most_failures = MOST_FAILURES
        """A check for float32 execution ends after more leaves that it does not accept."""
        self.doubted = False
        """Did the checker not follow a proof for what it was asked for?"""

    def __call__(self, tree: ProofTree | None) -> Sealed:
        """The certificate of a finished proof, and the leaves that it still lacks."""
        started = time.monotonic()
        sealed = self._sealed(tree)
        found = replace(sealed.certificate, seconds=time.monotonic() - started)
        log.info("sealed in %.2f s: %s %s", found.seconds, found.semantics, found.note)
        # The engine's own proof is for the real function.
        lacks = found.semantics != "float32" and not sealed.reopen
        refused = sealed.refused or (lacks and self.strict)
        if refused and found.checked:
            found = replace(found, note=REAL_ONLY)
        return replace(sealed, certificate=found, refused=refused)

    def settle(self) -> Sealed:
        """Be content with the real function: the same for the proof that was sealed last.

        All of it is looked at: boxes that are cut for the real function may be bounded otherwise.
        """
        started, self.single, pending = time.monotonic(), False, self.pending
        assert pending is not None
        report = self._report(pending.data, "real")
        if isinstance(report, Sealed):
            return report
        seconds = time.monotonic() - started
        log.info("settled in %.2f s: %s", seconds, report.semantics)
        if not report.accepted:
            return self._lacking(report, pending.numbers, "real")
        found = Certificate(pending.data, "real", pending.lacking, report.leaves, seconds)
        return Sealed(found)

    def _sealed(self, tree: ProofTree | None) -> Sealed:
        if isinstance(self.files, str):
            return _none(f"not certified: {self.files}")
        try:
            if self.subject is None:
                self.subject = self._open(self.files)
            if self.read is None:
                subject = replace(self.subject, semantics="real")
                data, _ = certificate(tree, self.problem, subject)
                return Sealed(Certificate(data, note=self.unread))
            check = self._try if self.problem.folded else self._check
            return check(tree, self.subject, self.read[0])
        except (Unsupported, NoCertificateError) as error:
            return _none(f"not certified: {error}")
        except Unreadable as error:
            return _none(f"not certified: the checker cannot read the files: {error}")

    def _open(self, files: Files) -> Subject:
        """Read the files as the checker does, if there is a check; their hashes."""
        from verifier.checker.arithmetic import Arithmetic
        from verifier.checker.container import read_file
        from verifier.checker.network import read_network
        from verifier.checker.property import read_property

        network, prop = read_file(files.network), read_file(files.prop)
        if self.options.check:
            if len(prop) > READ_BYTES_PER_SECOND * (self.deadline - time.monotonic()):
                self.unread = OUT_OF_TIME
            else:
                folder = files.network.parent
                self.read = read_network(network, Arithmetic(), folder), read_property(prop)
        hashes = [hashlib.sha256(data).hexdigest() for data in (network, prop)]
        return Subject(_plain(files.network.name), hashes[0], _plain(files.prop.name), hashes[1])

    def _check(self, tree: ProofTree | None, subject: Subject, network: Network) -> Sealed:
        single = self.single and network.single_precision
        asked = "float32" if single else "real"
        data, numbers = certificate(tree, self.problem, replace(subject, semantics=asked))
        report = self._report(data, asked, self._known(tree, numbers, asked))
        if isinstance(report, Sealed):
            return report
        if report.semantics == asked:
            note = self.pending.lacking if asked == "real" and self.pending else ""
            return Sealed(Certificate(data, asked, note, report.leaves))
        if single:
            data, _ = certificate(tree, self.problem, replace(subject, semantics="real"))
            lacking = f"{self._lack(report, asked)} float32 execution"
            self.pending = _Pending(data, numbers, lacking)
        sealed = self._lacking(report, numbers, asked)
        many = not sealed.required and len(sealed.reopen) > MOST_REFINED
        return self.settle() if many else sealed

    def _report(self, data: bytes, asked: str, known: np.ndarray | None = None) -> Report | Sealed:
        """What the checker says of a certificate, or what is said where it does not."""
        try:
            return self._run(data, asked, known)
        except OutOfTimeError:
            # Leaves that it did not accept before count for more than that they were split since.
            late = replace(_none(DOUBTED), refused=True)
            return late if self.doubted else Sealed(Certificate(data, note=OUT_OF_TIME))
        except MemoryError:
            return Sealed(Certificate(data, note=TOO_LARGE))
        except Rejected as error:
            # A bug of ours: nothing is said that rests on it.
            log.warning("our own certificate is rejected: %s", error)
            return replace(_none(f"our own certificate is rejected: {error}"), refused=True)

    def _known(self, tree: ProofTree | None, numbers: np.ndarray, asked: str) -> np.ndarray | None:
        """bool [nodes]: what the last check has shown, if it was for the same; None: nothing."""
        if tree is None or self.left is None or self.left[0] != asked:
            return None
        return ~tree.around(self.left[1])[numbers]

    def _lacking(self, report: Report, numbers: np.ndarray, asked: str) -> Sealed:
        """The leaves that a check for the semantics asked did not accept."""
        required = asked == "real" or self.strict
        self.doubted = self.doubted or required
        found = Certificate(None, note=f"{self._lack(report, asked)} the semantics {asked}")
        leaves = tuple(_leaf(failure, int(numbers[failure.node])) for failure in report.failures)
        nodes = np.array([leaf.node for leaf in leaves], dtype=np.int64)
        self.left = (asked, nodes) if self._is_whole(report, asked) else None
        return Sealed(found, leaves, single=asked == "float32", required=required)

    def _lack(self, report: Report, asked: str) -> str:
        count = len(report.failures) if self._is_whole(report, asked) else "some"
        return f"{count} leaves are not proved for"

    def _is_whole(self, report: Report, asked: str) -> bool:
        """Does a report name all leaves that were not accepted?"""
        most = MOST_FAILURES - 1
        return len(report.failures) <= (most if asked == "real" else min(most, self.most_failures))

    def _try(self, tree: ProofTree | None, subject: Subject, network: Network) -> Sealed:
        """As ``_check``, of a proof with tables, which the checker may or may not do without."""
        asked = "float32" if self.single and network.single_precision else "real"
        data, _ = certificate(tree, self.problem, replace(subject, semantics=asked))
        try:
            report = self._run(data, asked)
            if report.semantics == asked:
                return Sealed(Certificate(data, asked, leaves=report.leaves))
            if report.semantics != "real":
                return _none(FOLDED)
            note = f"{len(report.failures)} leaves are not proved for float32 execution"
            data, _ = certificate(tree, self.problem, replace(subject, semantics="real"))
            whole = self._run(data, "real")
        except (OutOfTimeError, MemoryError, Rejected):
            return _none(FOLDED)
        if not whole.accepted:
            return _none(FOLDED)
        return Sealed(Certificate(data, "real", note, whole.leaves))

    def _run(self, data: bytes, semantics: str, known: np.ndarray | None = None) -> Report:
        """``known``: the nodes that need not be looked at."""
        from threadpoolctl import threadpool_limits

        from verifier.checker.check import Effort, check_parsed
        from verifier.checker.container import read_container

        assert self.read is not None
        # The answer is known: it is to be said in time, whatever the check says.
        allowed = self.deadline - self.started
        deadline = self.deadline - min(TO_SAY_IT, TO_SAY_IT_SHARE * allowed)
        if not self.options.thorough:
            taken = CHECK_SHARE * (time.monotonic() - self.started)
            least = LEAST_TRY_SECONDS if self.problem.folded else LEAST_CHECK_SECONDS
            deadline = min(deadline, time.monotonic() + max(least, taken))
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        with threadpool_limits(limits=1, user_api="blas"):
            # What is known of a proof with tables is all that its check says.
            most = MOST_FAILURES if self.problem.folded else self.most_failures
            effort = Effort(
                threads=threads,
                deadline=deadline,
                fall_back=False,
                most_failures=most,
                known=known,
            )
            return check_parsed(read_container(data), self.read, effort, semantics)


def _plain(name: str) -> str:
    """A file's name as certificates can hold it: it only helps to find the file again."""
    from verifier.checker.container import MAX_NAME

    return "".join(c if c.isprintable() else "?" for c in name)[:MAX_NAME]


def _leaf(failure: Failure, node: int) -> Leaf:
    lower, upper = (np.asarray(x, dtype=np.float64) for x in (failure.lower, failure.upper))
    return Leaf(node, failure.root, lower, upper)


def _none(note: str) -> Sealed:
    return Sealed(Certificate(None, note=note))
