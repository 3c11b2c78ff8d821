"""The hosts by which clients may address the server, against web pages that make their own name resolve to it."""

from __future__ import annotations

import pytest

from service.api.routes import ROUTES
from service.errors import SettingsError
from service.settings import Settings
from tests.support.models import make_factors
from tests.support.serving import ApiSettings, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
LIMITED = ApiSettings(allowed_hosts="recommend.example, 10.1.2.3,[::1]")
GOOD = ["recommend.example", "Recommend.Example:8080", "recommend.example.", "10.1.2.3:80", "[::1]", "[::1]:8080"]
BAD = [
    "evil.example",
    "recommend.example.evil.example",
    "xrecommend.example",
    "10.1.2.3:80:80",
    "",
    "[::1",
    "::1",
    "a@",
]


def request(path: str, *lines: str) -> bytes:
    """Make a request with these header lines."""
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode()


@pytest.mark.parametrize("host", GOOD)
async def test_an_allowed_host_is_answered(host: str) -> None:
    """With any port, in any case, as a name or an address."""
    async with serving(SNAPSHOT, LIMITED) as api:
        assert (await api.get("/v1/model", Host=host)).status == 200


@pytest.mark.parametrize("host", BAD)
async def test_another_host_is_misdirected(host: str) -> None:
    """421 as a problem document, which is counted; the page that made up the name learns nothing."""
    async with serving(SNAPSHOT, LIMITED) as api:
        answer = await api.raw(request("/v1/model", f"Host: {host}"))
        assert api.sample("als_http_requests_total", route="/v1/model", method="GET", status="421") == 1
    assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    assert b'"code":"misdirected"' in answer


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES if route.method == "GET"} | {"/nowhere"}))
async def test_only_what_probes_ask_for_is_exempt(path: str) -> None:
    """Probes and scrapers address a server by its IP address, and learn no ids."""
    async with serving(SNAPSHOT, LIMITED) as api:
        answer = await api.get(path.replace("{", "").replace("}", ""), Host="10.9.9.9")
    assert (answer.status == 421) == (path not in {"/healthz", "/readyz", "/metrics"})


async def test_any_host_is_allowed_where_none_is_set() -> None:
    """As before; behind a gateway, it is the gateway's to check."""
    async with serving(SNAPSHOT) as api:
        assert (await api.get("/v1/model", Host="any.example")).status == 200


@pytest.mark.parametrize("hosts", ["", ",", "a,", "http://a", "a:80", "a b", "::1"])
def test_a_setting_that_names_no_host_is_refused(hosts: str) -> None:
    """A port or a scheme would never match."""
    with pytest.raises(SettingsError, match="ALS_ALLOWED_HOSTS"):
        Settings(allowed_hosts=hosts)
    assert LIMITED.allowed_hosts
    assert Settings(allowed_hosts=LIMITED.allowed_hosts)
