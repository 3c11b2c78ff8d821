"""The answers while there is a candidate: each is from the arm of its user, and names it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.api.handlers import recommendations
from service.live.reading import Reading
from service.model.rollout.arms import Arm, Experiment
from service.model.storage.snapshot import Snapshot
from service.observe.logs import set_up_logging
from tests.support.models import make_factors
from tests.support.serving import Api, ApiSettings, make_snapshot, serving


def numbered(name: str, seed: int) -> Snapshot:
    """Make a model of 40 users and 60 items whose ids are numbers."""
    return make_snapshot(replace(make_factors(seed=seed), user_ids=np.arange(40), item_ids=np.arange(60)), name)


SNAPSHOTS: dict[Arm, Snapshot] = {"served": numbered("served", 1), "candidate": numbered("candidate", 2)}
HALF = Experiment("default", 50)
USERS = range(40)
#: A user of each arm.
ONE: dict[Arm, int] = {arm: next(user for user in USERS if HALF.arm_of(user) == arm) for arm in SNAPSHOTS}
OF_A_USER = ["recommendations", "similar", "scores?items=1,2", "items"]
OF_NO_USER = ["/v1/users", "/v1/items/3", "/v1/items/3/similar", "/v1/items/3/users", "/v1/items/popular", "/v1/items"]


@asynccontextmanager
async def trying_out(
    experiment: Experiment = HALF,
    candidate: Snapshot = SNAPSHOTS["candidate"],
    access_log: float = 0,
) -> AsyncIterator[Api]:
    """Serve a model with a candidate next to it."""
    async with serving(SNAPSHOTS["served"], ApiSettings(cache_mb=1, access_log=access_log)) as api:
        slot = api.store.slot
        slot.serve(await slot.offer(SNAPSHOTS["served"]), Reading(""))
        slot.experiment = experiment
        slot.try_out(await slot.offer(candidate), Reading(""))
        yield api


async def alone(arm: Arm, path: str) -> dict[str, Any]:
    """Return what the model of an arm answers where it is the only one."""
    async with serving(SNAPSHOTS[arm]) as api:
        answer: dict[str, Any] = (await api.get(path)).json
        return answer


@pytest.mark.parametrize("arm", ["served", "candidate"])
@pytest.mark.parametrize("path", OF_A_USER)
async def test_a_user_gets_the_model_of_their_arm(path: str, arm: Arm) -> None:
    """On every path with a user, the answer is that model's, and names it, its arm, and its version in the header."""
    async with trying_out() as api:
        for _ in range(2):  # the second may come from the cache
            answer = await api.get(f"/v1/users/{ONE[arm]}/{path}")
            expected = await alone(arm, f"/v1/users/{ONE[arm]}/{path}")
            assert answer.json == {**expected, "arm": arm}
            assert answer.headers["X-Model-Version"] == answer.json["model_version"] == SNAPSHOTS[arm].version


@pytest.mark.parametrize("arm", ["served", "candidate"])
async def test_a_session_and_an_explanation_are_of_the_arm(arm: Arm) -> None:
    """As whatever else is asked for a user."""
    user, model = ONE[arm], SNAPSHOTS[arm].model
    assert model.seen
    seen = model.item_ids.of(model.seen.of(user)[0])
    async with trying_out() as api:
        session = await api.post(f"/v1/users/{user}/recommendations", {"items": [{"item_id": 3}]})
        explained = await api.get(f"/v1/users/{user}/explanations/{seen}")
    for answer in (session.json, explained.json):
        assert (answer["arm"], answer["model_version"]) == (arm, SNAPSHOTS[arm].version)


@pytest.mark.parametrize("path", OF_NO_USER)
async def test_what_is_not_for_a_user_is_served(path: str) -> None:
    """Even if every user gets the candidate."""
    async with trying_out(Experiment("default", 100)) as api:
        assert (await api.get(path)).json == {**await alone("served", path), "arm": "served"}
        body = {"items": [{"item_id": 3}]}
        anonymous = (await api.post("/v1/recommendations/anonymous", body)).json
        assert (anonymous["arm"], anonymous["model_version"]) == ("served", SNAPSHOTS["served"].version)


@pytest.mark.parametrize("path", [*OF_NO_USER, *(f"/v1/users/3/{path}" for path in OF_A_USER)])
async def test_without_a_candidate_nothing_names_an_arm(path: str) -> None:
    """Clients that know nothing of candidates see what they always saw; also once it is gone again."""
    async with trying_out() as api:
        assert "arm" in (await api.get(path)).json
        api.store.slot.end_trial()
        assert (await api.get(path)).json == await alone("served", path)


