"""Finding the route of a request, and the forms that requests for it may have."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.api.context import Handler, Ids
from service.api.instrument import Instrument, Instrumented
from service.api.routes import ROUTES
from service.api.routing import UNMATCHED, Router
from tests.support.models import make_factors
from tests.support.serving import make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
TEMPLATES = [(route.method, route.path, re.compile(re.sub("{[a-z]+}", "([^/]+)", route.path))) for route in ROUTES]
WORDS = sorted({segment for route in ROUTES for segment in route.path.split("/") if not segment.startswith("{")})


class Naming(Instrument):
    """In place of handlers, gives the route and the ids of the one that would be called."""

    def __init__(self) -> None:
        """Need nothing."""

    def wrap(self, route: str, handler: Handler) -> Instrumented:
        """Return what gives the route's path."""

        def answer(_: web.BaseRequest, ids: Ids) -> Any:
            return route, [] if route == UNMATCHED else list(ids.values())

        return answer


ROUTER = Router(ROUTES, Naming())


def found(method: str, path: str) -> Any:
    """Return the route, and the ids, that the router finds."""
    request: Any = Mock(spec=web.BaseRequest, method=method, rel_url=URL.build(path=path, encoded=True))
    answer: Awaitable[Any] = ROUTER.answer(request)
    return answer


def expected(method: str, path: str) -> Any:
    """Return the same by trying each path of the table."""
    for asked, route, pattern in TEMPLATES:
        if asked == method and (match := pattern.fullmatch(path)):
            return route, list(match.groups())
    return UNMATCHED, []


@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.lists(
        st.sampled_from([*WORDS, "", "7", "{user}", "a.b"]) | st.text("abc.~-", max_size=3), min_size=1, max_size=7
    ),
)
def test_the_route_is_the_one_whose_path_matches(method: str, segments: list[str]) -> None:
    """One look-up finds what trying every path of the table finds, with the same ids."""
    path = "/" + "/".join(segments)
    assert found(method, path) == expected(method, path)


@pytest.mark.parametrize(("method", "path", "_"), TEMPLATES)
def test_every_route_is_found(method: str, path: str, _: object) -> None:
    """Also by HEAD where there is a GET."""
    asked = re.sub("{[a-z]+}", "similar", path)
    assert found(method, asked)[0] == path
    has_get = ("GET", path) in {(route.method, route.path) for route in ROUTES}
    assert found("HEAD", asked)[0] == (path if has_get else UNMATCHED)


def test_an_item_may_be_called_like_a_path() -> None:
    """The item "popular" has similar items, and the user "recommendations" has recommendations."""
    assert found("GET", "/v1/items/popular/similar") == ("/v1/items/{item}/similar", ["popular"])
    assert found("GET", "/v1/items/similar") == ("/v1/items/{item}", ["similar"])
    assert found("GET", "/v1/items/popular") == ("/v1/items/popular", [])
    assert found("GET", "/v1/users/recommendations/recommendations")[1] == ["recommendations"]


@pytest.mark.parametrize("path", ["/v1/users//items", "/v1/items//similar", "/v1/users/7/explanations/", "/explorer/"])
def test_an_id_is_never_empty(path: str) -> None:
    """No route matches such a path."""
    assert found("GET", path) == (UNMATCHED, [])


def test_the_fixed_parts_of_a_path_may_be_encoded() -> None:
    """RFC 3986: %75 is u, in whatever part of a path."""
    assert found("GET", "/v1/%75sers/a%2Fb/items") == ("/v1/users/{user}/items", ["a/b"])


async def test_requests_without_a_path_get_a_problem_document() -> None:
    """``OPTIONS *`` asks for no path: 404, as JSON."""
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"application/problem+json" in answer


ASKED = b"GET /healthz HTTP/%s\r\nHost: x\r\n%s\r\n"


@pytest.mark.parametrize(("version", "said"), [(b"1.1", b""), (b"1.0", b"Connection: keep-alive\r\n")])
async def test_a_connection_stays_open_as_the_client_asks(version: bytes, said: bytes) -> None:
    """HTTP/1.1 stays open by itself, HTTP/1.0 if the client says so; then the answer does, too."""
    async with serving(SNAPSHOT) as api:
        answers = await api.raw(ASKED % (version, said) + ASKED % (b"1.1", b"Connection: close\r\n"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert (b"Connection: keep-alive" in answers.partition(b"\r\n\r\n")[0]) == (version == b"1.0")


@pytest.mark.parametrize(("version", "said"), [(b"1.0", b""), (b"1.1", b"Connection: close\r\n")])
async def test_a_connection_closes_as_the_client_asks(version: bytes, said: bytes) -> None:
    """HTTP/1.0 closes by itself, HTTP/1.1 if the client says so; then the answer does, too."""
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(ASKED % (version, said))  # returns when the server closes
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert (b"Connection: close" in answer) == (version == b"1.1")


async def test_a_head_has_what_a_get_has_besides_the_body() -> None:
    """The same status and headers, Content-Length included."""
    async with serving(SNAPSHOT) as api:
        path = "/v1/items/popular"
        got, head = await api.get(path), await api.request("HEAD", path)
    varying = {"Date", "X-Request-ID"}
    assert head.body == b""
    assert {name: text for name, text in head.headers.items() if name not in varying} == {
        name: text for name, text in got.headers.items() if name not in varying
    }
    assert got.headers["Server"] == "als-serve"
    assert int(got.headers["Content-Length"]) == len(got.body)


async def test_an_unknown_expectation_is_ignored() -> None:
    """RFC 9110, 10.1.1: 417 is a choice, and of no use to the client."""
    async with serving(SNAPSHOT) as api:
        assert (await api.get("/v1/items/popular", Expect="a-miracle")).status == 200
