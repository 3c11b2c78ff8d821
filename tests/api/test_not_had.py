"""Pairs that a model stores although nobody had the item, and users without factors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.model.factors import Seen
from service.model.scoring.score_ranges import analyse
from service.training.evaluation import judge
from tests.support.models import make_factors
from tests.support.serving import make_snapshot, serving

# Item 0 is disliked by all, item 1 has a stored 0 of all, item 2 was had by one user, item 3 by two.
WEIGHTS = np.array([[-2, 0, 1, 1], [-2, 0, 0, 2], [-2, 0, 0, -1]], np.float32)
BASE = make_factors(users=3, items=4)
SEEN = Seen(np.array([0, 4, 8, 12]), np.tile(np.arange(4, dtype=np.int32), 3), WEIGHTS.ravel())
IDS: dict[str, Any] = {"user_ids": np.array([7, 8, 9]), "item_ids": np.array([10, 11, 12, 13])}
DISLIKED = make_snapshot(replace(BASE, **IDS, seen=SEEN), "disliked")


# The second user has no factors, and had the item that is most popular.
HAD = Seen(np.array([0, 2, 3, 4]), np.array([1, 2, 2, 2], np.int32), np.ones(4, np.float32))
COLD = make_snapshot(
    replace(BASE, **IDS, user_factors=BASE.user_factors * np.array([[1], [0], [1]], np.float32), seen=HAD), "cold"
)


async def test_popular_items_were_had() -> None:
    """A dislike and a stored 0 do not make an item popular, neither in the list nor for an unknown user."""
    async with serving(DISLIKED) as api:
        popular = (await api.get("/v1/items/popular?n=4")).json["items"]
        assert [(item["item_id"], item["score"]) for item in popular] == [(13, 2), (12, 1), (10, 0), (11, 0)]
        unknown = await api.get("/v1/users/404/recommendations?n=2")
        assert [item["item_id"] for item in unknown.json["items"]] == [13, 12]


def test_ranges_and_evaluations_count_what_was_had() -> None:
    """So do the score ranges of popularity, and the baseline of an evaluation."""
    popularity = analyse(DISLIKED.model).popularity
    assert popularity is not None
    assert (popularity.max, popularity.mean) == (2, 0.75)
    # Nobody had two items more often than once, so the most popular of the two is the one that is not disliked.
    had = csr_matrix(np.array([[-1, 0], [-1, 0], [0, 1], [0, 0]], np.float32))
    wanted = csr_matrix(np.array([[0, 0], [0, 0], [0, 0], [0, 1]], np.float32))
    found = judge(np.ones((4, 1), np.float32), np.ones((2, 1), np.float32), had, wanted, k=1)
    assert found.evaluation.popular.recall == 1


@pytest.mark.parametrize("fallback", ["popular", "none"])
async def test_a_user_without_factors(fallback: str) -> None:
    """Such a user gets what is popular, as an unknown user does, but nothing that the user had."""
    async with serving(COLD) as api:
        path = f"/v1/users/8/recommendations?n=1&fallback={fallback}"
        alone = (await api.get(path)).json
        body = {"users": [7, 8, 9, 404], "n": 1, "fallback": fallback}
        results = (await api.post("/v1/recommendations", body)).json["results"]
    strategies = [result.get("strategy") for result in results]
    assert [result["user_id"] for result in results] == [7, 8, 9, 404]
    if fallback == "none":
        assert (alone["strategy"], strategies) == ("als", ["als", "als", "als", None])
        return
    assert (alone["strategy"], [item["item_id"] for item in alone["items"]]) == ("popular", [11])
    assert strategies == ["als", "popular", "als", "popular"]
    assert results[1]["items"] == alone["items"]
    assert results[3]["items"][0]["item_id"] == 12


# Everybody had everything.
SATED = make_snapshot(replace(BASE, **IDS, seen=replace(SEEN, weights=np.ones(12, np.float32))), "sated")


@pytest.mark.parametrize(
    ("query", "empty"),
    [
        ("", 1),
        ("?max_per=genre:1", 0),  # a 400: nothing was listed
        ("?exclude_seen=false", 0),
        ("?only=99", 0),
        ("?exclude=10", 0),
        ("?offset=4", 0),
        ("?min_score=100", 0),
    ],
)
async def test_a_list_counts_as_empty_if_the_request_is_not_the_reason(query: str, empty: int) -> None:
    """The model is to blame for a list without items, unless the request left some out."""
    async with serving(SATED) as api:
        await api.get(f"/v1/users/7/recommendations{query}")
        assert (api.sample("als_results_empty_total") or 0) == empty
