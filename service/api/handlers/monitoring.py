"""Handlers for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import hdrs, web

from service.api import answers
from service.api.context import Question
from service.api.parameters import Anything, Options
from service.api.sending import NO_SNIFFING, WholeResponse
from service.errors import NotReadyError


class Alive(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True):
    """A model is served."""

    status: Literal["ready"] = "ready"


_ALIVE, _READY = answers.encode(Alive()), answers.encode(Ready())


async def alive(_: Question[None, Options]) -> web.StreamResponse:
    """Check that the process is alive.

    200 while the event loop runs, whether or not a model is served.
    """
    return WholeResponse(_ALIVE, answers.CONTENT_TYPE)


async def ready(question: Question[None, Options]) -> web.StreamResponse:
    """Check that the server is ready for requests.

    200 while a model is served, even during and after a failed reload; 503 before that, and while the server drains.
    """
    if question.context.lifecycle.draining:
        raise NotReadyError("The server is stopping; send new requests elsewhere.")
    question.context.generation()
    if not question.context.lifecycle.answering:
        raise NotReadyError("No worker is answering requests; the log says how the workers ended.")
    return WholeResponse(_READY, answers.CONTENT_TYPE)


async def metrics(question: Question[None, Anything]) -> web.StreamResponse:
    """Get the metrics.

    In the Prometheus text format or as OpenMetrics, whichever the client prefers.
    """
    request = question.request
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    found = await question.context.scrape(accept, request.query.getall("name[]", []))
    response = web.Response(body=found.body, headers={hdrs.CONTENT_TYPE: found.content_type} | NO_SNIFFING)
    response.enable_compression()
    return response
