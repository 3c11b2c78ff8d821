"""The pages for people who hear them, use them without a mouse, or see little: what axe finds, which is nothing."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import card, open_view, visiting
from tests.support.running import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Resolves when the transitions that begin in the next frame have ended.
CHANGED = """new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))
    .then(() => Promise.allSettled(document.getAnimations().map((transition) => transition.finished)))"""
#: Leaves two of the documented answers of each operation: the others differ in their text alone, and axe is slow.
SHORTENED = """() => document.querySelectorAll(".responses-table:not(.live-responses-table) tbody")
    .forEach((answers) => [...answers.children].slice(2).forEach((answer) => answer.remove()))"""
VIEWS = ("", "#item=horror-the-hungry-corpse", "#new=cookery-the-rustic-loaf", "#popular=", "#model=")


async def faults(page: Page) -> list[str]:
    """Return what axe finds on a page in either color scheme, each fault with the element that has it.

    Only the contrast depends on the scheme.
    """
    found = await Axe().run(page)
    await page.emulate_media(color_scheme="dark")
    await page.evaluate(CHANGED)
    dark = await Axe().run(page, options={"runOnly": ["color-contrast"], "resultTypes": ["violations"]})
    await page.emulate_media(color_scheme="light")
    violations = found.response["violations"] + dark.response["violations"]
    return [f"{fault['id']}: {node['target']}" for fault in violations for node in fault["nodes"]]


async def test_axe_finds_nothing_in_the_explorer(chromium: Browser, server: RunningServer) -> None:
    """No view has a fault, with a recommendation unfolded."""
    async with visiting(chromium, server.url, reduced_motion="reduce") as page:
        for view in VIEWS:
            await open_view(page, server, view)
            assert await faults(page) == [], view
        await page.locator("#search").fill("p")
        await expect(page.locator("#found [role=group]")).to_have_count(2)
        await expect(page.get_by_role("group", name="Users").get_by_role("option").first).to_have_text(re.compile("^p"))
        await page.keyboard.press("ArrowDown")
        assert await faults(page) == []
        await open_view(page, server, "#user=ana-0000&also=cookery-the-rustic-loaf")
        await expect(card(page, "Recommended").get_by_role("status")).to_contain_text("Compared")
        async with page.expect_response("**/v1/items?*query=the"):  # or the list would change while axe looks at it
            await page.get_by_label("What if they now had").fill("the")
        await expect(page.locator(".pick")).not_to_have_count(0)
        assert await faults(page) == []
        await open_view(page, server, "#user=ana-0000")
        await card(page, "Recommended").locator(".row").first.click()
        await expect(page.locator(".why .row")).to_have_count(6)
        assert await faults(page) == []


async def test_axe_finds_nothing_in_the_reference(chromium: Browser, server: RunningServer) -> None:
    """Nor has /docs, with operations unfolded, filled in and sent; its policy allows no other host, nor code in it."""
    async with visiting(chromium, server.url, reduced_motion="reduce") as page:
        answer = await page.goto(f"{server.url}/docs")
        assert answer
        assert "unsafe" not in answer.headers["content-security-policy"]
        for operation in ("recommend", "recommend_to_many"):
            opened = page.locator(f"[id$='-{operation}']")
            await opened.locator(".opblock-summary-control").click()
            await opened.get_by_role("button", name="Try it out").click()
            await opened.get_by_role("button", name="Execute").click()
            await expect(opened.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
            await expect(opened.locator(".live-responses-table")).to_contain_text('"strategy": "als"')
        await page.evaluate(SHORTENED)
        assert await faults(page) == []


async def test_a_fault_of_either_scheme_is_found(chromium: Browser, server: RunningServer) -> None:
    """The two tests above can fail: text that is hard to read in the dark alone is found."""
    async with visiting(chromium, server.url, reduced_motion="reduce") as page:
        await open_view(page, server, "")
        await page.locator("h1").evaluate("heading => heading.style.color = 'black'")
        assert any(fault.startswith("color-contrast: ") for fault in await faults(page))


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
        await page.goto(f"{server.url}/docs#/Recommendations/recommend")
        await expect(page.locator("[id$='-recommend'] .opblock-body")).to_be_visible()
        await page.locator("[id$='-similar_users'] .opblock-summary-control").click()
        await page.wait_for_url("**/docs#/Users/similar_users")
