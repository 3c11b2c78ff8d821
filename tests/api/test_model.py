"""The description of the served model, and health checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.live.generation import Generation
from service.live.policy import Policy
from service.live.report import Reload, Served
from service.model.scoring import kernel
from tests.support.models import make_factors
from tests.support.serving import Api, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
ITEM = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)

DATA_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", f"/v1/users/{USER}/recommendations", None),
    ("GET", f"/v1/users/{USER}/similar", None),
    ("GET", f"/v1/users/{USER}/scores?items={ITEM}", None),
    ("GET", f"/v1/users/{USER}/items", None),
    ("GET", f"/v1/users/{USER}/explanations/{ITEM}", None),
    ("GET", f"/v1/items/{ITEM}/similar", None),
    ("GET", f"/v1/items/{ITEM}/users", None),
    ("GET", "/v1/items/popular", None),
    ("GET", "/v1/items", None),
    ("GET", "/v1/users", None),
    ("POST", "/v1/recommendations", {"users": [USER]}),
    ("POST", "/v1/recommendations/anonymous", {"items": [{"item_id": ITEM}]}),
    ("POST", f"/v1/users/{USER}/recommendations", {"items": [{"item_id": ITEM}]}),
]
each_data_route = pytest.mark.parametrize(("method", "path", "body"), DATA_ROUTES)


SWAPPED = Reload("swapped", "", "", NOON, "bb", {"verify": 0.1, "swap": 0.1})
REJECTED = Reload("rejected", "bad_shape", "It is not a model.", NOON, "aa", {"verify": 0.1})


async def test_the_model_is_described() -> None:
    """/v1/model: the served model, its origin, its load, and later attempts."""
    async with serving(SNAPSHOT) as api:
        seconds = {"read": 0.25, "warm": 0.5}
        api.store.slot.current = Generation(2, SNAPSHOT, NOON, seconds, stale=True)
        api.store.slot.earlier = [Served("bb", NOON)]
        for reload in (SWAPPED, REJECTED):
            api.store.live.reloader.history.appendleft(reload)
        answer = await api.get("/v1/model")
    described = answer.json
    rejected = {
        "outcome": "rejected",
        "reason": "bad_shape",
        "detail": "It is not a model.",
        "finished_at": "2030-01-02T12:00:00Z",
        "version": "aa",
        "seconds": {"verify": 0.1},
        "gates": [],
    }
    ranges = described.pop("score_ranges")
    assert answer.headers["X-Model-Version"] == SNAPSHOT.version
    assert described == {
        "model_version": SNAPSHOT.version,
        "state": "stale",
        "source": {
            "path": "/models/als_model.pkl",
            "format": "pickle",
            "bytes": 10_763_099,
            "sha256": SNAPSHOT.manifest.source.sha256,
            "modified_at": "2001-09-09T01:46:40Z",
        },
        "kernel": kernel.name(),
        "trained": None,
        "training": None,
        "s3": None,
        "waiting_for": [],
        "catalog": None,
        "unavailable_items": 0,
        "hidden_users": 0,
        "candidate": None,
        "made_at": "2001-09-09T01:46:40Z",
        "users": 40,
        "items": 60,
        "factors": 4,
        "seen_pairs": SNAPSHOT.manifest.seen_pairs,
        "bytes": 960,
        "loaded_at": "2030-01-02T12:00:00Z",
        "load_seconds": {"read": 0.25, "warm": 0.5},
        "last_reload": rejected,
        "reloads": [rejected, msgspec.to_builtins(SWAPPED, str_keys=True)],
        "earlier_versions": [{"version": "bb", "loaded_at": "2030-01-02T12:00:00Z"}],
    }
    assert ranges.keys() == {"individual", "recommendation", "popularity"}
    assert ranges["recommendation"]["p99"] == SNAPSHOT.manifest.scores.recommendation.p99


async def test_that_there_is_no_model_is_described_too() -> None:
    """Before the first model, /v1/model answers 200 and says what the server waits for."""
    async with serving(None) as api:
        answer = await api.get("/v1/model")
    assert answer.status == 200
    assert "X-Model-Version" not in answer.headers
    assert (answer.json["model_version"], answer.json["state"]) == (None, "loading")
    assert (answer.json["source"], answer.json["users"], answer.json["last_reload"]) == (None, None, None)
    assert answer.json["earlier_versions"] == answer.json["reloads"] == []


@each_data_route
async def test_before_the_first_model_data_is_not_ready(method: str, path: str, body: Any) -> None:
    """Every route with data is 503 with Retry-After until there is a model, and answers then."""
    async with serving(None) as api:
        before = await api.request(method, path, json=body)
        api.store.current = SNAPSHOT
        after = await api.request(method, path, json=body)
    assert (before.status, before.json["code"], before.headers["Retry-After"]) == (503, "not_ready", "1")
    assert (after.status, after.json["model_version"]) == (200, SNAPSHOT.version)


class CountingSlot:
    """Counts how often the current generation is taken."""

    earlier: tuple[()] = ()
    policy = Policy()

    def __init__(self, current: Generation | None) -> None:
        self.taken = 0
        self._current = current

    @property
    def current(self) -> Generation | None:
        """Return the generation, and count."""
        self.taken += 1
        return self._current


@pytest.mark.parametrize(("method", "path", "body"), [*DATA_ROUTES, ("GET", "/v1/model", None)])
async def test_a_request_takes_the_generation_once(method: str, path: str, body: Any) -> None:
    """The generation is taken once, so no answer can mix two models."""
    async with serving(SNAPSHOT) as api:
        counting = CountingSlot(api.store.slot.current)
        object.__setattr__(api.context.status, "slot", counting)
        answer = await api.request(method, path, json=body)
        assert (answer.status, counting.taken) == (200, 1)


async def test_health_and_readiness() -> None:
    """Alive always; ready while there is a model and the server is not about to stop."""

    async def statuses() -> list[int]:
        return [(await api.get(path)).status for path in ("/healthz", "/readyz", f"/v1/users/{USER}/recommendations")]

    async with serving(None) as api:
        assert await statuses() == [200, 503, 503]
        api.store.current = SNAPSHOT
        assert await statuses() == [200, 200, 200]
        api.context.lifecycle.draining = True
        assert await statuses() == [200, 503, 200]
        unready = await api.get("/readyz")
        assert (unready.json["code"], unready.headers["Retry-After"]) == ("not_ready", "1")
        assert (await api.get("/healthz")).json == {"status": "ok"}


async def test_while_draining_every_answer_closes_its_connection() -> None:
    """While the server drains, clients with kept connections move on without a failed request."""
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(SNAPSHOT) as api:
        assert (await api.get("/healthz")).headers.get("Connection") != "close"
        api.context.lifecycle.draining = True
        for path in ("/healthz", "/readyz", "/v1/model", "/nowhere", "/metrics"):
            assert (await api.get(path)).headers["Connection"] == "close"
        assert (await api.raw(request)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/v1/model", "/healthz", "/readyz", "/metrics", f"/v1/users/{USER}/recommendations"])
async def test_head_is_get_without_the_body(path: str) -> None:
    """HEAD answers every GET route with the same status and headers."""
    async with serving(SNAPSHOT) as api:
        head, get = await api.request("HEAD", path), await api.get(path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert len(head.headers["X-Request-Id"]) == 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One time series and its value."""

    name: str
    labels: dict[str, str]
    value: float


