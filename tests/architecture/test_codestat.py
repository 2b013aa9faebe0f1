"""The shape budget measures what it says it measures."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "codestat.py"
specification = importlib.util.spec_from_file_location("codestat", SCRIPT)
assert specification
assert specification.loader
codestat = importlib.util.module_from_spec(specification)
sys.modules["codestat"] = codestat
specification.loader.exec_module(codestat)


def source(text: str, path: str = "verifier/module.py"):
    tree = ast.parse(text)
    made = codestat.Source(path, text, tree, codestat.code_lines(text, tree))
    made.functions = [
        codestat.measure_function(node, made)
        for node in ast.walk(tree)
        if isinstance(node, codestat.FUNCTIONS)
    ]
    return made


def test_code_lines_leave_out_blanks_comments_and_docstrings():
    text = (
        '"""Doc."""\n\nx = 1  # note\n# comment\n\n'
        'def f():\n    """Doc\n\n    more."""\n    return (\n        x\n    )\n'
    )
    assert source(text).code == {3, 6, 10, 11, 12}


def test_self_is_no_parameter_and_stars_are():
    (function,) = source("def f(self, a, /, b, *c, d, **e): ...\n").functions
    assert function.parameters == 5


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("    pass\n", 0),
        ("    if a:\n        pass\n    elif b:\n        pass\n    else:\n        pass\n", 1),
        ("    if a:\n        for b in c:\n            with d:\n                pass\n", 3),
        ("    try:\n        pass\n    except E:\n        if a:\n            pass\n", 2),
        ("    match a:\n        case 1:\n            if b:\n                pass\n", 2),
        ("    def g():\n        if a:\n            pass\n", 0),
    ],
)
def test_nesting(body, depth):
    assert source("def f():\n" + body).functions[0].nesting == depth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from a import *\n", "star import"),
        ("x = 1  # TODO later\n", "TODO"),
        ("x = 1\n" * 401, "401 lines"),
        ("def f(a, b, c, d, e, f, g): ...\n", "7 parameters"),
        ("def f():\n" + "    x = 1\n" * 51, "51 code lines"),
    ],
)
def test_a_breach_is_named(text, words):
    assert any(words in line for line in codestat.breaches([source(text)]))


def test_a_todo_with_its_issue_is_fine():
    assert list(codestat.breaches([source("x = 1  # TODO(#12): later\n")])) == []


def test_a_cycle_is_found_and_type_checking_imports_do_not_count():
    first = source("import verifier.b\n", "verifier/a.py")
    second = source("def late():\n    import verifier.a\nfrom verifier import a\n", "verifier/b.py")
    guarded = source("if TYPE_CHECKING:\n    from verifier import a\n", "verifier/b.py")
    assert codestat.import_cycles([first, second]) == [["verifier.a", "verifier.b"]]
    assert codestat.import_cycles([first, guarded]) == []


def test_the_checker_has_a_budget_of_its_own():
    large = source("x = 1\n" * 400, "verifier/checker/rules.py")
    found = codestat.breaches([large] * (codestat.CHECKER_LINES // 400 + 1))
    assert any(line.startswith("verifier/checker has ") for line in found)
    assert not any(line.startswith("verifier/checker has ") for line in codestat.breaches([large]))
