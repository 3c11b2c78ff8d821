"""Answering a scrape with the numbers of this process, and of those whose numbers it sums."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.live.status import Status
from service.model.storage.snapshot import resident_bytes
from service.observe.exposition import Exposition, render
from service.observe.metrics import Metrics


async def scrape(status: Status, metrics: Metrics, accept: str, names: Sequence[str]) -> Exposition:
    """Return the metrics, in a form that is accepted, and only those of these names if any are given."""
    if (generation := status.slot.current) is not None:
        # In a thread: for a large model the kernel takes a while to look at every page.
        metrics.model_resident_bytes.set(await asyncio.to_thread(resident_bytes, generation.snapshot))
    return render(metrics.registry, accept, names)
