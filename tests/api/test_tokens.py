"""Tokens on a real server: each route admits those that have its scope, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.api.problems import CHALLENGES
from service.api.route import AnyRoute
from service.api.routes import ROUTES
from service.errors import InsufficientScopeError, InvalidTokenError, NoTokenError
from service.tokens import ANONYMOUS, SCOPES, Scope, Token, Tokens, digest_of
from tests.api.test_problems import assert_is_problem
from tests.support.models import make_factors
from tests.support.serving import Answer, Api, ApiSettings, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
GUARDED = [route for route in ROUTES if route.scope]
OPEN = [route for route in ROUTES if not route.scope]
REFUSED = (401, 403)


def secret(scope: str) -> str:
    """Return the token of the holder who has only this scope."""
    return f"als_secret-of-{scope}"


def holders(*anonymous: Scope) -> Tokens:
    """Return a token for each scope alone, and the scopes of requests without a token."""
    tokens = tuple(Token(f"{scope}-only", frozenset({scope}), digest_of(secret(scope))) for scope in SCOPES)
    return (*tokens, Token(ANONYMOUS, frozenset(anonymous), None)) if anonymous else tokens


def path_of(route: AnyRoute) -> str:
    """Return a path of a route."""
    parts = {"{user}": "1", "{item}": "1", "{file}": next(iter(route.files), "")}
    path = route.path
    for placeholder, value in parts.items():
        path = path.replace(placeholder, value)
    return path


async def ask(api: Api, route: AnyRoute, **headers: str) -> Answer:
    """Ask a server for a route."""
    return await api.request(
        route.method, path_of(route), headers=headers, **({"data": b"{}"} if route.has_body else {})
    )


def bearer(scope: str) -> str:
    """Return the header of the holder who has only this scope."""
    return f"Bearer {secret(scope)}"


def name_of(route: AnyRoute) -> str:
    """Return a route as it is called."""
    return route.name


def test_every_scope_is_decided() -> None:
    """What lists users or what they did is for `users`; what is open has no data."""
    assert {route.scope: {other.name for other in GUARDED if other.scope == route.scope} for route in GUARDED} == {
        "read": {
            *("recommend", "score_items", "similar_items", "popular_items", "recommend_to_anonymous", "served_model"),
            *("recommend_in_session", "find_items", "describe_item"),
        },
        "batch": {"recommend_to_many"},
        "users": {"audience", "similar_users", "user_items", "explain", "list_users"},
        "metrics": {"metrics"},
        "admin": {"list_versions", "reload", "pin", "unpin", "roll_back", "accept", "steer"},
    }
    assert {route.tag for route in OPEN if route.path not in ("/healthz", "/readyz")} == {"Pages"}


@pytest.mark.parametrize("route", GUARDED, ids=name_of)
async def test_a_route_admits_its_scope_alone(route: AnyRoute) -> None:
    """Without a token it is 401, with another scope 403, and with its own it is answered; so is a HEAD."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        for scope in SCOPES:
            answer = await ask(api, route, Authorization=bearer(scope))
            if scope == route.scope:
                assert answer.status not in REFUSED
            else:
                assert_is_problem(answer, 403, "insufficient_scope")
                assert answer.headers["WWW-Authenticate"] == CHALLENGES[InsufficientScopeError]
                assert answer.json["detail"] == (
                    f"The token {scope}-only lacks the scope {route.scope}; use a token that has it."
                )
        nobody = await ask(api, route)
        assert_is_problem(nobody, 401, "no_token")
        assert nobody.headers["WWW-Authenticate"] == CHALLENGES[NoTokenError]
        stranger = await ask(api, route, Authorization="Bearer als_stranger")
        assert_is_problem(stranger, 401, "invalid_token")
        assert stranger.headers["WWW-Authenticate"] == CHALLENGES[InvalidTokenError]
        if route.method == "GET":
            assert (await api.request("HEAD", path_of(route))).status == 401


@pytest.mark.parametrize("route", GUARDED, ids=name_of)
async def test_requests_without_a_token_have_the_scopes_of_anonymous(route: AnyRoute) -> None:
    """With the scope they are answered, without it 401; an unknown token is 401 even where none would do."""
    assert route.scope
    async with serving(SNAPSHOT, tokens=holders(route.scope)) as api:
        assert (await ask(api, route)).status not in REFUSED
        assert (await ask(api, route, Authorization="Basic dXNlcjpwYXNzd29yZA==")).status not in REFUSED
        assert (await ask(api, route, Authorization="Bearer als_stranger")).status == 401
    others: list[Scope] = [scope for scope in SCOPES if scope not in (route.scope, "admin")]
    async with serving(SNAPSHOT, tokens=holders(*others)) as api:
        assert (await ask(api, route)).status == 401


