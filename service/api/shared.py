"""What the handlers of one app share, and how they are given it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from aiohttp import web

from service.api.content import Content
from service.api.queries import Queries
from service.api.results import Results
from service.errors import LimitedModelError, NotReadyError
from service.live.report import Following
from service.live.store import ModelStore
from service.metrics import Metrics
from service.model.storage.snapshot import Snapshot

Fallback: TypeAlias = Literal["popular", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What a request may ask for, and what it gets where it does not say.

    max_n: the largest n. fallback: what an unknown user gets. body_seconds: how long a body may take to arrive.
    """

    max_n: int = 1000
    fallback: Fallback = "popular"
    body_seconds: float = 10.0


@dataclass(slots=True)
class Lifecycle:
    """What the server is doing: ``draining`` from SIGTERM on, while it still answers; the requests ``in_flight``.

    ``busy`` has the connections whose request is being answered, but for those whose body is still to come.
    """

    draining: bool = False
    in_flight: int = 0
    busy: set[asyncio.Protocol] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the handlers of one app share.

    ``pages`` is what each fixed path gives; ``following`` tells of S3, where that is followed.
    """

    store: ModelStore
    metrics: Metrics
    limits: Limits
    queries: Queries
    results: Results
    pages: Mapping[str, Content]
    following: Following | None = None
    lifecycle: Lifecycle = field(default_factory=Lifecycle)

    def snapshot(self) -> Snapshot:
        """Take the served snapshot; a handler calls this once and answers from nothing else. Raises NotReadyError."""
        snapshot = self.store.current
        if snapshot is None:
            raise NotReadyError("No model is served yet; try again soon, and see /v1/model for what it is waiting for.")
        return snapshot

    def snapshot_with_factors(self) -> Snapshot:
        """Take the served snapshot where popularity alone answers nothing. Raises NotReadyError, LimitedModelError."""
        snapshot = self.snapshot()
        if snapshot.model.limited:
            raise LimitedModelError(
                "Only what is popular can be answered for now: no model with factors is served; see /v1/model for why."
            )
        return snapshot

    def titled(self, snapshot: Snapshot, wanted: bool) -> Snapshot:
        """Give the taken snapshot the titles of items, if wanted and there are any; they too are taken once."""
        return replace(snapshot, titles=self.store.titles) if wanted else snapshot


SHARED = web.AppKey("shared", Shared)
SharingHandler: TypeAlias = Callable[[web.Request, Shared], Awaitable[web.StreamResponse]]
