"""How the process begins and ends, whatever becomes of its streams and of the signals it gets."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.made import flat, twice

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full")


@pytest.fixture
def files(tmp_path):
    """A network, and a property that holds of it."""
    net, prop = twice(tmp_path / "net.onnx"), tmp_path / "p.vnnlib"
    return str(net), str(flat(prop, "(assert (>= Y_0 5.0))"))


def shell(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``"$@"`` with what the command adds to it."""
    script = ["bash", "-c", command, "bash", sys.executable, "-m", "verifier", *arguments]
    return subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_full
@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-"])
def test_standard_error_does_not_decide_the_exit_status(files, redirected):
    done = shell(f'"$@" {redirected}', "verify", *files, "--exit-code", "-v")
    assert (done.returncode, done.stdout) == (0, "unsat\n")
    done = shell(f'"$@" {redirected}', "verify", "no.onnx", files[1], "--exit-code")
    assert (done.returncode, done.stdout) == (65, "")


@needs_full
@pytest.mark.parametrize(
    "arguments", [["--help"], ["supports", "--onnx-operators"], ["info", "NET"], ["verify", "NET"]]
)
@pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
def test_what_cannot_be_said_is_one_line(files, arguments, redirected):
    given = [files[0] if word == "NET" else word for word in arguments]
    if given[0] == "verify":
        given.append(files[1])
    done = shell(f'"$@" {redirected}', *given)
    assert done.returncode == 65
    *_, line = done.stderr.splitlines()
    assert line.startswith("verifier: standard output cannot be written: ")
    assert "internal error" not in done.stderr


def test_a_closed_stream_gives_its_number_to_no_file(files, tmp_path):
    results = tmp_path / "r.txt"
    shell('"$@" >&- 2>&-', "verify", *files, "--results-file", str(results))
    assert results.read_text() == "unsat\n"


def test_a_reader_that_goes_away_is_no_verdict():
    done = shell('"$@" | true; echo ${PIPESTATUS[0]}', "supports", "--onnx-operators")
    assert (done.stdout, done.stderr) == ("0\n", "")


@needs_full
def test_a_device_stays_a_device(files):
    done = shell('"$@"', "verify", *files, "--results-file", str(FULL))
    assert (done.returncode, done.stdout) == (65, "unsat\n")
    assert "/dev/full cannot be written: No space left on device" in done.stderr
    assert stat.S_ISCHR(FULL.stat().st_mode)


def test_what_escapes_the_command_line_is_no_verdict(tmp_path):
    (tmp_path / "click.py").write_text("raise ZeroDivisionError\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from verifier.__main__ import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; main()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.26, 0.3, 0.33, 0.36, 0.45])
def test_an_interrupt_ends_with_130_at_any_time(files, delay):
    code = (
        "import runpy, sys, threading, os, signal\n"
        "from verifier.cli import process\n"
        "begin = process.begin\n"
        "def marked():\n"
        "    begin()\n"
        "    print('begun', flush=True)\n"
        "process.begin = marked\n"
        "runpy.run_module('verifier', run_name='__main__', alter_sys=True)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, "verify", *files],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout
    assert started.stdout.readline() == "begun\n"
    time.sleep(delay - 0.1)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    done = started.returncode == 0 and out == "unsat\n"
    # An interrupt may also come after the verdict was said.
    assert done or (started.returncode == 130 and out in {"", "unknown\n", "unsat\n"})
    assert "Traceback" not in err


def test_ignored_interrupts_stay_ignored(files):
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "from verifier.cli import process; process.begin()\n"
    code += "import os; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "alive\n"


def test_a_pipe_takes_the_results_and_stays(files, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = shell('"$@"', "verify", *files, "--results-file", str(pipe))
    assert (done.returncode, done.stdout) == (0, "unsat\n")
    assert os.read(reader, 100) == b"unsat\n"
    os.close(reader)
    assert pipe.is_fifo()
