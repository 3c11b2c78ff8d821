"""The explorer shows what became of new models, and what gates found about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.explorer.test_accessibility import faults
from tests.live.test_admission import BAD_FILES, BETTER_FILE, GOOD_FILE
from tests.support.browsing import card, open_view, visiting
from tests.support.helpers import put, version
from tests.support.running import RunningServer, running_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

BLOCKED, BROKEN, WARNED = BAD_FILES["counts"], b"<html>502 Bad Gateway</html>", BAD_FILES["overlap"]


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serve a model, one that passes, and one with a warning; between them, two files are refused."""
    directory = tmp_path_factory.mktemp("rollout")
    path = directory / "model.npz"
    served = put(path, GOOD_FILE)
    with running_server(path, directory / "state") as server:
        server.wait_until_serving(served)
        for content in (BLOCKED, BROKEN):
            _refuse(server, path, content)
        for content in (BETTER_FILE, WARNED):
            server.wait_until_serving(put(path, content))
        yield server


def _refuse(server: RunningServer, path: Path, content: bytes) -> None:
    refused = put(path, content)
    server.wait_until(lambda: server.get("/v1/model")[1]["last_reload"]["version"] == refused)


def short(content: bytes) -> str:
    """Return a version as the table shows it."""
    return version(content)[:8]


async def test_reloads_are_a_table(chromium: Browser, rolled: RunningServer) -> None:
    """Each with its version, its outcome in words, why it was refused, and what gates found in short."""
    reloads = rolled.get("/v1/model")[1]["reloads"]
    async with visiting(chromium, rolled.url, reduced_motion="reduce") as page:
        await open_view(page, rolled, "#model=")
        rows = card(page, "Reloads").locator("tbody tr")
        expected = [
            (short(WARNED), "Served", "scores warned, overlap warned"),
            (short(BETTER_FILE), "Served", "4 passed"),
            (short(BROKEN), "A new file was rejected", ""),
            (short(BLOCKED), "A gate blocked a new model", "counts blocked"),
            (short(GOOD_FILE), "Served", "1 passed"),
        ]
        await expect(rows.locator("td:nth-child(2)")).to_have_text([row[0] for row in expected])
        await expect(rows.locator("td b")).to_have_text([row[1] for row in expected])
        await expect(rows.locator("td:nth-child(4)")).to_have_text([row[2] for row in expected])
        refusals = [reload["detail"] for reload in reloads if reload["outcome"] == "rejected"]
        await expect(rows.locator("td small")).to_have_text(refusals)
        assert await faults(page) == []
        await page.set_viewport_size({"width": 390, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        assert await faults(page) == []


async def test_two_versions_are_compared(chromium: Browser, rolled: RunningServer) -> None:
    """A table has what each gate found, its limit and why; another reload is chosen with keys, and keeps the focus."""
    by_version = {reload["version"]: reload for reload in rolled.get("/v1/model")[1]["reloads"]}
    async with visiting(chromium, rolled.url) as page:
        await open_view(page, rolled, "#model=")
        await are_compared(page, by_version[version(WARNED)], version(BETTER_FILE))
        chosen = gates_of(page, "counts blocked")
        await chosen.focus()
        await page.keyboard.press("Enter")
        await are_compared(page, by_version[version(BLOCKED)], version(GOOD_FILE))
        await expect(chosen).to_be_focused()
        await expect(chosen).to_have_attribute("aria-pressed", "true")
        found = card(page, "Compared by gates").locator("tbody tr").first
        await expect(found.locator("td")).to_have_text(
            [
                "Users and items, compared in number" + by_version[version(BLOCKED)]["gates"][0]["detail"],
                "blocked",
                "1%",
                "at least 50%",
            ]
        )
        await gates_of(page, "1 passed").click()
        await expect(card(page, "Compared by gates")).to_contain_text(
            f"{version(GOOD_FILE)}, the first since the start"
        )


def gates_of(page: Page, summary: str) -> Locator:
    """Return what chooses a reload by its gates."""
    return card(page, "Reloads").get_by_role("button", name=summary)


async def are_compared(page: Page, reload: dict[str, object], other: str) -> None:
    """Wait until a reload's gates are shown."""
    shown = card(page, "Compared by gates")
    await expect(shown).to_contain_text(f"{reload['version']} with {other}")
    gates = reload["gates"]
    assert isinstance(gates, list)
    await expect(shown.locator("tbody td:nth-child(2)")).to_have_text([found["result"] for found in gates])
