"""Every pipeline on one screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verifier.errors import BadInput, UnsupportedModel
from verifier.load.fit import require_fit
from verifier.load.lower import Lowered, lower, lower_query
from verifier.load.onnx import Model, load_model
from verifier.load.onnx.gate import verify_import
from verifier.load.onnx.joint import join_models
from verifier.load.onnx.runtime import run
from verifier.load.vnnlib import read_query
from verifier.sealing import Files, Seal
from verifier.search.context import Network, Progress
from verifier.search.strategy import choose, decide
from verifier.settings import Options
from verifier.spec import Problem, Query, cases_of
from verifier.tensors import cuda_devices
from verifier.verdict import Verdict, Violated

if TYPE_CHECKING:
    from verifier.checker.check import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Result:
    """A verdict, and what it is about."""

    verdict: Verdict
    query: Query
    model: Model
    seconds: dict[str, float]
    """Wall time of each phase."""


def load(path: str | Path) -> Model:
    """Read a network from an ``.onnx`` or ``.onnx.gz`` file.

    Raises:
        ModelError: the file is broken.
        UnsupportedModel: some nodes have no bound rules; the message lists them.
    """
    return load_model(path)


def verify(
    network: str | Path | Model | Sequence[str | Path],
    prop: str | Path | Query,
    *,
    timeout: float = 300.0,
    options: Options | None = None,
    report: Callable[[Progress], None] | None = None,
    started: float | None = None,
) -> Result:
    """Decide whether a network has an input that a property forbids.

    Args:
        network: an ONNX file, or what ``load`` made of it; where the property declares several
            networks, their files in the order of declaration
        prop: a VNN-LIB file (1.0 or 2.0), or what was read from it: what must not happen
        timeout: wall-clock seconds for everything, reading included
        options: a device, a precision, and what is asked of the proof of an ``unsat``
        report: called with the progress, a few times a second
        started: when the seconds began, on ``time.monotonic``'s clock; default, and at the latest:
            now

    Raises:
        BadInput: a file cannot be read, the two do not fit, or there is no such device.
        UnsupportedModel: the network or the property uses what has no rules.
    """
    clock, options = _Clock(started), options or Options()
    _require_device(options.device)
    query = prop if isinstance(prop, Query) else read_query(prop)
    clock.lap("property")
    model = network if isinstance(network, Model) else _load(network)
    clock.lap("network")
    require_fit(query, model)
    if model.cells:
        return _in_cells(model, query, timeout, clock, report)
    lowered = lower(query, model.graph)
    problem = Problem.of(lowered.graph, lowered.query, tables=not options.thorough)
    if len(problem.cases):
        first = problem.cases.take(0, 1, nearest=True)
        verify_import(model, *lowered.inputs(np.stack([first.lower[0], first.upper[0]])))
    clock.lap("import gate")
    strategy = choose(problem, options.device, options.dtype)
    strategy = replace(strategy, thorough=options.thorough, allowed=timeout)
    left = timeout - clock.total
    seal = Seal(problem, _files(model, lowered), options, time.monotonic() + left)
    verdict = decide(problem, _replay(model, lowered), left, strategy, report, seal)
    verdict = _about_the_file(verdict, lowered)
    clock.lap("search")
    log.info("seconds: %s", ", ".join(f"{k} {v:.2f}" for k, v in clock.laps.items()))
    return Result(verdict, query, model, clock.laps)


def check(
    certificate: str | Path | bytes,
    network: str | Path,
    prop: str | Path,
    *,
    semantics: str | None = None,
    exact: bool = False,
) -> Report:
    """Check the certificate of an ``unsat``; ``report.accepted`` says whether it proves it.

    Args:
        certificate: a file, or its bytes
        network: the ONNX file that it is about
        prop: the VNN-LIB file that it is about
        semantics: ``real`` or ``float32``; default: what the certificate claims
        exact: in fractions instead of float64 with error terms; for small networks

    Raises:
        BadInput: a file cannot be read, or the certificate is malformed or about other files.
        UnsupportedModel: the checker has no rule for something in the files.
    """
    from verifier.checker import errors
    from verifier.checker.__main__ import run

    given = certificate if isinstance(certificate, bytes) else Path(certificate)
    try:
        return run((Path(network), Path(prop)), given, semantics=semantics, exact=exact)
    except (errors.Rejected, errors.Unreadable) as error:
        raise BadInput(str(error)) from None
    except errors.Unsupported as error:
        raise UnsupportedModel(str(error)) from None


def _in_cells(
    model: Model,
    query: Query,
    timeout: float,
    clock: _Clock,
    report: Callable[[Progress], None] | None,
) -> Result:
    """Decide a query about a network that truncates inputs to integers."""
    from verifier.search.by_cells import CellNetwork, search_cells

    assert model.cells is not None
    lowered = lower_query(query)
    if lowered is not query:
        message = f"{query.source} relates inputs that {model.path.name} truncates to integers"
        raise UnsupportedModel(message)
    cases = cases_of(query)
    if len(cases):
        first = cases.take(0, 1, nearest=True)
        verify_import(model, first.lower[0], first.upper[0])
    clock.lap("import gate")
    types = tuple((port.size, port.dtype.name) for port in model.inputs)
    network = Network(lambda points: run(model, points), types)
    cells = CellNetwork(model.graph, model.cells.inputs, model.extended, network)
    verdict = search_cells(query, cells, timeout - clock.total, report)
    clock.lap("search")
    return Result(verdict, query, model, clock.laps)


def _load(network: str | Path | Sequence[str | Path]) -> Model:
    """One network, or several side by side; a file that is named twice is read once."""
    paths = [network] if isinstance(network, (str, Path)) else list(network)
    models = {path: load_model(path) for path in dict.fromkeys(map(Path, paths))}
    return join_models([models[Path(path)] for path in paths])


def _files(model: Model, lowered: Lowered) -> Files | str:
    """Where the network and the property came from, or why nothing can be certified about them."""
    files = Files(model.path, Path(lowered.original.source))
    if model.parts:
        return "the property speaks about several networks"
    if lowered.original.monomials:
        return "the property multiplies variables"
    if not lowered.plain:
        return "the property relates inputs to each other"
    if not (files.network.is_file() and files.prop.is_file()):
        return "the network or the property did not come from a file"
    return files


def _require_device(device: str) -> None:
    if device == "cuda" and not cuda_devices():
        message = "device cuda, but no CUDA device is there; use the device cpu or auto"
        raise BadInput(message)


def _replay(model: Model, lowered: Lowered) -> Network:
    def replay(points: np.ndarray) -> np.ndarray:
        inputs = lowered.inputs(points)
        return lowered.outputs(inputs, run(model, inputs))

    types = tuple((port.size, port.dtype.name) for port in model.inputs)
    return Network(replay, lowered.types(types))


def _about_the_file(verdict: Verdict, lowered: Lowered) -> Verdict:
    """The verdict with a witness over the file's own variables."""
    if lowered.plain or not isinstance(verdict, Violated):
        return verdict
    inputs = lowered.inputs(verdict.inputs[None])[0]
    outputs = verdict.outputs[: lowered.original.n_outputs]
    return replace(verdict, inputs=inputs, outputs=outputs)


class _Clock:
    """Wall time of phases, one after another."""

    def __init__(self, started: float | None = None) -> None:
        self.last = time.monotonic()
        self.start = self.last if started is None else min(self.last, started)
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """The phase since the last lap has this name."""
        now = time.monotonic()
        self.laps[name] = now - self.last
        self.last = now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start
