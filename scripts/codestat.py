#!/usr/bin/env python3
"""Measure the shape of the code, and with ``--budget`` fail where it exceeds the budget.

Code lines exclude blanks, comments and docstrings. Commented-out code is left to ruff (ERA).
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "verifier"
FOLDERS = (PACKAGE, "scripts", "benchmarks", "tests")

FILE_LINES = 400
FUNCTION_LINES = 50
FUNCTION_LINES_P95 = 30
PARAMETERS = 6
NESTING = 3
CHECKER_LINES = 3780

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TODO = re.compile(r"\bTODO\b(?! ?\(?#\d+)")


@dataclass(frozen=True)
class Function:
    """One function: where it is and how big."""

    where: str
    name: str
    lines: int
    parameters: int
    nesting: int


@dataclass
class Source:
    """One parsed file and what was measured in it."""

    path: str
    text: str
    tree: ast.Module
    code: set[int]
    functions: list[Function] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.text.splitlines())


def python_files() -> Iterator[Path]:
    """Python files of the measured folders, scripts without a suffix included."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py" or _is_python_script(path):
                yield path


def _is_python_script(path: Path) -> bool:
    if path.suffix or path.parent.name != "scripts" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"python" in file.readline()


def docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of every statement that is only a string: docstrings, and notes on fields."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokens(text):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(tree) - {len(text.splitlines()) + 1}


def nesting(statements: list[ast.stmt], depth: int = 0) -> int:
    """How deep blocks are nested; ``elif`` is no deeper than its ``if``."""
    deepest = depth
    for statement in statements:
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) or not isinstance(statement, BLOCKS):
            continue
        for body in _bodies(statement):
            is_elif = isinstance(statement, ast.If) and body is statement.orelse and _chained(body)
            deepest = max(deepest, nesting(body, depth if is_elif else depth + 1))
    return deepest


def _bodies(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The lists of statements directly inside a block."""
    if isinstance(statement, ast.Match):
        return [case.body for case in statement.cases]
    bodies = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    bodies += [handler.body for handler in getattr(statement, "handlers", [])]
    return [body for body in bodies if body]


def _chained(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and isinstance(body[0], ast.If)


def measure_function(node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> Function:
    first, last = node.body[0].lineno, node.end_lineno or node.lineno
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a]
    return Function(
        where=f"{source.path}:{node.lineno}",
        name=node.name,
        lines=sum(first <= line <= last for line in source.code),
        parameters=len([name for name in names if name not in {"self", "cls"}]),
        nesting=nesting(node.body),
    )


def read(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=str(path))
    source = Source(str(path.relative_to(ROOT)), text, tree, code_lines(text, tree))
    source.functions = [
        measure_function(node, source) for node in ast.walk(tree) if isinstance(node, FUNCTIONS)
    ]
    return source


# ---------------------------------------------------------------------------- import cycles


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def module_imports(source: Source, modules: set[str]) -> set[str]:
    """Modules of ours that are imported when this one is, ``TYPE_CHECKING`` blocks excluded."""
    found: set[str] = set()
    for node in _executed(source.tree.body):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            named_in_package = any(f"{node.module}.{a.name}" not in modules for a in node.names)
            found |= inner | ({node.module} if named_in_package else set())
    return (found & modules) - {module_name(source.path)}


def _executed(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import: bodies of classes and blocks, but not of functions."""
    for statement in statements:
        yield statement
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _executed(statement.orelse)
        elif isinstance(statement, (*BLOCKS, ast.ClassDef)):
            for body in _bodies(statement):
                yield from _executed(body)


def import_cycles(sources: list[Source]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan's strong components, sizes above one)."""
    own = [source for source in sources if source.path.startswith(f"{PACKAGE}/")]
    modules = {module_name(source.path) for source in own}
    graph = {module_name(source.path): module_imports(source, modules) for source in own}
    reach = {name: _reachable(name, graph) for name in graph}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in graph
        if name in reach[name]
    }
    return sorted(sorted(group) for group in groups)


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(graph[name])
    return seen


# ------------------------------------------------------------------------------------ budget


def breaches(sources: list[Source]) -> Iterator[str]:
    """Everything that exceeds the budget, one line each."""
    for source in sources:
        yield from file_breaches(source)
        yield from function_breaches(source)
    own = [f.lines for s in sources if s.path.startswith(f"{PACKAGE}/") for f in s.functions]
    if percentile(own, 95) > FUNCTION_LINES_P95:
        yield f"95 % of functions need <= {FUNCTION_LINES_P95} lines; p95 is {percentile(own, 95)}"
    checker = sum(len(s.code) for s in sources if s.path.startswith(f"{PACKAGE}/checker/"))
    if checker > CHECKER_LINES:
        yield f"{PACKAGE}/checker has {checker} code lines; at most {CHECKER_LINES}"
    for cycle in import_cycles(sources):
        yield f"import cycle: {' <-> '.join(cycle)}"


def file_breaches(source: Source) -> Iterator[str]:
    if source.length > FILE_LINES:
        yield f"{source.path}: {source.length} lines; at most {FILE_LINES}, split the file"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield f"{source.path}:{node.lineno}: star import; name what is used"
    for token in tokens(source.text):
        if token.type == tokenize.COMMENT and TODO.search(token.string):
            yield f"{source.path}:{token.start[0]}: TODO without an issue number; write TODO(#12)"


def function_breaches(source: Source) -> Iterator[str]:
    for function in source.functions:
        limits = (
            ("code lines", function.lines, FUNCTION_LINES),
            ("parameters", function.parameters, PARAMETERS),
            ("levels of nesting", function.nesting, NESTING),
        )
        for what, value, limit in limits:
            if value > limit:
                yield f"{function.where}: {function.name} has {value} {what}; at most {limit}"


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that at least ``percent`` of the values do not exceed; 0 for none."""
    ordered = sorted(values) or [0]
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def report(sources: list[Source]) -> Iterator[str]:
    """Size per folder: files, code lines, and functions as median / p95 / greatest."""
    folders: dict[str, list[Source]] = {}
    for source in sources:
        depth = 2 if source.path.startswith(f"{PACKAGE}/") and source.path.count("/") > 1 else 1
        folders.setdefault("/".join(source.path.split("/")[:depth]), []).append(source)
    yield f"{'folder':24} {'files':>5} {'code':>6}  function p50/p95/max"
    for folder, members in sorted(folders.items()):
        yield size_row(folder, members)
    yield size_row("all of verifier", [s for s in sources if s.path.startswith(f"{PACKAGE}/")])


def size_row(title: str, members: list[Source]) -> str:
    sizes = [function.lines for source in members for function in source.functions]
    spread = "/".join(str(percentile(sizes, percent)) for percent in (50, 95, 100))
    return f"{title:24} {len(members):5} {sum(len(s.code) for s in members):6}  {spread}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", action="store_true", help="fail where the budget is exceeded")
    arguments = parser.parse_args()
    sources = [read(path) for path in python_files()]
    print("\n".join(report(sources)))
    found = list(breaches(sources)) if arguments.budget else []
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
