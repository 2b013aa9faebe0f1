"""What ``import verifier`` offers is what the documentation lists."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "README.md"


def public_names() -> list[str]:
    if not (ROOT / "verifier" / "__init__.py").exists():
        pytest.skip("verifier/__init__.py does not exist yet")
    names = getattr(importlib.import_module("verifier"), "__all__", None)
    if names is None:
        pytest.skip("verifier has no __all__ yet: it exports nothing")
    return list(names)


def test_every_exported_name_exists_and_they_are_sorted():
    names = public_names()
    package = importlib.import_module("verifier")
    assert [name for name in names if not hasattr(package, name)] == []
    assert names == sorted(set(names))


def test_the_documentation_lists_exactly_the_exported_names():
    """In README.md, section 'In Python': a table whose first column holds the names."""
    section = DOCUMENT.read_text().partition("## In Python")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)[`(]", section, re.MULTILINE)
    assert sorted(documented) == public_names()


def test_importing_the_package_does_not_import_torch():
    public_names()
    code = "import sys, verifier; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("first", ["verify", "load", "check", "Result"])
def test_load_is_the_function_whatever_is_used_first(first):
    code = f"import sys, verifier; verifier.{first}; sys.exit(not callable(verifier.load))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
