"""The shadow: the candidate answers, too, and is compared; whatever it does, clients notice nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.api.handlers import recommendations
from service.api.shadow import MOST_WAITING, overlap, rank_correlation
from service.live.generation import Generation
from service.model.rollout.arms import Experiment
from tests.api.test_arms import ONE, SNAPSHOTS, USERS, alone, trying_out
from tests.support.helpers import events, eventually
from tests.support.models import make_factors
from tests.support.serving import Api, make_snapshot

#: Nobody gets the candidate, and every request is compared.
ALL = Experiment("default", 0, 1)


def ended(api: Api, outcome: str) -> float:
    """Return how many requests the candidate answered so."""
    return api.sample("als_shadow_requests_total", outcome=outcome) or 0


async def served(api: Api, users: range) -> list[dict[str, Any]]:
    """Ask for each user, and check that each gets what the served model alone would answer."""
    found = []
    for user in users:
        answer = await api.get(f"/v1/users/{user}/recommendations")
        assert answer.status == 200
        assert answer.json == {**await alone("served", f"/v1/users/{user}/recommendations"), "arm": "served"}
        found.append(answer.json)
    return found


async def test_the_lists_of_both_are_compared() -> None:
    """By what the first ten have in common, the order of that, and how long the candidate took."""
    async with trying_out(ALL) as api:
        lists = await served(api, USERS)
        await eventually(lambda: ended(api, "compared") == len(USERS))
        shares = []
        for user, one in zip(USERS, lists, strict=True):
            other = await alone("candidate", f"/v1/users/{user}/recommendations")
            ids = [[item["item_id"] for item in body["items"]] for body in (one, other)]
            shares.append(len({*ids[0]} & {*ids[1]}) / 10)
        assert api.sample("als_shadow_overlap_ratio_count") == len(USERS)
        assert api.sample("als_shadow_overlap_ratio_sum") == pytest.approx(sum(shares))
        assert api.sample("als_shadow_duration_seconds_count") == len(USERS)
        assert 0 < (api.sample("als_shadow_rank_correlation_ratio_count") or 0) <= len(USERS)
        assert ended(api, "failed") == ended(api, "dropped") == 0


async def test_the_same_model_is_in_full_agreement() -> None:
    """Its lists have all in common, in the same order."""
    async with trying_out(ALL, candidate=SNAPSHOTS["served"]) as api:
        await served(api, range(5))
        await eventually(lambda: api.sample("als_shadow_rank_correlation_ratio_count") == 5)
        assert api.sample("als_shadow_overlap_ratio_sum") == api.sample("als_shadow_rank_correlation_ratio_sum") == 5


async def test_only_what_the_served_model_answers_is_compared() -> None:
    """Not the candidate's own answers, later pages, or anything without a share; and nothing without a candidate."""
    async with trying_out(Experiment("default", 50, 1)) as api:
        await api.get(f"/v1/users/{ONE['candidate']}/recommendations")
        await api.get(f"/v1/users/{ONE['served']}/recommendations?offset=10")
        await api.get("/v1/items/popular")
        api.store.slot.run_experiment(Experiment("default", 50, 0))
        await api.get(f"/v1/users/{ONE['served']}/recommendations")
        api.store.slot.end_trial()
        await api.get(f"/v1/users/{ONE['served']}/recommendations")
        assert api.context.shadow._thread is None
        assert ended(api, "compared") == 0


async def test_a_share_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is compared if its draw is below it."""
    draws = iter([0.1, 0.25, 0.9])
    monkeypatch.setattr("service.api.shadow.random.random", lambda: next(draws))
    async with trying_out(Experiment("default", 0, 0.25)) as api:
        for _ in range(3):
            await api.get("/v1/users/3/recommendations")
        await eventually(lambda: ended(api, "compared") == 1)
        await eventually(api.context.shadow._waiting.empty)
    assert ended(api, "compared") == 1


@contextmanager
def candidate_that(monkeypatch: pytest.MonkeyPatch, does: Any) -> Iterator[None]:
    """Have the candidate do something instead of answering."""
    real = recommendations._one_user

    def answering(generation: Generation, *arguments: Any, **options: Any) -> Any:
        return does() if generation.arm == "candidate" else real(generation, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(recommendations, "_one_user", answering)
        yield


async def test_a_broken_candidate_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is counted, the first is logged, and every client has the served model's answer."""

    def fail() -> None:
        raise RuntimeError("broken")

    with candidate_that(monkeypatch, fail):
        async with trying_out(ALL) as api:
            await served(api, range(20))
            await eventually(lambda: ended(api, "failed") == 20)
            assert ended(api, "compared") == 0
            metrics = (await api.get("/metrics")).body.decode()
            assert 'status="500"' not in metrics
    assert events(caplog).count("shadow_failed") == 1


async def test_a_candidate_that_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many requests wait for it, the others are dropped, and every client has the served model's answer at once."""
    go_on = threading.Event()
    with candidate_that(monkeypatch, go_on.wait):
        async with trying_out(ALL) as api:
            await served(api, range(1))
            await eventually(api.context.shadow._waiting.empty)  # the thread has the first
            for _ in range(2):
                await served(api, USERS)
            assert ended(api, "dropped") == 2 * len(USERS) - MOST_WAITING
            assert ended(api, "compared") == ended(api, "failed") == 0
            go_on.set()
            await eventually(lambda: ended(api, "failed") == MOST_WAITING + 1)  # what it returns is not an answer


async def test_a_user_whom_the_candidate_does_not_know_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log has no user ids; it is counted as a failure of the candidate."""
    fewer = replace(make_factors(users=39, seed=2), user_ids=np.arange(39), item_ids=np.arange(60))
    async with trying_out(ALL, candidate=make_snapshot(fewer, "fewer")) as api:
        assert (await api.get("/v1/users/39/recommendations?fallback=none")).status == 200
        await eventually(lambda: ended(api, "failed") == 1)
        assert (await api.get("/v1/users/40/recommendations?fallback=none")).status == 404
    assert "shadow_failed" not in events(caplog)


async def test_two_empty_lists_say_nothing() -> None:
    """There is nothing to have in common."""
    async with trying_out(ALL) as api:
        await api.get("/v1/users/3/recommendations?min_score=1000000")
        await eventually(lambda: ended(api, "compared") == 1)
        assert api.sample("als_shadow_overlap_ratio_count") == 0


def test_the_share_in_common_is_of_the_longer_list() -> None:
    """So a candidate that finds less agrees less."""
    assert overlap([1, 2, 3, 4], [4, 3]) == 0.5
    assert overlap([1], [2]) == 0
    assert overlap([1, "a"], ["a", 1]) == 1


def test_the_rank_correlation_is_that_of_common_items() -> None:
    """1 in the same order, 0 in the reverse one, and none without a pair."""
    assert rank_correlation([1, 2, 3], [9, 1, 8, 2, 3]) == 1
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == 0
    assert rank_correlation([1, 2, 3], [2, 1, 3]) == pytest.approx(2 / 3)
    assert rank_correlation([1, 2], [2, 3]) is None
