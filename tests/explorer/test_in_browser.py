"""The explorer shows what the API says, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import card, open_view, rows_of, settled, shares_of, shown, visiting
from tests.support.running import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

HUNGRY, LOAF, ORCHARD = "horror-the-hungry-corpse", "cookery-the-rustic-loaf", "gardening-the-wild-orchard"
SESSION = f"#user=ana-0000&also={LOAF}&also={ORCHARD}"


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, server: RunningServer) -> AsyncIterator[Page]:
    """Return a page that has not been anywhere."""
    async with visiting(chromium, server.url) as page:
        yield page


def answer(server: RunningServer, path: str) -> Any:
    """Return what the API answers."""
    status, body = server.get(path)
    assert status == 200
    return body


async def test_a_user_is_found_by_typing(page: Page, server: RunningServer) -> None:
    """A slash leads to the search, what is typed to suggestions, an arrow and Enter to the user, with no mouse."""
    await open_view(page, server, "")
    await page.keyboard.press("/")
    await page.keyboard.type("ana-00")
    suggested = answer(server, "/v1/users?n=6&prefix=ana-00")["users"]
    await expect(page.locator("#found li")).to_have_text(suggested)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("#found [aria-selected=true]")).to_have_text(suggested[1])
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text(suggested[1])
    await page.keyboard.press("/")
    await page.keyboard.type("zofia-0025")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("zofia-0025")
    assert page.url.endswith("/#user=zofia-0025")
    await page.go_back()
    await expect(page.locator("h1")).to_have_text(suggested[1])


async def test_an_item_is_found_by_typing(page: Page, server: RunningServer) -> None:
    """By a word of its title or by its id, next to users; Enter opens the first item if no user's id begins so."""
    await open_view(page, server, "")
    await page.keyboard.press("/")
    await page.keyboard.type("CORPSE")
    items = answer(server, "/v1/items?n=6&query=corpse")["items"]
    found = page.get_by_role("group", name="Items").get_by_role("option")
    await expect(found).to_have_text([f"{item['title']}{item['item_id']}" for item in items])
    await expect(page.get_by_role("group", name="Users")).to_have_count(0)
    await found.nth(1).click()
    await expect(page.locator("h1")).to_have_text(items[1]["title"])
    assert page.url.endswith(f"/#item={items[1]['item_id']}")
    await page.keyboard.press("/")
    await page.keyboard.type("rustic loaf")
    await expect(found).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("The Rustic Loaf")
    await page.keyboard.press("/")
    await page.keyboard.type("p")
    first = answer(server, "/v1/items?n=1&query=p")["items"][0]
    await expect(found.first).to_contain_text(first["item_id"])
    for _ in range(7):
        await page.keyboard.press("ArrowDown")
    await expect(page.locator("#found [aria-selected=true]")).to_contain_text(first["item_id"])
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text(first["title"])


async def test_the_audience_of_an_item(page: Page, server: RunningServer) -> None:
    """An item's page lists the users with the greatest scores who have not had it, and leads to theirs."""
    await open_view(page, server, f"#item={HUNGRY}")
    audience = answer(server, f"/v1/items/{HUNGRY}/users?n=24")["users"]
    rows = [(user["user_id"], f"{user['score']:.3f}") for user in audience]
    assert await rows_of(card(page, "Audience")) == rows[:12]
    await card(page, "Audience").get_by_role("button", name="Show more").click()
    await expect(card(page, "Audience").locator(".row")).to_have_count(24)
    assert await rows_of(card(page, "Audience")) == rows
    await card(page, "Audience").locator(".row").first.click()
    await expect(page.locator("h1")).to_have_text(rows[0][0])


