"""Items that must not be shown are in no answer, and ``only`` narrows every route that returns items."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from threading import current_thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.catalog.assortment import Assortment, assort
from service.model.catalog.catalog import Catalog
from service.model.factors import Id
from service.model.filtering import selection
from service.model.filtering.evaluation import evaluate
from service.model.filtering.expressions import Expression
from service.model.scoring.ranking import Mask
from service.model.storage.snapshot import Snapshot
from tests.support.catalogs import KINDS, Attributes, Filter, attributes, filters, make_catalog
from tests.support.models import make_factors
from tests.support.serving import Api, encoded, make_snapshot, serving

ITEMS = 60
WHOLE = make_snapshot(make_factors(users=12, items=ITEMS, whole=True), "whole")
TEXT = make_snapshot(make_factors(users=12, items=ITEMS, ids="str"), "text")
USER, ITEM = TEXT.model.user_ids.of(0), TEXT.model.item_ids.of(0)
GIVEN = TEXT.model.item_ids.of(5)


def without(snapshot: Snapshot, rows: list[int], catalog: Catalog | None = None) -> Assortment:
    """Return the assortment in which these item rows are unavailable."""
    ids = sorted(str(each).encode() for each in snapshot.model.item_ids.at(np.array(rows, np.int64)))
    return assort(snapshot.model, catalog, np.array(ids or [b""], "S64")[: len(ids)])


@st.composite
def described(draw: st.DrawFn) -> dict[int, Attributes]:
    """Draw what a catalog says of item rows; it does not list every item."""
    kinds = draw(st.lists(attributes(), min_size=1, max_size=6))
    return {row: kinds[row % len(kinds)] for row in range(ITEMS) if row % 7}


#: How an answer is cut: what every route takes, and what some do.
CUTS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(1, ITEMS + 5),
        "min_score": st.sampled_from([-2.5, 0.0, 0.25, 1.0, 3.0]),
        "max_per": st.tuples(st.sampled_from([*KINDS]), st.integers(1, 3)).map("{0[0]}:{0[1]}".format),
        "offset": st.integers(0, 4) | st.integers(0, ITEMS),
        "normalize": st.booleans(),
    },
)
NOT_TAKEN = {"similar": {"offset", "normalize"}, "popular": {"normalize"}}


async def answers(api: Api, snapshot: Snapshot, options: dict[str, Any]) -> dict[str, list[tuple[Id, float]]]:
    """Return what every route that returns items has for these options, by the route."""
    model = snapshot.model
    users, item, given_item = model.user_ids.at(np.arange(3)), model.item_ids.of(4), model.item_ids.of(5)
    queries = {
        route: "&".join(f"{name}={as_sent(value)}" for name, value in options.items() if name not in not_taken)
        for route, not_taken in {"": set[str](), **NOT_TAKEN}.items()
    }
    gotten = {
        "user": await api.get(f"/v1/users/{encoded(users[0])}/recommendations?exclude_seen=false&{queries['']}"),
        "unknown": await api.get(f"/v1/users/nobody/recommendations?{queries['']}"),
        "similar": await api.get(f"/v1/items/{encoded(item)}/similar?{queries['similar']}"),
        "popular": await api.get(f"/v1/items/popular?{queries['popular']}"),
        "anonymous": await api.post("/v1/recommendations/anonymous", {"items": [{"item_id": given_item}], **options}),
    }
    session = {"items": [{"item_id": given_item}], "exclude_seen": False, **options}
    gotten["session"] = await api.post(f"/v1/users/{encoded(users[1])}/recommendations", session)
    found = {route: answer.json["items"] for route, answer in gotten.items()}
    body = {"users": [*users, "nobody"], "exclude_seen": False, **options}
    batch = (await api.post("/v1/recommendations", body)).json["results"]
    found |= {f"batch {place}": result["items"] for place, result in enumerate(batch)}
    return {route: [(entry["item_id"], entry["score"]) for entry in items] for route, items in found.items()}


def cut(
    whole: list[tuple[Id, float]], eligible: set[Id], options: dict[str, Any], known: dict[Id, Attributes]
) -> list[tuple[Id, float]]:
    """Return what is left of a whole list, by plain reading."""
    name, _, most = options.get("max_per", ":1000").rpartition(":")
    used: Counter[Any] = Counter()
    left = []
    for item, score in whole:
        value = known.get(item, {}).get(name)
        values = {*value} if isinstance(value, list) else {value} - {None}
        if item in eligible and all(used[each] < int(most) for each in values):
            used.update(values)
            left.append((item, score))
    offset = options.get("offset", 0)
    page = left[offset : offset + options.get("n", 10)]
    return [(item, score) for item, score in page if score >= options.get("min_score", score)]


def as_sent(value: object) -> str:
    """Return an option as it stands in a query string."""
    if isinstance(value, list):
        return ",".join(map(encoded, value))
    return str(value).lower() if isinstance(value, bool) else encoded(value)


@pytest.mark.parametrize("snapshot", [WHOLE, TEXT], ids=["whole", "text"])
@given(
    gone=st.sets(st.integers(0, ITEMS - 1)),
    only=st.none() | st.sets(st.integers(0, ITEMS - 1)),
    known=described(),
    drawn=st.none() | filters,
    cuts=CUTS,
)
@settings(max_examples=25, deadline=None)
async def test_every_route_has_the_best_of_what_is_eligible(
    snapshot: Snapshot,
    gone: set[int],
    only: set[int] | None,
    known: dict[int, Attributes],
    drawn: Filter | None,
    cuts: dict[str, Any],
) -> None:
    """An answer is that of a server that shows everything, cut down as a person would read the options."""
    ids = snapshot.model.item_ids.at(np.arange(ITEMS))
    rows = {*(range(ITEMS) if only is None else only)} - gone
    eligible = {ids[row] for row in rows if drawn is None or drawn.is_true(known.get(row, {}))}
    options: dict[str, Any] = {} if only is None else {"only": [ids[row] for row in only] + ["nothing"]}
    options |= {} if drawn is None else {"filter": drawn.text}
    described = {ids[row]: item for row, item in known.items()}
    narrowed = without(snapshot, [*gone], make_catalog(described))
    async with serving(snapshot) as api, serving(snapshot, assortment=narrowed) as narrow:
        scale = {"normalize": cuts["normalize"]} if "normalize" in cuts else {}
        whole = await answers(api, snapshot, {"n": 1000, **scale})
        found = await answers(narrow, snapshot, options | cuts)
    for route, items in whole.items():
        taken = {name: value for name, value in cuts.items() if name not in NOT_TAKEN.get(route, ())}
        assert found[route] == cut(items, eligible, taken, described), route


async def test_what_is_not_shown_is_still_explained_and_listed() -> None:
    """A user's history and explanations name unavailable items, and so do scores that were asked for."""
    async with serving(TEXT, assortment=without(TEXT, [*range(ITEMS)])) as api:
        had = (await api.get(f"/v1/users/{encoded(USER)}/items?n=1000")).json["items"]
        explained = (await api.get(f"/v1/users/{encoded(USER)}/explanations/{encoded(ITEM)}?n=1000")).json["items"]
        scores = (await api.get(f"/v1/users/{encoded(USER)}/scores?items={encoded(ITEM)}")).json["items"]
    assert had
    assert {entry["item_id"] for entry in explained} <= {entry["item_id"] for entry in had}
    assert explained
    assert scores[0]["item_id"] == ITEM