async def scraped(api: Api) -> list[Sample]:
    """Return all samples of /metrics."""
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert "X-Request-Id" in answer.headers
    families = text_string_to_metric_families(answer.body.decode())
    return [Sample(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


async def test_requests_are_counted_by_template_method_and_status() -> None:
    """Whatever the ids, paths and methods that clients make up, the labels stay few."""
    async with serving(SNAPSHOT) as api:
        for user in (USER, "nobody", "a%2Fb"):
            await api.get(f"/v1/users/{user}/recommendations?fallback=none")
        await api.request("HEAD", "/healthz")
        await api.request("DELETE", "/healthz")
        await api.request("PROPFIND", "/healthz")
        await api.get("/made/up")
        await api.get("/made/up/again")
        samples = await scraped(api)
    counted = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for sample in samples
        if sample.name == "als_http_requests_total"
    }
    template = "/v1/users/{user}/recommendations"
    assert counted == {
        (template, "GET", "200"): 1,
        (template, "GET", "404"): 2,
        ("/healthz", "HEAD", "200"): 1,
        ("unmatched", "DELETE", "405"): 1,
        ("unmatched", "OTHER", "405"): 1,
        ("unmatched", "GET", "404"): 2,
    }
    durations = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for sample in samples
        if sample.name == "als_http_request_duration_seconds_count"
    }
    assert durations == counted
    assert [sample.value for sample in samples if sample.name == "als_http_requests_in_flight"] == [1]
