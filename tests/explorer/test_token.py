"""The explorer of a server with tokens: it asks for one, and keeps it as long as its tab is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from service.tokens import digest_of
from tests.explorer.test_accessibility import faults
from tests.support.browsing import card, visiting
from tests.support.helpers import model_bytes, put
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

FACTORS = make_factors(users=20, items=30, seed=1, pairs=60)
USER = FACTORS.user_ids[0]
ALL, SOME, NONE = "als_all", "als_some", "als_none"


class Guarded:
    """A server whose file of tokens gives requests without one these scopes."""

    def __init__(self, server: RunningServer, tokens: Path) -> None:
        self.server = server
        self.tokens = tokens
        self.admit("metrics")

    def admit(self, anonymous: str) -> None:
        """Give these scopes to requests without a token, and return once they have them."""
        scopes = {ALL: "read,users", SOME: "read", NONE: "batch"}
        lines = [f"{token[4:]} {scopes[token]} {digest_of(token)}" for token in scopes]
        put(self.tokens, "\n".join([*lines, f"anonymous {anonymous}"]).encode())
        status = 200 if "read" in anonymous else 401
        self.server.wait_until(lambda: self.server.get("/v1/model")[0] == status)

    @property
    def url(self) -> str:
        """Return the address."""
        return self.server.url


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Run a server that all these tests share."""
    directory = tmp_path_factory.mktemp("guarded")
    put(directory / "model.npz", model_bytes(factors=FACTORS))
    tokens = directory / "tokens"
    tokens.write_text("anonymous metrics")
    with running_server(directory / "model.npz", directory / "state", tokens_file=tokens) as server:
        server.wait_until_ready()
        yield Guarded(server, tokens)


def question(page: Page) -> Locator:
    """Return the question for a token."""
    return page.get_by_role("dialog", name="This server asks for a token")


async def give(page: Page, token: str) -> None:
    """Give a token."""
    await question(page).get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_asks_and_keeps_the_token_in_its_tab(chromium: Browser, guarded: Guarded, scheme: str) -> None:
    """After a reload it does not ask again, in another tab it does."""
    async with visiting(chromium, guarded.url, failing=True, color_scheme=scheme) as page:
        await page.goto(guarded.url + "/#popular=")
        await expect(question(page)).to_contain_text("This needs a token with the scope read")
        await expect(question(page).get_by_label("Token")).to_be_focused()
        assert await faults(page) == []
        await give(page, f" {ALL} ")
        await expect(page.locator("h1")).to_have_text("Popular items")
        await expect(page.locator(".pill")).to_contain_text("ready")
        await page.reload()
        await expect(page.locator("h1")).to_have_text("Popular items")
        await page.locator(".brand").click()
        await expect(card(page, "Some users").locator(".chip")).not_to_have_count(0)
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        other = await page.context.new_page()
        await other.goto(guarded.url)
        await expect(question(other)).to_be_visible()


async def test_a_wrong_token_is_asked_for_again(chromium: Browser, guarded: Guarded) -> None:
    """With what the server says of it."""
    async with visiting(chromium, guarded.url, failing=True) as page:
        await page.goto(guarded.url + "/#popular=")
        await give(page, "als_stranger")
        await expect(question(page)).to_contain_text("The token is unknown; it may have been replaced.")
        await give(page, SOME)
        await expect(page.locator("h1")).to_have_text("Popular items")


async def test_a_token_that_no_header_can_have_is_not_taken(chromium: Browser, guarded: Guarded) -> None:
    """The question stays open until there is one that can be sent."""
    async with visiting(chromium, guarded.url, failing=True) as page:
        await page.goto(guarded.url + "/#popular=")
        for impossible in ("", "two words", "Schlüssel", "ключ"):
            await give(page, impossible)
            await expect(question(page)).to_be_visible()
            assert await page.evaluate("sessionStorage.length") == 0
        await give(page, ALL)
        await expect(page.locator("h1")).to_have_text("Popular items")


