"""The explorer during events: swaps, rejected files, a lost connection, and harmful ids."""

from __future__ import annotations

import csv
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Browser, expect

from tests.support.browsing import card, open_view, rows_of, shown, visiting
from tests.support.helpers import model_bytes, put
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

HARMFUL = [
    "<img src=x onerror=window.harmed=1>",
    '"><script>window.harmed=1</script>',
    "</script><script>window.harmed=1</script>",
    "' onfocus='window.harmed=1' autofocus='",
    "javascript:window.harmed=1",
    "{{constructor.constructor('window.harmed=1')()}}",
    "a/b?c=d&new=e#f%2F+g",
    "\u202e <b>&amp;</b>",
]


class LiveServer:
    """A server, and the model path that it watches; every item and user of HARMFUL has a title."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.path = directory / "model.npz"
        self._titles = directory / "titles.csv"
        self._state = directory / "state"
        self._port = port
        with self._titles.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("id", "title"), *((text, "title " + text) for text in HARMFUL[::2])])

    @contextmanager
    def started(self) -> Iterator[RunningServer]:
        """Run the server for the time of a block."""
        # The models of these tests have little in common, so no gate may compare them.
        settings: dict[str, Any] = {"items": self._titles, "fallback": "none", "port": self._port, "gate_counts": "off"}
        with running_server(self.path, self._state, **settings) as self.server:
            self.server.wait_for("catalog")
            yield self.server

    def serve(self, content: bytes) -> str:
        """Return a user of this model, once it is served."""
        self.server.wait_until_serving(put(self.path, content))
        return str(self.server.get("/v1/users?n=1")[1]["users"][0])


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Return a server that runs already."""
    live = LiveServer(tmp_path_factory.mktemp("live"))
    with live.started():
        yield live


