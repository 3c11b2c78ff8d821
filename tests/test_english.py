"""Plain English: phrases that made readers stumble do not come back."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import ROOT

ODD = re.compile(
    r"\bfor want of\b|\bwhoever\b|\bin vain\b|\bgoes on serving\b|\bis told (by|of|how)\b|\bprocess of ours\b"
    r"|\blearnt\b|(?<!there )\b(is|are) no (?!longer\b)[a-z]",
    re.IGNORECASE,
)
PLACES = ("service", "grafana", "ops", "tests", "docs")
KINDS = {".py", ".js", ".css", ".html", ".md", ".yml", ".yaml", ".tf", ".hcl", ".sh", ".service"}
#: How a comment continues on the next line.
MARKS = re.compile(r"\s*\n\s*(#:?|//)? ?")


def texts() -> list[Path]:
    """Return the files that people read."""
    found = [path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in KINDS]
    return [*found, *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "Dockerfile"]


def test_odd_phrases_do_not_come_back() -> None:
    """No text has a phrase that a native writer would not use."""
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts()
        if path != Path(__file__)
        for match in ODD.finditer(MARKS.sub(" ", path.read_text(encoding="utf-8")))
    }
    assert found == set()
