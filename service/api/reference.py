"""The API's document at /openapi.json, and the page at /docs that shows it: Swagger UI, from this server alone."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from aiohttp import ETag, hdrs, web

from service.api.keys import DOCUMENT
from service.api.parameters import query_of

_OURS = Path(__file__).parent.parent / "reference"
_PAGE = _OURS / "index.html"
# A plugin for MkDocs, because it is a maintained package that brings Swagger UI, without MkDocs or a web framework.
_SWAGGER_UI = Path(str(files("mkdocs_swagger_ui_tag"))) / "swagger-ui"

#: What the page is made of. The paths are fixed: no request names a file of the disk.
FILES = {
    "start.js": _OURS / "start.js",
    "page.css": _OURS / "page.css",
    "swagger-ui.js": _SWAGGER_UI / "javascripts" / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER_UI / "stylesheets" / "swagger-ui.css",
}

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
# Swagger UI has its icons as data in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-cache",  # asked for each time, and answered with 304: a new server has a new page
}


async def document(request: web.Request) -> web.Response:
    """Give this document.

    It is made of the types that parse requests and encode answers, with this server's own limits.
    """
    query_of(request)
    body = request.app[DOCUMENT]
    etag = ETag(hashlib.sha256(body).hexdigest()[:16])
    if etag in (request.if_none_match or ()):
        response = web.Response(status=304)
    else:
        response = web.Response(body=body, content_type="application/json")
    response.etag = etag
    return response


async def page(request: web.Request) -> web.FileResponse:
    """Show this document to people.

    With Swagger UI, which also sends requests to this server. Nothing is fetched from anywhere else.
    """
    query_of(request)
    return _answer(_PAGE)


async def file(request: web.Request) -> web.FileResponse:
    """Give a file of the page at /docs."""
    query_of(request)
    path = FILES.get(request.match_info["file"])
    if path is None:
        raise web.HTTPNotFound
    return _answer(path)


def _answer(path: Path) -> web.FileResponse:
    return web.FileResponse(path, headers={**_HEADERS, hdrs.CONTENT_TYPE: _TYPES[path.suffix]})
