"""Requests that name a version: each is answered from that version alone, and no cache mixes it with another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from service.errors import VersionGoneError
from service.live.held import HeldVersions
from service.model.storage.snapshot import Snapshot
from tests.api.test_arms import HALF, ONE, SNAPSHOTS, numbered, trying_out
from tests.api.test_problems import assert_is_problem
from tests.support.models import make_factors
from tests.support.serving import Answer, Api, ApiSettings, make_snapshot, serving

EARLIER = numbered("earlier", 3)
SERVED, CANDIDATE = SNAPSHOTS["served"], SNAPSHOTS["candidate"]
LIMITED = make_snapshot(replace(make_factors(factors=0)), "limited")
GONE = "0123456789abcdef"
GETS = [
    "/v1/users/5/recommendations",
    "/v1/users/5/similar",
    "/v1/users/5/scores?items=1,2",
    "/v1/users/5/items",
    "/v1/users",
    "/v1/items",
    "/v1/items/3",
    "/v1/items/3/similar",
    "/v1/items/3/users",
    "/v1/items/popular",
]
POSTS: dict[str, dict[str, Any]] = {
    "/v1/recommendations": {"users": [*range(40)]},
    "/v1/recommendations/anonymous": {"items": [{"item_id": 3}]},
    "/v1/users/5/recommendations": {"items": [{"item_id": 3}]},
}


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have earlier versions in memory; what it takes to open them from disk is tested with what holds them."""

    def opened(_: HeldVersions, version: str) -> Snapshot:
        for snapshot in (EARLIER, LIMITED):
            if snapshot.version == version:
                return snapshot
        raise VersionGoneError(f"Version {version} is not kept any more; none can be named.")

    monkeypatch.setattr(HeldVersions, "_opened", opened)


@asynccontextmanager
async def having_served(snapshot: Snapshot = SERVED) -> AsyncIterator[Api]:
    """Serve a model after others, with a cache."""
    async with serving(snapshot, ApiSettings(cache_mb=1)) as api:
        yield api


async def post(api: Api, path: str, body: dict[str, Any], **headers: str) -> Answer:
    """Send a POST with a body and headers."""
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    return await api.request("POST", path, json=body, headers=headers)


@pytest.mark.parametrize("path", GETS)
async def test_a_get_is_answered_from_the_named_version(path: str) -> None:
    """Whether a parameter or a header names it, again and again, and between requests that name none."""
    async with having_served() as api, serving(EARLIER) as alone:
        expected, served = await alone.get(path), await api.get(path)
        assert served.json["model_version"] == SERVED.version
        by_parameter = f"{path}{'&' if '?' in path else '?'}model_version={EARLIER.version}"
        for _ in range(2):
            named = [await api.get(by_parameter), await api.get(path, X_Model_Version=EARLIER.version)]
            assert [answer.body for answer in named] == [expected.body, expected.body]
            assert {answer.headers["X-Model-Version"] for answer in named} == {EARLIER.version}
            assert (await api.get(path)).body == served.body
        assert (await api.get(path, X_Model_Version=SERVED.version)).body == served.body
        both = await api.get(by_parameter, X_Model_Version=GONE)
        assert both.body == expected.body
        assert_is_problem(await api.get(path, X_Model_Version=GONE), 410, "version_gone")


@pytest.mark.parametrize("path", POSTS)
async def test_a_post_is_answered_from_the_named_version(path: str) -> None:
    """By a parameter of the query or by the header; a body has no such field."""
    body = POSTS[path]
    async with having_served() as api, serving(EARLIER) as alone:
        expected = await alone.post(path, body)
        named = [
            await api.post(f"{path}?model_version={EARLIER.version}", body),
            await post(api, path, body, X_Model_Version=EARLIER.version),
        ]
        assert [answer.body for answer in named] == [expected.body, expected.body]
        assert_is_problem(await api.post(path, body | {"model_version": EARLIER.version}), 422, "invalid_body")
        assert_is_problem(await api.post(f"{path}?model_version={GONE}", body), 410, "version_gone")


async def test_answers_of_named_versions_are_given_again() -> None:
    """From the cache that the served model's are in."""
    path = f"/v1/users/5/recommendations?model_version={EARLIER.version}"
    async with having_served() as api:
        assert (await api.get(path)).body == (await api.get(path)).body
        assert api.sample("als_response_cache_hits_total", arm="served") == 1


@pytest.mark.parametrize("version", ["", "nonsense", GONE.upper(), GONE + "0", "%FF"])
async def test_what_is_not_a_version_is_refused(version: str) -> None:
    """In one sentence, wherever it is."""
    async with having_served() as api:
        assert_is_problem(await api.get(f"/v1/items/popular?model_version={version}"), 400, "bad_parameter")
        assert_is_problem(await api.get("/v1/items/popular", X_Model_Version=version), 400, "bad_parameter")


async def test_a_named_version_needs_what_the_served_one_needs() -> None:
    """A route that needs factors says so of a version without; and before there is a model, there is none to name."""
    async with having_served() as api:
        answer = await api.get("/v1/users/5/similar", X_Model_Version=LIMITED.version)
        assert_is_problem(answer, 503, "limited_model")
        assert (await api.get("/v1/items/popular", X_Model_Version=LIMITED.version)).status == 200
    async with serving(None) as api:
        assert_is_problem(await api.get("/v1/items/popular", X_Model_Version=EARLIER.version), 503, "not_ready")


async def test_a_named_version_needs_nothing_of_the_served_one() -> None:
    """One with factors answers although the served model has none."""
    async with having_served(LIMITED) as api:
        assert_is_problem(await api.get("/v1/users/5/similar"), 503, "limited_model")
        for path in ("/v1/users/5/similar", "/v1/users/5/scores?items=1,2"):
            assert (await api.get(path, X_Model_Version=EARLIER.version)).status == 200


async def test_answers_of_named_versions_say_nothing_of_the_served_model() -> None:
    """They are counted apart, so that a bad one that somebody names ends no probation."""
    async with having_served() as api:
        await api.get("/v1/users/5/recommendations", X_Model_Version=EARLIER.version)
        await api.get("/v1/users/5/recommendations")
        for arm in ("named", "served"):
            assert api.sample("als_results_total", strategy="als", arm=arm) == 1
            route = {"route": "/v1/users/{user}/recommendations", "method": "GET", "status": "200"}
            assert api.sample("als_http_requests_total", **route, arm=arm) == 1


async def test_the_candidate_and_the_served_model_can_be_named() -> None:
    """By any user, whatever their arm; a batch is then from the named version alone."""
    users = {"users": [ONE["served"], ONE["candidate"]]}
    async with trying_out(HALF) as api:
        for version, arm in ((SERVED.version, "served"), (CANDIDATE.version, "candidate")):
            for user in ONE.values():
                answer = await api.get(f"/v1/users/{user}/recommendations", X_Model_Version=version)
                assert (answer.json["model_version"], answer.json["arm"]) == (version, arm)
            batch = (await api.post(f"/v1/recommendations?model_version={version}", users)).json
            assert (batch["model_version"], batch["arm"]) == (version, arm)
            assert {each["arm"] for each in batch["results"]} == {arm}
            assert {each.get("model_version", version) for each in batch["results"]} == {version}
        earlier = (await api.get("/v1/users/5/recommendations", X_Model_Version=EARLIER.version)).json
        assert earlier["model_version"] == EARLIER.version
        assert "arm" not in earlier
