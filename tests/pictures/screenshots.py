"""Make the pictures of the explorer in ``docs/images``, from the sample shop, in Chromium.

``python -m tests.pictures.screenshots [DIRECTORY]``; Debian's packages chromium and fonts-dejavu-core must be there.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page

from service.cli.demo import train_on_sample
from service.training.plan import Plan
from service.training.recipe import Recipe, make_model
from tests.support import ROOT
from tests.support.browsing import card, chromium_started, open_view, visiting
from tests.support.helpers import put
from tests.support.running import RunningServer, running_server

IMAGES = ROOT / "docs" / "images"
_SIZE = {"width": 1200, "height": 760}


async def take_pictures(browser: Browser, server: RunningServer, shop: Path, images: Path) -> None:
    """Look at a user in the light and in the dark, at the model while it is swapped, and at an error."""
    for scheme in ("light", "dark"):
        async with visiting(browser, server.url, viewport=_SIZE, color_scheme=scheme) as page:
            await open_view(page, server, "#user=ana-0000")
            await card(page, "Recommended").locator(".row").first.click()
            await page.wait_for_selector(".why .row")
            await take(page, images / f"explorer-{scheme}.png")
    async with visiting(browser, server.url, viewport=_SIZE, failing=True) as page:
        await open_view(page, server, "#model=")
        put(shop / "als_model.npz", b"<html>502 Bad Gateway</html>")
        await page.wait_for_selector(".toast.rejected")
        put(shop / "als_model.npz", (shop / "next.npz").read_bytes())
        await page.wait_for_selector(".toast.swap")
        await take(page, images / "explorer-swap.png")
        await open_view(page, server, "#user=nobody")
        await take(page, images / "explorer-error.png")


async def take(page: Page, path: Path) -> None:
    """Take a picture once nothing moves any more."""
    await page.mouse.move(0, 0)
    # Not by waiting for a function: the page's policy forbids what that does.
    while not await page.evaluate("document.getAnimations().every((one) => one.playState === 'finished')"):
        await asyncio.sleep(0.05)
    await page.screenshot(path=path)


async def main(images: Path) -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as directory:
        shop = Path(directory)
        model, items = train_on_sample(shop)
        recipe, plan = Recipe([shop / "interactions.csv"]), Plan(factors=32, seed=1)
        make_model(recipe, shop / "next.npz", plan=plan, with_evaluation=True)
        async with chromium_started() as browser:
            with running_server(model, shop / "state", items=items) as server:
                server.wait_until_ready()
                server.wait_for("catalog")
                await take_pictures(browser, server, shop, images)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES))