async def test_what_a_user_does_now_changes_the_list(page: Page, server: RunningServer) -> None:
    """Each pick is answered with the session's recommendations and what moved; the address keeps the picks."""
    usual = answer(server, "/v1/users/ana-0000/recommendations?n=12&titles=true")["items"]
    places = {item["item_id"]: place for place, item in enumerate(usual)}

    def moved(item: str, place: int) -> str:
        up = places.get(item, 99) - place
        return "new in the list" if up > 12 else f"up {up}" if up > 0 else f"down {-up}" if up < 0 else "as before"

    async def are_recommended(*picked: str) -> None:
        body = {"items": [{"item_id": item} for item in picked], "n": 12, "titles": True}
        status, session = server.post("/v1/users/ana-0000/recommendations", body)
        assert (status, session["strategy"]) == (200, "session")
        now = card(page, "Recommended")
        await expect(now.locator(".name b")).to_have_text([item["title"] for item in session["items"]])
        fresh = len([item for item in session["items"] if item["item_id"] not in places])
        await expect(now.get_by_role("status")).to_contain_text(f": {fresh} new item{'s' * (fresh != 1)}.")
        assert await rows_of(now) == shown(session["items"])
        hints = [moved(item["item_id"], place) for place, item in enumerate(session["items"])]
        await expect(now.locator(".name small")).to_have_text(hints)
        assert page.url.endswith("/#" + urlencode([("user", "ana-0000"), *(("also", item) for item in picked)]))

    await open_view(page, server, "#user=ana-0000")
    await page.get_by_label("What if they now had").fill("rustic loaf")
    await page.keyboard.press("Enter")
    await are_recommended(LOAF)
    await page.get_by_label("What if they now had").fill(ORCHARD)
    await page.keyboard.press("Enter")
    await are_recommended(LOAF, ORCHARD)
    await page.reload()
    await settled(page)
    await are_recommended(LOAF, ORCHARD)
    for title in ("The Rustic Loaf", "The Wild Orchard"):
        await page.get_by_label(f"Remove {title}").click()
    await expect(card(page, "Recommended").get_by_role("status")).to_have_text("Best first. Open one to see why.")
    assert await rows_of(card(page, "Recommended")) == shown(usual)
    assert page.url.endswith("/#user=ana-0000")


async def test_what_a_user_had_and_should_see(page: Page, server: RunningServer) -> None:
    """Side by side, titles instead of ids, with the API's scores; bars are shares of the model's best."""
    await open_view(page, server, "#user=ana-0000")
    had = answer(server, "/v1/users/ana-0000/items?n=12&titles=true")["items"]
    wanted = answer(server, "/v1/users/ana-0000/recommendations?n=12&titles=true")["items"]
    assert [name for name, _ in await rows_of(card(page, "Already had"))] == [item["title"] for item in had]
    assert await rows_of(card(page, "Recommended")) == shown(wanted)
    best = answer(server, "/v1/model")["score_ranges"]["recommendation"]["p99"]
    assert await shares_of(card(page, "Recommended")) == pytest.approx(
        [min(1, item["score"] / best) for item in wanted]
    )
    boxes = [await card(page, name).bounding_box() for name in ("Already had", "Recommended")]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]


def best(server: RunningServer) -> str:
    """Return the item that Ana is recommended first."""
    found: str = answer(server, "/v1/users/ana-0000/recommendations?n=1")["items"][0]["item_id"]
    return found


async def test_there_is_more_to_see(page: Page, server: RunningServer) -> None:
    """A list grows by what comes next."""
    await open_view(page, server, "#user=ana-0000")
    recommended = card(page, "Recommended")
    await recommended.get_by_role("button", name="Show more").click()
    await expect(recommended.locator(".rows > li")).to_have_count(24)
    wanted = answer(server, "/v1/users/ana-0000/recommendations?n=24&titles=true")["items"]
    assert await rows_of(recommended) == shown(wanted)


async def test_why_something_is_recommended(page: Page, server: RunningServer) -> None:
    """A recommendation unfolds to what speaks for it, and folds again."""
    await open_view(page, server, "#user=ana-0000")
    first = card(page, "Recommended").locator(".rows > li").first
    await first.locator("button").click()
    reasons = answer(server, f"/v1/users/ana-0000/explanations/{best(server)}?n=6&titles=true")
    await expect(first.locator(".why .name b")).to_have_text([item["title"] for item in reasons["items"]])
    await expect(first.locator(".why .number")).to_have_text([f"+{item['score']:.3f}" for item in reasons["items"]])
    await expect(first.locator("h3 span")).to_have_text(f"{reasons['score']:.3f} in total")
    await first.locator("button").click()
    await expect(first.locator(".why")).to_have_count(0)


