"""The explorer's files."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

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


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    """The package includes the explorer."""
    root = DIRECTORY.parent.parent
    build = f"import flit_core.buildapi as build; print(build.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=root, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(tmp_path / done.stdout.strip()) as wheel:
        packed = {name.removeprefix("service/explorer/") for name in wheel.namelist() if "/explorer/" in name}
    assert packed == {path.name for path in DIRECTORY.iterdir()}
