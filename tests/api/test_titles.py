"""Titles of items in answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.catalogs import titled
from tests.support.models import make_factors
from tests.support.serving import encoded, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
ITEMS = SNAPSHOT.model.item_ids.at(np.arange(60))
UNLISTED, UNTITLED = ITEMS[0], ITEMS[2]


TITLED = titled(
    SNAPSHOT.model,
    {item: "" if item == UNTITLED else f"Title of {item}" for item in ITEMS if item != UNLISTED},
)
ALL = 60
GETS = [
    f"/v1/users/{USER}/recommendations?n={ALL}",
    f"/v1/users/{USER}/recommendations?exclude_seen=false&n={ALL}",
    f"/v1/users/nobody/recommendations?n={ALL}",
    f"/v1/users/{USER}/items?n={ALL}",
    f"/v1/users/{USER}/scores?items={','.join(map(str, ITEMS))},nothing",
    f"/v1/users/{USER}/explanations/{ITEMS[1]}?n={ALL}",
    f"/v1/items/{encoded(ITEMS[1])}/similar?n={ALL}",
    f"/v1/items/popular?n={ALL}",
]
POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/recommendations", {"users": [USER, "nobody"], "n": ALL}),
    ("/v1/recommendations/anonymous", {"items": [{"item_id": ITEMS[1]}], "n": ALL}),
    (f"/v1/users/{USER}/recommendations", {"items": [{"item_id": ITEMS[1]}], "n": ALL}),
    ("/v1/users/nobody/recommendations", {"items": [], "n": ALL}),
]


def items_in(value: Any) -> list[dict[str, Any]]:
    """Return everything in an answer that has an item's id."""
    if isinstance(value, list):
        return [item for member in value for item in items_in(member)]
    if not isinstance(value, dict):
        return []
    inside = [item for member in value.values() for item in items_in(member)]
    return ([value] if "item_id" in value else []) + inside


def assert_titled(answer: Any) -> None:
    """Assert that each item of an answer has its own title, but for those that have none."""
    found = items_in(answer)
    assert len(found) > 1
    for item in found:
        has_title = item["item_id"] not in (UNLISTED, UNTITLED, "nothing")
        assert item.get("title") == (f"Title of {item['item_id']}" if has_title else None)
        assert ("title" in item) == has_title


@pytest.mark.parametrize("path", GETS)
async def test_items_have_titles_when_asked_for(path: str) -> None:
    """With titles=true every item that has a title is answered with it, and otherwise no answer has any."""
    async with serving(SNAPSHOT, assortment=TITLED) as api:
        plain = await api.get(path)
        answer = await api.get(f"{path}{'&' if '?' in path else '?'}titles=true")
        assert (plain.status, answer.status) == (200, 200)
        assert b'"title"' not in plain.body
        assert_titled(answer.json)


@pytest.mark.parametrize(("path", "body"), POSTS)
async def test_bodies_ask_for_titles_too(path: str, body: dict[str, Any]) -> None:
    """What a query can ask for, the POST forms can."""
    async with serving(SNAPSHOT, assortment=TITLED) as api:
        assert b'"title"' not in (await api.post(path, body)).body
        assert_titled((await api.post(path, body | {"titles": True})).json)


@pytest.mark.parametrize("path", GETS)
async def test_to_ask_for_titles_where_there_are_none_is_no_mistake(path: str) -> None:
    """A server without titles ignores titles=true."""
    async with serving(SNAPSHOT) as api:
        answer = await api.get(f"{path}{'&' if '?' in path else '?'}titles=true")
        assert (answer.status, b'"title"' in answer.body) == (200, False)
