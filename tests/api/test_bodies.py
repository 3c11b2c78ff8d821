"""Bodies of POST requests: their shapes and limits, and how wrong ones are refused."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from tests.support.models import make_factors
from tests.support.serving import make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
ITEM = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
BATCH = "/v1/recommendations"
ANONYMOUS = "/v1/recommendations/anonymous"
GIVEN = [{"item_id": ITEM}]
AS_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        (BATCH, {}, "Object missing required field `users`"),
        (BATCH, [], "Expected `object`, got `array`"),
        (BATCH, None, "Expected `object`, got `null`"),
        (BATCH, {"users": USER}, "Expected `array`, got `int` - at `$.users`"),
        (BATCH, {"users": [1, 2, 3, None]}, "Expected `int | str`, got `null` - at `$.users[3]`"),
        (BATCH, {"users": [1.5]}, "Expected `int | str`, got `float` - at `$.users[0]`"),
        (BATCH, {"users": [True]}, "Expected `int | str`, got `bool` - at `$.users[0]`"),
        (BATCH, {"users": [[1]]}, "Expected `int | str`, got `array` - at `$.users[0]`"),
        (BATCH, {"users": [1] * 1001}, "Expected `array` of length <= 1000 - at `$.users`"),
        (BATCH, {"users": [1], "limit": 5}, "Object contains unknown field `limit`"),
        (BATCH, {"users": [1], "n": 0}, "Expected `int` >= 1 - at `$.n`"),
        (BATCH, {"users": [1], "n": 1001}, "Expected `int` <= 1000 - at `$.n`"),
        (BATCH, {"users": [1], "n": "5"}, "Expected `int`, got `str` - at `$.n`"),
        (BATCH, {"users": [1], "n": None}, "Expected `int`, got `null` - at `$.n`"),
        (BATCH, {"users": [1], "offset": -1}, "Expected `int` >= 0 - at `$.offset`"),
        (BATCH, {"users": [1], "offset": 10001}, "Expected `int` <= 10000 - at `$.offset`"),
        (BATCH, {"users": [1], "exclude_seen": 1}, "Expected `bool`, got `int` - at `$.exclude_seen`"),
        (BATCH, {"users": [1], "normalize": "true"}, "Expected `bool`, got `str` - at `$.normalize`"),
        (BATCH, {"users": [1], "exclude": "a,b"}, "Expected `array`, got `str` - at `$.exclude`"),
        (BATCH, {"users": [1], "exclude": [1] * 1001}, "Expected `array` of length <= 1000 - at `$.exclude`"),
        (BATCH, {"users": [1], "fallback": "random"}, "Invalid enum value 'random' - at `$.fallback`"),
        (ANONYMOUS, {}, "Object missing required field `items`"),
        (ANONYMOUS, {"items": []}, "Expected `array` of length >= 1 - at `$.items`"),
        (ANONYMOUS, {"items": GIVEN * 1001}, "Expected `array` of length <= 1000 - at `$.items`"),
        (ANONYMOUS, {"items": [ITEM]}, "Expected `object`, got `int` - at `$.items[0]`"),
        (ANONYMOUS, {"items": [{"id": 1}]}, "Object contains unknown field `id` - at `$.items[0]`"),
        (ANONYMOUS, {"items": [{}]}, "Object missing required field `item_id` - at `$.items[0]`"),
        (
            ANONYMOUS,
            {"items": [*GIVEN, {"item_id": 1, "weight": "1"}]},
            "Expected `float`, got `str` - at `$.items[1].weight`",
        ),
        (
            ANONYMOUS,
            {"items": [{"item_id": 1, "weight": 1_000_001}]},
            "Expected `float` <= 1000000.0 - at `$.items[0].weight`",
        ),
        (
            ANONYMOUS,
            {"items": [{"item_id": 1, "weight": -1e300}]},
            "Expected `float` >= -1000000.0 - at `$.items[0].weight`",
        ),
        (ANONYMOUS, {"items": GIVEN, "n": 1001}, "Expected `int` <= 1000 - at `$.n`"),
        (ANONYMOUS, {"items": GIVEN, "fallback": "none"}, "Object contains unknown field `fallback`"),
    ],
)
async def test_a_body_of_another_shape_is_refused(path: str, body: Any, wrong: str) -> None:
    """The answer is 422 and says what is wrong in the body, and where."""
    async with serving(SNAPSHOT) as api:
        answer = await api.post(path, body)
    assert (answer.status, answer.json["code"]) == (422, "invalid_body")
    said, _, example = answer.json["detail"].partition(" For example, ")
    assert said == f"The body is invalid: {wrong}."
    assert bool(example) == (", got `" in wrong or wrong.startswith("Object "))


@pytest.mark.parametrize("path", [BATCH, ANONYMOUS])
async def test_a_refusal_shows_the_right_form(path: str) -> None:
    """A body of another shape is refused with a valid one, which is for that path."""
    async with serving(SNAPSHOT) as api:
        refused = await api.post(path, {"items": ["x"], "users": {}})
        example = refused.json["detail"].partition(" For example, ")[2].removesuffix(" is valid.")
        assert (await api.post(path, json.loads(example))).json.get("code") in (None, "unknown_item")
        assert "exclude" not in example  # what can be left out is, so that the sentence stays short


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"users=1",
        b'{"users": [1]',
        b'{"users": [1]} {}',
        b'{"users": ["\xff"]}',
        b'{"users": ["\\ud800"]}',
        b'{"users": [NaN]}',
        b'\xef\xbb\xbf\xef\xbb\xbf{"users": [1]}',
        b'{"users": [1]}'.decode().encode("utf-16"),
    ],
)
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    """The answer is 400 and says what could not be read."""
    async with serving(SNAPSHOT) as api:
        answer = await api.request("POST", BATCH, data=body, headers=AS_JSON)
    assert (answer.status, answer.json["code"]) == (400, "bad_body")
    assert answer.json["detail"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("body", ['{"users": [1], "n": 3.0}', '{"users": [1.0], "n": 3}', '{"users": [1e0], "n": 3e0}'])
async def test_a_number_without_a_fraction_is_an_integer(body: str) -> None:
    """As in JSON Schema, by which the API is published: clients in JavaScript, Lua or R may write 3.0."""
    async with serving(SNAPSHOT) as api:
        answers = [
            await api.request("POST", BATCH, data=each, headers=AS_JSON) for each in (body, '{"users": [1], "n": 3}')
        ]
    assert answers[0].status == 200
    assert answers[0].json == answers[1].json


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ('{"users": [1], "n": 1.5}', "Expected `int`, got `float` - at `$.n`"),
        ('{"users": [1], "n": 1e30}', "Expected `int` <= 1000 - at `$.n`"),
        ('{"users": [1], "n": 0.0}', "Expected `int` >= 1 - at `$.n`"),
        ('{"users": [1.0], "limit": 5}', "Object contains unknown field `limit`"),
        ('{"n": 1.0, "users": ' + "[" * 50_000, "Expected `int`, got `float` - at `$.n`"),
    ],
)
async def test_a_fraction_is_no_integer(body: str, wrong: str) -> None:
    """What is wrong in a body with floats is said as in any other."""
    async with serving(SNAPSHOT) as api:
        answer = await api.request("POST", BATCH, data=body, headers=AS_JSON)
    assert answer.status == 422
    assert answer.json["detail"].startswith(f"The body is invalid: {wrong}.")


@pytest.mark.parametrize("path", [BATCH, ANONYMOUS])
async def test_a_byte_order_mark_is_ignored(path: str) -> None:
    """As RFC 8259 allows: programs on Windows write one."""
    body = json.dumps({"users": [USER]} if path == BATCH else {"items": GIVEN}).encode()
    async with serving(SNAPSHOT) as api:
        answers = [
            await api.request("POST", path, data=each, headers=AS_JSON) for each in (body, b"\xef\xbb\xbf" + body)
        ]
    assert answers[0].status == 200
    assert answers[0].json == answers[1].json


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/json", "application/problem+json", ""]
)
@pytest.mark.parametrize("path", [BATCH, ANONYMOUS])
async def test_a_body_must_be_declared_as_json(path: str, content_type: str) -> None:
    """The answer is 415 to any other Content-Type and to a missing one, and names the header to send."""
    body = b'{"users": [1]}'
    header = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: {len(body)}\r\n\r\n"
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(head.encode() + body)
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["status"], problem["code"]) == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in problem["detail"]


async def test_json_may_state_its_charset() -> None:
    """Parameters of the media type do not matter."""
    async with serving(SNAPSHOT) as api:
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        answer = await api.request("POST", BATCH, data=b'{"users": []}', headers=headers)
    assert (answer.status, answer.json["results"]) == (200, [])


async def test_a_body_may_be_a_mebibyte_and_not_a_byte_more() -> None:
    """The limit holds with a declared length and without one."""
    fits = b'{"users": []' + b" " * (2**20 - 13) + b"}"
    assert len(fits) == 2**20

    async def pieces() -> Any:
        yield fits
        yield b" "

    async with serving(SNAPSHOT) as api:
        assert (await api.request("POST", BATCH, data=BytesIO(fits), headers=AS_JSON)).status == 200
        for data in (BytesIO(fits + b" "), pieces()):
            answer = await api.request("POST", BATCH, data=data, headers=AS_JSON)
            assert (answer.status, answer.json["code"]) == (413, "body_too_large")
            assert "1048576 bytes" in answer.json["detail"]


async def test_a_dripping_body_is_ended() -> None:
    """A body that does not arrive within the deadline is 408, and the connection is closed."""
    head = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    async with serving(SNAPSHOT, body_seconds=0.1) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(head.encode())
        answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        while not answered.done():
            writer.write(b" ")
            await asyncio.sleep(0.01)
        answer = await answered
        problem = json.loads(await reader.readuntil(b"}"))
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    assert problem["code"] == "request_timeout"
    assert problem["detail"] == "The body did not arrive within 0.1 seconds; send it faster."


async def test_a_client_that_goes_away_with_half_a_body_harms_nobody() -> None:
    """Its request ends, is no longer in flight, and others are answered."""
    head = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    gone = b'als_http_requests_total{arm="served",method="POST",route="/v1/recommendations",status="499"} 1.0'
    async with serving(SNAPSHOT) as api:
        _, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(head.encode() + b'{"users"')
        await writer.drain()
        while b"als_http_requests_in_flight 2.0" not in (await api.get("/metrics")).body:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(10):
            while gone not in (await api.get("/metrics")).body:
                await asyncio.sleep(0.01)
        assert b"als_http_requests_in_flight 1.0" in (await api.get("/metrics")).body


async def test_a_client_may_ask_before_it_sends() -> None:
    """Expect: 100-continue is answered, as curl sends it with a large body."""
    body = b'{"users": []}'
    head = (
        f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with serving(SNAPSHOT) as api:
        answer = await api.raw(head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_batch_may_ask_for_so_much_at_once() -> None:
    """Users times n is bounded, and the answer says by how much."""
    async with serving(SNAPSHOT) as api:
        most = await api.post(BATCH, {"users": [USER] * 1000, "n": 100})
        more = await api.post(BATCH, {"users": [USER] * 1000, "n": 101})
    assert most.status == 200
    assert (more.status, more.json["code"]) == (422, "invalid_body")
    assert "up to 100000" in more.json["detail"]


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/recommendations/anonymous"])
async def test_options_of_a_post_stand_in_its_body(path: str) -> None:
    """A query parameter of a POST, other than the version that answers, is refused, because it would be ignored."""
    async with serving(SNAPSHOT) as api:
        answer = await api.post(path + "?n=1", {"users": [1]})
    assert (answer.status, answer.json["code"]) == (400, "bad_parameter")
    assert answer.json["detail"] == "The parameter 'n' is unknown here; allowed: model_version."
