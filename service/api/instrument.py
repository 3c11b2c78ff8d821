"""The wrapper around every handler: a request id, a problem document for every error, metrics and the access log."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from typing import Any, NoReturn, TypeAlias

from aiohttp import hdrs, web
from multidict import istr

from service.api import problems
from service.api.answers import MODEL_VERSION
from service.api.context import Context, Handler, Ids
from service.api.hosts import host_check
from service.errors import AlsServeError, EncodedBodyError
from service.observe.logs import current_arm, current_request, log_event
from service.observe.metrics import SERVED, Metrics
from service.observe.tallies import Count, Distribution

#: Answers a request, with the ids in its path.
Instrumented: TypeAlias = Callable[[web.BaseRequest, Ids], Awaitable[web.StreamResponse]]

REQUEST_ID = istr("X-Request-Id")
#: The ``status`` of a request whose client disconnected before the answer.
CLIENT_GONE = 499

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MAX_ID_LENGTH = 128
# A generated id is a random prefix of this process and a counter, which is cheaper than randomness for each request.
_PROCESS = os.urandom(4).hex()
_requests = itertools.count(1)


class Instrument:
    """Wraps the handlers of one app.

    ``access_log`` is the share of requests that it logs. ``allowed_hosts``: see :func:`~service.api.hosts.host_check`.

    Not a middleware, because aiohttp wraps each one in several calls, which every request would pay for.
    """

    def __init__(self, context: Context, access_log: float, allowed_hosts: str | None = None) -> None:
        self._context = context
        self._access_log = access_log
        self._allowed_hosts = allowed_hosts
        context.metrics.requests_in_flight.set_function(lambda: context.lifecycle.in_flight)

    def wrap(self, route: str, handler: Handler) -> Instrumented:
        """Return the handler for the router; logs and metrics name its ``route``, never a path with ids."""
        context, access_log, numbers = self._context, self._access_log, RequestNumbers(self._context.metrics, route)
        lifecycle, check_host = context.lifecycle, host_check(self._allowed_hosts, route)

        @wraps(handler)
        async def answer(request: web.BaseRequest, ids: Ids) -> web.StreamResponse:
            started = perf_counter()
            request_id = _request_id(request)
            lifecycle.in_flight += 1
            connection = request.protocol
            lifecycle.busy.add(connection)
            response = None
            current_request.set(request_id)  # until the answer is sent, or the connection's next request
            try:
                if check_host:
                    check_host(request)
                if hdrs.CONTENT_ENCODING in request.headers:
                    _refuse_encoding()
                response = await handler(request, context, ids)
            except Exception as error:  # a client gets a problem document, never a stack trace
                response = _problem(error, request.method, route, request_id)
            finally:
                lifecycle.in_flight -= 1
                lifecycle.busy.discard(connection)
                seconds = perf_counter() - started
                status = CLIENT_GONE if response is None else response.status
                arm = current_arm.get()  # only set while there is a candidate
                numbers.count(request.method, status, arm or SERVED, seconds)
                if access_log and random.random() < access_log:  # noqa: S311 - a sample, not a secret
                    _log_access(request, context, route, response, status, seconds)
            response.headers[REQUEST_ID] = request_id
            if lifecycle.draining:
                response.force_close()
            return response

        return answer

    def refuse_unreadable(self, route: str, error: Exception) -> web.StreamResponse:
        """Answer what cannot be read as a request, and count it; it has no method that is known."""
        request_id = f"{_PROCESS}{next(_requests):08x}"
        response = problems.unreadable(error, request_id)
        response.headers[REQUEST_ID] = request_id
        RequestNumbers(self._context.metrics, route).count("", response.status, SERVED, 0.0)
        return response


def _refuse_encoding() -> NoReturn:
    raise EncodedBodyError("A body with a Content-Encoding is not accepted; send it unencoded, without that header.")


def _problem(error: Exception, method: str, route: str, request_id: str) -> web.StreamResponse:
    if isinstance(error, web.HTTPException):
        return problems.from_http(error, method, request_id)
    if isinstance(error, AlsServeError) and type(error) in problems.HTTP_STATUS:
        return problems.from_error(error, request_id)
    # Unexpected errors are logged here and never shown to clients.
    log_event("request_failed", exc_info=True, route=route, request_id=request_id)
    return problems.unexpected(request_id)


def _log_access(
    request: web.BaseRequest,
    context: Context,
    route: str,
    response: web.StreamResponse | None,
    status: int,
    seconds: float,
) -> None:
    facts: dict[str, Any] = {"method": request.method, "route": route, "status": status, "seconds": seconds}
    if context.access:
        facts["token"] = context.access.holder_of(request).name
    if response is not None and MODEL_VERSION in response.headers:
        facts["model_version"] = response.headers[MODEL_VERSION]
    log_event("request", request_id=current_request.get(), **facts)


def _request_id(request: web.BaseRequest) -> str:
    """Return the client's id if it is 1 to 128 printable ASCII characters, else a new one."""
    given = request.headers.get(REQUEST_ID, "")
    if 0 < len(given) <= _MAX_ID_LENGTH and given.isascii() and given.isprintable():
        return given
    return f"{_PROCESS}{next(_requests):08x}"


class RequestNumbers:
    """The metrics of one route's requests; the labelled metrics of a method, status and arm are looked up once."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        self._metrics = metrics
        self._route = route
        self._children: dict[tuple[str, int, str], tuple[Count, Distribution]] = {}

    def count(self, method: str, status: int, arm: str, seconds: float) -> None:
        """Count one request."""
        key = method if method in _METHODS else "OTHER", status, arm
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self._look_up(*key)
        requests, duration = children
        requests.inc()
        duration.observe(seconds)

    def _look_up(self, method: str, status: int, arm: str) -> tuple[Count, Distribution]:
        labels = self._route, method, str(status), arm
        return self._metrics.requests.labels(*labels), self._metrics.request_seconds.labels(*labels)
