"""Rules about the source that no linter of the gate knows."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "verifier"
MODULES = sorted(PACKAGE.rglob("*.py"))
SETTINGS_LIMIT = 40

MACHINE_PATH = re.compile(
    r"""(?:^|[\s"'`=(:])/(?:home|root|work|Users|mnt|opt|srv)/\w""", re.MULTILINE
)
REGISTRY_HOST = re.compile(
    r"\b(?:[\w-]+\.)*(?:pypi|pythonhosted|npmjs|conda|anaconda)\.(?:org|com|io)\b"
    r"|download\.pytorch\.org|--(?:extra-)?index-url\s"
)
TODO_WITHOUT_ISSUE = re.compile(r"\b(?:TODO|FIXME|XXX)\b(?! ?\(#\d+\))")


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Path and text of every file of ours that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".onnx", ".gz", ".npz", ".npy"}:
            yield name, path.read_text(encoding="utf-8")


def matches(pattern: re.Pattern[str]) -> list[str]:
    """``file:line: text`` of every match in the tracked files, this file excepted."""
    own = Path(__file__).relative_to(ROOT).as_posix()
    return [
        f"{name}:{text.count(chr(10), 0, found.start()) + 1}: {found.group().strip()}"
        for name, text in tracked_texts()
        if name != own
        for found in pattern.finditer(text)
    ]


def imports_of(path: Path) -> Iterator[str]:
    """Full names of the modules and names that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    """``bounds`` for ``verifier/bounds/crown.py``, ``api`` for ``verifier/api.py``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def importers_of(prefix: str) -> set[str]:
    """Packages of ours with a file that imports ``prefix`` or something in it."""
    return {
        package_of(path)
        for path in MODULES
        if any(name == prefix or name.startswith(f"{prefix}.") for name in imports_of(path))
    }


def test_no_file_names_a_path_of_one_machine():
    assert matches(MACHINE_PATH) == []


def test_no_file_names_a_package_registry():
    assert matches(REGISTRY_HOST) == []


def test_every_todo_names_its_issue():
    about_the_rule = {
        "CONTRIBUTING.md",
        "scripts/codestat.py",
        "tests/architecture/test_codestat.py",
    }
    found = [
        line for line in matches(TODO_WITHOUT_ISSUE) if line.split(":")[0] not in about_the_rule
    ]
    assert found == []


@pytest.mark.parametrize("name", ["os.environ", "os.getenv", "set_default_dtype"])
def test_nothing_in_the_package_uses(name):
    """Ruff lifts its bans on APIs for a file all at once; these have one exception.

    The checker, run on its own, tells BLAS how many threads to use before NumPy is imported.
    """
    last = name.rpartition(".")[2]
    users = [
        path
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == last
    ]
    assert [u for u in users if u != PACKAGE / "checker" / "__main__.py"] == []


def test_only_the_loader_imports_operators():
    assert importers_of("verifier.ops") <= {"load", "ops"}


def test_only_the_top_calls_the_checker():
    assert importers_of("verifier.checker") <= {"api", "checker", "cli", "sealing"}


def test_torch_is_behind_the_backend():
    """Small networks never import torch: only its backend, convolutions and training may."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if package_of(path) != "train" and any(n.split(".")[0] == "torch" for n in imports_of(path))
    }
    assert users <= {"tensors/torch_arrays.py", "tensors/rough.py", "ops/convolution.py"}


def test_there_are_at_most_forty_settings():
    settings = PACKAGE / "settings.py"
    if not settings.exists():
        pytest.skip("there are no settings yet")
    knobs = [
        f"{owner.name}.{ast.unparse(field.target)}"
        for owner in ast.parse(settings.read_text(encoding="utf-8")).body
        if isinstance(owner, ast.ClassDef)
        for field in owner.body
        if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation)
    ]
    assert len(knobs) <= SETTINGS_LIMIT, knobs
