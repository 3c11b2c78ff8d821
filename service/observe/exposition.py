"""The metrics in Prometheus's formats."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


class Exposition(msgspec.Struct, frozen=True):
    """The answer to a scrape."""

    content_type: str
    body: bytes


def render(registry: CollectorRegistry, accept: str, names: Sequence[str]) -> Exposition:
    """Return all metrics, or only those with the given names, as text or OpenMetrics, whichever is accepted."""
    encode, content_type = choose_encoder(accept)
    chosen = registry.restricted_registry(names) if names else registry
    return Exposition(content_type, encode(chosen))
