"""Recommendations over HTTP, for one user and for many."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.factors import Id
from service.model.ids import IdKind
from service.model.scoring import scoring
from service.model.storage.snapshot import Snapshot
from tests.support.models import make_factors
from tests.support.serving import ApiSettings, encoded, make_snapshot, serving

NUMBERS = make_snapshot(make_factors(), "numbers")
TEXT = make_snapshot(make_factors(ids="str"), "text")
NOTHING_SEEN = make_snapshot(make_factors(pairs=None), "nothing seen")
# Whole factors give equal scores and zero rows; forty items are fewer than many an n.
WHOLE = make_snapshot(make_factors(users=12, items=40, whole=True), "whole")


def all_users(snapshot: Snapshot) -> list[Id]:
    """Return every user id of a model, by row."""
    return snapshot.model.user_ids.at(np.arange(snapshot.manifest.users))


def seen_by(snapshot: Snapshot, row: int) -> set[Id]:
    """Return the ids of what a user had."""
    seen = snapshot.model.seen
    return set(snapshot.model.item_ids.at(seen.of(row))) if seen else set()


def entries(snapshot: Snapshot, ranked: scoring.Ranked) -> list[tuple[Id, float]]:
    """Return item ids and their float32 scores."""
    return list(zip(snapshot.model.item_ids.at(ranked.rows), ranked.scores.tolist(), strict=True))


def answered(items: list[dict[str, Any]]) -> list[tuple[Id, float]]:
    """Return what an answer has, its scores read back as the float32 that they are."""
    return [(item["item_id"], float(np.float32(item["score"]))) for item in items]


@pytest.mark.parametrize("snapshot", [NUMBERS, TEXT, NOTHING_SEEN, WHOLE], ids=["int", "str", "no seen", "whole"])
async def test_every_user_gets_what_the_model_scores_best(snapshot: Snapshot) -> None:
    """The answer is exactly the model's top-N, ids in the model's own form, scores to the last bit."""
    async with serving(snapshot) as api:
        for row, user in enumerate(all_users(snapshot)):
            answer = await api.get(f"/v1/users/{encoded(user)}/recommendations")
            assert answer.status == 200
            assert answer.headers["X-Model-Version"] == snapshot.version
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json.keys() == {"model_version", "user_id", "strategy", "items"}
            assert (answer.json["model_version"], answer.json["user_id"]) == (snapshot.version, user)
            assert answer.json["strategy"] == "als"
            assert answered(answer.json["items"]) == entries(snapshot, scoring.recommend(snapshot.model, row, 10))


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(1, 80),
        "offset": st.integers(0, 70),
        "exclude_seen": st.booleans(),
        "exclude": st.lists(st.sampled_from(NUMBERS.model.item_ids.at(np.arange(60))), max_size=60),
    },
)


def as_query(options: dict[str, Any]) -> str:
    """Write options as a query string."""
    written = {name: str(value).lower() for name, value in options.items() if name != "exclude"}
    if options.get("exclude"):
        written["exclude"] = ",".join(map(str, options["exclude"]))
    return urlencode(written)


@given(row=st.integers(0, 39), options=OPTIONS)
@settings(max_examples=60, deadline=None)
async def test_nothing_excluded_or_seen_ever_comes_back(row: int, options: dict[str, Any]) -> None:
    """No answer has an item that is excluded or was seen, one item twice, or more than n; GET and POST agree."""
    user = all_users(NUMBERS)[row]
    async with serving(NUMBERS) as api:
        query = as_query(options)
        answer = await api.get(f"/v1/users/{user}/recommendations" + (f"?{query}" if query else ""))
        batch = await api.post("/v1/recommendations", {"users": [user], **options})
    items = [item["item_id"] for item in answer.json["items"]]
    unwanted = set(options.get("exclude", []))
    if options.get("exclude_seen", True):
        unwanted |= seen_by(NUMBERS, row)
    expected = min(options.get("n", 10), max(0, 60 - len(unwanted) - options.get("offset", 0)))
    assert len(items) == len(set(items)) == expected
    assert unwanted.isdisjoint(items)
    assert batch.json["results"][0]["items"] == answer.json["items"]


async def test_pages_make_up_the_whole() -> None:
    """Offsets lead through the same ranking, without a gap or a repeat, to its end and not past it."""
    user = all_users(WHOLE)[3]
    async with serving(WHOLE) as api:
        whole = (await api.get(f"/v1/users/{user}/recommendations?n=100")).json["items"]
        pages = [
            (await api.get(f"/v1/users/{user}/recommendations?n=7&offset={offset}")).json["items"]
            for offset in range(0, 50, 7)
        ]
    assert [item for page in pages for item in page] == whole
    assert len(whole) == 40 - len(seen_by(WHOLE, 3))


async def test_seen_items_can_be_asked_for() -> None:
    """exclude_seen=false ranks all items, those that the user had among them."""
    async with serving(NUMBERS) as api:
        answer = await api.get(f"/v1/users/{all_users(NUMBERS)[0]}/recommendations?n=1000&exclude_seen=false")
    assert {item["item_id"] for item in answer.json["items"]} == set(NUMBERS.model.item_ids.at(np.arange(60)))


async def test_unknown_excluded_ids_are_ignored() -> None:
    """Unknown items in exclude are ignored."""
    path = f"/v1/users/{all_users(NUMBERS)[0]}/recommendations"
    async with serving(NUMBERS) as api:
        assert (await api.get(path + "?exclude=nobody,99999999")).json == (await api.get(path)).json


@pytest.mark.parametrize("user", ["nobody", "999999999", "-1", "042", str(2**70)])
async def test_an_unknown_user_gets_what_is_popular(user: str) -> None:
    """The default fallback says so, and its scores are the numbers of users."""
    popular = entries(NUMBERS, scoring.popular(NUMBERS.model, 10))
    async with serving(NUMBERS) as api:
        answer = await api.get(f"/v1/users/{user}/recommendations")
    assert answer.status == 200
    assert answer.json["strategy"] == "popular"
    assert str(answer.json["user_id"]) == user
    assert answered(answer.json["items"]) == popular


async def test_what_is_popular_respects_the_options_too() -> None:
    """n, offset and exclude mean the same for a fallback."""
    ranked = [item for item, _ in entries(NUMBERS, scoring.popular(NUMBERS.model, 60))]
    async with serving(NUMBERS) as api:
        answer = await api.get(f"/v1/users/nobody/recommendations?n=3&offset=2&exclude={ranked[0]},{ranked[4]}")
    assert [item["item_id"] for item in answer.json["items"]] == [ranked[3], ranked[5], ranked[6]]


@pytest.mark.parametrize(
    ("snapshot", "path", "fallback", "detail"),
    [
        (
            NUMBERS,
            "/v1/users/nobody/recommendations?fallback=none",
            "popular",
            "The user 'nobody' is not in the served model.",
        ),
        (NUMBERS, "/v1/users/nobody/recommendations", "none", "The user 'nobody' is not in the served model."),
        (
            NOTHING_SEEN,
            "/v1/users/nobody/recommendations",
            "popular",
            "The user 'nobody' is not in the served model, which has no popularity to fall back on.",
        ),
    ],
    ids=["asked", "set", "no popularity"],
)
async def test_without_a_fallback_an_unknown_user_is_not_found(
    snapshot: Snapshot, path: str, fallback: Any, detail: str
) -> None:
    """Where there is no fallback, or none is wanted, the answer is 404 and says why."""
    async with serving(snapshot, ApiSettings(fallback=fallback)) as api:
        answer = await api.get(path)
    assert (answer.status, answer.json["code"], answer.json["detail"]) == (404, "unknown_user", detail)


async def test_a_fallback_can_be_asked_for_where_none_is_set() -> None:
    """The parameter goes before the setting."""
    async with serving(NUMBERS, ApiSettings(fallback="none")) as api:
        assert (await api.get("/v1/users/nobody/recommendations?fallback=popular")).json["strategy"] == "popular"


async def test_normalized_scores_are_in_the_unit_interval() -> None:
    """normalize=true maps by the model's own range, and popularity to a share of the most popular item's."""
    normalize = NUMBERS.manifest.scores.normalize
    async with serving(NUMBERS) as api:
        path = f"/v1/users/{all_users(NUMBERS)[0]}/recommendations?n=60"
        plain, mapped = (await api.get(path)).json["items"], (await api.get(path + "&normalize=true")).json["items"]
        popular = (await api.get("/v1/users/nobody/recommendations?n=60&normalize=true")).json["items"]
    assert [item["score"] for item in mapped] == [normalize(score) for _, score in answered(plain)]
    shares = [item["score"] for item in popular]
    counts = scoring.popular(NUMBERS.model, 60).scores
    assert shares == (counts / np.float64(counts.max())).tolist()
    assert shares[0] == 1


@pytest.mark.parametrize("snapshot", [NUMBERS, TEXT], ids=["int", "str"])
async def test_a_batch_answers_each_user_in_order(snapshot: Snapshot) -> None:
    """One result per user, the same as asked alone; a user may be there twice, unknown ones get the fallback."""
    users = [*all_users(snapshot)[5:0:-1], "nobody", all_users(snapshot)[5]]
    async with serving(snapshot) as api:
        batch = await api.post("/v1/recommendations", {"users": users, "n": 4})
        alone = [await api.get(f"/v1/users/{encoded(user)}/recommendations?n=4") for user in users]
    assert batch.status == 200
    assert batch.headers["X-Model-Version"] == batch.json["model_version"] == snapshot.version
    assert batch.json["results"] == [
        {name: value for name, value in answer.json.items() if name != "model_version"} for answer in alone
    ]


async def test_an_unknown_user_does_not_fail_a_batch() -> None:
    """Without a fallback, an unknown user is an entry with its own error."""
    known = all_users(NUMBERS)[0]
    async with serving(NUMBERS) as api:
        answer = await api.post("/v1/recommendations", {"users": ["nobody", known, 77_777], "fallback": "none"})
    first, second, third = answer.json["results"]
    assert first == {"user_id": "nobody", "error": "unknown_user"}
    assert (second["user_id"], second["strategy"]) == (known, "als")
    assert third == {"user_id": 77_777, "error": "unknown_user"}


async def test_ids_in_a_body_may_be_numbers_or_text() -> None:
    """A number's text and the number are one id in a body, as they are in a path."""
    known = all_users(NUMBERS)[0]
    async with serving(NUMBERS) as api:
        answer = await api.post("/v1/recommendations", {"users": [known, str(known)], "fallback": "none"})
    first, second = answer.json["results"]
    assert first == second


