"""The documents of the repository, and what is read out of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.support import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(ROOT / name for name in ("ops/runbook.md", "ops/terraform/README.md", "ops/kubernetes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def name_of(document: Path) -> str:
    """Return a document's path in the repository."""
    return str(document.relative_to(ROOT))


def page(name: str) -> str:
    """Return the text of a document."""
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def sections(document: Path) -> dict[str, str]:
    """Return the text below each heading of a document, by what links call the heading."""
    # The blank line tells a heading from a comment in code.
    _, *parts = re.split(r"^#+ (.+)\n\n", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    headings, texts = parts[::2], parts[1::2]
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return dict(zip(anchors, texts, strict=True))


def rows_below(name: str, header: str) -> list[list[str]]:
    """Return the cells of each row of the table with this header."""
    _, found, rest = page(name).partition(header + "\n")
    assert found, f"{name} has no table {header}"
    _, *rows = rest.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
