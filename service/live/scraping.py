"""Answering a scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.live.status import Status
from service.model.storage.snapshot import resident_bytes
from service.observe.exposition import Exposition, render
from service.observe.metrics import Metrics


async def scrape(status: Status, metrics: Metrics, accept: str, names: Sequence[str]) -> Exposition:
    """Return all metrics, or only those with the given names, in an accepted format."""
    if (generation := status.slot.current) is not None:
        # In a thread, because the kernel needs a while to check every page of a large model.
        metrics.model_resident_bytes.set(await asyncio.to_thread(resident_bytes, generation.snapshot))
    return render(metrics.registry, accept, names)
