"""Seal a proof: write it down, and have it checked by the program that shares nothing with us."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

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
from verifier.checker.arithmetic import Arithmetic
from verifier.checker.cases import Property
from verifier.checker.check import Effort, OutOfTimeError, Report, check_parsed
from verifier.checker.container import read_container, read_file
from verifier.checker.errors import Rejected, Unreadable, Unsupported
from verifier.checker.network import Network, read_network
from verifier.checker.property import read_property
from verifier.settings import Options
from verifier.spec import Problem

log = logging.getLogger(__name__)

MOST_REFINED = 4096
"""With more leaves than this that hold for the real function only, float32 is given up."""


@dataclass(frozen=True)
class Files:
    """The files that a certificate is about."""

    network: Path
    prop: Path


@dataclass(frozen=True, eq=False)
class _Subject:
    """The files as the checker reads them."""

    parsed: tuple[Network, Property]
    subject: Subject


class Seal:
    """Writes the proofs of one problem down, and checks them."""

    def __init__(
        self, problem: Problem, files: Files | None, options: Options, deadline: float
    ) -> None:
        self.problem, self.files, self.options, self.deadline = problem, files, options, deadline
        self.read: _Subject | None = None

    def __call__(self, tree: ProofTree | None) -> Sealed:
        """The certificate of a finished proof, and the leaves that it still lacks."""
        started = time.monotonic()
        sealed = self._sealed(tree)
        done = sealed.certificate
        done = replace(done, seconds=time.monotonic() - started)
        log.info(
            "sealed in %.2f s: %s%s", done.seconds, done.semantics, done.note and f" ({done.note})"
        )
        return replace(sealed, certificate=done)

    def _sealed(self, tree: ProofTree | None) -> Sealed:
        if self.files is None:
            return _none("not certified: the network or the property did not come from a file")
        try:
            if self.read is None:
                self.read = self._read(self.files)
            subject = self.read.subject
            if not self.options.check:
                data, _ = certificate(tree, self.problem, replace(subject, semantics="real"))
                return Sealed(Certificate(data, note="unchecked: nobody asked for a check"))
            return self._check(tree, self.read)
        except (Unsupported, NoCertificateError) as error:
            return _none(f"not certified: {error}")
        except Unreadable as error:
            return _none(f"not certified: the checker cannot read the files: {error}")

    def _read(self, files: Files) -> _Subject:
        network, prop = read_file(files.network), read_file(files.prop)
        parsed = (
            read_network(network, Arithmetic(), files.network.parent),
            read_property(prop),
        )
        subject = Subject(
            files.network.name,
            hashlib.sha256(network).hexdigest(),
            files.prop.name,
            hashlib.sha256(prop).hexdigest(),
        )
        return _Subject(parsed, subject)

    def _check(self, tree: ProofTree | None, read: _Subject) -> Sealed:
        single = self.options.semantics != "real" and read.parsed[0].single_precision
        asked = "float32" if single else "real"
        data, numbers = certificate(tree, self.problem, replace(read.subject, semantics=asked))
        try:
            report = self._run(data, asked)
        except OutOfTimeError:
            return Sealed(Certificate(data, note="unchecked: the time ran out before the check"))
        except Rejected as error:
            message = f"our own certificate is rejected: {error}"
            raise AssertionError(message) from error
        if report.semantics == asked:
            return Sealed(Certificate(data, asked, leaves=report.leaves))
        required = report.semantics is None or self.options.semantics == "float32"
        if report.semantics == "real":
            data, _ = certificate(tree, self.problem, replace(read.subject, semantics="real"))
        note = f"{len(report.failures)} leaves hold for the real function only"
        found = Certificate(data, report.semantics, note, report.leaves)
        if not required and len(report.failures) > MOST_REFINED:
            return Sealed(found)
        leaves = tuple(
            Leaf(
                int(numbers[f.node]),
                f.root,
                np.asarray(f.lower, dtype=np.float64),
                np.asarray(f.upper, dtype=np.float64),
            )
            for f in report.failures
        )
        return Sealed(found, leaves, single=report.semantics == "real", required=required)

    def _run(self, data: bytes, semantics: str) -> Report:
        from threadpoolctl import threadpool_limits

        assert self.read is not None
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        with threadpool_limits(limits=1, user_api="blas"):
            effort = Effort(threads=threads, deadline=self.deadline)
            return check_parsed(read_container(data), self.read.parsed, effort, semantics)


def _none(note: str) -> Sealed:
    return Sealed(Certificate(None, note=note))
