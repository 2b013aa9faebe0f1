"""The command ``verifier``: what it offers, and how it ends."""

from __future__ import annotations

import importlib
import logging
import sys
import time
import traceback
from collections.abc import Sequence

import click

from verifier.cli.process import BUG, INTERRUPTED, USAGE, flush, remark
from verifier.errors import BadInput, OutOfMemory, VerifierError
from verifier.version import VERSION

STARTED = time.monotonic()
"""When this process began, but for the start of the interpreter."""

COMMANDS = ("verify", "check", "info", "supports")

log = logging.getLogger(__name__)


class Commands(click.Group):
    """A group whose commands are modules of this package, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"verifier.cli.{cmd_name}").command


def _print_and_exit(text: str) -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
        if wanted and not ctx.resilient_parsing:
            click.echo(text)
            ctx.exit()

    word = "version" if text == VERSION else "name"
    return click.Option(
        [f"--{word}"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help=f"Print the {word} and exit.",
    )


group = Commands(
    name="verifier",
    help="Prove or refute properties of trained neural networks.",
    epilog="Exit status: 0 a verdict, 2 usage, 65 bad input, 69 unsupported, 70 a bug of ours, "
    "75 out of memory, 130 interrupted.",
    params=[_print_and_exit("verifier"), _print_and_exit(VERSION)],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def status(arguments: Sequence[str] | None = None, started: float | None = None) -> int:
    """Run the command line, whose time began at ``started``, and return the exit status."""
    began = time.monotonic() if started is None else started
    try:
        return _run(arguments, began)
    except click.exceptions.NoArgsIsHelpError as shown:
        remark(shown.format_message())
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "verifier"
        complain(f"{_line(error.format_message())} (see {path} --help)")
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except Exception as error:
        return explain(error)


def _run(arguments: Sequence[str] | None, began: float) -> int:
    """The exit status of a command.

    Raises:
        BadInput: standard output cannot take what the command says.
    """
    try:
        ended = group.main(arguments, prog_name="verifier", standalone_mode=False, obj=began)
    except SystemExit:  # click's answer to a reader that has gone away: it has seen enough
        return 0
    except OSError as error:
        if not _is_of_echo(error):
            raise
        ended, problem = None, error.strerror or str(error)
    else:
        problem = flush(sys.stdout)
    if problem:
        message = f"standard output cannot be written: {problem}"
        raise BadInput(message)
    return ended if isinstance(ended, int) else 0


def _is_of_echo(error: OSError) -> bool:
    """Was it raised where click writes to a stream?"""
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1] == click.echo.__module__


def explain(error: Exception) -> int:
    """Print an error as one line; its exit status."""
    log.info("the traceback of the error below", exc_info=error)
    if isinstance(error, VerifierError):
        complain(_line(str(error)))
        return error.exit_status
    if is_out_of_memory(error):
        complain("out of memory; need more of it, or a smaller network or property")
        return OutOfMemory.exit_status
    what = f"{type(error).__name__}: {_line(str(error))}"
    complain(f"internal error: {what}; run with -v for the traceback")
    return BUG


def is_out_of_memory(error: Exception) -> bool:
    """Python's and NumPy's error, or torch's, which is known by name since torch may be absent."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def complain(line: str) -> None:
    """One line on standard error."""
    remark(f"verifier: {line}")


def _line(text: str) -> str:
    return " ".join(text.split())
