"""Answers given again: equal requests have equal bytes, counted alike, and nothing outlives its generation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.api.cache import _ENTRY_BYTES, ResponseCache
from service.api.results import Answer
from service.observe.metrics import Metrics
from tests.support.models import make_factors
from tests.support.serving import Api, ApiSettings, make_snapshot, serving

CACHED = ApiSettings(cache_mb=1)
SNAPSHOT = make_snapshot(make_factors(), "one")
OTHER = make_snapshot(make_factors(seed=2), "other")
USER = SNAPSHOT.model.user_ids.of(0)
ITEM = SNAPSHOT.model.item_ids.of(0)
PATHS = [
    f"/v1/users/{USER}/recommendations?n=3",
    f"/v1/users/{USER}/recommendations?n=3&exclude={ITEM}&normalize=true",
    "/v1/users/nobody/recommendations",
    f"/v1/users/{USER}/similar",
    f"/v1/users/{USER}/items",
    f"/v1/users/{USER}/scores?items={ITEM}",
    f"/v1/users/{USER}/explanations/{ITEM}",
    f"/v1/items/{ITEM}/similar",
    "/v1/items/popular",
]


def counted(api: Api) -> tuple[float | None, float | None]:
    """Return the numbers of hits and misses."""
    return api.sample("als_response_cache_hits_total"), api.sample("als_response_cache_misses_total")


@pytest.mark.parametrize("path", PATHS)
async def test_an_equal_request_gets_the_same_bytes(path: str) -> None:
    """The second answer is not computed, and yet no byte or header of it differs, but for the request's id."""
    async with serving(SNAPSHOT, CACHED) as cached, serving(SNAPSHOT) as computed:
        first, again, reference = await cached.get(path), await cached.get(path), await computed.get(path)
        assert counted(cached) == (1, 1)
        assert counted(computed) == (0, 1)
        assert (first.status, first.body) == (again.status, again.body) == (reference.status, reference.body)
        assert {*first.headers} == {*again.headers}
        assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]


async def test_equal_requests_may_be_written_differently() -> None:
    """The order of parameters and what is a default make no other request; another n does."""
    path = f"/v1/users/{USER}/recommendations"
    async with serving(SNAPSHOT, CACHED) as api:
        for query in ("?n=10&offset=0", "?offset=0&n=10", "", "?exclude_seen=true"):
            await api.get(path + query)
        assert counted(api) == (3, 1)
        await api.get(path + "?n=9")
        assert counted(api) == (3, 2)


async def test_a_list_counts_whenever_it_is_given() -> None:
    """Lists and top scores are those that clients get; items are scanned once."""
    async with serving(SNAPSHOT, CACHED) as api:
        for _ in range(3):
            await api.get(PATHS[0])
        assert api.sample("als_results_total", strategy="als") == 3
        assert api.sample("als_result_top_score_count", strategy="als") == 3
        assert api.sample("als_result_scanned_items_count", strategy="als") == 1


async def test_nothing_outlives_its_generation() -> None:
    """After a swap every answer is the new model's; the memory of the old ones is free with the next request."""
    async with serving(SNAPSHOT, CACHED) as api:
        before = [(await api.get(path)).body for path in PATHS]
        held = api.sample("als_response_cache_bytes")
        assert held
        assert held >= sum(map(len, before))
        api.store.current = OTHER
        popular = await api.get("/v1/items/popular")
        assert popular.headers["X-Model-Version"] == OTHER.version
        assert api.sample("als_response_cache_bytes") == len(popular.body) + _ENTRY_BYTES


async def test_the_lists_of_a_request_count() -> None:
    """What a client lists or filters by is kept with the answer, so it takes of the same bytes."""
    user = f"/v1/users/{USER}/recommendations?n=1"
    async with serving(SNAPSHOT, CACHED) as api:
        await api.get(user)
        before = api.sample("als_response_cache_bytes") or 0
        await api.get(f"{user}&only={','.join(f'item-{number}' for number in range(500))}")
        assert (api.sample("als_response_cache_bytes") or 0) > before + 500 * 50


async def test_errors_are_not_kept() -> None:
    """An unknown user costs as little as before, and could become known."""
    async with serving(SNAPSHOT, replace(CACHED, fallback="none")) as api:
        for _ in range(2):
            assert (await api.get("/v1/users/nobody/recommendations")).status == 404
        assert counted(api) == (0, 2)
        assert api.sample("als_response_cache_bytes") == 0


def new(limit: int) -> ResponseCache:
    """Return an empty cache."""
    return ResponseCache(limit, Metrics(CollectorRegistry()))


uses = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 8), st.integers(0, 300)), max_size=60)


@given(limit=st.integers(0, 5000), uses=uses)
def test_it_is_a_bounded_map_of_the_latest_generation(limit: int, uses: list[tuple[int, int, int]]) -> None:
    """What it returns was put there for that very generation; its size is that of its entries and within the limit."""
    cache, latest = new(limit), 0
    kept: dict[tuple[int, int], Answer] = {}
    for generation, request, size in uses:
        latest = max(latest, generation)
        found = cache.get(generation, request)
        assert found is None or found is kept[generation, request]
        assert found is None or generation == latest
        answer = Answer(bytes(size))
        cache.put(generation, request, answer)
        if generation == latest and size + _ENTRY_BYTES <= limit:
            assert cache.get(generation, request) is answer
        kept[generation, request] = answer
        assert cache.bytes == sum(size for _, size in cache._entries.values()) <= limit


def test_what_was_used_longest_ago_goes_first() -> None:
    """An answer that was given again stays before one that was not."""
    cache = new(2 * (_ENTRY_BYTES + 10))
    first, second, third = (Answer(bytes(10)) for _ in range(3))
    cache.get(1, "any")
    cache.put(1, "first", first)
    cache.put(1, "second", second)
    assert cache.get(1, "first") is first
    cache.put(1, "third", third)
    assert (cache.get(1, "first"), cache.get(1, "second"), cache.get(1, "third")) == (first, None, third)
