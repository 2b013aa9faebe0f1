"""Check a certificate: accept it, or name the first leaf and step that fail."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from verifier.checker.arithmetic import Arithmetic, Ints
from verifier.checker.cases import Property
from verifier.checker.container import Container, read_container
from verifier.checker.errors import Rejected, Unsupported, require_time
from verifier.checker.network import Network, read_network
from verifier.checker.nodes import Failure, Open
from verifier.checker.proof import LEAF, Proof, read_proof
from verifier.checker.property import read_property
from verifier.checker.statement import groups
from verifier.checker.walk import Walk

FAILURES_NAMED = 100_000
CROWD = 6
"""Threads share so many times larger batches, since they wait for each other between operations."""
LEAST_PARTS = 64
"""A thread is given no less than that part of a batch: smaller arrays cost more than they save."""

Looked = tuple[list[Failure], Open]
"""What is wrong with some nodes, and their children."""


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found."""

    semantics: str | None
    """``float32``: proved for the real function and for every float32 execution; ``real``: for the
    real function; None: not proved."""
    failures: tuple[Failure, ...]
    """What is missing, the first nodes first: for ``real``, what float32 execution lacks."""
    nodes: int
    leaves: int
    seconds: float
    wanted: str
    """The semantics that the certificate claims, or that was asked for."""

    @property
    def accepted(self) -> bool:
        """Is what was wanted proved?"""
        return self.semantics is not None and self.semantics in (self.wanted, "float32")


@dataclass(frozen=True)
class Effort:
    """How a check computes, and for how long."""

    exact: bool = False
    """In fractions rather than in float64 with error terms."""
    threads: int = 1
    deadline: float = float("inf")
    """On ``time.monotonic``'s clock."""
    fall_back: bool = True
    """Whether to look if a proof that fails for float32 execution holds for the real function."""
    most_failures: int = FAILURES_NAMED
    """A check for float32 execution ends after more failures; the rest of the proof is not looked
    at, so nothing is said of the real function."""
    known: Ints | None = None
    """bool [nodes]: an earlier check has shown these, and all below; this one looks at the rest."""


def check(
    network: bytes,
    prop: bytes,
    certificate: bytes,
    effort: Effort | None = None,
    folder: Path | None = None,
    semantics: str | None = None,
) -> Report:
    """Check a certificate against the (decompressed) bytes of a network and a property.

    ``folder`` is where the network's external data lie; ``semantics`` asks for less than the
    certificate claims (``real``), or for more. A report that says ``float32`` holds for the real
    function too.

    Raises:
        Rejected: the certificate is malformed, or is that of another network or property.
        Unreadable: the network or the property is.
        Unsupported: the checker has no rule for something in them.
        OutOfTimeError: the deadline has passed.
    """
    effort = effort or Effort()
    started = time.monotonic()
    container = read_container(certificate)
    for name, data in (("network", network), ("property", prop)):
        if hashlib.sha256(data).hexdigest() != container.manifest[f"{name}_sha256"]:
            raise Rejected(f"{name}_sha256: the certificate is that of another {name}")
    arithmetic = Arithmetic(effort.exact)
    subject = read_network(network, arithmetic, folder), read_property(prop)
    wanted = semantics or container.manifest["semantics"]
    return check_parsed(container, subject, effort, wanted, started)


def check_parsed(
    container: Container,
    subject: tuple[Network, Property],
    effort: Effort,
    semantics: str,
    started: float | None = None,
) -> Report:
    """The same for what was read from the files."""
    started = time.monotonic() if started is None else started
    network, prop = subject
    for kind, mine, theirs in (
        ("inputs", prop.n_inputs, network.sizes[0]),
        ("outputs", prop.n_outputs, network.sizes[network.output]),
    ):
        if mine != theirs:
            raise Rejected(f"the property has {mine} {kind}, the network {theirs}")
    odd = network.unlike(prop.tensors) if prop.tensors else None
    if odd is not None:
        raise Rejected(f"the property declares {odd}")
    if effort.exact and semantics == "float32":
        raise Unsupported("exact arithmetic is for the real function: ask for the semantics real")
    proof = read_proof(container, network)
    single = semantics == "float32" and network.single_precision
    failures = _failures(subject, proof, effort, single=single)
    proved = "float32" if single else "real"
    if failures:
        whole = len(failures) <= effort.most_failures
        proved = "real" if whole and all(f.single for f in failures) else None
        if single and proved is None and effort.fall_back:
            # Boxes widened for float32 execution may be too wide for the real function.
            rest = _failures(subject, proof, effort, single=False)
            failures, proved = (rest, None) if rest else (failures, "real")
    order = tuple(sorted(failures, key=lambda f: f.node)[:FAILURES_NAMED])
    leaves = int((proof.kind == LEAF).sum())
    return Report(proved, order, proof.nodes, leaves, time.monotonic() - started, semantics)


def _failures(
    subject: tuple[Network, Property], proof: Proof, effort: Effort, *, single: bool
) -> list[Failure]:
    arithmetic, failures = Arithmetic(effort.exact), list[Failure]()
    try:
        cases = groups(subject[1], proof["roots"], arithmetic, effort.deadline)
        with ThreadPoolExecutor(effort.threads) as pool:
            for group in cases:
                walk = Walk(subject[0], proof, group, arithmetic, single, effort.deadline)
                _walk(walk, effort, map if effort.threads == 1 else pool.map, failures)
    except OverflowError:
        raise Unsupported("the property or the proof has numbers beyond those of float64") from None
    return failures


def _walk(
    walk: Walk, effort: Effort, mapper: Callable[..., Iterable[Looked]], failures: list[Failure]
) -> None:
    """Depth first, in batches: little is open at a time. Failures are added to those so far."""
    stack = list[Open]()
    size = walk.batch() * (max(1, CROWD // effort.threads) if effort.threads > 1 else 1)
    states = walk.roots(size * effort.threads)
    roots = filter(len, (_unknown(state, effort) for state in states))
    while stack := stack or list(islice(roots, 1)):
        require_time(effort.deadline)
        if walk.single and failures and len(failures) > effort.most_failures:
            break
        for found, children in mapper(walk.look, _take(stack, size, effort.threads)):
            failures += found
            if len(children := _unknown(children, effort)):
                stack.append(children)


def _unknown(state: Open, effort: Effort) -> Open:
    return state if effort.known is None else state[np.flatnonzero(~effort.known[state.node])]


def _take(stack: list[Open], size: int, threads: int) -> list[Open]:
    """The nodes on top of a stack, in parts of about equal size for the threads."""
    taken, count, most = list[Open](), 0, size * threads
    while stack and (not taken or count + len(stack[-1]) <= most):
        taken.append(stack.pop())
        count += len(taken[-1])
    whole = Open.join(taken)
    if count > most:
        stack.append(whole[most:])
        whole = whole[:most]
    each = max(size // LEAST_PARTS, -(-len(whole) // threads))
    return [whole[start : start + each] for start in range(0, len(whole), each)]
