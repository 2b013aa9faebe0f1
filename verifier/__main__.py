"""``python -m verifier`` and ``verifier``: the command line, in a process of its own."""

import traceback
from typing import NoReturn

from verifier.cli import process


def main() -> NoReturn:
    """Run the command line and end the process.

    Whatever escapes the command line is a bug of ours, and must not end like a verdict.
    """
    process.begin()
    ended = process.BUG
    try:
        from verifier.cli.main import STARTED, status

        ended = status(None, STARTED)
    except BaseException:
        process.remark(traceback.format_exc().rstrip())
    process.end(ended)


if __name__ == "__main__":
    main()
