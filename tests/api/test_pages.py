"""The pages and the document: served once, and only to clients that do not have them yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import service
from service.api.static import REFERENCE_FILES
from tests.support.models import make_factors
from tests.support.serving import make_snapshot, serving

SERVICE = Path(service.__file__).parent
SNAPSHOT = make_snapshot(make_factors())
FILES = {
    "/": SERVICE / "explorer" / "index.html",
    **{f"/explorer/{path.name}": path for path in sorted((SERVICE / "explorer").iterdir())},
    "/docs": SERVICE / "reference" / "index.html",
    **{f"/docs/{name}": path for name, path in REFERENCE_FILES.items()},
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: One of each kind.
PATHS = ["/", "/explorer/app.js", "/docs", "/docs/start.js", "/docs/swagger-ui.js", "/openapi.json"]


@pytest.mark.parametrize("path", FILES)
async def test_the_pages_and_their_files_are_served(path: str) -> None:
    """Each is what lies there, of its type, under the strict policy, also while there is no model."""
    async with serving(None) as api:
        answer = await api.get(path)
    assert (answer.status, answer.body) == (200, FILES[path].read_bytes())
    assert answer.headers["Content-Type"].split(";")[0] == TYPES[FILES[path].suffix]
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", PATHS)
async def test_what_a_browser_has_is_not_sent_again(path: str) -> None:
    """It asks each time, so a new server has a new page, and is answered with 304 and nothing else."""
    async with serving(SNAPSHOT) as api:
        first = await api.get(path)
        again = await api.get(path, If_None_Match=first.headers["ETag"])
        changed = await api.get(path, If_None_Match='"another"')
        head = await api.request("HEAD", path)
    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (changed.status, changed.body) == (200, first.body)
    assert (head.status, head.headers["ETag"], head.headers["Content-Length"]) == (
        200,
        first.headers["ETag"],
        str(len(first.body)),
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", ["W/{etag}", '"another", W/{etag}', "*"])
async def test_a_tag_that_a_proxy_made_weak_is_still_known(path: str, known: str) -> None:
    """A proxy that compresses makes tags weak, and a client may say that anything will do."""
    async with serving(SNAPSHOT) as api:
        etag = (await api.get(path)).headers["ETag"]
        again = await api.get(path, If_None_Match=known.format(etag=etag))
        changed = await api.get(path, If_None_Match='W/"another"')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert changed.status == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_that_is_not_sent_again_counts_as_such(path: str) -> None:
    """The numbers have the status that the client got."""
    async with serving(SNAPSHOT) as api:
        etag = (await api.get(path)).headers["ETag"]
        await api.get(path, If_None_Match=etag)
        for status in ("200", "304"):
            labels = {"route": path, "method": "GET", "status": status, "arm": "served"}
            assert api.metrics.registry.get_sample_value("als_http_requests_total", labels) == 1, status


@pytest.mark.parametrize(
    "path",
    [
        *(f"/explorer/{name}" for name in ("nothing.js", "..%2Fapp.py", "%2e%2e%2fapi%2fpages.py", "index")),
        *(f"/docs/{name}" for name in ("..%2Findex.html", "index.html", "swagger-ui-bundle.js", "%2Fetc%2Fpasswd")),
    ],
)
async def test_nothing_else_is_served(path: str) -> None:
    """An unknown file of a page is a 404, whatever its name."""
    async with serving(SNAPSHOT) as api:
        answer = await api.get(path)
    assert (answer.status, answer.json["code"]) == (404, "no_such_path")


def test_the_page_costs_no_import() -> None:
    """Of the package that brings Swagger UI only files are used: nothing that it would import is loaded."""
    program = (
        "import sys, service.app;"
        "print([name for name in sys.modules if name.startswith(('bs4', 'mkdocs_swagger_ui_tag.', 'jinja2', 'flask'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert loaded.stdout == "[]\n"
