"""The pages for people who hear them, use them without a mouse, or see little: what axe finds, which is nothing."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import card, open_view, visiting
from tests.support.running import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEWS = ("", "#user=ana-0000", "#item=horror-the-hungry-corpse", "#new=cookery-the-rustic-loaf", "#popular=", "#model=")
Scheme = Literal["light", "dark"]


async def faults(page: Page) -> list[str]:
    """Return what axe finds on a page, each fault with the element that has it."""
    found = await Axe().run(page)
    return [f"{fault['id']}: {node['target']}" for fault in found.response["violations"] for node in fault["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_the_explorer(chromium: Browser, server: RunningServer, scheme: Scheme) -> None:
    """No view has a fault, in either scheme, with a recommendation unfolded."""
    async with visiting(chromium, server.url, color_scheme=scheme, reduced_motion="reduce") as page:
        for view in VIEWS:
            await open_view(page, server, view)
            assert await faults(page) == [], view
        await open_view(page, server, "#user=ana-0000")
        await card(page, "Recommended").locator(".row").first.click()
        await expect(page.locator(".why .row")).to_have_count(6)
        assert await faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_in_the_reference(chromium: Browser, server: RunningServer, scheme: Scheme) -> None:
    """Nor has /docs: as it opens, and with operations unfolded, filled in and sent."""
    async with visiting(chromium, server.url, color_scheme=scheme, reduced_motion="reduce") as page:
        await page.goto(f"{server.url}/docs")
        await expect(page.locator(".opblock")).not_to_have_count(0)
        assert await faults(page) == []
        for operation in ("recommend", "recommend_to_many"):
            opened = page.locator(f"[id$='-{operation}']")
            await opened.locator(".opblock-summary-control").click()
            await opened.get_by_role("button", name="Try it out").click()
            await opened.get_by_role("button", name="Execute").click()
            await expect(opened.locator(".live-responses-table .response-col_status")).to_have_count(2)
        assert await faults(page) == []


async def test_the_explorer_and_the_reference_lead_to_each_other(chromium: Browser, server: RunningServer) -> None:
    """A link in the explorer's navigation shows the API, and one at the top of that page leads back."""
    async with visiting(chromium, server.url) as page:
        await open_view(page, server, "")
        await page.get_by_role("navigation").get_by_role("link", name="API").click()
        await expect(page.get_by_role("heading", name="als-serve")).to_be_visible()
        await page.get_by_role("link", name="Explorer").click()
        await expect(page.locator("h1")).to_have_text("What should they see?")


async def test_an_operation_is_unfolded_by_its_address(chromium: Browser, server: RunningServer) -> None:
    """What is unfolded in /docs is in the address, and that address unfolds it."""
    async with visiting(chromium, server.url) as page:
        await page.goto(f"{server.url}/docs")
        await page.locator("[id$='-recommend'] .opblock-summary-control").click()
        await page.wait_for_url("**/docs#/Recommendations/recommend")
        await page.reload()
        await expect(page.locator("[id$='-recommend'] .opblock-body")).to_be_visible()
