"""Write docs/operators.md: every ONNX operator that is read, what it becomes, and who checks it.

python scripts/operators.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verifier.certify.uncertified import UNCERTIFIED
from verifier.checker.composites import ALL_RULES
from verifier.families import Affine, Operator
from verifier.families.example import Example
from verifier.families.registry import all_examples, readers
from verifier.load.onnx.importer import import_graph

TARGET = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
HEAD = """# Operators

Written by `python scripts/operators.py` from the registry of operators; do not edit.

*Becomes*: what the operator is for the bound methods. `exact` operators are affine or move data:
every method is exact on them. The others are relaxed by interval arithmetic, zonotopes and CROWN;
the names are those of their classes in `verifier/families` and `verifier/ops`. *Certificate*:
whether the independent checker has a rule (some forms of an operator may still lack one: the
message then says which).

| Operator | Versions tested | Becomes | Certificate |
| --- | --- | --- | --- |
"""


def kinds(examples: list[Example]) -> list[str]:
    """The classes of what examples become; affine ones count as one."""
    found: set[str] = set()
    for example in examples:
        for node in import_graph(example.model()).graph.nodes:
            found.add(_kind(node.operator))
    return sorted(found - {"exact"}) or ["exact"]


def _kind(operator: Operator) -> str:
    if isinstance(operator, Affine):
        return "exact"
    return type(operator).__name__


def table() -> str:
    """The document."""
    lines = [HEAD]
    generators = all_examples()
    for name in sorted(readers()):
        examples = [e for make in generators.get(name, []) for e in make() if e.op_type == name]
        versions = sorted({e.opset for e in examples})
        span = "" if not versions else f"{versions[0]} to {versions[-1]}"
        span = str(versions[0]) if len(versions) == 1 else span
        checked = "yes" if name in ALL_RULES else f"no: {UNCERTIFIED.get(name, '?')}"
        lines.append(f"| {name} | {span} | {', '.join(kinds(examples))} | {checked} |\n")
    return "".join(lines)


def main() -> int:
    """Write the document, or with ``--check`` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    given = parser.parse_args()
    text = table()
    if given.check:
        return int(not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