async def test_a_large_batch_runs_beside_the_event_loop_and_is_the_same() -> None:
    """A thousand users are answered too, from a thread."""
    users = (all_users(NUMBERS) * 25)[:1000]
    async with serving(NUMBERS) as api:
        answer = await api.post("/v1/recommendations", {"users": users})
        alone = (await api.get(f"/v1/users/{users[-1]}/recommendations")).json["items"]
    assert [result["user_id"] for result in answer.json["results"]] == users
    assert answer.json["results"][-1]["items"] == alone


def folded(
    snapshot: Snapshot, weights: dict[Id, float], n: int, exclude: tuple[Id, ...] = ()
) -> list[tuple[Id, float]]:
    """Return what a user with these items should get."""
    model = snapshot.model
    rows = np.array([model.item_ids.row(item) for item in weights], np.int32)
    vector = scoring.fold_in(model, rows, np.array(list(weights.values()), np.float32))
    without = np.unique([*rows, *(model.item_ids.row(item) or 0 for item in exclude)]).astype(np.int32)
    return entries(snapshot, scoring.top_n(model, vector, n, without=without))


@pytest.mark.parametrize("kind", ["int", "str"])
async def test_an_anonymous_user_is_folded_in(kind: IdKind) -> None:
    """The items given make a user; they are not recommended back, and unknown ones are reported."""
    snapshot = {"int": NUMBERS, "str": TEXT}[kind]
    one, two, three = snapshot.model.item_ids.at(np.arange(3))
    given_items = [{"item_id": one}, {"item_id": "nothing"}, {"item_id": two, "weight": 2.5}]
    async with serving(snapshot) as api:
        answer = await api.post("/v1/recommendations/anonymous", {"items": given_items, "n": 60, "exclude": [three]})
    assert answer.status == 200
    assert answer.headers["X-Model-Version"] == answer.json["model_version"] == snapshot.version
    assert answer.json["strategy"] == "fold_in"
    assert answer.json["unknown_items"] == ["nothing"]
    assert answered(answer.json["items"]) == folded(snapshot, {one: 1.0, two: 2.5}, 60, exclude=(three,))
    assert len(answer.json["items"]) == 57


