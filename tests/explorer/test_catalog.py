"""The explorer shows what the catalog knows of items."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.explorer.test_in_browser import HUNGRY, answer
from tests.support.browsing import card, open_view, visiting
from tests.support.running import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


def withdrawn(server: RunningServer) -> tuple[str, str, str]:
    """Return a user, and an unavailable item that this user had, with its title."""
    for user in answer(server, "/v1/users?n=200")["users"]:
        for item in answer(server, f"/v1/users/{user}/items?n=12&titles=true")["items"]:
            if not item.get("available", True):
                return user, item["item_id"], item["title"]
    raise AssertionError


async def test_an_item_shows_its_attributes(chromium: Browser, server: RunningServer) -> None:
    """All of the catalog's, those with several values too."""
    attributes = answer(server, f"/v1/items/{HUNGRY}")["attributes"]
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, f"#item={HUNGRY}")
        known = card(page, "In the catalog")
        await expect(known.locator("dt")).to_have_text(["genre", "price", "released", "age", "formats"])
        values = [attributes["genre"], f"{attributes['price']:g}", attributes["released"], f"{attributes['age']:g}"]
        await expect(known.locator("dd")).to_have_text([*values, ", ".join(attributes["formats"])])
        await expect(page.get_by_text("unavailable")).to_have_count(0)


async def test_what_must_not_be_shown_is_marked(chromium: Browser, server: RunningServer) -> None:
    """An unavailable item is marked in the history of a user who had it, and on its page."""
    user, item, title = withdrawn(server)
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, f"#user={user}")
        marked = card(page, "Already had").locator(".row").filter(has_text="unavailable")
        await expect(marked.filter(has_text=title)).to_have_count(1)
        await marked.filter(has_text=title).click()
        assert page.url.endswith(f"/#item={item}")
        await expect(page.locator("header .unavailable")).to_have_text("Unavailable: it is not recommended to anybody.")
