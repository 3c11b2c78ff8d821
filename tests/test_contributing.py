"""CONTRIBUTING.md: its layout lists the existing packages, and everything it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import service

PACKAGE = Path(service.__file__).parent
ROOT = PACKAGE.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
#: These do something besides: they put their parts together, and set what must be set before NumPy is imported.
DOES_SOMETHING = {PACKAGE / "api"}


def section(title: str) -> str:
    """Return the text below a heading, up to the next."""
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rooms() -> set[Path]:
    """Return the directories that the map has under service/: a line's indentation says what it is in."""
    found: dict[int, Path] = {}
    paths = set()
    for line in section("Layout").splitlines():
        if match := re.match(r"( *)(\w+)/ ", line + " "):
            depth = len(match[1])
            above = max((other for other in found if other < depth), default=None)
            found = {other: path for other, path in found.items() if other < depth}
            found[depth] = (found[above] if above is not None else ROOT) / match[2]
            paths.add(found[depth])
    return {path for path in paths if path.is_relative_to(PACKAGE) and path != PACKAGE}


def test_the_map_has_every_room_and_no_other() -> None:
    """Every package is on the map, and every directory on the map is there."""
    assert [path for path in PACKAGES if path not in rooms()] == []
    assert [path for path in rooms() if not path.is_dir()] == []


@pytest.mark.parametrize("title", ["Layout", "Where to make a change"])
def test_what_is_named_exists(title: str) -> None:
    """Every module on the map stands in the room beside it, and every file of a change is there."""
    names = re.findall(r"\b\w+\.py\b", section(title)) if title == "Layout" else []
    modules = {path.name for path in PACKAGE.rglob("*.py")}
    paths = [path for path in re.findall(r"`([^`\s]+)`", section(title)) if "/" in path or path.endswith(".md")]
    assert names or len(paths) >= 10
    assert [name for name in names if name not in modules] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_room_says_what_may_live_in_it(package: Path) -> None:
    """Its first lines do, and nothing else is in them."""
    body = ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(body[0], ast.Expr)
    assert len(body) == 1 or package in DOES_SOMETHING
