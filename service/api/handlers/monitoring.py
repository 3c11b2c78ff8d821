"""Whether the process is alive, whether it should be given requests, and its numbers."""

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
    """Say that the process is alive.

    200 while the event loop turns, whether or not a model is served.
    """
    return web.Response(body=_ALIVE, content_type=answers.CONTENT_TYPE)


async def ready(question: Question[None, Options]) -> web.Response:
    """Say whether to send requests here.

    200 while a model is served, also during and after failed reloads; 503 before, and while the server drains.
    """
    if question.context.lifecycle.draining:
        raise NotReadyError("The server is about to stop; send new requests elsewhere.")
    question.context.generation()
    return web.Response(body=_READY, content_type=answers.CONTENT_TYPE)


async def metrics(question: Question[None, Anything]) -> web.StreamResponse:
    """Give all metrics to Prometheus.

    In the form that the client prefers: text, or OpenMetrics.
    """
    registered, generation = question.context.metrics, question.context.live.slot.current
    if generation is not None:
        # In a thread: for a large model the kernel takes a while to look at every page.
        registered.model_resident_bytes.set(await asyncio.to_thread(resident_bytes, generation.snapshot))
    return await make_aiohttp_handler(registered.registry)(question.request)
