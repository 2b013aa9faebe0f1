"""docs/operators.md is what the registry says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_operators_is_up_to_date():
    script = runpy.run_path(str(ROOT / "scripts" / "operators.py"))
    written = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert written == script["table"](), "run python scripts/operators.py"
