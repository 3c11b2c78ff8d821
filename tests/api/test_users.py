"""Routes about users and items besides recommendations."""

from __future__ import annotations

import numpy as np
import pytest

from service.model.factors import Factors, Id, Seen
from service.model.ids import IdKind
from service.model.scoring import scoring
from service.model.storage.snapshot import Snapshot
from tests.support.models import make_factors
from tests.support.serving import encoded, make_snapshot, serving

MODELS: dict[IdKind, Snapshot] = {
    "int": make_snapshot(make_factors(), "numbers"),
    "str": make_snapshot(make_factors(ids="str"), "text"),
}
NUMBERS = MODELS["int"]
NOTHING_SEEN = make_snapshot(make_factors(pairs=None), "nothing seen")

each_kind = pytest.mark.parametrize("snapshot", MODELS.values(), ids=MODELS)


def user_id(snapshot: Snapshot, row: int) -> Id:
    """Return the id of a user's row."""
    return snapshot.model.user_ids.at(np.array([row]))[0]


def item_ids(snapshot: Snapshot, *rows: int) -> list[Id]:
    """Return the ids of item rows."""
    return snapshot.model.item_ids.at(np.array(rows))


def float32s(numbers: list[float]) -> list[float]:
    """Read numbers back as the float32 that they are."""
    return [float(np.float32(number)) for number in numbers]


@each_kind
async def test_similar_users(snapshot: Snapshot) -> None:
    """The users with the greatest cosine, without the one asked about."""
    ranked = scoring.similar_users(snapshot.model, 7, 5)
    user = user_id(snapshot, 7)
    async with serving(snapshot) as api:
        answer = await api.get(f"/v1/users/{encoded(user)}/similar?n=5")
        everyone = await api.get(f"/v1/users/{encoded(user)}/similar?n=1000")
    assert answer.headers["X-Model-Version"] == answer.json["model_version"] == snapshot.version
    assert answer.json["user_id"] == user
    assert [entry["user_id"] for entry in answer.json["users"]] == snapshot.model.user_ids.at(ranked.rows)
    assert float32s([entry["score"] for entry in answer.json["users"]]) == ranked.scores.tolist()
    assert user not in [entry["user_id"] for entry in everyone.json["users"]]
    assert len(everyone.json["users"]) == 39


@each_kind
async def test_similar_items(snapshot: Snapshot) -> None:
    """The items with the greatest cosine, without the one asked about."""
    ranked = scoring.similar_items(snapshot.model, 7, 10)
    item = item_ids(snapshot, 7)[0]
    async with serving(snapshot) as api:
        answer = await api.get(f"/v1/items/{encoded(item)}/similar")
    assert answer.headers["X-Model-Version"] == answer.json["model_version"] == snapshot.version
    assert answer.json["item_id"] == item
    assert [entry["item_id"] for entry in answer.json["items"]] == snapshot.model.item_ids.at(ranked.rows)
    assert float32s([entry["score"] for entry in answer.json["items"]]) == ranked.scores.tolist()


@each_kind
async def test_scores_come_in_the_order_asked(snapshot: Snapshot) -> None:
    """One entry per item asked about, twice where asked twice; an unknown one says so."""
    user, asked = user_id(snapshot, 3), item_ids(snapshot, 20, 4, 20)
    expected = scoring.item_scores(snapshot.model, 3, np.array([20, 4, 20], np.int32)).tolist()
    async with serving(snapshot) as api:
        listed = ",".join(encoded(item) for item in (asked[0], "nothing", *asked[1:]))
        answer = await api.get(f"/v1/users/{encoded(user)}/scores?items={listed}")
    first, unknown, *rest = answer.json["items"]
    assert answer.headers["X-Model-Version"] == answer.json["model_version"] == snapshot.version
    assert answer.json["user_id"] == user
    assert unknown == {"item_id": "nothing", "error": "unknown_item"}
    assert [entry["item_id"] for entry in (first, *rest)] == asked
    assert float32s([entry["score"] for entry in (first, *rest)]) == expected


