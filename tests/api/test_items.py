"""Finding items by id and title, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from service.api.handlers import lookups
from service.model import title_search
from tests.support.catalogs import titled
from tests.support.models import make_factors
from tests.support.serving import Api, make_snapshot, serving

NUMBERS = make_snapshot(make_factors(), "numbers")
TEXT = make_snapshot(make_factors(ids="str"), "text")


async def found(api: Api, query: str, options: str = "") -> list[Any]:
    """Return the ids of what is found."""
    return [item["item_id"] for item in (await api.get(f"/v1/items?query={quote(query)}{options}")).json["items"]]


@pytest.mark.parametrize("snapshot", [NUMBERS, TEXT], ids=["int", "str"])
async def test_all_items_are_listed_in_order(snapshot: Any) -> None:
    """Without a query all ids come, in ascending order and page by page, with the titles that are known."""
    ids = sorted(snapshot.model.item_ids.at(np.arange(60)))
    async with serving(snapshot, assortment=titled(snapshot.model, {ids[1]: "A title"})) as api:
        answer = await api.get("/v1/items?n=2")
        pages = [await found(api, "", f"&n=25&offset={offset}") for offset in (0, 25, 50, 75)]
        assert await found(api, "  ") == []
    items = [{"item_id": ids[0]}, {"item_id": ids[1], "title": "A title"}]
    assert answer.json == {"model_version": snapshot.version, "items": items}
    assert [item for page in pages for item in page] == ids


@pytest.mark.parametrize("turns", [False, True], ids=["at once", "in turns"])
async def test_items_are_found_by_id_and_by_title(turns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that begin so come first, then titles with such a word; each item once, and only those of the model."""
    monkeypatch.setattr(lookups, "_UNDIVIDED_MICROSECONDS", -1 if turns else 10_000)
    monkeypatch.setattr(title_search, "_BLOCK_BYTES", 10)
    ids = sorted(TEXT.model.item_ids.at(np.arange(60)), key=str)
    first, second, third = ids[3], ids[8], ids[20]
    named = {first: "The Item", second: "Nothing", third: "ITEMS of interest", "unknown": "An item elsewhere"}
    named |= {ids[30]: "Horrors", ids[5]: "The Horror Tales", ids[31]: ""}
    async with serving(TEXT, assortment=titled(TEXT.model, named)) as api:
        assert await found(api, "item-", "&n=100") == ids
        assert await found(api, "item", "&n=100") == ids
        assert await found(api, "Item", "&n=100") == [first, third]
        assert await found(api, str(second)) == [second]
        assert await found(api, "horr") == [ids[5], ids[30]]
        assert await found(api, "HORR", "&n=1&offset=1") == [ids[30]]
        assert await found(api, "horr", "&offset=2") == []
        assert await found(api, "elsewhere") == []
        answer = await api.get("/v1/items?query=the%20horror")
    assert answer.json["items"] == [{"item_id": ids[5], "title": "The Horror Tales"}]


async def test_ids_and_titles_fill_a_page_together() -> None:
    """A number finds the ids that begin with it and titles that have it; paging goes through both."""
    ids = NUMBERS.model.item_ids.at(np.arange(60))
    by_id = [item for item in ids if str(item).startswith("1")]
    other = max((item for item in ids if not str(item).startswith("1")), key=str)
    async with serving(NUMBERS, assortment=titled(NUMBERS.model, {by_id[0]: "1001 nights", other: "Part 1"})) as api:
        everything = await found(api, "1", f"&n={len(by_id) + 1}")
        pages = [item for offset in range(0, 100, 3) for item in await found(api, "1", f"&n=3&offset={offset}")]
    assert everything == pages
    assert set(everything[:-1]) == set(by_id)
    assert everything[-1] == other


async def test_without_titles_ids_are_found() -> None:
    """A server without titles searches ids alone."""
    item = str(TEXT.model.item_ids.of(0))
    async with serving(TEXT) as api:
        assert await found(api, item) == [item]
        assert await found(api, "horror") == []


async def test_unavailable_items_are_not_found() -> None:
    """Neither by id nor by title, nor in the list of all."""
    ids = TEXT.model.item_ids.at(np.arange(60))
    named = {ids[3]: "The Horror", ids[4]: "Horrors"}
    assortment = replace(titled(TEXT.model, named), available=np.arange(60) != 3)
    async with serving(TEXT, assortment=assortment) as api:
        assert await found(api, "horror") == [ids[4]]
        assert await found(api, str(ids[3])) == []
        assert await found(api, "", "&n=100") == sorted(item for item in ids if item != ids[3])
