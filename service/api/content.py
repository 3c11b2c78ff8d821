"""What never changes while the server runs, as an answer that clients keep."""

from __future__ import annotations

import hashlib

from aiohttp import ETag, hdrs, web

#: Whatever an id or a title may hold, nothing but a page's own files is run, shown or asked. Icons are data in styles.
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


class Content:
    """A body that never changes, as an answer."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._headers = _HEADERS | {hdrs.CONTENT_TYPE: content_type}
        self._etag = ETag(hashlib.sha256(body).hexdigest()[:16])

    def answer(self, request: web.Request) -> web.Response:
        """Give the body, or 304 to a client that has it."""
        if self._is_known_to(request):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=self._body, headers=self._headers)
        response.etag = self._etag
        return response

    def _is_known_to(self, request: web.Request) -> bool:
        # Weak tags count: a proxy that compresses an answer makes its tag weak.
        return any(known.value in (self._etag.value, "*") for known in request.if_none_match or ())
