"""The command line as a user meets it: in a process of its own."""

import itertools
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.cli.made import EXAMPLES, flat, save, tensors, twice

ROOT = Path(__file__).resolve().parents[2]
MLP = EXAMPLES / "onnx" / "digits_mlp.onnx"
HOLDS = EXAMPLES / "vnnlib" / "digits_mlp_image3_eps0.01.vnnlib"
HEAVY = ("torch", "scipy", "rich", "jinja2", "highspy", "onnx.reference")
COMMAND = [sys.executable, "-m", "verifier"]


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False, **options,
    )  # fmt: skip


def cpu_seconds(*arguments, runs=3) -> float:
    """The least CPU time of some runs."""
    spent = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def imported_by(*arguments) -> set[str]:
    """The modules in memory when the command is done."""
    code = (
        "import sys; from verifier.cli.main import status\n"
        "sys.stdout.write(f'#{status(sys.argv[1:])}# ' + ' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    _, ended, modules = done.stdout.split("#")
    assert ended == "0"
    return set(modules.split())


@pytest.fixture
def hard(tmp_path):
    """A random network and a property that no search decides in seconds."""
    numbers = np.random.default_rng(7)
    sizes = [10, 60, 60, 60, 1]
    nodes, weights, last = [], {}, "x"
    for layer, (n, m) in enumerate(itertools.pairwise(sizes)):
        matrix = numbers.normal(size=(n, m)) / np.sqrt(n / 2)
        weights[f"w{layer}"] = matrix.astype(np.float32)
        name = "y" if m == 1 else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [name]))
        last = name
        if m > 1:
            nodes.append(helper.make_node("Relu", [name], [f"r{layer}"]))
            last = f"r{layer}"
    net = save(tmp_path / "hard.onnx", nodes, weights, inputs={"x": [1, 10]}, outputs={"y": [1, 1]})
    x = numbers.uniform(-1, 1, size=(20000, 10))
    for layer in range(3):
        x = np.maximum(x @ weights[f"w{layer}"], 0)
    most = float((x @ weights["w3"]).max())
    names = [f"X_{i}" for i in range(10)]
    lines = [f"(declare-const {name} Real)" for name in (*names, "Y_0")]
    lines += [f"(assert (>= {name} -1.0)) (assert (<= {name} 1.0))" for name in names]
    prop = tmp_path / "hard.vnnlib"
    prop.write_text("\n".join([*lines, f"(assert (>= Y_0 {2 * most}))"]))
    return net, prop


# -------------------------------------------------------------------------------------- start-up


def test_version_and_name():
    assert run("--version").stdout == "0.1.0\n"
    assert run("--name").stdout == "verifier\n"


@pytest.mark.parametrize("option", ["--version", "--name"])
def test_version_and_name_are_said_at_once(option):
    assert cpu_seconds(option) < 0.15
    assert imported_by(option).isdisjoint({*HEAVY, "numpy", "onnx", "onnxruntime"})


def test_importing_the_package_costs_nothing():
    code = "import verifier, sys; print('numpy' in sys.modules, 'click' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["supports", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    assert imported_by(*arguments).isdisjoint({*HEAVY, "numpy", "onnx", "onnxruntime"})


@pytest.mark.parametrize("arguments", [["supports", "--onnx-operators"], ["info", MLP, HOLDS]])
def test_descriptions_import_no_torch(arguments):
    assert imported_by(*arguments).isdisjoint({*HEAVY, "onnxruntime"})


def test_an_easy_instance_is_decided_soon(tmp_path):
    net = twice(tmp_path / "net.onnx")
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 5.0))")
    assert imported_by("verify", net, prop).isdisjoint(HEAVY)
    assert cpu_seconds("verify", net, prop) < 2.5


# ------------------------------------------------------------------------------ streams and signals


