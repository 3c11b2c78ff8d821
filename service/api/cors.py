"""Cross-origin requests (CORS): which pages of other origins may read the API's answers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps

from aiohttp import hdrs, web

from service.api.answers import MODEL_VERSION
from service.api.context import Ids
from service.api.instrument import REQUEST_ID, Instrumented
from service.api.sending import WholeResponse

#: Any origin. No answer depends on cookies, and browsers do not send them then.
ANY = "*"
_ACCEPTED = f"{hdrs.AUTHORIZATION}, {hdrs.CONTENT_TYPE}, {REQUEST_ID}"
_EXPOSED = f"{REQUEST_ID}, {MODEL_VERSION}, {hdrs.RETRY_AFTER}"
_MAX_AGE_SECONDS = 7200  # browsers remember a preflight no longer


def read_origins(text: str | None) -> frozenset[str]:
    """Return the origins of a comma-separated list, as browsers write them."""
    return frozenset(filter(None, (text or "").lower().split(",")))


def allowing(origins: frozenset[str], handler: Instrumented) -> Instrumented:
    """Return the handler, with leave for these origins to read its answers; without origins, the handler itself."""
    if not origins:
        return handler

    @wraps(handler)
    async def answer(request: web.BaseRequest, ids: Ids) -> web.StreamResponse:
        response = await handler(request, ids)
        origin = request.headers.get(hdrs.ORIGIN, "")
        if ANY in origins or origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if ANY in origins else origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        if ANY not in origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        return response

    return answer


def preflight(methods: Iterable[str]) -> WholeResponse:
    """Return the answer to a preflight for a path with these methods."""
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ACCEPTED,
        hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_SECONDS),
    }
    return WholeResponse(b"", "text/plain", headers=headers)