async def test_an_empty_only_is_an_empty_answer() -> None:
    """A client whose own list came out empty gets nothing, not everything."""
    async with serving(TEXT) as api:
        assert (await api.get(f"/v1/users/{encoded(USER)}/recommendations?only=")).json["items"] == []
        body = {"items": [{"item_id": GIVEN}], "only": []}
        assert (await api.post("/v1/recommendations/anonymous", body)).json["items"] == []


@pytest.mark.parametrize("narrowed", ["filter=number<40", "max_per=number:1", "filter=number>=0&max_per=number:2"])
async def test_pages_of_what_is_eligible(narrowed: str) -> None:
    """An offset counts the items that are eligible, and taken."""
    numbers = {TEXT.model.item_ids.of(row): {"number": float(row // 2)} for row in range(0, ITEMS, 2)}
    path = f"/v1/users/{encoded(USER)}/recommendations?{narrowed}"
    async with serving(TEXT, assortment=assort(TEXT.model, make_catalog(numbers))) as api:
        whole = (await api.get(f"{path}&n=100")).json["items"]
        pages = [(await api.get(f"{path}&n=4&offset={offset}")).json["items"] for offset in range(0, 64, 4)]
    assert [item for page in pages for item in page] == whole


CATALOG = make_catalog({TEXT.model.item_ids.of(row): {"number": float(row)} for row in range(0, ITEMS, 2)})


async def refused(api: Api, text: str) -> list[str]:
    """Return what a filter is refused with, by every route that takes one."""
    user, item, sent = encoded(USER), encoded(ITEM), encoded(text)
    gets = [f"/v1/users/{user}/recommendations", f"/v1/items/{item}/similar", "/v1/items/popular"]
    found = [await api.get(f"{path}?filter={sent}") for path in gets]
    found.append(await api.post("/v1/recommendations", {"users": [USER], "filter": text}))
    body = {"items": [{"item_id": GIVEN}], "filter": text}
    found.append(await api.post("/v1/recommendations/anonymous", body))
    found.append(await api.post(f"/v1/users/{user}/recommendations", body))
    assert {(answer.status, answer.json["code"]) for answer in found} == {(400, "bad_filter")}
    return [answer.json["detail"] for answer in found]


async def test_a_filter_that_is_wrong_is_the_same_error_everywhere() -> None:
    """Whether it is not understood, too long, of unknown attributes, or there is no catalog."""
    async with serving(TEXT, assortment=assort(TEXT.model, CATALOG)) as api:
        for text in ("(", "a" * 2501, "nothing", "number = 'x'"):
            assert len({*await refused(api, text)}) == 1
    async with serving(TEXT) as api:
        nothing = "The server has no catalog (ALS_ITEMS), so there are no attributes to filter by."
        assert {*await refused(api, "number = 1")} == {nothing}


async def test_an_empty_filter_is_none() -> None:
    """A client that has nothing to ask for may send the parameter without a value."""
    path = f"/v1/users/{encoded(USER)}/recommendations"
    async with serving(TEXT) as api:
        assert (await api.get(f"{path}?filter=")).body == (await api.get(path)).body


async def test_a_filter_is_evaluated_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many users, one evaluation, beside the event loop, until others need the room; another assortment begins anew."""
    evaluated, threads = [], list[str]()

    def counting(parsed: Expression, catalog: Catalog) -> Mask:
        evaluated.append(parsed)
        threads.append(current_thread().name)
        return evaluate(parsed, catalog)

    monkeypatch.setattr(selection, "evaluate", counting)
    users = [encoded(user) for user in TEXT.model.user_ids.at(np.arange(5))]
    for _ in range(2):
        async with serving(TEXT, assortment=assort(TEXT.model, CATALOG)) as api:
            for user in users:
                await api.get(f"/v1/users/{user}/recommendations?filter=number<30")
    assert len(evaluated) == 2
    assert all(name.startswith("query") for name in threads)
    monkeypatch.setattr(selection, "_KEPT_BYTES", 500)
    kept = selection.Selection(assort(TEXT.model, CATALOG))
    for text in ("number<1", "number<2", "number<1", "number<3", "number<1", "number<2"):
        kept.matching(text)
    assert len(evaluated) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("number", "max_per is not an attribute and a number from 1 to 1000, such as genre:2."),
        ("number:0", "max_per is not an attribute and a number from 1 to 1000, such as genre:2."),
        ("number:1001", "max_per is not an attribute and a number from 1 to 1000, such as genre:2."),
        ("nummer:2", "There is no attribute 'nummer' (in max_per). Did you mean number?"),
    ],
)
async def test_a_wrong_max_per_is_refused(given: str, message: str) -> None:
    """With what it should be, or which attributes there are."""
    async with serving(TEXT, assortment=assort(TEXT.model, CATALOG)) as api:
        answer = await api.get(f"/v1/users/{encoded(USER)}/recommendations?max_per={given}")
    assert (answer.status, answer.json["code"]) == (400, "bad_filter")
    assert answer.json["detail"].startswith(message)


async def test_an_emptied_list_has_no_top_score() -> None:
    """A list that min_score emptied is counted as a list, and has no best item."""
    async with serving(TEXT) as api:
        answer = await api.get(f"/v1/users/{encoded(USER)}/recommendations?min_score=1e6")
        assert answer.json["items"] == []
        assert api.sample("als_results_total", strategy="als") == 1
        assert api.sample("als_result_top_score_count", strategy="als") == 0


async def test_a_user_without_factors_gets_what_is_popular_even_if_nothing_is_left() -> None:
    """The strategy does not depend on whether a filter emptied the answer, nor on the route."""
    factors = make_factors(users=3, items=ITEMS)
    cold = make_snapshot(replace(factors, user_factors=np.zeros_like(factors.user_factors)), "cold")
    user = cold.model.user_ids.of(0)
    async with serving(cold) as api:
        alone = (await api.get(f"/v1/users/{user}/recommendations?only=")).json
        (batch,) = (await api.post("/v1/recommendations", {"users": [user], "only": []})).json["results"]
    assert (alone["strategy"], alone["items"]) == (batch["strategy"], batch["items"]) == ("popular", [])


@pytest.mark.parametrize("written", ["1e-140", "-2.5E+100", "0.25", "-3"])
async def test_min_score_is_any_number(written: str) -> None:
    """As programs write one, however small or large."""
    async with serving(TEXT) as api:
        answer = await api.get(f"/v1/users/{encoded(USER)}/recommendations?n=60&min_score={encoded(written)}")
    assert answer.status == 200
    assert all(item["score"] >= float(written) for item in answer.json["items"])
