"""Errors as problem documents (RFC 9457): the shape of every answer with a status of 400 and above.

``type`` is the URI reference ``/problems/<code>``: a stable name for the kind of problem, relative to the server.
``title`` is the status phrase, ``code`` is for machines, ``detail`` for people.

Bytes that are not an HTTP request, or a too long one, get such an answer, too.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from service.api.sending import WholeResponse
from service.errors import (
    AlsServeError,
    BadBodyError,
    BadFilterError,
    BadParameterError,
    BodyTooLargeError,
    EncodedBodyError,
    InsufficientScopeError,
    InvalidBodyError,
    InvalidTokenError,
    LimitedModelError,
    MisdirectedError,
    NoSeenItemsError,
    NoTokenError,
    NotReadyError,
    OutOfResourcesError,
    OverloadedError,
    PinnedError,
    QuarantinedError,
    RequestTimeoutError,
    StateDirectoryError,
    UnknownItemError,
    UnknownUserError,
    UnknownVersionError,
    UnsupportedMediaTypeError,
    VersionGoneError,
)

#: The status of each error that a request can cause.
HTTP_STATUS: dict[type[AlsServeError], int] = {
    BadParameterError: 400,
    BadBodyError: 400,
    BadFilterError: 400,
    NoTokenError: 401,
    InvalidTokenError: 401,
    InsufficientScopeError: 403,
    UnknownUserError: 404,
    UnknownItemError: 404,
    NoSeenItemsError: 404,
    UnknownVersionError: 404,
    RequestTimeoutError: 408,
    PinnedError: 409,
    QuarantinedError: 409,
    VersionGoneError: 410,
    BodyTooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    EncodedBodyError: 415,
    MisdirectedError: 421,
    InvalidBodyError: 422,
    NotReadyError: 503,
    LimitedModelError: 503,
    OverloadedError: 503,
    StateDirectoryError: 503,
    OutOfResourcesError: 503,
}

CONTENT_TYPE = "application/problem+json"
NO_SUCH_PATH = "no_such_path"
#: Seconds after which a client may retry after a 503.
RETRY_AFTER = "1"

#: What the client should send instead (RFC 6750, section 3).
CHALLENGES: dict[type[AlsServeError], str] = {
    NoTokenError: 'Bearer realm="als-serve"',
    InvalidTokenError: 'Bearer realm="als-serve", error="invalid_token"',
    InsufficientScopeError: 'Bearer realm="als-serve", error="insufficient_scope"',
}

_API_PATHS = (
    "GET /v1/users/{user}/recommendations, /similar, /scores, /items and /explanations/{item}; "
    "GET /v1/users, /v1/items, /v1/items/popular, /v1/items/{item}, /v1/items/{item}/similar and "
    "/v1/items/{item}/users; "
    "POST /v1/users/{user}/recommendations, /v1/recommendations and /v1/recommendations/anonymous; "
    "GET /v1/model, /healthz, /readyz and /metrics; GET /openapi.json; and the pages GET / (with /explorer/{file}) "
    "and GET /docs (with /docs/{file})"
)
_NOT_FOUND = (
    f"There is nothing at this path; the API has {_API_PATHS}. Write a slash within an id as %2F, or send the id in "
    "the body of a POST."
)
_TOO_LONG = "The URL or a header is longer than 8190 bytes; send long lists of ids in the body of a POST."
_NOT_HTTP = "This is not a valid HTTP/1.1 request; percent-encode its URL, and speak HTTP without TLS at this port."
UNEXPECTED = "The server failed because of an internal error; its log says more under this request_id."


class Problem(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def from_error(error: AlsServeError, request_id: str) -> WholeResponse:
    """Answer an error raised on purpose, with its message."""
    status = HTTP_STATUS[type(error)]
    response = problem(status, error.code, str(error), request_id)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers[hdrs.RETRY_AFTER] = RETRY_AFTER
    if type(error) in CHALLENGES:
        response.headers[hdrs.WWW_AUTHENTICATE] = CHALLENGES[type(error)]
    if isinstance(error, RequestTimeoutError | EncodedBodyError):
        response.force_close()
    if isinstance(error, EncodedBodyError):
        response.headers[hdrs.ACCEPT_ENCODING] = "identity"  # RFC 7694, section 3
    return response


def from_http(error: web.HTTPException, method: str, request_id: str) -> WholeResponse:
    """Answer an error raised by aiohttp: an unknown path, a method that is not allowed there, and the like."""
    response = problem(error.status, _code(error), _detail(error, method), request_id)
    if hdrs.ALLOW in error.headers:
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response


def unreadable(error: Exception, request_id: str) -> WholeResponse:
    """Answer what cannot be read as a request; the connection closes, because the next one may begin anywhere."""
    status, detail = (431, _TOO_LONG) if isinstance(error, LineTooLong) else (400, _NOT_HTTP)
    response = problem(status, HTTPStatus(status).name.lower(), detail, request_id)
    response.force_close()
    return response


def unexpected(request_id: str) -> WholeResponse:
    """Answer an unexpected error; its details are only in the log."""
    return problem(500, AlsServeError.code, UNEXPECTED, request_id)


def problem(status: int, code: str, detail: str, request_id: str) -> WholeResponse:
    """Return the answer for a problem."""
    body = msgspec.json.encode(document(status, code, detail, request_id))
    return WholeResponse(body, CONTENT_TYPE, status=status)


def document(status: int, code: str, detail: str, request_id: str) -> Problem:
    """Return the body for a problem."""
    return Problem(f"/problems/{code}", HTTPStatus(status).phrase, status, detail, code, request_id)


def _code(error: web.HTTPException) -> str:
    if error.status == HTTPStatus.NOT_FOUND:
        return NO_SUCH_PATH
    return HTTPStatus(error.status).name.lower()


def _detail(error: web.HTTPException, method: str) -> str:
    if error.status == HTTPStatus.NOT_FOUND:
        return _NOT_FOUND
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{method} is not allowed here; allowed: {', '.join(sorted(error.allowed_methods))}."
    return f"{HTTPStatus(error.status).description or error.reason}."
