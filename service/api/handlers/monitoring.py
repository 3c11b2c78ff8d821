"""Handlers for monitoring: liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from service.api import answers
from service.api.context import Question
from service.api.parameters import Anything, Options
from service.errors import NotReadyError
from service.model.storage.snapshot import resident_bytes


class Alive(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True):
    """A model is served."""

    status: Literal["ready"] = "ready"


_ALIVE, _READY = answers.encode(Alive()), answers.encode(Ready())


async def alive(_: Question[None, Options]) -> web.Response:
    """Check that the process is alive.

    200 while the event loop runs, whether or not a model is served.
    """
    return web.Response(body=_ALIVE, content_type=answers.CONTENT_TYPE)


async def ready(question: Question[None, Options]) -> web.Response:
    """Check that the server is ready for requests.

    200 while a model is served, even during and after a failed reload; 503 before that, and while the server drains.
    """
    if question.context.lifecycle.draining:
        raise NotReadyError("The server is stopping; send new requests elsewhere.")
    question.context.generation()
    return web.Response(body=_READY, content_type=answers.CONTENT_TYPE)


async def metrics(question: Question[None, Anything]) -> web.StreamResponse:
    """Get the metrics.

    In the Prometheus text format or as OpenMetrics, whichever the client prefers.
    """
    registered, generation = question.context.metrics, question.context.live.slot.current
    if generation is not None:
        # In a thread, because the kernel needs a while to check every page of a large model.
        registered.model_resident_bytes.set(await asyncio.to_thread(resident_bytes, generation.snapshot))
    return await make_aiohttp_handler(registered.registry)(question.request)
