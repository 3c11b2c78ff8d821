"""The explorer shows who gets the candidate, and what it would change for a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.explorer.test_accessibility import faults
from tests.explorer.test_in_browser import answer
from tests.live.test_admission import BAD_FILES, GOOD_FILE
from tests.support.browsing import card, open_view, rows_of, shares_of, shown, visiting
from tests.support.helpers import put, version
from tests.support.running import RunningServer, running_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANDIDATE_FILE = BAD_FILES["overlap"]


@pytest.fixture(scope="module")
def candidate_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the candidate is."""
    return tmp_path_factory.mktemp("candidate") / "candidate.npz"


@pytest.fixture(scope="module")
def trying(candidate_path: Path) -> Iterator[RunningServer]:
    """Serve a model, and a candidate to half of the users."""
    path, state = candidate_path.with_name("model.npz"), candidate_path.with_name("state")
    put(path, GOOD_FILE)
    put(candidate_path, CANDIDATE_FILE)
    with running_server(path, state, candidate_path=candidate_path, candidate_percent=50) as server:
        server.wait_until_serving(version(GOOD_FILE))
        server.wait_until(lambda: (server.get("/v1/model")[1]["candidate"] or {}).get("model_version"))
        yield server


async def test_the_candidate_is_described(chromium: Browser, trying: RunningServer, candidate_path: Path) -> None:
    """Its version, its share of the users, and why the file that should replace it is refused."""
    async with visiting(chromium, trying.url, reduced_motion="reduce") as page:
        await open_view(page, trying, "#model=")
        shown_in = card(page, "Candidate")
        await expect(shown_in).to_contain_text("50% of users get it, the others the served model.")
        await expect(shown_in.locator("dd").first).to_have_text(version(CANDIDATE_FILE))
        await expect(shown_in.locator(".refusal")).to_have_count(0)
        put(candidate_path, b"<html>502 Bad Gateway</html>")
        await expect(shown_in.locator(".refusal")).to_contain_text(
            "A new file was rejected. The file looks like an HTML page"
        )
        await expect(shown_in.locator("dd").first).to_have_text(version(CANDIDATE_FILE))
        assert await faults(page) == []


@pytest.mark.parametrize("arm", ["served", "candidate"])
async def test_both_models_side_by_side(chromium: Browser, trying: RunningServer, arm: str) -> None:
    """A user's page says which of the two the user gets, and compares both, whichever that is."""
    asked = ((user, answer(trying, f"/v1/users/{user}/recommendations?n=12")) for user in range(200))
    user, usual = next((user, found) for user, found in asked if found["arm"] == arm)
    served, candidate = (
        answer(trying, f"/v1/users/{user}/recommendations?n=12&model_version={version(content)}")["items"]
        for content in (GOOD_FILE, CANDIDATE_FILE)
    )
    assert usual["items"] == {"served": served, "candidate": candidate}[arm]
    places = {item["item_id"]: place for place, item in enumerate(served)}
    gone = places.keys() - {item["item_id"] for item in candidate}
    moves = [places[item["item_id"]] - place for place, item in enumerate(candidate) if item["item_id"] in places]
    came = len(candidate) - len(moves)
    rose, fell = len([move for move in moves if move > 0]), len([move for move in moves if move < 0])
    # Failing, because the models do not include seen items.
    async with visiting(chromium, trying.url, failing=True, reduced_motion="reduce") as page:
        await open_view(page, trying, f"#user={user}")
        await expect(page.locator("header .over")).to_have_text(
            {"served": "User, who gets the served model", "candidate": "User, who gets the candidate"}[arm]
        )
        both = card(page, "Served and candidate")
        await expect(both.locator(".note")).to_have_text(
            f"With the candidate: {came} new item{'s' * (came != 1)}, {rose} up, {fell} down, {len(gone)} gone. "
            "The bars compare within a list: each model has a scale of its own."
        )
        described = answer(trying, "/v1/model")
        bests = [model["score_ranges"]["recommendation"]["p99"] for model in (described, described["candidate"])]
        shares = [
            abs(max(-1, min(1, item["score"] / best)))
            for best, items in zip(bests, (served, candidate), strict=True)
            for item in items
        ]
        assert bests[0] != bests[1]
        assert await shares_of(both) == pytest.approx(shares)
        usually = card(page, "Recommended")
        assert await shares_of(usually) == pytest.approx({"served": shares[:12], "candidate": shares[12:]}[arm])
        assert await rows_of(both) == shown(served + candidate)
        await expect(both.locator("ol").first.locator("small")).to_have_text(["gone"] * len(gone))
        await expect(both.locator("ol").last.locator("small")).to_have_count(len(candidate))
        assert await faults(page) == []
