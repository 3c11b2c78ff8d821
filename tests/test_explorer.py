from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.api.explorer import DIRECTORY
from tests.models import make_factors
from tests.serving import make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
FILES = sorted(path.name for path in DIRECTORY.iterdir())
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.mark.parametrize("path", ["/", *(f"/explorer/{name}" for name in FILES)])
async def test_the_page_and_its_files_are_served(path: str) -> None:
    """Each is what lies there, of its type, under the strict policy, also while there is no model."""
    async with serving(None) as api:
        answer = await api.get(path)
    file = DIRECTORY / (path.removeprefix("/explorer/") if path != "/" else "index.html")
    assert (answer.status, answer.body) == (200, file.read_bytes())
    assert answer.headers["Content-Type"].split(";")[0] == TYPES[file.suffix]
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_what_a_browser_has_is_not_sent_again() -> None:
    """It asks each time, so a new server has a new page, and is answered with 304 and nothing else."""
    async with serving(SNAPSHOT) as api:
        first = await api.get("/")
        assert first.headers["Cache-Control"] == "no-cache"
        again = await api.get("/", If_None_Match=first.headers["ETag"])
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert (await api.get("/", If_None_Match='"another"')).status == 200
        assert (await api.request("HEAD", "/")).status == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fapp.py", "%2e%2e%2fapi%2fexplorer.py", "index"])
async def test_nothing_else_is_served(name: str) -> None:
    """What is no file of the page is a 404 as everywhere, wherever its name may lead."""
    async with serving(SNAPSHOT) as api:
        answer = await api.get(f"/explorer/{name}")
    assert (answer.status, answer.json["code"]) == (404, "no_such_path")


def test_every_file_is_used_and_there() -> None:
    """What the page and its modules name lies there, nothing lies there for nothing, and nothing is from elsewhere."""
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
    """Whoever installs the package has the explorer too."""
    root = DIRECTORY.parent.parent
    build = f"import flit_core.buildapi as build; print(build.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=root, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(tmp_path / done.stdout.strip()) as wheel:
        packed = {name.removeprefix("service/explorer/") for name in wheel.namelist() if "/explorer/" in name}
    assert packed == set(FILES)
