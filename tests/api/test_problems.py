"""Errors over HTTP: problem documents."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from http import HTTPStatus

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from service import errors
from service.api import answers, problems
from service.api.decimals import compact
from service.api.handlers import items
from service.api.problems import HTTP_STATUS
from service.api.routes import ROUTES
from service.errors import AlsServeError, RequestError
from service.model.factors import Float32
from service.tokens import Token
from tests.support.models import make_factors
from tests.support.serving import Answer, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
RECOMMENDATIONS = "/v1/users/1/recommendations"


def assert_is_problem(answer: Answer, status: int, code: str) -> None:
    """Check everything that every problem document has."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json == {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": answer.json["detail"],
        "code": code,
        "request_id": answer.headers["X-Request-Id"],
    }
    assert answer.json["detail"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/users/nobody/items", 404, "unknown_user"),
        ("GET", "/v1/items/nothing/similar", 404, "unknown_item"),
        ("GET", RECOMMENDATIONS + "?n=x", 400, "bad_parameter"),
        ("POST", "/v1/recommendations", 415, "unsupported_media_type"),
        ("GET", "/v1", 404, "no_such_path"),
        ("GET", "/v1/users//recommendations", 404, "no_such_path"),
        ("GET", "/v1/users/a/b/recommendations", 404, "no_such_path"),
        ("GET", RECOMMENDATIONS + "/", 404, "no_such_path"),
        ("POST", "/nowhere", 404, "no_such_path"),
        ("GET", "/%00", 404, "no_such_path"),
        ("GET", "/%FF", 404, "no_such_path"),
        ("GET", "//", 404, "no_such_path"),
        ("GET", "/a%0Ab", 404, "no_such_path"),
        ("PROPFIND", "/nowhere", 404, "no_such_path"),
        ("GET", "/v1/recommendations", 405, "method_not_allowed"),
        ("PUT", RECOMMENDATIONS, 405, "method_not_allowed"),
        ("DELETE", "/v1/model", 405, "method_not_allowed"),
        ("OPTIONS", "/metrics", 405, "method_not_allowed"),
    ],
)
async def test_every_error_is_a_problem_document(method: str, path: str, status: int, code: str) -> None:
    """Whether a handler raises it or aiohttp does, an error has one shape."""
    async with serving(SNAPSHOT) as api:
        assert_is_problem(await api.request(method, path), status, code)


async def test_not_found_says_what_there_is() -> None:
    """A 404 lists the right paths, but for an administrator's, and says how to send an id with a slash."""
    async with serving(SNAPSHOT) as api:
        detail = (await api.get("/v1/users/a/b/recommendations")).json["detail"]
    told, slash = detail.split(". ", 1)
    assert "%2F" in slash
    there_is = {(route.method, route.path) for route in ROUTES if route.scope != "admin"}
    assert set(routes_in(told, there_is)) == there_is


