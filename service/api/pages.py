"""What stays as it is while the server runs: the explorer at /, the API's document, and the page at /docs.

All of it is read once, at the start. The paths are fixed: no request names a file of the disk.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from aiohttp import web

from service.api.answers import CONTENT_TYPE
from service.api.content import Content
from service.api.parameters import query_of
from service.api.shared import Shared

_SERVICE = Path(__file__).parent.parent
_REFERENCE = _SERVICE / "reference"
# A plugin for MkDocs, because it is a maintained package that brings Swagger UI, without MkDocs or a web framework.
_SWAGGER_UI = Path(str(files("mkdocs_swagger_ui_tag"))) / "swagger-ui"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: What the explorer is made of, by the names of /explorer/{file}.
EXPLORER_FILES = {path.name: path for path in (_SERVICE / "explorer").iterdir() if path.suffix in _TYPES}
#: What the page at /docs is made of, by the names of /docs/{file}.
REFERENCE_FILES = {
    "start.js": _REFERENCE / "start.js",
    "page.css": _REFERENCE / "page.css",
    "swagger-ui.js": _SWAGGER_UI / "javascripts" / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER_UI / "stylesheets" / "swagger-ui.css",
}


def read_pages(document: bytes) -> dict[str, Content]:
    """Return what each path gives; ``document`` is the API's, as JSON."""
    paths = {"/": EXPLORER_FILES["index.html"], "/docs": _REFERENCE / "index.html"}
    paths |= {f"/explorer/{name}": path for name, path in EXPLORER_FILES.items()}
    paths |= {f"/docs/{name}": path for name, path in REFERENCE_FILES.items()}
    pages = {at: Content(path.read_bytes(), _TYPES[path.suffix]) for at, path in paths.items()}
    return pages | {"/openapi.json": Content(document, CONTENT_TYPE)}


async def explorer(request: web.Request, shared: Shared) -> web.Response:
    """Show the explorer.

    A page to look at users, items and the model. Nothing is fetched from anywhere else.
    """
    return _answer(request, shared)


async def explorer_file(request: web.Request, shared: Shared) -> web.Response:
    """Give a file of the page at /."""
    return _answer(request, shared)


async def document(request: web.Request, shared: Shared) -> web.Response:
    """Give this document.

    It is made of the types that parse requests and encode answers, with this server's own limits.
    """
    query_of(request)
    return _answer(request, shared)


async def reference(request: web.Request, shared: Shared) -> web.Response:
    """Show this document to people.

    With Swagger UI, which also sends requests to this server. Nothing is fetched from anywhere else.
    """
    query_of(request)
    return _answer(request, shared)


async def reference_file(request: web.Request, shared: Shared) -> web.Response:
    """Give a file of the page at /docs."""
    query_of(request)
    return _answer(request, shared)


def _answer(request: web.Request, shared: Shared) -> web.Response:
    page = shared.pages.get(request.path)
    if page is None:
        raise web.HTTPNotFound
    return page.answer(request)
