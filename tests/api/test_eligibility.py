"""Items that must not be shown are in no answer, and ``only`` narrows every route that returns items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.catalog.assortment import Assortment, assort
from service.model.factors import Id
from service.model.storage.snapshot import Snapshot
from tests.support.models import make_factors
from tests.support.serving import Api, encoded, make_snapshot, serving

ITEMS = 60
WHOLE = make_snapshot(make_factors(users=12, items=ITEMS, whole=True), "whole")
TEXT = make_snapshot(make_factors(users=12, items=ITEMS, ids="str"), "text")
USER, ITEM = TEXT.model.user_ids.of(0), TEXT.model.item_ids.of(0)
GIVEN = TEXT.model.item_ids.of(5)


def without(snapshot: Snapshot, rows: Iterator[int] | list[int]) -> Assortment:
    """Return the assortment in which these item rows are unavailable."""
    ids = sorted(str(each).encode() for each in snapshot.model.item_ids.at(np.fromiter(rows, np.int64)))
    return assort(snapshot.model, unavailable=np.array(ids or [b""], "S64")[: len(ids)])


async def answers(api: Api, snapshot: Snapshot, options: dict[str, Any]) -> list[list[Id]]:
    """Return the items of every route that returns items: for a user, an unknown one, an item and a basket."""
    model = snapshot.model
    user, item, given_item = model.user_ids.of(3), model.item_ids.of(4), model.item_ids.of(5)
    query = "&".join(f"{name}={','.join(map(encoded, value))}" for name, value in options.items() if name == "only")
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


@pytest.mark.parametrize("snapshot", [WHOLE, TEXT], ids=["whole", "text"])
@given(gone=st.sets(st.integers(0, ITEMS - 1)), only=st.none() | st.sets(st.integers(0, ITEMS - 1)))
@settings(max_examples=12, deadline=None)
async def test_every_route_leaves_out_what_is_not_eligible(
    snapshot: Snapshot, gone: set[int], only: set[int] | None
) -> None:
    """An answer is the one of a server that shows everything, without what is unavailable or not in ``only``."""
    ids = snapshot.model.item_ids.at(np.arange(ITEMS))
    eligible = {ids[row] for row in (range(ITEMS) if only is None else only) if row not in gone}
    options = {} if only is None else {"only": [ids[row] for row in only] + ["nothing"]}
    async with serving(snapshot) as api, serving(snapshot, assortment=without(snapshot, [*gone])) as narrowed:
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
