"""The competition's scripts keep their contract, whatever the engine does.

A stand-in for the interpreter plays the engine, so that its failures can be chosen.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Arguments: -P -m verifier verify ONNX VNNLIB --timeout T --results-file RESULTS ...
ENGINE = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
results=${{10}}
{behaviour}
"""


@pytest.fixture
def run(tmp_path):
    """Start run_instance.sh with an engine that behaves as told: the process, the results file."""

    def start(behaviour: str, *, onnx: str = "net.onnx", timeout: str = "60", version: str = "v1"):
        engine = tmp_path / "engine"
        engine.write_text(ENGINE.format(behaviour=behaviour))
        engine.chmod(0o755)
        results = tmp_path / "out" / "results.txt"
        command = [
            SCRIPTS / "run_instance.sh",
            version,
            "acasxu",
            onnx,
            "p.vnnlib.gz",
            results,
            timeout,
        ]
        process = subprocess.Popen(
            ["bash", *map(str, command)],
            env=environment(tmp_path, engine),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, results

    return start


def environment(folder: Path, engine: Path) -> dict[str, str]:
    # As the harness does, export shell options that would end a careless script.
    return {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "VERIFIER_PYTHON": str(engine),
        "SHELLOPTS": "errexit:nounset:xtrace",
    }


def finish(started) -> str:
    """The results, after checking that the script ended well and left nothing running."""
    process, results = started
    process.communicate(timeout=30)  # also waits until nobody holds the pipes
    assert process.returncode == 0
    return results.read_text()


def test_the_engine_gets_its_arguments_verbatim(run, tmp_path):
    onnx = "[('f', 'a b.onnx'), ('g', 'c.onnx.gz')]"
    assert finish(run('echo unsat > "$results"', onnx=onnx, timeout="116")) == "unsat\n"
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == [
        *("-P", "-m", "verifier", "verify", onnx, "p.vnnlib.gz", "--timeout", "116"),
        *("--results-file", str(tmp_path / "out" / "results.txt"), "--verdict-style", "vnncomp"),
    ]


@pytest.mark.parametrize(
    "verdict", ["sat\n((X_0 0.5)\n(Y_0 1.0))\n", "unsat\n", "unknown\n", "timeout\n"]
)
def test_the_engines_verdict_is_kept(run, verdict):
    assert finish(run(f"cat > \"$results\" <<'END'\n{verdict}END")) == verdict


def test_a_verdict_counts_though_the_engine_dies_after_it(run):
    assert finish(run('echo unsat > "$results"; kill -SEGV $$')) == "unsat\n"


@pytest.mark.parametrize(
    "behaviour",
    ["exit 70", "kill -KILL $$", 'echo Traceback > "$results"', ': > "$results"', "exit 0"],
)
def test_an_engine_that_dies_without_a_verdict_is_an_error(run, behaviour):
    assert finish(run(behaviour)) == "error\n"


def test_an_old_result_does_not_survive(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.txt").write_text("sat\nstale\n")
    assert finish(run("exit 1")) == "error\n"


@pytest.mark.parametrize("wrong", [{"version": "v2"}, {"timeout": "soon"}, {"timeout": ""}])
def test_wrong_arguments_are_an_error_and_end_well(run, wrong):
    assert finish(run('echo unsat > "$results"', **wrong)) == "error\n"


def test_an_engine_that_forgets_the_time_is_stopped(run):
    begin = time.monotonic()
    assert finish(run("exec sleep 60", timeout="1")) == "timeout\n"
    assert time.monotonic() - begin < 15


def test_being_ended_by_the_harness_is_a_timeout(run, tmp_path):
    process, results = run("echo $$ > $(dirname $0)/pid; exec sleep 60")
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert finish((process, results)) == "timeout\n"
    assert_gone(int(pid_file.read_text()))


def test_preparation_ends_what_an_earlier_run_left_and_spares_what_runs(run, tmp_path):
    process, _ = run("echo $$ > $(dirname $0)/pid; exec -a 'x -m verifier verify' sleep 60")
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.01)
    time.sleep(0.1)  # the script notes the process right after starting it

    prepare(tmp_path)
    assert process.poll() is None

    process.kill()  # as a harness that knows no mercy: the engine is left behind
    process.wait()
    prepare(tmp_path)
    assert_gone(int(pid_file.read_text()))
    process.communicate(timeout=30)


def prepare(folder: Path) -> None:
    done = subprocess.run(
        [
            "bash",
            str(SCRIPTS / "prepare_instance.sh"),
            "v1",
            "acasxu",
            "missing.onnx",
            "[('f', 'a')]",
        ],
        env=environment(folder, Path("/bin/true")),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


def assert_gone(pid: int) -> None:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")
