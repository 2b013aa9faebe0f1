"""``verifier check``: does a certificate prove what it claims?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.errors import BadInput

if TYPE_CHECKING:
    from verifier.checker.check import Report

REJECTED = 1


@click.command(short_help="Check the certificate of an unsat.")
@click.argument("certificate", type=click.Path(path_type=Path), metavar="CERTIFICATE")
@click.option(
    "--network", type=click.Path(path_type=Path), metavar="MODEL",
    help="The network; default: the file of the recorded name beside the certificate, or here.",
)  # fmt: skip
@click.option(
    "--property", "prop", type=click.Path(path_type=Path), metavar="QUERY",
    help="The property; default: the same.",
)  # fmt: skip
@click.option(
    "--semantics", type=click.Choice(["real", "float32"]),
    help="What is to be proved; default: what the certificate claims.",
)  # fmt: skip
@click.option("--exact", is_flag=True, help="In fractions: for small networks, real function.")
def command(
    certificate: Path,
    network: Path | None,
    prop: Path | None,
    semantics: str | None,
    exact: bool,  # noqa: FBT001
) -> int:
    """Check that CERTIFICATE proves that its property holds for its network.

    The first line is `accepted` and what is proved, or `rejected` and the first step that fails.
    Exit status 0: accepted, 1: rejected.
    """
    from verifier.checker import errors
    from verifier.checker.__main__ import run
    from verifier.checker.container import read_certificate, read_container
    from verifier.errors import UnsupportedModel

    try:
        data = read_certificate(certificate)
        manifest = read_container(data).manifest
        files = (
            network or _beside(certificate, manifest["network"], "--network"),
            prop or _beside(certificate, manifest["property"], "--property"),
        )
        report = run(files, data, semantics=semantics, exact=exact)
    except errors.Rejected as error:
        click.echo(f"rejected: {error}")
        return REJECTED
    except errors.Unreadable as error:
        raise BadInput(str(error)) from None
    except errors.Unsupported as error:
        raise UnsupportedModel(str(error)) from None
    click.echo(_words(report))
    return 0 if report.accepted else REJECTED


def _beside(certificate: Path, name: str, option: str) -> Path:
    """The file of a name in the certificate's folder, or in the current one."""
    plain = Path(name).name
    for folder in (certificate.parent, Path()):
        if (folder / plain).is_file():
            return folder / plain
    message = f"the certificate is about {plain}, which is not beside it; name it with {option}"
    raise BadInput(message)


def _words(report: Report) -> str:
    from verifier.checker.__main__ import words

    return words(report)
