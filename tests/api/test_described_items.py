"""What is known of one item, over HTTP: its title, its attributes, and whether it may be shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.model.catalog.assortment import assort
from service.model.catalog.catalog import Catalog, Column
from service.model.catalog.stored import open_catalog, write_catalog
from service.model.storage.source import Signature, Source
from tests.support.catalogs import make_catalog, make_words
from tests.support.models import make_factors
from tests.support.serving import encoded, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors(ids="str"))
MODEL = SNAPSHOT.model
KNOWN, BARE, UNLISTED, WITHDRAWN = map(str, MODEL.item_ids.at(np.arange(4)))
ATTRIBUTES = {
    "bool": False,
    "number": -1.5,
    "date": datetime(2024, 5, 31, tzinfo=UTC),
    "text": "Küche",
    "bool_list": [True, False],
    "number_list": [20.0, 3.0],
    "date_list": [datetime(1969, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, 12, 30, tzinfo=UTC)],
    "text_list": ["it's", "a|b"],
}
DATES = {"date": "2024-05-31", "date_list": ["1969-01-01", "2024-06-01T12:30:00Z"]}
LISTED = make_catalog({KNOWN: ATTRIBUTES, BARE: {"text": None, "text_list": []}, WITHDRAWN: {"text": "horror"}})
CATALOG = replace(LISTED, titles=make_words(["A title" if each == KNOWN.encode() else "" for each in LISTED.ids]))
ASSORTMENT = assort(MODEL, CATALOG, np.array([WITHDRAWN.encode()]))


async def described(item: str, **options: Any) -> Any:
    """Return what the API says of an item, without the model's version."""
    async with serving(SNAPSHOT, **options) as api:
        answer = await api.get(f"/v1/items/{encoded(item)}")
    found = answer.json
    assert (answer.status, found.pop("model_version")) == (200, SNAPSHOT.version)
    return found


async def test_an_item_has_its_title_and_attributes() -> None:
    """Values of each type and lists of them are JSON's own, and dates are text as in ISO 8601."""
    found = await described(KNOWN, assortment=ASSORTMENT)
    assert found == {"item_id": KNOWN, "available": True, "attributes": ATTRIBUTES | DATES, "title": "A title"}
    assert type(found["attributes"]["bool"]) is bool


async def test_what_is_missing_is_left_out() -> None:
    """Missing values, empty lists and an empty title are left out; an item without a row has no attributes."""
    assert await described(BARE, assortment=ASSORTMENT) == {"item_id": BARE, "available": True, "attributes": {}}
    assert await described(UNLISTED, assortment=ASSORTMENT) == {
        "item_id": UNLISTED,
        "available": True,
        "attributes": {},
    }
    assert await described(KNOWN) == {"item_id": KNOWN, "available": True, "attributes": {}}


async def test_an_unavailable_item_is_marked() -> None:
    """It is described all the same; in a user's history, it alone is marked."""
    found = await described(WITHDRAWN, assortment=ASSORTMENT)
    assert found == {"item_id": WITHDRAWN, "available": False, "attributes": {"text": "horror"}}
    seen = MODEL.seen
    assert seen is not None
    user = next(row for row in range(len(MODEL.user_ids)) if 3 in seen.of(row))
    async with serving(SNAPSHOT, assortment=ASSORTMENT) as api:
        items = (await api.get(f"/v1/users/{encoded(MODEL.user_ids.of(user))}/items?n=60")).json["items"]
    assert len(items) > 1
    assert {item["item_id"]: item["available"] for item in items if "available" in item} == {WITHDRAWN: False}


async def test_an_unknown_item_is_not_described() -> None:
    """It is a 404, also if the catalog lists it."""
    catalog = make_catalog({"nothing": {"text": "horror"}})
    async with serving(SNAPSHOT, assortment=assort(MODEL, catalog)) as api:
        answer = await api.get("/v1/items/nothing")
    assert (answer.status, answer.json["code"]) == (404, "unknown_item")


async def test_the_model_shows_the_attributes(tmp_path: Path) -> None:
    """Each has its type, and bools and texts have up to 20 of the most frequent values that are not long."""
    ids = np.array([f"{number:03}".encode() for number in range(100)])
    words = make_words(["a" * 61, *(f"word {number:02}" for number in range(30))])
    # The long one occurs most often, then the last ones.
    codes = np.array([*range(31), *range(25, 31), *([0] * 63)], np.int32)
    columns = {
        "new": Column("bool", np.array([1] * 60 + [0] * 39 + [-1], np.int8)),
        "price": Column("number", np.arange(100.0)),
        "tags": Column("text", codes, np.arange(101), words),
        "never": Column("text", np.full(100, -1, np.int32), words=make_words([])),
    }
    source = Source("items.csv", Signature("/items.csv", 1, 2, 3, 4, 5), "0" * 64)
    directory = tmp_path / "catalog-0123456789abcdef"
    directory.mkdir()
    write_catalog(directory, Catalog(ids, columns=columns), source)
    async with serving(SNAPSHOT, assortment=assort(MODEL, open_catalog(directory))) as api:
        facts = (await api.get("/v1/model")).json["catalog"]["attributes"]
    frequent = [f"word {number:02}" for number in (*range(24, 30), *range(13))]
    assert facts == [
        {"name": "new", "type": "bool", "is_list": False, "values": [True, False]},
        {"name": "price", "type": "number", "is_list": False, "values": []},
        {"name": "tags", "type": "text", "is_list": True, "values": frequent},
        {"name": "never", "type": "text", "is_list": False, "values": []},
    ]
