"""``verifier verify``: is there an input that satisfies the query?"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.cli.answer import (
    Answer,
    require_writable,
    say,
    witness_of,
    word_of,
    write,
    write_tensors,
)
from verifier.cli.main import complain
from verifier.cli.process import INTERRUPTED, on_interrupt, remark
from verifier.cli.progress import Reporter
from verifier.cli.request import Request
from verifier.errors import BadInput
from verifier.records import dataclass

if TYPE_CHECKING:
    from verifier.api import Result

EXIT_STATUS = {"unsat": 0, "sat": 1, "unknown": 3, "timed-out": 4}

PROVED = {
    "real": "proved for the real function, not for every float32 execution",
    "float32": "proved for the real function and every float32 execution",
}


@dataclass(frozen=True)
class Options:
    """What the options of the command say."""

    started: float
    files: tuple[str, ...]
    networks: tuple[str, ...]
    timeout: float
    device: str
    dtype: str
    verbose: int
    quiet: bool
    verdict_style: str
    exit_code: bool
    certificate: Path | None
    semantics: str
    unchecked: bool
    results_file: Path | None
    serialise_assignments: Path | None


def _seconds(_: click.Context, __: click.Parameter, value: float) -> float:
    if math.isnan(value) or value <= 0:
        message = f"{value}; need more than 0 seconds"
        raise click.BadParameter(message)
    return value


@click.command(short_help="Decide a property: sat, unsat, unknown or timed-out.")
@click.argument("files", nargs=-1, required=True, metavar="[MODEL] QUERY")
@click.option(
    "--network", "networks", multiple=True, metavar="NAME=MODEL",
    help="The ONNX file of the network that the query declares as NAME.",
)  # fmt: skip
@click.option(
    "--timeout", type=float, default=300.0, show_default=True, callback=_seconds,
    metavar="SECONDS", help="Wall-clock time for everything, from the start of the process.",
)  # fmt: skip
@click.option(
    "--serialise-assignments", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Write a witness as DIR/VARIABLE.pb (ONNX TensorProto) instead of printing it.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--dtype", type=click.Choice(["auto", "float32", "float64"]), default="auto")
@click.option(
    "--results-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Also write the verdict, and a witness, as VNN-COMP wants them.",
)  # fmt: skip
@click.option(
    "--verdict-style", type=click.Choice(["standard", "vnncomp"]), default="standard",
    show_default=True, help="The word for a time-out: timed-out, or timeout.",
)  # fmt: skip
@click.option(
    "--certificate", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the proof of an unsat, for `verifier check`.",
)  # fmt: skip
@click.option(
    "--semantics", type=click.Choice(["auto", "real", "float32"]), default="auto",
    help="What an unsat is about: the real function, or also every float32 execution; auto proves "
    "the first, and the second where that costs little.",
)  # fmt: skip
@click.option("--unchecked", is_flag=True, help="Say unsat before its proof has been checked.")
@click.option("--exit-code", is_flag=True, help="End with 0 unsat, 1 sat, 3 unknown, 4 timed-out.")
@click.option("-v", "--verbose", count=True, help="Say what is chosen, and why; -vv says more.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but errors on standard error.")
@click.pass_obj
def command(started: float, **given: Any) -> int:
    """Search an input of MODEL that satisfies QUERY, or prove that there is none.

    QUERY is a VNN-LIB file, 1.0 or 2.0, and MODEL an ONNX file; either may be gzipped. The form of
    the VNN-LIB standard gives QUERY alone, and the model as --network NAME=MODEL.

    The first line of standard output is the verdict; a counterexample follows sat.
    """
    options = Options(started=started, **given)
    configure_logging(options.verbose)
    try:
        result = _result(options)
        answer = Answer(word_of(result.verdict), witness_of(result))
    except KeyboardInterrupt:
        _give_up(options)
        return INTERRUPTED
    except Exception:
        _leave_error(options.results_file)
        raise
    _answer(answer, options)
    written = _write_certificate(result, options.certificate)
    if options.serialise_assignments:
        write_tensors(result, options.serialise_assignments)
    if not options.quiet:
        _remark(result, written)
    return EXIT_STATUS[answer.word] if options.exit_code else 0


def _result(options: Options) -> Result:
    request = Request.of(options.files, options.networks)
    for path in (options.results_file, options.certificate):
        if path:
            require_writable(path)
    with Reporter(quiet=options.quiet) as report:

        def last() -> None:
            report.stop()
            _give_up(options)

        with on_interrupt(last):
            return _search(request, options, report)


def _give_up(options: Options) -> None:
    """What an interrupted search says."""
    try:
        _answer(Answer("unknown"), options)
    except BadInput as error:
        complain(str(error))
    complain("interrupted")


def _search(request: Request, options: Options, report: Reporter) -> Result:
    from verifier import api
    from verifier.load.vnnlib import read_query
    from verifier.settings import Options as Wanted

    query = read_query(request.prop)
    return api.verify(
        request.networks_of(query),
        query,
        timeout=options.timeout,
        started=options.started,
        options=Wanted(
            options.device,
            options.dtype,
            options.semantics,
            check=not options.unchecked,
            keep=options.certificate is not None,
        ),
        report=report,
    )


def _answer(answer: Answer, options: Options) -> None:
    """The verdict, and its witness once: in the results file, in tensor files, or printed."""
    elsewhere = options.results_file or options.serialise_assignments
    shown = Answer(answer.word) if elsewhere else answer
    try:
        if options.results_file:
            write(options.results_file, answer.text("vnncomp").encode())
    finally:
        say(shown.text(options.verdict_style))


def _leave_error(results: Path | None) -> None:
    """The competition wants a word even where there is no verdict."""
    if results:
        try:
            write(results, b"error\n")
        except Exception as error:
            logging.getLogger(__name__).info("no results file: %s", error)


def _write_certificate(result: Result, path: Path | None) -> str:
    """Write the proof of an unsat where it is wanted; what to say about it.

    Raises:
        BadInput: the file cannot be written.
    """
    from verifier.verdict import Verified

    verdict = result.verdict
    if not path or not isinstance(verdict, Verified):
        return ""
    if verdict.certificate is None or verdict.certificate.data is None:
        return f"; {path} was not written"
    write(path, verdict.certificate.data)
    return f"; certificate in {path} ({len(verdict.certificate.data):,} bytes)"


def _remark(result: Result, written: str) -> None:
    """What a verdict does not say by itself, on standard error."""
    from verifier.verdict import Unknown, Verified

    verdict = result.verdict
    if isinstance(verdict, Unknown):
        complain(
            f"{word_of(verdict)}: {verdict.reason.value}{verdict.note and f': {verdict.note}'} "
            f"({verdict.open:,} open, worst margin {verdict.margin:.4g})"
        )
    if not isinstance(verdict, Verified):
        return
    parts = [verdict.note] if verdict.note else []
    certificate = verdict.certificate
    if certificate is not None:
        if certificate.semantics:
            checked = f"checked in {certificate.seconds:.1f} s"
            parts.append(
                f"{PROVED[certificate.semantics]} ({certificate.leaves:,} leaves, {checked})"
            )
        elif certificate.note:
            parts.append(certificate.note)
    if parts:
        complain("unsat: " + "; ".join(parts) + written)


class _ToStandardError(logging.Handler):
    """Looks standard error up for each line, since a progress display may have wrapped it."""

    def emit(self, record: logging.LogRecord) -> None:
        remark(self.format(record))


def configure_logging(verbose: int) -> None:
    """Send the package's log to standard error: warnings, with -v what is chosen, with -vv all."""
    handler = _ToStandardError()
    handler.setFormatter(logging.Formatter("verifier: %(message)s"))
    logger = logging.getLogger("verifier")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
