"""Static content: the explorer at /, the API's document, and the page at /docs.

It is read once, at the start, and clients may cache it. The paths are fixed: a request cannot name a file on disk.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

from aiohttp import ETag, hdrs, web

from service.api.answers import CONTENT_TYPE
from service.api.sending import NO_SNIFFING

_SERVICE = Path(__file__).parent.parent
_REFERENCE = _SERVICE / "reference"
# This MkDocs plugin is a maintained package that ships Swagger UI and needs neither MkDocs nor a web framework.
_SWAGGER_UI = Path(str(files("mkdocs_swagger_ui_tag"))) / "swagger-ui"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: The explorer's files, by the names of /explorer/{file}.
EXPLORER_FILES = {path.name: path for path in (_SERVICE / "explorer").iterdir() if path.suffix in _TYPES}
#: The files of the page at /docs, by the names of /docs/{file}.
REFERENCE_FILES = {
    "start.js": _REFERENCE / "start.js",
    "page.css": _REFERENCE / "page.css",
    "swagger-ui.js": _SWAGGER_UI / "javascripts" / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER_UI / "stylesheets" / "swagger-ui.css",
}

#: Whatever ids or titles contain, a page only runs, shows and requests its own files. Icons are data URLs in styles.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    **NO_SNIFFING,
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-cache",  # revalidated each time (304), because a new server may have a new page
}


class Content:
    """An answer whose body never changes."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._headers = _HEADERS | {hdrs.CONTENT_TYPE: content_type}
        self._etag = ETag(hashlib.sha256(body).hexdigest()[:16])

    def answer(self, request: web.BaseRequest) -> web.Response:
        """Return the body, or 304 if the client has it."""
        if self._is_known_to(request):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=self._body, headers=self._headers)
        response.etag = self._etag
        return response

    def _is_known_to(self, request: web.BaseRequest) -> bool:
        # Weak tags match too: a proxy that compresses an answer makes its tag weak.
        return any(known.value in (self._etag.value, "*") for known in request.if_none_match or ())


def read_pages(document: bytes) -> dict[str, Content]:
    """Return the content of each path; ``document`` is the API's, as JSON."""
    paths = {"/": EXPLORER_FILES["index.html"], "/docs": _REFERENCE / "index.html"}
    paths |= {f"/explorer/{name}": path for name, path in EXPLORER_FILES.items()}
    paths |= {f"/docs/{name}": path for name, path in REFERENCE_FILES.items()}
    pages = {at: Content(path.read_bytes(), _TYPES[path.suffix]) for at, path in paths.items()}
    return pages | {"/openapi.json": Content(document, CONTENT_TYPE)}
