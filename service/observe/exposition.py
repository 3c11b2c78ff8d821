"""The metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


class Exposition(msgspec.Struct, frozen=True):
    """What a scrape gets."""

    content_type: str
    body: bytes


def render(registry: CollectorRegistry, accept: str, names: Sequence[str]) -> Exposition:
    """Return all metrics, or those of these names if any are given, as text or OpenMetrics: what is accepted."""
    encode, content_type = choose_encoder(accept)
    chosen = registry.restricted_registry(names) if names else registry
    return Exposition(content_type, encode(chosen))
