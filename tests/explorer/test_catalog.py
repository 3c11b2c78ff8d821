"""The explorer shows what the catalog knows of items, and filters by it."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.explorer.test_accessibility import faults
from tests.explorer.test_in_browser import HUNGRY, LOAF, answer
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


async def test_controls_write_a_filter(chromium: Browser, server: RunningServer) -> None:
    """Chips and fields of the attributes write an expression, in any order, and the list is what the API answers."""
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, "#user=ana-0000")
        now, field = card(page, "Recommended"), page.get_by_label("Filter", exact=True)
        await page.get_by_text("Filter by the catalog").click()
        await page.get_by_role("button", name="poetry", exact=True).click()
        await are_narrowed(page, server, now, "genre = 'poetry'")
        await page.get_by_label("price at most").fill("9.5")
        await page.get_by_role("button", name="horror", exact=True).click()
        await are_narrowed(page, server, now, "genre IN ('poetry', 'horror') AND price <= 9.5")
        await page.get_by_role("button", name="ebook", exact=True).click()
        await page.get_by_label("released since").fill("2021-03-01")
        await page.get_by_role("button", name="poetry", exact=True).click()
        await are_narrowed(
            page,
            server,
            now,
            "genre = 'horror' AND price <= 9.5 AND formats = 'ebook' AND released >= '2021-03-01'",
        )
        await page.get_by_label("price at most").fill("")
        await page.get_by_role("button", name="horror", exact=True).click()
        await are_narrowed(page, server, now, "formats = 'ebook' AND released >= '2021-03-01'")
        await field.fill("age > 3 OR price < 12")
        await page.get_by_role("button", name="poetry", exact=True).click()
        await are_narrowed(page, server, now, "(age > 3 OR price < 12) AND genre = 'poetry'")
        await expect(page.get_by_role("button", name="poetry", exact=True)).to_have_attribute("aria-pressed", "true")


async def test_keys_are_enough_to_filter(chromium: Browser, server: RunningServer) -> None:
    """Tab leads to every chip, Space and Enter press it, it keeps the focus, and it is outlined."""
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, "#user=ana-0000")
        now = card(page, "Recommended")
        await page.get_by_text("Filter by the catalog").focus()
        await page.keyboard.press("Enter")
        chips = page.get_by_role("list", name="genre").get_by_role("button")
        first, second = [f"'{name}'" for name in (await chips.all_inner_texts())[:2]]
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")
        await are_narrowed(page, server, now, f"genre = {first}")
        await expect(chips.first).to_be_focused()
        assert await chips.first.evaluate("chip => getComputedStyle(chip).outlineStyle") == "solid"
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await are_narrowed(page, server, now, f"genre IN ({first}, {second})")
        await expect(chips.nth(1)).to_be_focused()
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Space")
        await are_narrowed(page, server, now, f"genre = {second}")
        await expect(chips.first).to_have_attribute("aria-pressed", "false")


async def are_narrowed(page: Page, server: RunningServer, shown_in: Locator, expression: str) -> None:
    """Wait for a filter in the field, in the address and in effect."""
    await expect(page.get_by_label("Filter", exact=True)).to_have_value(expression)
    query = urlencode({"n": 12, "titles": "true", "filter": expression})
    items = answer(server, f"/v1/users/ana-0000/recommendations?{query}")["items"]
    assert items
    await expect(shown_in.locator(".name b")).to_have_text([item["title"] for item in items])
    assert page.url.endswith("/#" + urlencode({"user": "ana-0000", "filter": expression}))


async def test_a_filter_is_kept_in_the_address(chromium: Browser, server: RunningServer) -> None:
    """It is applied when the address is opened, also to a session, to further rows, and to popular items."""
    expression = "genre = 'cookery' AND price < 40"
    query = urlencode({"filter": expression, "n": 24, "titles": "true"})
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, "#" + urlencode({"user": "ana-0000", "filter": expression}))
        wanted = answer(server, f"/v1/users/ana-0000/recommendations?{query}")["items"]
        await card(page, "Recommended").get_by_role("button", name="Show more").click()
        await expect(card(page, "Recommended").locator(".name b")).to_have_text([item["title"] for item in wanted])
        await open_view(page, server, "#" + urlencode({"user": "ana-0000", "filter": expression, "also": LOAF}))
        body = {"items": [{"item_id": LOAF}], "n": 12, "titles": True, "filter": expression}
        _, session = server.post("/v1/users/ana-0000/recommendations", body)
        names = card(page, "Recommended").locator(".name b")
        await expect(names).to_have_text([item["title"] for item in session["items"]])
        await open_view(page, server, "#" + urlencode({"popular": "", "filter": expression}))
        popular = answer(server, f"/v1/items/popular?{query}")["items"]
        names = card(page, "By number of users").locator(".name b")
        await expect(names).to_have_text([item["title"] for item in popular[:20]])
        await page.get_by_label("Filter", exact=True).fill("")
        await page.keyboard.press("Enter")
        usual = answer(server, "/v1/items/popular?n=20&titles=true")["items"]
        await expect(names).to_have_text([item["title"] for item in usual])
        assert page.url.endswith("/#popular=")


async def test_a_wrong_filter_is_explained(chromium: Browser, server: RunningServer) -> None:
    """The server's sentence is shown, typed or in the address, and the list stays as it was."""
    status, problem = server.get("/v1/items/popular?filter=color%20%3D%201")
    assert status == 400
    async with visiting(chromium, server.url, failing=True) as page:
        for view, title in (("user=ana-0000", "Recommended"), ("popular=", "By number of users")):
            await open_view(page, server, f"#{view}")
            before = await card(page, title).locator(".name b").all_inner_texts()
            await page.get_by_text("Filter by the catalog").click()
            await page.get_by_label("Filter", exact=True).fill("color = 1")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_have_text(problem["detail"])
            assert await faults(page) == []
            await open_view(page, server, f"#{view}&filter=color+%3D+1")
            await expect(page.get_by_role("alert")).to_have_text(problem["detail"])
            await expect(card(page, title).locator(".name b")).to_have_text(before)
            await page.get_by_label("Filter", exact=True).fill("price < 0")
            await page.keyboard.press("Enter")
            await expect(card(page, title).locator(".empty")).to_be_visible()
            await expect(page.locator(".refusal")).to_be_hidden()