async def test_a_reader_who_closes_the_question_is_told_why_nothing_is_shown(
    chromium: Browser, guarded: Guarded
) -> None:
    """It does not open again by itself, but with the next view or another try."""
    async with visiting(chromium, guarded.url, failing=True) as page:
        await page.goto(guarded.url + "/#model=")
        await expect(question(page)).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator(".pill")).to_have_text("refused")
        await expect(page.locator("#banner")).to_contain_text("This needs a token with the scope read")
        await expect(page.get_by_role("alert")).to_contain_text("A token is needed")
        async with page.expect_response("**/v1/model"):
            pass  # the next look at the model
        await expect(question(page)).to_be_hidden()
        await page.get_by_role("button", name="Try again").click()
        await question(page).get_by_role("button", name="Not now").click()
        await page.locator("nav").get_by_role("link", name="Popular").click()
        await expect(question(page)).to_be_visible()
        await page.go_back()
        await give(page, ALL)
        await expect(page.locator(".over")).to_have_text("Serving the newest model")
        await expect(page.locator("#banner")).to_be_hidden()


async def test_a_token_for_items_alone_shows_items(chromium: Browser, guarded: Guarded) -> None:
    """What it does not permit says so, beside all that it does; another token may be used."""
    async with visiting(chromium, guarded.url, failing=True) as page:
        await page.goto(guarded.url)
        await give(page, SOME)
        await expect(card(page, "Some users")).to_contain_text("The token some lacks the scope users")
        await expect(card(page, "Popular items").locator(".row")).not_to_have_count(0)
        await page.goto(f"{guarded.url}/#user={USER}")
        await expect(card(page, "Recommended").locator(".row")).not_to_have_count(0)
        await expect(card(page, "Already had")).to_contain_text("The token some lacks the scope users")
        await card(page, "Already had").get_by_role("button", name="Use another token").click()
        await give(page, ALL)
        await expect(card(page, "Already had").locator(".row")).not_to_have_count(0)


async def test_a_token_for_nothing_here_can_be_replaced(chromium: Browser, guarded: Guarded) -> None:
    """A view that it does not permit at all offers to use another one."""
    async with visiting(chromium, guarded.url, failing=True) as page:
        await page.goto(guarded.url + "/#popular=")
        await give(page, NONE)
        await expect(page.get_by_role("alert")).to_contain_text("Not permitted")
        await page.get_by_role("alert").get_by_role("button", name="Use another token").click()
        await give(page, SOME)
        await expect(page.locator("h1")).to_have_text("Popular items")


async def test_where_all_may_read_it_asks_only_for_users(chromium: Browser, guarded: Guarded) -> None:
    """Views of items need no token then; there is one question for all requests that are refused together."""
    guarded.admit("read,metrics")
    try:
        async with visiting(chromium, guarded.url, failing=True) as page:
            await page.goto(guarded.url + "/#popular=")
            await expect(page.locator("h1")).to_have_text("Popular items")
            await expect(page.locator(".pill")).to_contain_text("ready")
            await expect(question(page)).to_be_hidden()
            await page.locator(".brand").click()
            await expect(question(page)).to_contain_text("This needs a token with the scope users")
            await give(page, ALL)
            await expect(card(page, "Some users").locator(".chip")).not_to_have_count(0)
    finally:
        guarded.admit("metrics")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_reference_sends_a_token(chromium: Browser, guarded: Guarded, scheme: str) -> None:
    """The page at /docs asks for it behind a button, and sends it with each request."""
    async with visiting(chromium, guarded.url, failing=True, color_scheme=scheme) as page:
        await page.goto(f"{guarded.url}/docs")
        await page.get_by_role("button", name="Authorize").click()
        await expect(page.locator(".auth-container")).to_contain_text("A token has scopes")
        assert await faults(page) == []
        await page.locator(".auth-container input").fill(ALL)
        await page.locator(".auth-container").get_by_role("button", name="Apply").click()
        await page.locator(".auth-container").get_by_role("button", name="Close").click()
        opened = page.locator("[id$='-served_model']")
        await opened.locator(".opblock-summary-control").click()
        await opened.get_by_role("button", name="Try it out").click()
        await opened.get_by_role("button", name="Execute").click()
        await expect(opened.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
