"""Recommendations to a user in a session."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.api.handlers import lookups
from service.model.factors import Id
from service.model.model import Model
from service.model.scoring import folding
from service.model.storage.snapshot import Snapshot
from tests.support.models import make_factors
from tests.support.serving import Answer, Api, ApiSettings, encoded, make_snapshot, serving

FACTORS = make_factors(users=12, items=30, pairs=100)
PLAIN = make_snapshot(dataclasses.replace(FACTORS, item_weights=None), "plain")
WEIGHTED = make_snapshot(dataclasses.replace(FACTORS, activity_discount=0.25), "weighted")
NOTHING_SEEN = make_snapshot(make_factors(users=12, items=30, pairs=None), "nothing seen")
USERS: list[Id] = PLAIN.model.user_ids.at(np.arange(12))
ITEMS: list[Id] = PLAIN.model.item_ids.at(np.arange(30))

#: What someone did: rows and weights, dislikes among them, items of before and items twice.
sessions = st.lists(st.tuples(st.integers(0, 29), st.integers(-40, 40).map(lambda eighths: eighths / 8)), max_size=12)


def given_items(session: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Write a session as in a body."""
    return [{"item_id": ITEMS[row], "weight": weight} for row, weight in session]


async def ask(api: Api, user: object, session: list[tuple[int, float]], **options: Any) -> Answer:
    """Ask for a user's recommendations in a session."""
    return await api.post(f"/v1/users/{encoded(user)}/recommendations", {"items": given_items(session), **options})


def merged(model: Model, user: int | None, session: list[tuple[int, float]]) -> NDArray[np.float64]:
    """Return the weights of all items, float64 [items], NaN where there is neither an item of before nor of now."""
    weights = np.full(len(model.item_ids), np.nan)
    if user is not None and model.seen:
        weights[model.seen.of(user)] = model.seen.weights_of(user)
    for row, weight in session:
        weights[row] = np.nan_to_num(weights[row]) + weight
    return weights