async def test_scores_can_be_normalized() -> None:
    """normalize=true maps to [0, 1] by the model's own score range."""
    item = item_ids(NUMBERS, 0)[0]
    score = float(scoring.item_scores(NUMBERS.model, 3, np.zeros(1, np.int32))[0])
    async with serving(NUMBERS) as api:
        answer = await api.get(f"/v1/users/{user_id(NUMBERS, 3)}/scores?items={item}&normalize=true")
    assert answer.json["items"][0]["score"] == NUMBERS.manifest.scores.normalize(score)


async def test_scores_of_unknown_items_alone() -> None:
    """A user's scores can be asked for though no item is known."""
    async with serving(NUMBERS) as api:
        answer = await api.get(f"/v1/users/{user_id(NUMBERS, 3)}/scores?items=x")
    assert answer.json["items"] == [{"item_id": "x", "error": "unknown_item"}]


@each_kind
async def test_what_a_user_had_comes_in_pages(snapshot: Snapshot) -> None:
    """The pages are the user's items and weights, whole and in one order."""
    seen = snapshot.model.seen
    assert seen is not None
    row = int(np.diff(seen.indptr).argmax())
    expected = dict(zip(snapshot.model.item_ids.at(seen.of(row)), seen.weights_of(row).tolist(), strict=True))
    path = f"/v1/users/{encoded(user_id(snapshot, row))}/items"
    async with serving(snapshot) as api:
        pages = [(await api.get(f"{path}?n=2&offset={offset}")).json for offset in range(0, len(expected) + 2, 2)]
    entries = [entry for page in pages for entry in page["items"]]
    assert pages[0].keys() == {"model_version", "user_id", "items"}
    assert pages[-1]["items"] == []
    assert len(entries) == len(expected) > 2
    assert {entry["item_id"]: entry["weight"] for entry in entries} == expected


@each_kind
async def test_an_explanation_adds_up(snapshot: Snapshot) -> None:
    """Each of the user's items with what it contributes, the largest first; the score is the sum over all."""
    seen = snapshot.model.seen
    assert seen is not None
    row = int(np.diff(seen.indptr).argmax())
    had = len(seen.of(row))
    everything = scoring.explain(snapshot.model, row, 5, had)
    path = f"/v1/users/{encoded(user_id(snapshot, row))}/explanations/{encoded(item_ids(snapshot, 5)[0])}"
    async with serving(snapshot) as api:
        answer, shorter = await api.get(f"{path}?n=1000"), await api.get(f"{path}?n=2")
    assert answer.headers["X-Model-Version"] == answer.json["model_version"] == snapshot.version
    assert answer.json["user_id"] == user_id(snapshot, row)
    assert answer.json["item_id"] == item_ids(snapshot, 5)[0]
    contributions = float32s([entry["score"] for entry in answer.json["items"]])
    assert contributions == everything.scores.tolist()
    assert [entry["item_id"] for entry in answer.json["items"]] == item_ids(snapshot, *everything.rows.tolist())
    assert answer.json["score"] == pytest.approx(sum(contributions), rel=1e-5)
    assert shorter.json == answer.json | {"items": answer.json["items"][:2]}