@pytest.mark.parametrize("percent", [0, 50, 100])
async def test_each_result_of_a_batch_is_of_its_arm(percent: float) -> None:
    """In the requested order, with the same items as alone; the top level and the header are the served model's."""
    experiment = Experiment("default", percent)
    users: list[object] = [*USERS, "7", "nobody"]
    async with trying_out(experiment) as api:
        answer = await api.post("/v1/recommendations", {"users": users, "fallback": "none"})
        assert answer.headers["X-Model-Version"] == answer.json["model_version"] == SNAPSHOTS["served"].version
        assert answer.json["arm"] == "served"
        results = answer.json["results"]
        assert [str(result["user_id"]) for result in results] == [str(user) for user in users]
        for user, result in zip(USERS, results, strict=False):
            single = (await api.get(f"/v1/users/{user}/recommendations")).json
            assert result == single
    assert results[-2] == results[7]
    assert results[-1]["error"] == "unknown_user"
    assert [result["arm"] for result in results] == [experiment.arm_of(str(user)) for user in users]
    assert {result["model_version"] for result in results} <= {each.version for each in SNAPSHOTS.values()}


async def test_the_arms_have_caches_of_their_own() -> None:
    """Answers of one arm neither push the other's out nor are mistaken for them."""
    async with trying_out() as api:
        for _ in range(3):
            for user in ONE.values():
                await api.get(f"/v1/users/{user}/recommendations")
        for arm in SNAPSHOTS:
            assert api.sample("als_response_cache_misses_total", arm=arm) == 1
            assert api.sample("als_response_cache_hits_total", arm=arm) == 2
            assert (api.sample("als_response_cache_bytes", arm=arm) or 0) > 0


async def test_metrics_name_the_arm() -> None:
    """Requests, results and what was scanned are counted by arm; a batch counts as served, its lists by their users."""
    async with trying_out() as api:
        for user in USERS:
            await api.get(f"/v1/users/{user}/recommendations")
        await api.post("/v1/recommendations", {"users": list(USERS)})
        await api.get("/v1/items/popular")
        for arm in SNAPSHOTS:
            users = sum(HALF.arm_of(user) == arm for user in USERS)
            labels = {"route": "/v1/users/{user}/recommendations", "method": "GET", "status": "200", "arm": arm}
            assert api.sample("als_http_requests_total", **labels) == users
            assert api.sample("als_http_request_duration_seconds_count", **labels) == users
            assert api.sample("als_results_total", strategy="als", arm=arm) == 2 * users
            assert api.sample("als_result_top_score_count", strategy="als", arm=arm) == 2 * users
            assert api.sample("als_result_scanned_items_count", strategy="als", arm=arm) == 2 * users
            assert api.sample("als_result_scanned_bytes_total", strategy="als", arm=arm) or users == 0
        for path in ("/v1/items/popular", "/v1/recommendations"):
            method = "POST" if path == "/v1/recommendations" else "GET"
            labels = {"route": path, "method": method, "status": "200"}
            assert api.sample("als_http_requests_total", **labels, arm="candidate") is None
            assert api.sample("als_http_requests_total", **labels, arm="served") == 1


async def test_a_failure_is_counted_for_its_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a connection on which the other arm was asked before; the log names the arm, too."""
    stream = io.StringIO()
    set_up_logging("json", "info", stream)
    real = recommendations._one_user

    def failing(generation: Any, *arguments: Any) -> Any:
        if generation.arm == "candidate":
            raise RuntimeError("broken")
        return real(generation, *arguments)

    monkeypatch.setattr(recommendations, "_one_user", failing)
    async with trying_out(access_log=1) as api:
        for user in (ONE["candidate"], ONE["served"], ONE["candidate"]):
            await api.get(f"/v1/users/{user}/recommendations")
        await api.get("/healthz")
        labels = {"route": "/v1/users/{user}/recommendations", "method": "GET"}
        assert api.sample("als_http_requests_total", **labels, status="500", arm="candidate") == 2
        assert api.sample("als_http_requests_total", **labels, status="200", arm="served") == 1
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["event"], line.get("arm")) for line in lines if line["event"].startswith("request")]
    failed = [("request_failed", "candidate"), ("request", "candidate")]
    assert told == [*failed, ("request", "served"), *failed, ("request", None)]


async def test_a_limited_candidate_refuses_as_a_limited_model_does() -> None:
    """What needs factors is a 503 for its users alone."""
    limited = make_snapshot(
        replace(
            make_factors(),
            user_ids=np.arange(40),
            item_ids=np.arange(60),
            user_factors=np.zeros((40, 0), "f"),
            item_factors=np.zeros((60, 0), "f"),
        ),
        "limited",
    )
    async with trying_out(candidate=limited) as api:
        assert (await api.get(f"/v1/users/{ONE['candidate']}/similar")).status == 503
        assert (await api.get(f"/v1/users/{ONE['served']}/similar")).status == 200


async def test_the_candidate_is_described() -> None:
    """/v1/model says which model it is, and who gets it."""
    async with trying_out() as api:
        candidate = (await api.get("/v1/model")).json["candidate"]
    assert candidate["model_version"] == SNAPSHOTS["candidate"].version
    assert (candidate["experiment"], candidate["percent"], candidate["shadow"]) == ("default", 50, 0)
    assert (candidate["users"], candidate["items"], candidate["last_reload"]) == (40, 60, None)


async def test_an_id_that_is_not_utf_8_is_refused_in_any_arm() -> None:
    """As without a candidate."""
    async with trying_out() as api:
        assert (await api.get("/v1/users/%FF/recommendations")).status == 400
