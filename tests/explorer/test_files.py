"""The explorer's files."""

from __future__ import annotations

import re

from service.api.static import EXPLORER_FILES

DIRECTORY = EXPLORER_FILES["index.html"].parent


def test_every_file_is_used_and_there() -> None:
    """Every file that the page and its modules name exists, every file is used, and nothing comes from other hosts."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.iterdir()}
    named = set(re.findall(r'"(?:explorer|\.)/([\w.]+)"', "".join(texts.values())))
    assert named == texts.keys() - {"index.html"}
    addresses = set(re.findall(r"https?://[\w./]+", "".join(texts.values())))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_nothing_writes_markup() -> None:
    """Data becomes text by way of text nodes and attributes; no module has a way to make markup or code of it."""
    ways = r"(inner|outer)HTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|new Function|Contextual"
    for script in DIRECTORY.glob("*.js"):
        assert not re.search(ways, script.read_text(encoding="utf-8")), script.name