def routes_in(sentence: str, there_is: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the routes that a sentence names; some paths are given as what follows that of a user."""
    method = ""
    for word in re.findall(r"[A-Z]{3,}|/[\w{}./]*", sentence):
        if word.isalpha():
            method = word
        else:
            yield method, word if (method, word) in there_is else f"/v1/users/{{user}}{word}"


async def test_a_method_that_is_not_allowed_names_those_that_are() -> None:
    """In the Allow header, and in words."""
    async with serving(SNAPSHOT) as api:
        got, posted = await api.get("/v1/recommendations"), await api.request("POST", "/v1/model")
    assert got.headers["Allow"] == "POST"
    assert got.json["detail"] == "GET is not allowed here; allowed: POST."
    assert posted.headers["Allow"] == "GET,HEAD"
    assert posted.json["detail"] == "POST is not allowed here; allowed: GET, HEAD."


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
async def test_only_the_methods_of_its_routes_are_allowed_at_a_path(path: str) -> None:
    """Whatever there is can be asked as the table of routes says, a GET as HEAD too, and no other way."""
    methods = {route.method for route in ROUTES if route.path == path}
    async with serving(SNAPSHOT, tokens=(Token("chief", frozenset({"admin"}), "0" * 64),)) as api:
        answer = await api.request("PATCH", path)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == methods | ({"HEAD"} if "GET" in methods else set())


def test_whatever_a_handler_raises_of_aiohttp_is_a_problem() -> None:
    """An error of aiohttp's that no route of ours raises today has the same shape, with the status's own name."""
    answer = problems.from_http(web.HTTPForbidden(), "GET", "r")
    assert isinstance(answer.body, bytes)
    problem = json.loads(answer.body)
    assert (answer.status, problem["status"], problem["code"], problem["title"]) == (403, 403, "forbidden", "Forbidden")
    assert problem["detail"].endswith(".")


async def test_an_error_nobody_foresaw_keeps_its_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets 500 and the request id; the stack trace is in the log under the same id."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(items, "_similar", broken)
    item = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
    async with serving(SNAPSHOT) as api:
        answer = await api.get(f"/v1/items/{item}/similar", X_Request_Id="r-1")
        assert (await api.get("/healthz")).status == 200
    assert_is_problem(answer, 500, "internal_error")
    assert b"secret" not in answer.body
    assert b"Zero" not in answer.body
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "❌ Unexpected error while answering /v1/items/{item}/similar (request r-1)"
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


async def test_an_error_of_ours_that_is_no_requests_fault_is_unexpected_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of an error without a status in the table must not reach a client."""

    def broken(*_: object) -> None:
        raise errors.SnapshotDamagedError("A path that is nobody's business.")

    monkeypatch.setattr(items, "_similar", broken)
    item = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
    async with serving(SNAPSHOT) as api:
        answer = await api.get(f"/v1/items/{item}/similar")
    assert_is_problem(answer, 500, "internal_error")
    assert b"business" not in answer.body


def kinds_of(error: type[AlsServeError]) -> set[type[AlsServeError]]:
    """Return all classes below one."""
    return {kind for child in error.__subclasses__() for kind in {child} | kinds_of(child)}


@pytest.mark.parametrize("kind", sorted(kinds_of(RequestError), key=str))
def test_every_request_error_has_a_status(kind: type[AlsServeError]) -> None:
    """The table has every class, and each makes a problem; a 503 says when to retry."""
    answer = problems.from_error(kind("Something is wrong."), "r")
    assert answer.status == HTTP_STATUS[kind]
    assert isinstance(answer.body, bytes)
    problem = json.loads(answer.body)
    assert (problem["code"], problem["detail"], problem["request_id"]) == (kind.code, "Something is wrong.", "r")
    assert ("Retry-After" in answer.headers) == (answer.status == 503)


@pytest.mark.parametrize("given", ["r1", "~", " a b ", "x" * 128, '{"a":"b"}'])
async def test_a_sane_request_id_is_echoed(given: str) -> None:
    """1 to 128 printable ASCII characters come back as they were, in errors too."""
    async with serving(SNAPSHOT) as api:
        for path in ("/healthz", "/nowhere", "/metrics", RECOMMENDATIONS):
            assert (await api.get(path, X_Request_Id=given)).headers["X-Request-Id"] == given.strip()


@pytest.mark.parametrize("sent", [b"", b"x" * 129, "é".encode(), b"a\tb", b"\xff"])
async def test_another_request_id_is_replaced(sent: bytes) -> None:
    """What is empty, too long or not printable ASCII is not sent back."""
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: " + sent + b"\r\n\r\n"
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(head)
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"X-Request-Id: ")]
    assert len(lines) == 1
    assert len(bytes.fromhex(lines[0].removeprefix(b"X-Request-Id: ").decode())) == 8


async def test_request_ids_differ() -> None:
    """Where the client gives none, every answer has its own."""
    async with serving(SNAPSHOT) as api:
        ids = [(await api.get("/healthz")).headers["X-Request-Id"] for _ in range(50)]
    assert len(set(ids)) == 50


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
@settings(max_examples=300, deadline=None)
def test_scores_read_back_as_the_float32_that_they_are(numbers: list[float]) -> None:
    """A score is written with as few decimals as it may, and no information is lost."""
    scores: Float32 = np.array(numbers, np.float32)
    written = json.loads(answers.encode(compact(scores)))
    assert np.array_equal(np.array(written, np.float32), scores)


def test_every_power_of_two_reads_back() -> None:
    """The spacing of floats changes there, and a decimal that is near enough above is not below."""
    exponents = np.arange(-149, 128)
    powers = np.ldexp(np.float32(1), exponents).astype(np.float32)
    neighbours = [powers, np.nextafter(powers, np.float32(0)), np.nextafter(powers, np.float32(np.inf))]
    for scores in neighbours:
        assert np.array_equal(np.array(compact(scores), np.float32), scores)


def test_scores_are_written_shortly() -> None:
    """No score has more than ten significant digits, and a round one has few."""
    scores = np.ldexp(np.random.default_rng(0).normal(size=10_000), np.arange(10_000) % 60 - 30).astype(np.float32)
    for written in compact(scores):
        digits = f"{Decimal(repr(written)).normalize():e}".partition("e")[0]
        assert len(digits.strip("-").replace(".", "")) <= 10
    assert compact(np.array([0.25, -1.5, 0, 1e6, 12], np.float32)) == [0.25, -1.5, 0.0, 1e6, 12.0]
