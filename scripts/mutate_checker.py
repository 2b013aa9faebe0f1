#!/usr/bin/env python3
"""Mutation test of the checker: does some test fail for each small change of its source?

Works on a copy of the sources, with one forked process for each mutant. Prints every mutant with
what became of it; one whose tests take too long counts as killed.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("verifier/checker")
TESTS = {name: f"{name} walk walk_records" for name in ("bounds", "clip", "statement", "proof")}
TESTS |= dict.fromkeys(("walk", "nodes", "check"), "walk walk_records check")
TESTS |= dict.fromkeys(("operators", "tensors"), "operators network affine composites misread")
TESTS |= dict.fromkeys(("composites", "windows"), "composites operators network misread")
TESTS |= dict.fromkeys(("curves", "groups"), "curves_and_groups atoms composites")
TESTS["windows"] = "windows composites operators"
TESTS["sums"] = "sums walk_records"
TESTS |= {n: f"{n} operators bounds" for n in ("arithmetic", "affine", "atoms", "network")}
TESTS["bounds"] = "bounds least walk walk_records"
TESTS["affine"] = "affine least operators bounds"
TESTS |= {"cases": "statement property property_errors", "property": "property_errors property"}
TESTS |= {"container": "container_contents container"}
"""The tests of each module, tests/checker/test_NAME.py, those that tell most first."""
SLOW = "benchmarks or large_files or millions or any_bytes or several_bytes or corrupt_byte"
# Factors of error terms, which 0 replaces, and functions that their first argument replaces.
CHARGES = {"gamma", "gamma32", "tiny", "TINY", "TINY32", "UNIT", "UNIT32"}
FORWARDED = {"lowered", "nextafter", "round_down", "round_up", "abs", "max", "min", "clip"}
OTHER = {"max": "min", "maximum": "minimum", "any": "all", "min": "max", "minimum": "maximum"}
COMPARE = {"Lt": ("<=", ">="), "LtE": ("<", ">"), "Gt": (">=", "<="), "GtE": (">", "<")}
COMPARE |= {"Eq": ("!=",), "NotEq": ("==",), "In": ("not in",), "NotIn": ("in",)}
COMPARE |= {"Is": ("is not",), "IsNot": ("is",)}
OPERATORS = {"Add": "-", "Sub": "+", "Mult": "+", "Div": "*", "FloorDiv": "*", "Mod": "*"}
OPERATORS |= {"BitAnd": "|", "BitOr": "&", "MatMult": "*", "Pow": "*", "LShift": "*"}
SKIPPED = (ast.JoinedStr, ast.arguments, ast.Raise)
UNCHANGED = {"annotation", "returns", "decorator_list"}


@dataclass(frozen=True, order=True)
class Mutant:
    """Bytes from start to stop of a module, which begin in a line, become others."""

    start: int
    stop: int
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{' '.join(self.old.split())[:60]}  ->  {' '.join(self.new.split())[:60]}"


def changes(node: ast.AST) -> Iterator[str]:
    """What takes the place of an expression, or of a statement."""
    match node:
        case ast.Compare(left, [operator], [right]):
            for other in COMPARE[type(operator).__name__]:
                yield f"({ast.unparse(left)} {other} {ast.unparse(right)})"
        case ast.BinOp(left, operator, right):
            other = OPERATORS[type(operator).__name__]
            yield f"({_inner(left)} {other} {_inner(right)})"
            yield from [_inner(left)] if isinstance(operator, ast.Add | ast.Sub) else []
        case ast.BoolOp(operator, values):
            other = " or " if isinstance(operator, ast.And) else " and "
            yield f"({other.join(map(_inner, values))})"
        case ast.IfExp(test, body, orelse):
            yield f"({_inner(orelse)} if {_inner(test)} else {_inner(body)})"
        case ast.Call():
            yield from _calls(node)
        case _:
            yield from _removals(node)


def _removals(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.UnaryOp(_, operand):
            yield _inner(operand)
        case ast.Constant(bool() | int() | float() as value):
            yield str(not value) if isinstance(value, bool) else str(int(value == 0))
        case ast.Name(name, ast.Load()) | ast.Attribute(_, "tiny" as name) if name in CHARGES:
            yield "0"
        case ast.AugAssign() | ast.Continue() | ast.Expr(ast.Call()) | ast.If():
            yield "pass"
        case ast.Assign([ast.Subscript() | ast.Attribute()]):
            yield "pass"


def _calls(node: ast.Call) -> Iterator[str]:
    function = ast.unparse(node.func)
    name = function.rpartition(".")[2]
    arguments = [_inner(x) for x in node.args if not isinstance(x, ast.Starred)]
    yield from ["0"] if name in CHARGES else []
    yield from arguments[:1] if name in FORWARDED else []
    yield from arguments[1:] if name == "where" else []
    if name in OTHER:
        given = ", ".join(map(ast.unparse, [*node.args, *node.keywords]))
        yield f"{function.removesuffix(name)}{OTHER[name]}({given})"


def _inner(node: ast.AST) -> str:
    return f"({ast.unparse(node)})"


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but for annotations, messages and texts."""
    fields = [child for name, child in ast.iter_fields(node) if name not in UNCHANGED]
    for child in chain.from_iterable(f if isinstance(f, list) else [f] for f in fields):
        if isinstance(child, ast.AST):
            yield child
            yield from () if isinstance(child, SKIPPED) else _within(child)