async def test_a_user_without_items_has_an_empty_explanation() -> None:
    """Without seen items, there are no reasons and the score is 0."""
    factors = make_factors(users=2, items=3)
    nothing = Seen(np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    snapshot = make_snapshot(
        Factors(factors.user_factors, factors.item_factors, factors.user_ids, factors.item_ids, nothing, 0.01, 1.0)
    )
    user, item = user_id(snapshot, 0), item_ids(snapshot, 0)[0]
    async with serving(snapshot) as api:
        explanation = await api.get(f"/v1/users/{user}/explanations/{item}")
        had = await api.get(f"/v1/users/{user}/items")
        popular = await api.get("/v1/users/nobody/recommendations?normalize=true")
    assert (explanation.json["score"], explanation.json["items"]) == (0, [])
    assert had.json["items"] == []
    assert [entry["score"] for entry in popular.json["items"]] == [0, 0, 0]


async def test_popular_items_come_in_pages() -> None:
    """By the number of users who had each, and that is the score."""
    ranked = scoring.popular(NUMBERS.model, 60)
    async with serving(NUMBERS) as api:
        pages = [(await api.get(f"/v1/items/popular?n=7&offset={offset}")).json for offset in range(0, 63, 7)]
        default = await api.get("/v1/items/popular")
    entries = [entry for page in pages for entry in page["items"]]
    assert [entry["item_id"] for entry in entries] == item_ids(NUMBERS, *ranked.rows.tolist())
    assert [entry["score"] for entry in entries] == ranked.scores.tolist()
    assert default.headers["X-Model-Version"] == default.json["model_version"] == NUMBERS.version
    assert default.json["items"] == entries[:10]


NOBODY = "The user 'nobody' is not in the served model."
NOTHING = "The item 'nothing' is not in the served model."


@pytest.mark.parametrize(
    ("path", "code", "detail"),
    [
        ("/v1/users/nobody/similar", "unknown_user", NOBODY),
        ("/v1/users/nobody/scores?items=1", "unknown_user", NOBODY),
        ("/v1/users/nobody/items", "unknown_user", NOBODY),
        ("/v1/users/nobody/explanations/nothing", "unknown_user", NOBODY),
        (f"/v1/users/{user_id(NUMBERS, 0)}/explanations/nothing", "unknown_item", NOTHING),
        ("/v1/items/nothing/similar", "unknown_item", NOTHING),
    ],
)
async def test_what_is_unknown_is_not_found(path: str, code: str, detail: str) -> None:
    """An unknown user or item is 404, named as it was asked for."""
    async with serving(NUMBERS) as api:
        answer = await api.get(path)
    assert (answer.status, answer.json["code"], answer.json["detail"]) == (404, code, detail)


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/users/{user_id(NOTHING_SEEN, 0)}/items",
        f"/v1/users/{user_id(NOTHING_SEEN, 0)}/explanations/{item_ids(NOTHING_SEEN, 0)[0]}",
        "/v1/items/popular",
    ],
)
async def test_a_model_without_seen_items_says_so(path: str) -> None:
    """Routes that need seen items return 404 with their own code if the model has none."""
    async with serving(NOTHING_SEEN) as api:
        answer = await api.get(path)
    assert (answer.status, answer.json["code"]) == (404, "no_seen_items")
    assert answer.json["detail"].startswith("The served model does not include seen items")


async def test_a_list_of_numbers_goes_on_after_a_number() -> None:
    """Anything else is refused by name."""
    async with serving(make_snapshot(make_factors())) as api:
        answer = await api.get("/v1/users?after=ann")
    assert (answer.status, answer.json["code"]) == (400, "bad_parameter")
    assert answer.json["detail"].startswith("The parameter after is not a number")


@each_kind
async def test_users_are_listed(snapshot: Snapshot) -> None:
    """Every user is listed, in the order of ids, a page at a time or by what their ids begin with."""
    everyone = snapshot.model.user_ids.at(np.arange(40))
    async with serving(snapshot) as api:
        pages = [(await api.get(f"/v1/users?n=15&offset={offset}")).json for offset in (0, 15, 30, 45)]
        assert [user for page in pages for user in page["users"]] == everyone
        assert pages[0].keys() == {"model_version", "users"}
        assert (await api.get("/v1/users")).json["users"] == everyone[:10]
        after = (await api.get(f"/v1/users?n=40&after={encoded(everyone[6])}")).json["users"]
        assert after == everyone[7:]
        prefix = str(everyone[5])[:-1]
        alike = [user for user in everyone if str(user).startswith(prefix)]
        assert everyone[5] in alike
        found = (await api.get(f"/v1/users?n=40&prefix={encoded(prefix)}")).json["users"]
        assert sorted(found, key=everyone.index) == alike
        assert (await api.get(f"/v1/users?offset=1&prefix={encoded(prefix)}")).json["users"] == found[1:11]
        assert (await api.get("/v1/users?prefix=nobody")).json["users"] == []
