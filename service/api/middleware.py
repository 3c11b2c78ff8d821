"""What happens to every request, around its handler: an id, a problem document for every error, and numbers."""

from __future__ import annotations

import itertools
import os
import random
from time import perf_counter
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from service.api import problems
from service.api.answers import MODEL_VERSION
from service.api.keys import Lifecycle
from service.errors import HTTP_STATUS, AlsServeError
from service.logs import current_request, log_event
from service.metrics import Metrics
from service.tallies import Count, Distribution

REQUEST_ID = istr("X-Request-Id")
#: The ``route`` of a request whose path or method is none of ours, so that clients cannot make up labels.
UNMATCHED = "unmatched"
#: The ``status`` of a request whose client went away before its answer.
CLIENT_GONE = 499

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MAX_ID_LENGTH = 128
# A made-up id is this process's own mark and a number: asking the system for randomness each time costs more.
_PROCESS = os.urandom(4).hex()
_requests = itertools.count(1)


def around_every_request(metrics: Metrics, lifecycle: Lifecycle, access_log: float) -> Middleware:
    """Make the one middleware of an app; ``access_log`` is the share of requests that it logs."""
    numbers = RequestNumbers(metrics)
    metrics.requests_in_flight.set_function(lambda: lifecycle.in_flight)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        request_id = _request_id(request)
        lifecycle.in_flight += 1
        response, status = None, CLIENT_GONE
        current_request.set(request_id)  # to the end of its sending, or the connection's next request
        try:
            response = await _answer(request, handler, request_id)
            status = response.status
        finally:
            lifecycle.in_flight -= 1
            seconds = perf_counter() - started
            numbers.count(request.match_info.route.resource, request.method, status, seconds)
            if access_log and random.random() < access_log:  # noqa: S311 - a sample, no secret
                _log_access(request, response, status, seconds)
        response.headers[REQUEST_ID] = request_id
        if lifecycle.draining:
            response.force_close()
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler, request_id: str) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return problems.from_http(error, request.method, request_id)
    except Exception as error:  # whatever nobody foresaw is logged here, and no client sees it
        if isinstance(error, AlsServeError) and type(error) in HTTP_STATUS:
            return problems.from_error(error, request_id)
        log_event("request_failed", exc_info=True, route=_route(request), request_id=request_id)
        return problems.unexpected(request_id)


def _log_access(request: web.Request, response: web.StreamResponse | None, status: int, seconds: float) -> None:
    """Log one request by its template: its path has ids of users."""
    facts: dict[str, Any] = {"method": request.method, "route": _route(request), "status": status, "seconds": seconds}
    if response is not None and MODEL_VERSION in response.headers:
        facts["model_version"] = response.headers[MODEL_VERSION]
    log_event("request", request_id=current_request.get(), **facts)


def _request_id(request: web.Request) -> str:
    """Return the id that the client gave, where it is 1 to 128 printable ASCII characters, or a new one."""
    given = request.headers.get(REQUEST_ID, "")
    if 0 < len(given) <= _MAX_ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return f"{_PROCESS}{next(_requests):08x}"


def _route(request: web.Request) -> str:
    return _label(request.match_info.route.resource)


def _label(resource: web.AbstractResource | None) -> str:
    return UNMATCHED if resource is None else resource.canonical


class RequestNumbers:
    """The metrics of requests; the children for a combination of labels are looked up once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._children: dict[tuple[web.AbstractResource | None, str, int], tuple[Count, Distribution]] = {}

    def count(self, resource: web.AbstractResource | None, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = resource, method if method in _METHODS else "OTHER", status
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self._look_up(*key)
        requests, duration = children
        requests.inc()
        duration.observe(seconds)

    def _look_up(self, resource: web.AbstractResource | None, method: str, status: int) -> tuple[Count, Distribution]:
        labels = _label(resource), method, str(status)
        return self._metrics.requests.labels(*labels), self._metrics.request_seconds.labels(*labels)