def mutants(source: bytes) -> list[Mutant]:
    """All of a module, in its order."""
    starts, found = [0], set[Mutant]()
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    nodes = [node for node in _within(ast.parse(source)) if hasattr(node, "lineno")]
    texts = [(node, text) for node in nodes for text in changes(node)]
    tests = [node.test for node in nodes if isinstance(node, ast.If | ast.While)]
    for node, text in texts + [(test, f"(not {_inner(test)})") for test in tests]:
        place: dict[str, int] = vars(node)
        start = starts[place["lineno"] - 1] + place["col_offset"]
        stop = starts[place["end_lineno"] - 1] + place["end_col_offset"]
        found.add(Mutant(start, stop, place["lineno"], source[start:stop].decode(), text))
    return sorted(found)


def _test(folder: Path, module: str) -> None:
    """In a process of its own: exit with pytest's status."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.dup2(os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest = importlib.import_module("pytest")
    files = [f"tests/checker/test_{name}.py" for name in TESTS[module].split()]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-k", f"not ({SLOW})"]
    os._exit(int(pytest.main([*options, *files])))


def passes(folder: Path, module: str, seconds: float) -> bool:
    """Whether the module's tests pass in time."""
    child = multiprocessing.get_context("fork").Process(target=_test, args=(folder, module))
    child.start()
    child.join(seconds)
    child.kill()
    child.join()
    return child.exitcode == 0


def attempt(folder: Path, module: str, chosen: list[Mutant]) -> Counter[str]:
    """How many of a module's mutants are killed, and how many survive."""
    path, counts = folder / PACKAGE / f"{module}.py", Counter[str]()
    source, started = path.read_bytes(), time.monotonic()
    if not passes(folder, module, 600):
        sys.exit((folder / "output").read_text() + f"\nthe tests of {module} fail as it is")
    limit = 10 + 3 * (time.monotonic() - started)
    for number, mutant in enumerate(chosen):
        path.write_bytes(source[: mutant.start] + mutant.new.encode() + source[mutant.stop :])
        os.utime(path, (number, number))  # or else an old .pyc would be taken for the new one's
        result = "survived" if passes(folder, module, limit) else "killed"
        counts[result] += 1
        print(f"{result} {PACKAGE}/{module}.py:{mutant.line}  {mutant}", flush=True)
    path.write_bytes(source)
    return counts


def main() -> None:
    """Mutate some modules, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", action="append", choices=list(TESTS))
    parser.add_argument("--sample", type=int, help="that many mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in ("pytest", "numpy", "onnx", "onnxruntime"):
        importlib.import_module(name)  # once for all mutants
    with tempfile.TemporaryDirectory() as name:
        for part in ("verifier", "tests"):
            shutil.copytree(ROOT / part, Path(name) / part)
        shutil.copy(ROOT / "pyproject.toml", name)
        (Path(name) / "tests" / "conftest.py").unlink()  # checks types, and takes most of the time
        for module in given.module or TESTS:
            chosen = mutants((ROOT / PACKAGE / f"{module}.py").read_bytes())
            random.Random(given.seed).shuffle(chosen)
            counts = attempt(Path(name), module, sorted(chosen[: given.sample]))
            print(f"{module}: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
