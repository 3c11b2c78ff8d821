"""What the handlers of one app share, each thing under its own key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from aiohttp import web

from service.api.queries import Queries
from service.api.results import Results
from service.errors import LimitedModelError, NotReadyError
from service.live.report import Following
from service.live.store import ModelStore
from service.metrics import Metrics
from service.model.snapshot import Snapshot

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
    """Where the server stands: ``draining`` from SIGTERM on, while it still answers; the requests ``in_flight``."""

    draining: bool = False
    in_flight: int = 0


STORE = web.AppKey("store", ModelStore)
LIMITS = web.AppKey("limits", Limits)
FOLLOWING = web.AppKey[Following | None]("following")
METRICS = web.AppKey("metrics", Metrics)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
QUERIES = web.AppKey("queries", Queries)
RESULTS = web.AppKey("results", Results)


def served(request: web.Request) -> Snapshot:
    """Take the served snapshot; a handler calls this once and answers from nothing else. Raises NotReadyError."""
    snapshot = request.app[STORE].current
    if snapshot is None:
        raise NotReadyError("No model is served yet; try again soon, and see /v1/model for what it is waiting for.")
    return snapshot


def titled(request: web.Request, snapshot: Snapshot, wanted: bool) -> Snapshot:
    """Give the taken snapshot the titles of items, if wanted and there are any; they too are taken once."""
    return replace(snapshot, titles=request.app[STORE].titles) if wanted else snapshot


def served_with_factors(request: web.Request) -> Snapshot:
    """Take the served snapshot where popularity alone answers nothing. Raises NotReadyError, LimitedModelError."""
    snapshot = served(request)
    if snapshot.model.limited:
        raise LimitedModelError(
            "Only what is popular can be answered for now: no model with factors is served; see /v1/model for why."
        )
    return snapshot