async def test_an_anonymous_users_options_mean_the_same() -> None:
    """n, offset and normalize; and the weights of an item that is given twice add up."""
    one = NUMBERS.model.item_ids.at(np.arange(1))[0]
    ranked = folded(NUMBERS, {one: 3.0}, 10)
    async with serving(NUMBERS) as api:
        twice = [{"item_id": one}, {"item_id": str(one), "weight": 2}]
        options = {"n": 4, "offset": 2}
        plain = await api.post("/v1/recommendations/anonymous", {"items": twice} | options)
        mapped = await api.post("/v1/recommendations/anonymous", {"items": twice, "normalize": True} | options)
    assert answered(plain.json["items"]) == ranked[2:6]
    assert [item["score"] for item in mapped.json["items"]] == [
        NUMBERS.manifest.scores.normalize(score) for _, score in ranked[2:6]
    ]


async def test_an_anonymous_user_of_unknown_items_is_not_found() -> None:
    """If no given item is known, nothing can be recommended."""
    async with serving(NUMBERS) as api:
        answer = await api.post("/v1/recommendations/anonymous", {"items": [{"item_id": "nothing"}]})
    assert (answer.status, answer.json["code"]) == (404, "unknown_item")


async def test_the_largest_weights_give_finite_scores() -> None:
    """No weight that is allowed leads to infinity or NaN in an answer."""
    items = [
        {"item_id": item, "weight": weight}
        for item, weight in zip(NUMBERS.model.item_ids.at(np.arange(60)), [1e6, -1e6, 1e-300, 0] * 15, strict=True)
    ]
    async with serving(NUMBERS) as api:
        answer = await api.post("/v1/recommendations/anonymous", {"items": items[:50], "n": 100})
    assert answer.status == 200
    assert len(answer.json["items"]) == 10
    assert all(np.isfinite(score) for _, score in answered(answer.json["items"]))


def test_the_helpers_see_what_was_seen() -> None:
    """The properties above would hold of anything if these models had no seen items."""
    assert any(seen_by(NUMBERS, row) for row in range(40))
