"""The numbers themselves, for Prometheus."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from service.api.shared import Shared
from service.model.storage.snapshot import resident_bytes


async def exposition(request: web.Request, shared: Shared) -> web.StreamResponse:
    """Give all metrics to Prometheus.

    In the form that the client prefers: text, or OpenMetrics.
    """
    metrics, snapshot = shared.metrics, shared.store.current
    if snapshot is not None:
        # In a thread: for a large model the kernel takes a while to look at every page.
        metrics.model_resident_bytes.set(await asyncio.to_thread(resident_bytes, snapshot))
    return await make_aiohttp_handler(metrics.registry)(request)