def dense(model: Model, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve a user's equations as they are written in Hu, Koren and Volinsky, with a matrix of all confidences."""
    items, had = model.item_factors.astype(np.float64), ~np.isnan(weights)
    scale = model.alpha / had.sum() ** model.activity_discount
    signed = np.where(had, scale * model.item_weights * np.nan_to_num(weights), 1)
    preferred = np.where(had & (signed > 0), signed, 0)
    equations = items.T @ np.diag(np.abs(signed)) @ items + model.regularization * np.eye(items.shape[1])
    solved: NDArray[np.float64] = np.linalg.solve(equations, items.T @ preferred)
    return solved


def scores_of(answer: Answer, model: Model) -> NDArray[np.float64]:
    """Return an answer's scores by item row."""
    scores = {entry["item_id"]: entry["score"] for entry in answer.json["items"]}
    return np.array([scores[item] for item in model.item_ids.at(np.arange(len(model.item_ids)))])


@pytest.mark.parametrize("snapshot", [PLAIN, WEIGHTED, NOTHING_SEEN], ids=["plain", "weighted", "nothing seen"])
@given(user=st.integers(0, 11) | st.none(), session=sessions.filter(bool))
@settings(max_examples=40, deadline=None)
async def test_what_a_user_had_and_does_now_are_solved_for_together(
    snapshot: Snapshot, user: int | None, session: list[tuple[int, float]]
) -> None:
    """The scores are those of a dense solution with the summed weights; somebody unknown has the session alone."""
    model = snapshot.model
    async with serving(snapshot) as api:
        name = "nobody" if user is None else USERS[user]
        answer = await ask(api, name, session, n=1000, exclude_seen=False, fallback="none")
    expected = model.item_factors @ dense(model, merged(model, user, session))
    np.testing.assert_allclose(scores_of(answer, model), expected, rtol=1e-5, atol=1e-5)
    assert answer.json["strategy"] == ("fold_in" if user is None or model.seen is None else "session")
    assert answer.json["user_id"] == name


# implicit asks for one BLAS thread, which is the server's setting and of no matter here.
@pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")
@given(user=st.integers(0, 11), session=sessions.filter(bool))
@settings(max_examples=40, deadline=None)
async def test_it_is_what_implicit_recalculates(user: int, session: list[tuple[int, float]]) -> None:
    """Without weights of items and users, the factors are those of recalculate_user for the merged row."""
    model = PLAIN.model
    weights = merged(model, user, session)
    (rows,) = np.nonzero(~np.isnan(weights))
    row = csr_matrix((weights[rows].astype(np.float32), rows, [0, len(rows)]), (1, len(weights)))
    theirs = AlternatingLeastSquares(4, regularization=model.regularization, alpha=model.alpha, num_threads=1)
    theirs.user_factors, theirs.item_factors = model.user_factors.copy(), model.item_factors.copy()
    async with serving(PLAIN) as api:
        answer = await ask(api, USERS[user], session, n=1000, exclude_seen=False, fallback="none")
    expected = model.item_factors @ theirs.recalculate_user(0, row)
    np.testing.assert_allclose(scores_of(answer, model), expected, rtol=1e-4, atol=1e-4)


async def test_nothing_of_before_or_now_is_recommended_unless_asked() -> None:
    """Seen items, those of the session and the excluded ones are left out; exclude_seen=false keeps the first two."""
    session = [(3, 1.0), (4, -1.0)]
    assert PLAIN.model.seen
    known = {ITEMS[row] for row in (*PLAIN.model.seen.of(0).tolist(), 3, 4)}
    async with serving(PLAIN) as api:
        without = await ask(api, USERS[0], session, n=100, exclude=[ITEMS[5]])
        everything = await ask(api, USERS[0], session, n=100, exclude=[ITEMS[5]], exclude_seen=False)
    assert {entry["item_id"] for entry in without.json["items"]} == set(ITEMS) - known - {ITEMS[5]}
    assert {entry["item_id"] for entry in everything.json["items"]} == set(ITEMS) - {ITEMS[5]}


@pytest.mark.parametrize("items", [[], [{"item_id": "nothing", "weight": 3}]], ids=["empty", "unknown"])
@pytest.mark.parametrize("user", [USERS[0], "nobody"])
async def test_a_session_of_nothing_known_changes_nothing(user: Id, items: list[dict[str, Any]]) -> None:
    """The answer is the one without a session, the fallback included, and names the unknown items."""
    path = f"/v1/users/{user}/recommendations"
    async with serving(PLAIN) as api:
        answer, without = await api.post(path, {"items": items}), await api.get(path)
        refused = await api.post("/v1/users/nobody/recommendations", {"items": items, "fallback": "none"})
    assert answer.json == without.json | {"unknown_items": [entry["item_id"] for entry in items]}
    assert (refused.status, refused.json["code"]) == (404, "unknown_user")


async def test_dislikes_alone_lead_to_what_is_popular() -> None:
    """They leave factors that are all 0; without a fallback, these are what is answered by."""
    async with serving(PLAIN) as api:
        answer = await ask(api, "nobody", [(0, -1.0)], n=100)
        without = await ask(api, "nobody", [(0, -1.0)], fallback="none")
        popular = await api.get("/v1/items/popular?n=100")
    assert answer.json["strategy"] == "popular"
    assert answer.json["items"] == [entry for entry in popular.json["items"] if entry["item_id"] != ITEMS[0]]
    assert (without.json["strategy"], {entry["score"] for entry in without.json["items"]}) == ("fold_in", {0})


async def test_the_options_mean_the_same() -> None:
    """Pages by n and offset lead through one ranking, and normalize maps its scores."""
    async with serving(PLAIN) as api:
        whole = (await ask(api, USERS[1], [(2, 2.0)], n=100)).json["items"]
        page = (await ask(api, USERS[1], [(2, 2.0)], n=4, offset=3)).json["items"]
        mapped = (await ask(api, USERS[1], [(2, 2.0)], n=4, offset=3, normalize=True)).json["items"]
    assert page == whole[3:7]
    normalize = PLAIN.manifest.scores.normalize
    assert [entry["score"] for entry in mapped] == [normalize(float(np.float32(entry["score"]))) for entry in page]


async def test_nothing_is_stored() -> None:
    """After a session, the user's recommendations are those of before; and results count by their strategy."""
    path = f"/v1/users/{USERS[0]}/recommendations"
    async with serving(PLAIN, ApiSettings(cache_mb=1)) as api:
        before = await api.get(path)
        assert (await ask(api, USERS[0], [(2, 9.0)])).json["items"] != before.json["items"]
        assert (await api.get(path)).body == before.body
        assert api.sample("als_results_total", strategy="session") == 1
        assert api.sample("als_result_scanned_items_count", strategy="session") == 1


async def test_a_limited_model_recommends_what_is_popular() -> None:
    """Without factors, what was had and what is in the session is left out."""
    limited = make_snapshot(
        dataclasses.replace(
            FACTORS, user_factors=np.empty((12, 0), np.float32), item_factors=np.empty((30, 0), np.float32)
        )
    )
    item = limited.model.item_ids.of(0)
    async with serving(limited) as api:
        path = f"/v1/users/{USERS[0]}/recommendations"
        without, answer = await api.get(path + "?n=100"), await api.post(path, {"items": [{"item_id": item}], "n": 100})
    assert answer.json["strategy"] == "popular"
    assert answer.json["items"] == [entry for entry in without.json["items"] if entry["item_id"] != item]


async def test_a_user_who_had_very_much_gives_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long session is folded in by turns, and has the same answer."""
    async with serving(PLAIN) as api:
        at_once = await ask(api, USERS[0], [(2, 9.0)])
        monkeypatch.setattr(lookups, "_UNDIVIDED_MICROSECONDS", -1)
        monkeypatch.setattr(folding, "_PRODUCTS_PER_TURN", 16)
        by_turns = await ask(api, USERS[0], [(2, 9.0)])
    assert [entry["item_id"] for entry in by_turns.json["items"]] == [
        entry["item_id"] for entry in at_once.json["items"]
    ]