async def test_the_reasons_add_up_to_the_score(page: Page, server: RunningServer) -> None:
    """What is not shown is counted and summed, and the sum is the score of the list."""
    await open_view(page, server, "#user=ana-0000")
    first = card(page, "Recommended").locator(".rows > li").first
    await first.locator("button").click()
    reasons = answer(server, f"/v1/users/ana-0000/explanations/{best(server)}?n=20&titles=true")
    hidden = len(reasons["items"]) - 6
    assert 0 < hidden < 14
    rest = reasons["score"] - sum(item["score"] for item in reasons["items"][:6])
    sign = "+" if rest > 0 else "−"
    await expect(first.locator(".rest")).to_have_text(f"and {hidden} more{sign}{abs(rest):.3f}")
    listed = answer(server, "/v1/users/ana-0000/recommendations?n=1")["items"][0]["score"]
    await expect(first.locator("h3 span")).to_have_text(f"{listed:.3f} in total")
    await expect(first.locator(".note")).to_have_count(0)


async def test_what_is_unfolded_is_in_the_address(page: Page, server: RunningServer) -> None:
    """The address of a page with a reason unfolded shows it to somebody else; folded again, it is gone from there."""
    await open_view(page, server, "#user=ana-0000")
    second = card(page, "Recommended").locator(".rows > li").nth(1)
    await second.locator("button").click()
    await expect(second.locator(".why .row")).to_have_count(6)
    wanted = answer(server, "/v1/users/ana-0000/recommendations?n=2")["items"][1]["item_id"]
    assert page.url.endswith(f"/#user=ana-0000&why={wanted}")
    await page.reload()
    await expect(second.locator(".why .row")).to_have_count(6)
    await second.locator("button").first.click()
    assert page.url.endswith("/#user=ana-0000")


async def test_who_and_what_is_alike(page: Page, server: RunningServer) -> None:
    """From a user to those of the same taste, and from a recommendation to items like it."""
    await open_view(page, server, "#user=ana-0000")
    alike = answer(server, "/v1/users/ana-0000/similar?n=8")["users"]
    chips = card(page, "Similar users").locator(".chip")
    assert await chips.all_inner_texts() == [f"{user['user_id']}\n{user['score']:.3f}" for user in alike]
    await chips.first.click()
    await expect(page.locator("h1")).to_have_text(alike[0]["user_id"])
    await expect(page.locator("main")).to_be_focused()
    await open_view(page, server, "#user=ana-0000")
    await card(page, "Recommended").locator(".row").first.click()
    await page.get_by_role("link", name="Similar items").click()
    similar = answer(server, f"/v1/items/{best(server)}/similar?n=12&titles=true")
    await expect(page.locator("h1")).to_have_text(similar["title"])
    assert await rows_of(card(page, "Similar items")) == shown(similar["items"])


async def test_surprise(page: Page, server: RunningServer) -> None:
    """A random user is a user of the model."""
    await open_view(page, server, "")
    await page.get_by_role("button", name="Surprise me").click()
    await page.wait_for_url("**/#user=*")
    await settled(page)
    user = await page.locator("h1").inner_text()
    assert answer(server, f"/v1/users?prefix={user}")["users"] == [user]


async def test_popular_items(page: Page, server: RunningServer) -> None:
    """The most popular items and their numbers of users, on the start page and in their own view."""
    popular = answer(server, "/v1/items/popular?n=20&titles=true")["items"]
    rows = [(item["title"], str(int(item["score"]))) for item in popular]
    await open_view(page, server, "")
    assert await rows_of(card(page, "Popular items")) == rows[:8]
    await page.get_by_role("link", name="Popular", exact=True).click()
    await settled(page)
    assert await rows_of(card(page, "By number of users")) == rows