@pytest.mark.parametrize("route", OPEN, ids=name_of)
async def test_an_open_route_looks_at_no_token(route: AnyRoute) -> None:
    """Probes and pages are answered without a token, and with one that nobody knows."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        assert (await ask(api, route)).status == 200
        assert (await ask(api, route, Authorization="Bearer als_stranger")).status == 200


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_without_tokens_everything_is_open(route: AnyRoute) -> None:
    """As it was before there were tokens; a header makes no difference."""
    async with serving(SNAPSHOT) as api:
        assert (await ask(api, route)).status not in REFUSED
        assert (await ask(api, route, Authorization="Bearer als_stranger")).status not in REFUSED


@pytest.mark.parametrize("route", [route for route in GUARDED if route.scope == "admin"], ids=name_of)
async def test_there_is_no_administration_without_tokens(route: AnyRoute) -> None:
    """Such a path is as unknown as any other, rather than open to everybody."""
    async with serving(SNAPSHOT) as api:
        for header in ({}, {"Authorization": bearer("admin")}):
            assert_is_problem(await ask(api, route, **header), 404, "no_such_path")


@pytest.mark.parametrize(
    "header",
    [f"bearer {secret('read')}", f"BEARER   {secret('read')} ", f"Bearer {secret('read')}"],
)
async def test_a_header_may_be_spelled_differently(header: str) -> None:
    """The scheme's case does not matter, and neither do blanks around the token."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        assert (await api.get("/v1/model", Authorization=header)).status == 200


@pytest.mark.parametrize("sent", [b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer \xff\xfe", b"Bearer " + b"x" * 4000])
async def test_any_header_is_refused_or_answered(sent: bytes) -> None:
    """Whatever its bytes are."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        head = b"GET /v1/model HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + sent + b"\r\n\r\n"
        assert (await api.raw(head)).startswith(b"HTTP/1.1 401 Unauthorized\r\n")


async def test_a_path_that_is_not_there_needs_no_token() -> None:
    """It is 404 or 405 with and without one, as the document says."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        assert (await api.get("/nowhere")).status == 404
        assert (await api.request("DELETE", "/v1/model")).status == 405


async def test_new_tokens_hold_from_the_next_request_on() -> None:
    """What was remembered of the old ones is forgotten."""
    async with serving(SNAPSHOT, tokens=holders("read")) as api:
        assert (await api.get("/v1/model", Authorization=bearer("read"))).status == 200
        access = api.context.access
        assert access
        access.use((Token("read-only", frozenset({"read"}), digest_of("als_new")),))
        assert (await api.get("/v1/model", Authorization=bearer("read"))).status == 401
        assert (await api.get("/v1/model", Authorization="Bearer als_new")).status == 200
        assert (await api.get("/v1/model")).status == 401


async def test_requests_are_counted_by_name() -> None:
    """Admitted or refused; strangers share one name, so that no client can make series."""
    async with serving(SNAPSHOT, tokens=holders("read")) as api:
        await api.get("/v1/model")
        await api.get("/v1/users")
        for number in range(3):
            await api.get("/v1/users", Authorization=f"Bearer als_{number}")
        await api.get("/v1/users", Authorization=bearer("users"))
        await api.get("/metrics", Authorization=bearer("users"))
        await api.get("/healthz", Authorization=bearer("users"))
        counted = {
            (token, outcome): api.sample("als_token_requests_total", token=token, outcome=outcome)
            for token in (ANONYMOUS, "unknown", "users-only")
            for outcome in ("admitted", "refused")
        }
    assert list(counted.values()) == [1, 1, 0, 3, 1, 1]


async def test_names_beyond_a_number_share_one_series() -> None:
    """However often the file changes, a process has a bounded number of series."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        access = api.context.access
        assert access
        for round_ in range(3):
            access.use(tuple(Token(f"{round_}-{row}", frozenset({"read"}), f"{row:064}") for row in range(256)))
        access.use((Token("latest", frozenset({"read"}), digest_of("als_latest")),))
        assert (await api.get("/v1/model", Authorization="Bearer als_latest")).status == 200
        assert api.sample("als_token_requests_total", token="other", outcome="admitted") == 1
        assert api.sample("als_token_requests_total", token="latest", outcome="admitted") is None
        labels = {
            sample.labels["token"] for family in api.metrics.token_requests.collect() for sample in family.samples
        }
    assert len(labels) <= 501


async def test_only_headers_of_known_tokens_are_remembered() -> None:
    """And not without end, so that no client can fill the memory."""
    async with serving(SNAPSHOT, tokens=holders()) as api:
        access = api.context.access
        assert access
        for number in range(20):
            await api.get("/v1/model", Authorization=f"Bearer als_{number}")
            await api.get("/v1/model", Authorization=f"Basic {number}")
        assert access._by_header.keys() == {None}
        for number in range(1, 1100):
            assert access._found("Bearer" + " " * number + secret("read")).name == "read-only"
        assert len(access._by_header) == 1024


async def test_the_access_log_names_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """By its name: the token itself is in no log line and not in what describes the server."""
    caplog.set_level("DEBUG")
    async with serving(SNAPSHOT, ApiSettings(access_log=1), tokens=holders()) as api:
        described = (await api.get("/v1/model", Authorization=bearer("read"))).body
        await api.get("/v1/model", Authorization="Bearer als_secret-of-a-stranger")
        exposed = (await api.get("/metrics", Authorization=bearer("metrics"))).body
        await api.get("/healthz")
    facts: list[dict[str, Any]] = [vars(record)["facts"] for record in caplog.records if hasattr(record, "facts")]
    assert [fact["token"] for fact in facts] == ["read-only", "unknown", "metrics-only", ANONYMOUS]
    texts = caplog.text + json.dumps(facts, default=str) + described.decode() + exposed.decode()
    assert "als_secret" not in texts
    assert digest_of(secret("read")) not in texts
