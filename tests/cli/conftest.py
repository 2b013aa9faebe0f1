"""The command line, called in this process."""

import logging
from dataclasses import dataclass

import pytest

from tests.cli.made import twice
from verifier.cli.main import status


@dataclass(frozen=True)
class Done:
    """How a call ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def word(self) -> str:
        return self.out.split("\n", 1)[0]

    def line(self) -> str:
        """The only line on standard error."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def cli(capfd):
    """``cli("verify", ...)``, as from a shell."""

    def call(*arguments) -> Done:
        capfd.readouterr()
        ended = status([str(argument) for argument in arguments])
        return Done(ended, *capfd.readouterr())

    yield call
    logger = logging.getLogger("verifier")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def net(tmp_path):
    """y = relu(2 x), over two inputs."""
    return twice(tmp_path / "net.onnx")