async def test_someone_new(page: Page, server: RunningServer) -> None:
    """Every pick is answered at once with what the model shows someone who had just that; the address keeps it."""

    async def are_recommended(*picked: str) -> None:
        status, body = server.post(
            "/v1/recommendations/anonymous", {"items": [{"item_id": item} for item in picked], "n": 12, "titles": True}
        )
        assert status == 200
        await expect(seen.locator(".name b")).to_have_text([item["title"] for item in body["items"]])
        assert await rows_of(seen) == shown(body["items"])
        assert page.url.endswith("/#" + urlencode([("new", item) for item in picked]))

    await open_view(page, server, "#new=")
    seen = card(page, "Recommendations")
    await expect(seen).to_contain_text("Nothing yet")
    await page.get_by_label("Find items").fill("rustic loaf")
    await page.keyboard.press("Enter")
    await are_recommended(LOAF)
    await page.get_by_label("Find items").fill(ORCHARD)
    await expect(page.locator(".pick")).to_have_count(1)
    await page.locator(".pick").click()
    await are_recommended(LOAF, ORCHARD)
    await page.reload()
    await settled(page)
    await are_recommended(LOAF, ORCHARD)
    await page.get_by_label("Remove The Rustic Loaf").click()
    await are_recommended(ORCHARD)
    await page.get_by_label("Find items").fill("no-such-item")
    await page.keyboard.press("Enter")
    await expect(seen).to_contain_text("The model does not know no-such-item.")


async def test_the_model_is_described(page: Page, server: RunningServer) -> None:
    """Version, state, counts, the phases of its load and the ranges of its scores are what /v1/model says."""
    await open_view(page, server, "#model=")
    model = answer(server, "/v1/model")
    await expect(page.locator("h1")).to_have_text(model["model_version"])
    await expect(page.locator(".pill")).to_have_text(f"ready · {model['model_version'][:8]}")
    assert await page.locator(".numbers dd").all_inner_texts() == [
        "3,000",
        "600",
        "32",
        f"{model['seen_pairs']:,}",
        f"{model['bytes'] / 1e6:.2f} MB",
    ]
    phases = await card(page, "Load time").locator("rect title").evaluate_all("all => all.map(one => one.textContent)")
    assert {phase.split(":")[0] for phase in phases} == model["load_seconds"].keys()
    ranges = await card(page, "Score ranges").locator("figure").all_inner_texts()
    assert len(ranges) == 3
    assert f"{model['score_ranges']['recommendation']['p99']:.3f}" in ranges[1]
    bins = card(page, "Score ranges").locator("figure").nth(1).locator("rect.bin title")
    drawn = await bins.evaluate_all("all => all.map(one => Number(one.textContent.split(' ')[0]))")
    assert drawn == model["score_ranges"]["recommendation"]["histogram"]
    await expect(card(page, "Origin")).to_contain_text(model["source"]["sha256"])


async def test_keys_are_enough(page: Page, server: RunningServer) -> None:
    """Tab goes through the page in its order, arrows through a list, Enter opens; what has the focus is outlined."""
    await open_view(page, server, "#user=ana-0000")
    stops = []
    for _ in range(9):
        await page.keyboard.press("Tab")
        stops.append(await page.evaluate("document.activeElement.innerText || document.activeElement.id || 'brand'"))
    assert [stop.split("\n")[0] for stop in stops[:2]] == ["Skip to content", "als-serve"]
    assert stops[2:8] == ["search", "New user", "Popular", "Model", "API", stops[7]]
    first = card(page, "Recommended").locator(".row").first
    await first.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    second = card(page, "Recommended").locator(".rows > li > .row").nth(1)
    await expect(second).to_be_focused()
    assert await second.evaluate("row => getComputedStyle(row).outlineStyle") == "solid"
    await page.keyboard.press("Enter")
    await expect(card(page, "Recommended").locator(".why .row")).to_have_count(6)
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".why .row").first).to_be_focused()
    await page.keyboard.press("End")
    await expect(card(page, "Recommended").locator(".row").last).to_be_focused()


async def test_every_view_fits_a_phone_and_the_dark(chromium: Browser, server: RunningServer) -> None:
    """At the width of a phone nothing sticks out, and who prefers the dark gets it."""
    options: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    async with visiting(chromium, server.url, **options) as page:
        for fragment in ("", "#user=ana-0000", SESSION, f"#item={HUNGRY}", f"#new={LOAF}", "#popular=", "#model="):
            await open_view(page, server, fragment)
            assert await page.evaluate("document.documentElement.scrollWidth") == 360, fragment
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")) < 64