@pytest.fixture
def stopped(tmp_path: Path) -> LiveServer:
    """Return a server that does not run, and will have the same port each time it does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return LiveServer(tmp_path, free.getsockname()[1])


async def test_a_swap_is_seen_as_it_happens(chromium: Browser, live: LiveServer) -> None:
    """A swap is announced and updates the view, which keeps its scroll position."""
    user = live.serve(model_bytes(seed=1))
    old = live.server.get("/v1/model")[1]["model_version"]
    async with visiting(chromium, live.server.url) as page:
        await open_view(page, live.server, f"#user={user}")
        await card(page, "Recommended").locator(".row").last.click()
        await card(page, "Already had").locator(".row").first.focus()
        focused = await page.evaluate("document.activeElement.dataset.key")
        unfolded = await page.locator("[aria-expanded=true][data-key]").get_attribute("data-key")
        before = await rows_of(card(page, "Recommended"))
        factors = make_factors(users=20, items=30, seed=1, pairs=60)
        new = put(live.path, model_bytes(factors=replace(factors, item_factors=-factors.item_factors)))
        await expect(page.locator(".toast")).to_have_text(f"Now serving {new}")
        await expect(page.locator(".pill")).to_have_text(f"ready · {new[:8]}")
        wanted = live.server.get(f"/v1/users/{user}/recommendations?n=12")[1]
        assert wanted["model_version"] == new
        await expect(card(page, "Recommended").locator(".name b").first).to_have_text(
            str(wanted["items"][0]["item_id"])
        )
        assert before != await rows_of(card(page, "Recommended")) == shown(wanted["items"])
        assert await page.evaluate("document.activeElement.dataset.key") == focused
        await expect(page.locator("[aria-expanded=true][data-key]")).to_have_attribute("data-key", str(unfolded))
        await page.locator("nav").get_by_role("link", name="Model").click()
        happened = card(page, "History").locator("li span")
        await expect(happened.nth(0)).to_have_text(f"served {new}")
        await expect(happened.nth(1)).to_have_text(f"served {old}")
        assert await page.locator(".timeline .current b").inner_text() == new


async def test_a_refused_file_is_told_with_its_reason(chromium: Browser, live: LiveServer) -> None:
    """While a file is rejected, the page says why, and that the last good model is served."""
    live.serve(model_bytes(seed=2))
    version = live.server.get("/v1/model")[1]["model_version"]
    async with visiting(chromium, live.server.url) as page:
        await open_view(page, live.server, "#model=")
        put(live.path, b"<html>502 Bad Gateway</html>")
        await expect(page.locator(".toast.rejected")).to_contain_text("A new file was rejected.")
        refused = live.server.get("/v1/model")[1]["last_reload"]
        await expect(card(page, "A new file was rejected")).to_contain_text(refused["detail"])
        await expect(card(page, "A new file was rejected")).to_contain_text(refused["reason"])
        await expect(card(page, "History").locator(".rejected").first).to_contain_text(refused["reason"])
        await expect(page.locator("h1")).to_have_text(version)
        await expect(page.locator(".over")).to_have_text("Serving the last good model")
        await page.reload()
        await expect(card(page, "A new file was rejected")).to_contain_text(refused["detail"])


async def test_a_deleted_file_is_not_told_as_a_refused_one(chromium: Browser, live: LiveServer) -> None:
    """The toast, the card and what happened say that the model file is missing, and nothing of a new file."""
    live.serve(model_bytes(seed=1))
    async with visiting(chromium, live.server.url) as page:
        await open_view(page, live.server, "#model=")
        live.path.unlink()
        await expect(page.locator(".toast.rejected")).to_contain_text("The model file is missing.")
        await expect(card(page, "The model file is missing")).to_contain_text("file_missing")
        await expect(card(page, "History").locator(".rejected").first).to_contain_text("The model file is missing")
        await expect(card(page, "A new file was rejected")).to_have_count(0)


async def test_errors_are_told_kindly(chromium: Browser, live: LiveServer) -> None:
    """A user or an item that is not there is a sentence and a way on, and so is an id that no URL can carry."""
    live.serve(model_bytes(seed=3))
    async with visiting(chromium, live.server.url, failing=True) as page:
        await open_view(page, live.server, "#user=nobody")
        await expect(page.get_by_role("alert")).to_contain_text("The user 'nobody' is not in the served model.")
        await expect(page.get_by_role("alert")).to_contain_text("HTTP 404 · unknown_user")
        await page.get_by_role("link", name="Start over").click()
        await expect(page.locator("h1")).to_have_text("What should they see?")
        await open_view(page, live.server, "#item=nothing")
        await expect(page.get_by_role("alert")).to_contain_text("The item 'nothing' is not in the served model.")
        await open_view(page, live.server, "#user=..")
        await expect(page.get_by_role("alert")).to_contain_text("The id .. cannot be sent in a URL")


async def test_a_server_that_goes_away_and_comes_back(chromium: Browser, stopped: LiveServer) -> None:
    """When the connection is lost, the page says so, keeps its content, and recovers later."""
    with stopped.started() as server:
        user = stopped.serve(model_bytes(seed=1))
        url = server.url
        context = visiting(chromium, url, failing=True)
        page = await context.__aenter__()
        await open_view(page, server, f"#user={user}")
    await expect(page.locator("#banner")).to_contain_text("The server does not answer")
    await expect(page.locator("h1")).to_have_text(user)
    await page.locator("nav").get_by_role("link", name="Popular").click()
    await expect(page.get_by_role("alert")).to_contain_text("No connection to the server")
    with stopped.started():
        await expect(page.locator("#banner")).to_be_hidden()
        await expect(page.locator("h1")).to_have_text("Popular items")
        await context.__aexit__(None, None, None)


async def test_a_server_without_a_model(chromium: Browser, stopped: LiveServer) -> None:
    """Before the first model the page says what is waited for, and shows the model as soon as it is there."""
    with stopped.started() as server:
        server.wait_for("waiting")
        async with visiting(chromium, server.url, failing=True) as page:
            await open_view(page, server, "")
            await expect(page.get_by_role("alert")).to_contain_text("No model is served yet")
            missing = server.get("/v1/model")[1]["last_reload"]["detail"]
            await expect(page.get_by_role("alert")).to_contain_text(missing)
            await expect(page.get_by_role("alert")).not_to_contain_text("/v1/model")
            await open_view(page, server, "#model=")
            await expect(page.locator(".over")).to_have_text("Waiting for a model")
            await page.go_back()
            await page.go_back()
            version = put(stopped.path, model_bytes(seed=2))
            await expect(page.locator(".pill")).to_have_text(f"ready · {version[:8]}")
            await expect(page.locator("h1")).to_have_text("What should they see?")


async def test_a_model_that_knows_nothing_of_the_past(chromium: Browser, live: LiveServer) -> None:
    """If the model has no seen items, the page says so and shows everything else."""
    user = live.serve(model_bytes(factors=make_factors(users=5, items=8, pairs=None)))
    items = live.server.get(f"/v1/users/{user}/recommendations")[1]["items"]
    async with visiting(chromium, live.server.url, failing=True) as page:
        await open_view(page, live.server, "")
        await expect(card(page, "Popular items")).to_contain_text("The model has no popularity.")
        await open_view(page, live.server, f"#user={user}")
        assert await rows_of(card(page, "Recommended")) == shown(items)
        await expect(card(page, "Already had")).to_contain_text("does not include seen items")
        await card(page, "Recommended").locator(".row").first.click()
        await expect(page.locator(".why")).to_contain_text("does not include seen items")
        await open_view(page, live.server, "#new=")
        await page.get_by_label("Find items").fill(str(items[0]["item_id"]))
        await page.keyboard.press("Enter")
        await expect(card(page, "Recommendations").locator(".row")).to_have_count(7)


def harmful_model() -> bytes:
    """Return a model in which every id would like to be markup."""
    made = make_factors(users=len(HARMFUL), items=len(HARMFUL), pairs=30, ids="str")
    ids = np.array([text.encode() for text in HARMFUL])
    return model_bytes(factors=replace(made, user_ids=ids, item_ids=ids))


async def test_ids_and_titles_are_text_and_nothing_else(chromium: Browser, live: LiveServer) -> None:
    """Whatever an id or a title says, it is shown as it is, leads where it should, and nothing of it runs."""
    live.serve(harmful_model())
    async with visiting(chromium, live.server.url) as page:
        await open_view(page, live.server, "")
        for text in HARMFUL:
            await page.locator("#search").fill(text)
            found = page.locator("#found [aria-label=Users] li")
            await expect(found).to_have_text([text])
            await expect(page.locator("#found [aria-label=Items] li")).to_contain_text([text])
            await found.click()
            await expect(page.locator("h1")).to_have_text(text)
            assert await page.locator("h1").text_content() == text
            await card(page, "Recommended").locator(".row").first.click()
            await expect(page.locator(".why .links")).to_have_count(1)
        for row in range(len(HARMFUL)):
            await open_view(page, live.server, "#popular=")
            await page.locator(".row").nth(row).click()
            await page.get_by_role("link", name="Try with a new user").click()
            await expect(page.locator(".chip.picked")).to_have_count(1)
        assert await page.locator("main img, main script, main b b, [onfocus]").count() == 0
        assert await page.evaluate("window.harmed") is None


async def test_ids_are_numbers_of_64_bits(chromium: Browser, live: LiveServer) -> None:
    """A number beyond what JavaScript can count exactly is shown and asked for as it is."""
    large = 2**53 + 1
    made = make_factors(users=3, items=3, pairs=6)
    users, items = np.array([large, large + 1, large + 2]), np.array([-large, 1, 2])
    live.serve(model_bytes(factors=replace(made, user_ids=users, item_ids=items)))
    async with visiting(chromium, live.server.url) as page:
        await open_view(page, live.server, f"#user={large}")
        others = await card(page, "Similar users").locator(".chip").all_inner_texts()
        assert {other.split("\n")[0] for other in others} == {str(large + 1), str(large + 2)}
        await page.locator("#search").fill("90071992547409")
        await expect(page.locator("#found li")).to_have_text([str(large + more) for more in range(3)])
        await open_view(page, live.server, f"#new=-{large}")
        await expect(card(page, "Recommendations").locator(".row")).to_have_count(2)
