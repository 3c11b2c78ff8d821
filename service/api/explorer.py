"""The explorer: one page over the public API, whose files are read once at the start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ETag, hdrs, web

DIRECTORY = Path(__file__).parent.parent / "explorer"
PAGE = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: The names of the page's files.
FILES = sorted(path.name for path in DIRECTORY.iterdir() if path.suffix in _TYPES)
#: Whatever an id or a title may hold, nothing but the page's own files is run, shown or asked.
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


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: ETag


class Explorer:
    """The files of a directory, as answers."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._files = {path.name: _read(path) for path in directory.iterdir() if path.suffix in _TYPES}

    async def page(self, request: web.Request) -> web.Response:
        """Show the explorer.

        A page to look at users, items and the model. Nothing is fetched from anywhere else.
        """
        return self._answer(request, PAGE)

    async def file(self, request: web.Request) -> web.Response:
        """Give a file of the page at /."""
        return self._answer(request, request.match_info["file"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound
        response = web.Response(headers=_HEADERS)
        response.etag = found.etag
        if found.etag in (request.if_none_match or ()):
            response.set_status(304)
        else:
            response.body, response.headers[hdrs.CONTENT_TYPE] = found.body, found.content_type
        return response


def _read(path: Path) -> _File:
    body = path.read_bytes()
    return _File(body, _TYPES[path.suffix], ETag(hashlib.sha256(body).hexdigest()[:16]))
