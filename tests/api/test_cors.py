"""Pages of other origins: by default they may not read answers; with a setting, those of its origins may."""

from __future__ import annotations

import pytest

from service.errors import SettingsError
from service.settings import Settings
from tests.support.models import make_factors
from tests.support.serving import ApiSettings, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
SHOP, OTHER = "https://shop.example", "https://other.example"
BATCH = "/v1/recommendations"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
ORIGIN, METHODS = "Access-Control-Allow-Origin", "Access-Control-Allow-Methods"


@pytest.mark.parametrize(
    ("allowed", "origin", "answered"),
    [
        ("", SHOP, None),
        (SHOP, SHOP, SHOP),
        (f"http://localhost:3000,{SHOP}", SHOP, SHOP),
        ("https://Shop.Example", SHOP, SHOP),
        (SHOP, OTHER, None),
        (SHOP, "https://shop.example.evil.example", None),
        (SHOP, "null", None),
        ("*", OTHER, "*"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/model", "/v1/nothing", "/openapi.json"])
async def test_an_answer_says_who_may_read_it(allowed: str, origin: str, answered: str | None, path: str) -> None:
    """An error, too: a page shows its sentence."""
    async with serving(SNAPSHOT, ApiSettings(allow_origins=allowed)) as api:
        answer = await api.request("GET", path, headers={"Origin": origin})
    assert answer.headers.get(ORIGIN) == answered
    assert ("X-Request-Id" in answer.headers.get("Access-Control-Expose-Headers", "")) == (answered is not None)
    assert (answer.headers.get("Vary") == "Origin") == (allowed not in ("", "*")), "caches keep one answer for each"


async def test_a_preflight_is_answered() -> None:
    """A POST with JSON needs one; it is counted, as every request."""
    async with serving(SNAPSHOT, ApiSettings(allow_origins=SHOP)) as api:
        answer = await api.request("OPTIONS", BATCH, headers={"Origin": SHOP} | ASKED)
        metrics = (await api.get("/metrics")).body.decode()
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers[ORIGIN] == SHOP
    assert answer.headers[METHODS] == "POST"
    assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]
    assert 'als_http_requests_total{arm="served",method="OPTIONS",route="unmatched",status="200"} 1.0' in metrics


@pytest.mark.parametrize("allowed", ["", SHOP])
async def test_other_options_requests_are_not_preflights(allowed: str) -> None:
    """They are answered as ever; so is a preflight where no origin is allowed."""
    async with serving(SNAPSHOT, ApiSettings(allow_origins=allowed)) as api:
        plain = await api.request("OPTIONS", BATCH)
        asked = await api.request("OPTIONS", BATCH, headers={"Origin": OTHER} | ASKED)
    assert (plain.status, plain.json["code"]) == (405, "method_not_allowed")
    assert asked.status == (200 if allowed else 405)
    assert ORIGIN not in asked.headers


@pytest.mark.parametrize("wrong", ["shop.example", "https://shop.example/", "https://a b", "https://a,", ",", "**"])
def test_what_is_no_origin_is_refused(wrong: str) -> None:
    """A browser never sends it, so it would allow nobody."""
    with pytest.raises(SettingsError, match=r"^ALS_ALLOW_ORIGINS is .*; it must be \* or origins such as https://"):
        Settings(allow_origins=wrong)
