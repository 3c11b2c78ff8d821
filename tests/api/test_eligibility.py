"""Items that must not be shown are in no answer, and ``only`` narrows every route that returns items."""

from __future__ import annotations

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
from tests.support.catalogs import Attributes, Filter, attributes, filters, make_catalog
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


async def answers(api: Api, snapshot: Snapshot, options: dict[str, Any]) -> list[list[Id]]:
    """Return the items of every route that returns items: for a user, an unknown one, an item and a basket."""
    model = snapshot.model
    user, item, given_item = model.user_ids.of(3), model.item_ids.of(4), model.item_ids.of(5)
    query = "&".join(f"{name}={as_sent(value)}" for name, value in options.items())
    paths = [
        f"/v1/users/{encoded(user)}/recommendations?n=1000&exclude_seen=false&{query}",
        f"/v1/users/nobody/recommendations?n=1000&{query}",
        f"/v1/items/{encoded(item)}/similar?n=1000&{query}",
        f"/v1/items/popular?n=1000&{query}",
    ]
    gotten = [(await api.get(path)).json["items"] for path in paths]
    batch = {"users": [user, "nobody"], "n": 1000, "exclude_seen": False, **options}
    gotten += [result["items"] for result in (await api.post("/v1/recommendations", batch)).json["results"]]
    anonymous = {"items": [{"item_id": given_item}], "n": 1000, **options}
    gotten.append((await api.post("/v1/recommendations/anonymous", anonymous)).json["items"])
    return [[entry["item_id"] for entry in items] for items in gotten]


def as_sent(value: object) -> str:
    """Return an option as it stands in a query string."""
    return ",".join(map(encoded, value)) if isinstance(value, list) else encoded(value)


@pytest.mark.parametrize("snapshot", [WHOLE, TEXT], ids=["whole", "text"])
@given(
    gone=st.sets(st.integers(0, ITEMS - 1)),
    only=st.none() | st.sets(st.integers(0, ITEMS - 1)),
    known=described(),
    drawn=st.none() | filters,
)
@settings(max_examples=12, deadline=None)
async def test_every_route_leaves_out_what_is_not_eligible(
    snapshot: Snapshot, gone: set[int], only: set[int] | None, known: dict[int, Attributes], drawn: Filter | None
) -> None:
    """An answer is the one of a server that shows everything, without what is not eligible."""
    ids = snapshot.model.item_ids.at(np.arange(ITEMS))
    rows = {*(range(ITEMS) if only is None else only)} - gone
    eligible = {ids[row] for row in rows if drawn is None or drawn.is_true(known.get(row, {}))}
    options: dict[str, Any] = {} if only is None else {"only": [ids[row] for row in only] + ["nothing"]}
    options |= {} if drawn is None else {"filter": drawn.text}
    catalog = make_catalog({ids[row]: item for row, item in known.items()})
    async with serving(snapshot) as api, serving(snapshot, assortment=without(snapshot, [*gone], catalog)) as narrowed:
        whole = await answers(api, snapshot, {})
        found = await answers(narrowed, snapshot, options)
    assert found == [[item for item in items if item in eligible] for items in whole]


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


async def test_pages_of_what_is_eligible() -> None:
    """An offset counts eligible items."""
    only = ",".join(map(encoded, TEXT.model.item_ids.at(np.arange(0, ITEMS, 3))))
    path = f"/v1/users/{encoded(USER)}/recommendations?only={only}"
    async with serving(TEXT) as api:
        whole = (await api.get(f"{path}&n=100")).json["items"]
        pages = [(await api.get(f"{path}&n=4&offset={offset}")).json["items"] for offset in range(0, 24, 4)]
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
    assert {(answer.status, answer.json["code"]) for answer in found} == {(400, "bad_filter")}
    return [answer.json["detail"] for answer in found]


async def test_a_filter_that_is_wrong_is_the_same_error_everywhere() -> None:
    """Whether it is not understood, too long, of unknown attributes, or there is no catalog."""
    async with serving(TEXT, assortment=assort(TEXT.model, CATALOG)) as api:
        for text in ("(", "a" * 2501, "nothing", "number = 'x'"):
            assert len({*await refused(api, text)}) == 1
    async with serving(TEXT) as api:
        nothing = "There is no catalog of items, so there are no attributes to filter by."
        assert {*await refused(api, "number = 1")} == {nothing}


async def test_an_empty_filter_is_none() -> None:
    """A client that has nothing to ask for may send the parameter without a value."""
    path = f"/v1/users/{encoded(USER)}/recommendations"
    async with serving(TEXT) as api:
        assert (await api.get(f"{path}?filter=")).body == (await api.get(path)).body


async def test_a_filter_is_evaluated_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many users, one evaluation, until others need the room; another assortment begins anew."""
    evaluated = []

    def counting(parsed: Expression, catalog: Catalog) -> Mask:
        evaluated.append(parsed)
        return evaluate(parsed, catalog)

    monkeypatch.setattr(selection, "evaluate", counting)
    users = [encoded(user) for user in TEXT.model.user_ids.at(np.arange(5))]
    for _ in range(2):
        async with serving(TEXT, assortment=assort(TEXT.model, CATALOG)) as api:
            for user in users:
                await api.get(f"/v1/users/{user}/recommendations?filter=number<30")
    assert len(evaluated) == 2
    monkeypatch.setattr(selection, "CACHE_BYTES", 1500)
    kept = selection.Selection(assort(TEXT.model, CATALOG))
    for text in ("number<1", "number<2", "number<1", "number<3", "number<1", "number<2"):
        kept.matching(text)
    assert len(evaluated) == 6
