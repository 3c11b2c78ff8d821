"""Ids of every kind find their rows and come back unchanged, however they are sent."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.factors import Factors, Id, Seen
from service.model.storage.snapshot import Snapshot
from tests.support.serving import Api, encoded, make_snapshot, serving

LIKE_PATHS = [
    "a/b",
    "/",
    "..",
    ".",
    "%2F",
    "%252F",
    "%",
    "?",
    "#",
    "a,b",
    "🎬",
    " ",
    "+",
    "&n=1",
    "{user}",
    "\\",
    "é",
    "\n",
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: len(text.encode()) <= 256
)
some_texts = st.lists(st.one_of(texts, st.sampled_from(LIKE_PATHS)), min_size=1, max_size=8, unique=True)
some_numbers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8, unique=True)
#: Each is of up to eight ids; tests/model has the proof for reading and writing one.
examples = settings(max_examples=25, deadline=None)


def made_of(ids: list[Any]) -> Snapshot:
    """Make a model whose users and items have these ids; everyone had every item."""
    count = len(ids)
    values = np.array([each.encode() for each in ids]) if isinstance(ids[0], str) else np.array(ids, np.int64)
    factors = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    indptr = np.arange(count + 1, dtype=np.int64) * count
    items = np.tile(np.arange(count, dtype=np.int32), count)
    return make_snapshot(
        Factors(factors, factors, values, values, Seen(indptr, items, np.ones(count * count, np.float32)), 0.1, 1.0)
    )


async def found_by_path(api: Api, ids: list[Any]) -> list[Id]:
    """Ask for each user in the path; return the users that answered."""
    answers = [
        await api.get(f"/v1/users/{encoded(each)}/recommendations?fallback=none&exclude_seen=false") for each in ids
    ]
    for answer in answers:
        assert answer.status == 200, answer.json
        assert {item["item_id"] for item in answer.json["items"]} == set(ids)
    return [answer.json["user_id"] for answer in answers]


async def found_by_body(api: Api, ids: list[Any]) -> list[Id]:
    """Ask for all users in a body, each excluding itself as an item; return those that answered."""
    body = {"users": ids, "fallback": "none", "exclude_seen": False, "exclude": ids[:1]}
    answer = await api.post("/v1/recommendations", body)
    assert answer.status == 200
    for result in answer.json["results"]:
        assert {item["item_id"] for item in result["items"]} == set(ids[1:])
    return [result["user_id"] for result in answer.json["results"]]


async def check_every_way(ids: list[Any]) -> None:
    """Send every id every way and compare what comes back, its type too."""
    async with serving(made_of(ids)) as api:
        assert await found_by_path(api, ids) == ids
        assert await found_by_body(api, ids) == ids
        anonymous = await api.post("/v1/recommendations/anonymous", {"items": [{"item_id": each} for each in ids]})
        assert (anonymous.json["unknown_items"], anonymous.json["items"]) == ([], [])
        for each in ids:
            assert (await api.get(f"/v1/items/{encoded(each)}/similar")).json["item_id"] == each


@given(some_texts)
@examples
async def test_any_text_is_an_id(ids: list[str]) -> None:
    """Every string of 1 to 256 bytes of UTF-8 without NUL round-trips."""
    await check_every_way(ids)


@given(some_numbers)
@examples
async def test_any_int64_is_an_id(ids: list[int]) -> None:
    """Every int64 round-trips, and stays a number."""
    await check_every_way(ids)


@pytest.mark.parametrize("user", LIKE_PATHS)
async def test_ids_that_look_like_something_else(user: str) -> None:
    """A slash, a percent sign, a question mark and their like are nothing special when encoded, in either case."""
    lower = re.sub("%..", lambda digits: digits[0].lower(), encoded(user))
    async with serving(made_of(LIKE_PATHS)) as api:
        answers = [
            await api.get(f"/v1/users/{encoded(user)}/recommendations?fallback=none"),
            await api.get(f"/v1/users/{encoded(user)}/items?n=100"),
            await api.get(f"/v1/users/{encoded(user)}/explanations/{encoded(user)}"),
            await api.get(f"/v1/users/{lower}/similar"),
        ]
    assert [(answer.status, answer.json["user_id"]) for answer in answers] == [(200, user)] * 4
    assert {item["item_id"] for item in answers[1].json["items"]} == set(LIKE_PATHS)
    assert answers[2].json["item_id"] == user


@pytest.mark.parametrize("user", [".", "..", "a,b", "a/b"])
async def test_the_body_takes_the_ids_that_clients_change(user: str) -> None:
    """Clients resolve "." and ".." in a path, and a comma separates ids in a query; in a body both are safe."""
    async with serving(made_of(LIKE_PATHS)) as api:
        batch = await api.post("/v1/recommendations", {"users": [user], "exclude": [user], "exclude_seen": False})
        anonymous = await api.post("/v1/recommendations/anonymous", {"items": [{"item_id": user}], "n": 100})
    assert batch.json["results"][0]["user_id"] == user
    assert user not in [item["item_id"] for item in batch.json["results"][0]["items"]]
    assert {item["item_id"] for item in anonymous.json["items"]} == set(LIKE_PATHS) - {user}


@pytest.mark.parametrize("sent", [b"..", b"%2E%2e", b"%2e."])
async def test_dots_sent_as_they_are_are_an_id_too(sent: bytes) -> None:
    """The server itself resolves nothing: raw bytes reach the user ".."."""
    request = b"GET /v1/users/" + sent + b"/items HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(made_of(LIKE_PATHS)) as api:
        answer = await api.raw(request)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["user_id"] == ".."


@pytest.mark.parametrize("sent", ["042", "+42", "%2042", "4_2", "42.0", "%D9%A4%D9%A2", "0x2A"])
async def test_only_its_own_spelling_is_a_number(sent: str) -> None:
    """Text that only resembles a number finds nobody, and comes back unchanged."""
    async with serving(made_of([42])) as api:
        assert (await api.get(f"/v1/users/{sent}/items")).status == 404
        popular = await api.get(f"/v1/users/{sent}/recommendations")
        assert popular.json["strategy"] == "popular"
        assert isinstance(popular.json["user_id"], str)


async def test_an_id_is_never_cut() -> None:
    """An id longer than all of the model's, or with a NUL, finds nobody."""
    async with serving(made_of(["ab", "a"])) as api:
        for sent in ("abc", "ab%00", "a%00", "%00"):
            assert (await api.get(f"/v1/users/{sent}/items")).status == 404
        batch = await api.post("/v1/recommendations", {"users": ["ab\0", "abc"], "fallback": "none"})
    assert [result["error"] for result in batch.json["results"]] == ["unknown_user"] * 2
