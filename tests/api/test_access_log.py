"""The access log: a share of requests, by route template, with request ids and without user ids."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api.handlers import items
from service.observe.logs import set_up_logging
from tests.support.helpers import model_bytes, put
from tests.support.models import make_factors
from tests.support.running import running_server
from tests.support.serving import ApiSettings, encoded, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors(ids="str"))
USER, OTHER = SNAPSHOT.model.user_ids.at(np.array([0, 1]))
ITEM = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
STRANGER = "stranger-4711"


def logged() -> io.StringIO:
    """Send what is logged from now on, as JSON, to a buffer."""
    stream = io.StringIO()
    set_up_logging("json", "info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_no_request_is_logged_by_default() -> None:
    """The access log is off by default."""
    stream = logged()
    async with serving(SNAPSHOT) as api:
        await api.get("/healthz")
    assert lines(stream) == []


async def test_a_logged_request_is_told_by_its_template() -> None:
    """A line has the method, template, status, seconds, request id and model version, and no details of the request."""
    stream = logged()
    async with serving(SNAPSHOT, ApiSettings(access_log=1)) as api:
        await api.get(f"/v1/users/{STRANGER}/recommendations", X_Request_Id="r1")
        await api.get(f"/v1/users/{STRANGER}/items", X_Request_Id="r2")
        await api.request("PROPFIND", f"/users/{STRANGER}", headers={"X-Request-Id": "r3"})
    first, second, third = lines(stream)
    assert isinstance(first.pop("seconds"), float)
    assert first.pop("message").startswith("📨 GET /v1/users/{user}/recommendations: 200 in 0.0")
    assert first.pop("time")
    assert first == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "route": "/v1/users/{user}/recommendations",
        "status": 200,
        "request_id": "r1",
        "model_version": SNAPSHOT.version,
    }
    assert (second["status"], second["route"], second["request_id"]) == (404, "/v1/users/{user}/items", "r2")
    assert "model_version" not in second
    assert (third["method"], third["route"], third["status"]) == ("PROPFIND", "unmatched", 404)


async def test_a_share_of_requests_is_logged() -> None:
    """Of 200 requests at one half, some are logged and some are not."""
    stream = logged()
    async with serving(SNAPSHOT, ApiSettings(access_log=0.5)) as api:
        for _ in range(200):
            await api.get("/healthz")
    assert 0 < len(lines(stream)) < 200


async def test_every_line_of_a_request_has_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of libraries and failures during a request have its id; no other line does."""

    def failing(*_: object) -> None:
        logging.getLogger("some.library").warning("slow")
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(items, "_popular", failing)
    stream = logged()
    async with serving(SNAPSHOT, ApiSettings(access_log=1)) as api:
        answer = await api.get("/v1/items/popular")
    logging.getLogger("some.library").warning("done")
    told = [(line["event"], line.get("request_id")) for line in lines(stream)]
    request_id = answer.headers["X-Request-Id"]
    events = ("some.library", "request_failed", "request")
    assert told == [*((event, request_id) for event in events), ("some.library", None)]


async def test_no_line_names_a_user() -> None:
    """Whatever is requested, and however it ends, the log at level info contains no user id."""
    stream = logged()
    asked = (str(USER), str(OTHER), STRANGER)
    async with serving(SNAPSHOT, ApiSettings(access_log=1)) as api:
        for user in map(encoded, asked):
            for rest in (
                "recommendations",
                "recommendations?fallback=none",
                "similar",
                f"scores?items={encoded(ITEM)}",
            ):
                await api.get(f"/v1/users/{user}/{rest}")
            await api.get(f"/v1/users/{user}/items?n=no")
            await api.get(f"/v1/users/{user}/explanations/{encoded(ITEM)}")
            await api.request("DELETE", f"/v1/users/{user}/items")
        await api.post("/v1/recommendations", {"users": list(asked), "fallback": "none"})
    assert len(lines(stream)) == 22
    assert [line for line in lines(stream) for user in asked if user in json.dumps(line, ensure_ascii=False)] == []


def test_a_server_logs_requests_where_its_setting_says_so(tmp_path: Path) -> None:
    """ALS_ACCESS_LOG=1, and each request of the real server is a line among its other events."""
    model = tmp_path / "als_model.npz"
    version = put(model, model_bytes())
    with running_server(model, tmp_path / "state", access_log=1) as server:
        server.wait_until_ready()
        server.get("/v1/items/popular?n=1")
        line = server.wait_for("request", route="/v1/items/popular")
        assert (line["status"], line["model_version"]) == (200, version)
        assert server.wait_for("loaded")["model_version"] == version
