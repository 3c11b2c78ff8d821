"""The explorer in a real browser, which neither complains nor asks any other host while it is looked at."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, async_playwright, expect

from tests.support.helpers import need
from tests.support.running import RunningServer

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
#: A deadline for busy machines; what is waited for comes at once, or in two seconds.
_PATIENCE_MS = 120_000
expect.set_options(timeout=_PATIENCE_MS)

_SHARES = "bars => bars.map(bar => getComputedStyle(bar).getPropertyValue('--share'))"
#: What Chromium itself says of an answer with an error status, or of none at all.
FAILED_REQUEST = re.compile(r"Failed to load resource: ")


@asynccontextmanager
async def chromium_started() -> AsyncIterator[Browser]:
    """Run Chromium for the time of a block."""
    installed = shutil.which("chromium")
    need(installed, "Chromium is missing: apt-get install -y --no-install-recommends chromium fonts-dejavu-core")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=installed, args=_ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(browser: Browser, url: str, *, failing: bool = False, **options: Any) -> AsyncIterator[Page]:
    """Lend a page; its console must stay quiet, but for failed requests where some are to fail."""
    complaints: list[str] = []
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 860}} | options)
    context.set_default_timeout(_PATIENCE_MS)
    page = await context.new_page()

    def watch(request: Request) -> None:
        if not request.url.startswith((url, "data:")):
            complaints.append(f"asked {request.url}")

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (failing and FAILED_REQUEST.match(message.text)):
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    page.on("request", watch)
    yield page
    await context.close()
    assert complaints == []


async def open_view(page: Page, server: RunningServer, fragment: str) -> None:
    """Open a view by its address, and wait until it shows something."""
    await page.goto("about:blank")
    await page.goto(f"{server.url}/{fragment}")
    await settled(page)


async def settled(page: Page) -> None:
    """Wait until what was asked for is shown."""
    await page.wait_for_selector("main:not(:has([aria-busy])) h1")


def card(page: Page, title: str) -> Locator:
    """Return the card with this heading."""
    return page.locator("section.card").filter(has=page.get_by_role("heading", name=title, exact=True))


async def rows_of(card: Locator) -> list[tuple[str, str]]:
    """Return the names and numbers of a card's rows."""
    names = await card.locator(".row:not(.why .row) .name b").all_inner_texts()
    numbers = await card.locator(".row:not(.why .row) .number").all_inner_texts()
    return list(zip(names, numbers, strict=True))


async def shares_of(card: Locator) -> list[float]:
    """Return the lengths of the bars of a card's rows, as shares of the longest possible one."""
    return [float(share) for share in await card.locator(".row:not(.why .row) .bar").evaluate_all(_SHARES)]


def shown(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return items of an answer as rows show them."""
    return [(item.get("title", str(item["item_id"])), f"{item['score']:.3f}".replace("-", "−")) for item in items]