def test_the_verdict_is_all_there_is_on_standard_output():
    done = run("verify", MLP, HOLDS, "-v")
    assert (done.returncode, done.stdout) == (0, "unsat\n")
    assert "strategy: " in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 1.5))")
    command = [*COMMAND, "verify", str(twice(tmp_path / "net.onnx")), str(prop)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        done = subprocess.run(
            command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_output_is_one_line(tmp_path):
    prop = flat(tmp_path / "p.vnnlib", "(assert (>= Y_0 1.5))")
    command = [*COMMAND, "verify", str(twice(tmp_path / "net.onnx")), str(prop)]
    with Path("/dev/full").open("w") as stdout:
        done = subprocess.run(
            command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 65
    message = "verifier: standard output cannot be written: No space left on device\n"
    assert done.stderr == message


def test_ctrl_c_says_unknown(hard, tmp_path):
    results = tmp_path / "r.txt"
    process = subprocess.Popen(
        [*COMMAND, "verify", *map(str, hard), "--timeout", "60", "-v", "--results-file", results],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    assert any("strategy: " in line for line in process.stderr)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "unknown\n")
    assert err.splitlines()[-1] == "verifier: interrupted"
    assert "Traceback" not in err
    assert results.read_text() == "unknown\n"


def test_the_time_is_kept_and_the_terminal_sees_progress(hard):
    begin = time.monotonic()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "verify", *map(str, hard), "--timeout", "4"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    drawn = read_terminal(ours)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "timed-out\n")
    assert time.monotonic() - begin < 8
    assert "open, " in drawn
    assert "worst margin" in drawn
    assert "timed-out: the time ran out" in drawn


def read_terminal(descriptor) -> str:
    """Everything until the other side is closed."""
    pieces = []
    while select.select([descriptor], [], [], 30)[0]:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:  # how Linux says that the last writer is gone
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(descriptor)
    return b"".join(pieces).decode()


# ----------------------------------------------------------------------------------- the scripts


@pytest.fixture(scope="module")
def competition(tmp_path_factory):
    """Run an instance by the competition's scripts: the lines of the results file."""
    folder = tmp_path_factory.mktemp("competition")
    environment = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "VERIFIER_PYTHON": sys.executable,
        "SHELLOPTS": "errexit:nounset",
    }
    (folder / f"verifier-runs-{os.getuid()}").mkdir()
    (folder / f"verifier-runs-{os.getuid()}" / "warm").touch()

    def call(onnx, prop, timeout="30"):
        results = folder / "results" / "out.txt"
        for script, more in (("prepare", []), ("run", [str(results), timeout])):
            path = ROOT / "scripts" / f"{script}_instance.sh"
            command = ["bash", str(path), "v1", "examples", str(onnx), str(prop), *more]
            done = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        return results.read_text().splitlines()

    return call


def test_a_proof_by_the_scripts(competition):
    assert competition(MLP, HOLDS) == ["unsat"]


def test_a_counterexample_of_version_1_by_the_scripts(competition):
    lines = competition(MLP, EXAMPLES / "vnnlib" / "digits_mlp_image3_eps0.3.vnnlib")
    assert lines[0] == "sat"
    assert lines[1].startswith("((X_0 ")
    assert lines[-1].startswith("(Y_9 ")
    assert len(lines) == 1 + 64 + 10


def test_a_counterexample_of_version_2_by_the_scripts(competition):
    literal = f"[('N', '{MLP}')]"
    lines = competition(literal, EXAMPLES / "vnnlib" / "digits_mlp_image3_eps0.3_v2.vnnlib")
    assert lines[:2] == ["sat", "X float32 [1,1,8,8]"]
    assert lines[66] == "Y float32 [1,10]"
    assert len(lines) == 1 + 65 + 11


def test_a_broken_instance_by_the_scripts(competition, tmp_path):
    (tmp_path / "net.onnx").write_text("nothing")
    assert competition(tmp_path / "net.onnx", HOLDS) == ["error"]


def test_a_timeout_by_the_scripts(competition, hard):
    assert competition(*hard, timeout="2") == ["timeout"]


def test_the_standards_form(tmp_path):
    net = twice(tmp_path / "net.onnx")
    prop = tensors(tmp_path / "p.vnnlib", "(assert (>= Y[0,0] 1.5))")
    folder = tmp_path / "out"
    done = run(
        "verify", prop, "--network", f"N={net}", "--timeout", 20,
        "--serialise-assignments", folder,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "sat\n")
    assert sorted(path.name for path in folder.iterdir()) == ["X.pb", "Y.pb"]
