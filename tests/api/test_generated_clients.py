"""Clients that others' generators make from the OpenAPI document compile, and get what plain requests get."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model.factors import Factors
from service.tokens import digest_of
from tests.support.clients import (
    REQUEST_ID,
    Call,
    call_from_python,
    call_from_typescript,
    generate_python,
    generate_typescript,
    operations_of,
)
from tests.support.helpers import model_bytes
from tests.support.models import make_factors
from tests.support.running import ask, running_server

TOKEN = "als_generated"
#: Neither a path nor a list mistakes anything in these.
ANA, CORPSE, GHOST = "ana/ünal & co, 0", "horror?#the%20corpse", "ghost+story"
NOBODY = {"user": "nobody"}
UNKNOWN = "0123456789abcdef"
FILTERED = {"filter": "genre = 'it''s & co' AND price <= 2", "min_score": -9, "max_per": "genre:1"}
USER, ITEM = {"user": ANA}, {"item": CORPSE}

CALLS = (
    Call("recommend", USER),
    Call("recommend", USER, {"n": 3, "offset": 1, "exclude": [CORPSE, GHOST], "exclude_seen": False}),
    Call("recommend", USER, {"normalize": True, "titles": True}),
    Call("recommend", USER, {"only": [CORPSE, GHOST, "unknown"]}),
    Call("recommend", USER, FILTERED),
    Call("recommend", USER, {"filter": "colour = 'red'"}, status=400),
    Call("recommend", NOBODY, {"fallback": "popular"}),
    Call("recommend", NOBODY, {"fallback": "none"}, status=404),
    Call("recommend", USER, {"n": 1_000_000}, status=400),
    Call("recommend_to_many", body={"users": [ANA, "nobody"]}),
    Call("recommend_to_many", body={"users": [ANA, "nobody"], "n": 2, "offset": 1, "fallback": "none"}),
    Call("recommend_to_many", body={"users": [ANA], "exclude": [CORPSE], "exclude_seen": False}),
    Call("recommend_to_many", body={"users": [ANA], "normalize": True, "titles": True}),
    Call("recommend_to_many", body={"users": [ANA], "only": [CORPSE, GHOST]}),
    Call("recommend_to_many", body={"users": [ANA], **FILTERED}),
    Call("recommend_to_many", body={"users": [ANA] * 1001}, status=422),
    Call("recommend_to_anonymous", body={"items": [{"item_id": CORPSE}, {"item_id": "unknown", "weight": 2}]}),
    Call("recommend_to_anonymous", body={"items": [{"item_id": GHOST, "weight": 0.5}], "n": 2, "offset": 1}),
    Call("recommend_to_anonymous", body={"items": [{"item_id": GHOST}], "exclude": [CORPSE], "normalize": True}),
    Call("recommend_to_anonymous", body={"items": [{"item_id": GHOST}], "titles": True}),
    Call("recommend_to_anonymous", body={"items": [{"item_id": GHOST}], "only": [CORPSE]}),
    Call(
        "recommend_to_anonymous",
        body={"items": [{"item_id": GHOST}], **FILTERED},
    ),
    Call("recommend_to_anonymous", body={"items": [{"item_id": "unknown"}]}, status=404),
    Call("recommend_in_session", USER, body={"items": [{"item_id": CORPSE}, {"item_id": "unknown", "weight": -2}]}),
    Call("recommend_in_session", USER, body={"items": [], "n": 2, "offset": 1, "exclude": [CORPSE], "titles": True}),
    Call("recommend_in_session", USER, body={"items": [], "exclude_seen": False, "normalize": True, "only": [CORPSE]}),
    Call("recommend_in_session", NOBODY, body={"items": [{"item_id": GHOST}], "fallback": "none"}),
    Call("recommend_in_session", NOBODY, body={"items": [], **FILTERED}),
    Call("score_items", USER, {"items": [CORPSE, "unknown", GHOST], "normalize": True, "titles": True}),
    Call("user_items", USER, {"n": 2, "offset": 1, "titles": True}),
    Call("explain", USER | ITEM, {"n": 2, "titles": True}),
    Call("similar_users", USER, {"n": 2}),
    Call("similar_items", ITEM, {"n": 2, "titles": True}),
    Call("similar_items", ITEM, {"only": [GHOST]}),
    Call("similar_items", ITEM, FILTERED),
    Call("popular_items", query={"n": 2, "offset": 1, "titles": True}),
    Call("popular_items", query={"only": [CORPSE, GHOST]}),
    Call("popular_items", query=FILTERED),
    Call("describe_item", ITEM),
    Call("describe_item", {"item": "unknown"}, status=404),
    Call("audience", ITEM, {"n": 2, "offset": 1}),
    Call("find_items", query={"n": 2, "offset": 1, "query": "gho"}),
    Call("list_users", query={"n": 2, "offset": 1, "prefix": "user", "after": "user1"}),
    Call("served_model"),
    *(
        Call(call.operation, call.path, dict(call.query) | {"model_version": UNKNOWN}, call.body, status=410)
        for call in (
            Call("recommend", USER),
            Call("recommend_to_many", body={"users": [ANA]}),
            Call("recommend_to_anonymous", body={"items": [{"item_id": GHOST}]}),
            Call("recommend_in_session", USER, body={"items": []}),
            Call("score_items", USER, {"items": [CORPSE]}),
            Call("user_items", USER),
            Call("explain", USER | ITEM),
            Call("similar_users", USER),
            Call("similar_items", ITEM),
            Call("popular_items"),
            Call("describe_item", ITEM),
            Call("audience", ITEM),
            Call("find_items"),
            Call("list_users"),
        )
    ),
    Call("list_versions"),
    Call("reload"),
    Call("pin", body={"model_version": UNKNOWN}, status=404),
    Call("unpin"),
    Call("roll_back", body={"model_version": UNKNOWN}, status=404),
    Call("roll_back", body={}, status=404),
    Call("steer", body={"percent": 12.5}),
    Call("steer", body={"percent": None}),
    Call("steer", body={"percent": 101}, status=422),
    Call("accept", body={"model_version": UNKNOWN}),
    Call("alive"),
    Call("ready"),
)


#: JavaScript has no such number: it would read 9007199254740992.
BIG = 2**53 + 1
BIG_USER, BIG_ITEM = {"user": str(BIG)}, {"item": str(BIG)}

CALLS_WITH_NUMBERS = (
    Call("recommend", BIG_USER, {"exclude": [str(BIG + 2)]}),
    Call("recommend", {"user": str(BIG - 2)}, {"n": 2}),
    Call("recommend", {"user": str(BIG - 2)}, {"fallback": "none"}, status=404),
    Call("recommend_to_many", body={"users": [str(BIG), 5, "nobody"]}),
    Call("recommend_to_many", body={"users": [str(BIG), 5, "nobody"], "fallback": "none"}),
    Call("recommend_to_anonymous", body={"items": [{"item_id": str(BIG)}, {"item_id": 5}, {"item_id": "unknown"}]}),
    Call("recommend_in_session", BIG_USER, body={"items": [{"item_id": str(BIG)}, {"item_id": "unknown"}]}),
    Call("score_items", BIG_USER, {"items": [str(BIG), "5", "unknown"]}),
    Call("user_items", BIG_USER),
    Call("explain", BIG_USER | BIG_ITEM),
    Call("similar_users", BIG_USER),
    Call("similar_items", BIG_ITEM, {"only": [str(BIG + 2), "5"]}),
    Call("describe_item", BIG_ITEM),
    Call("audience", BIG_ITEM),
    Call("find_items"),
    Call("recommend_in_session", BIG_USER, body={"items": [{"item_id": str(BIG)}, {"item_id": "unknown"}]}),
    Call("popular_items"),
    Call("find_items", query={"query": str(BIG)}),
    Call("list_users", query={"after": str(BIG)}),
)


@dataclass(frozen=True)
class Served:
    """A running server: its address and its document, in memory and in a file."""

    url: str
    document: Any
    file: Path

    def plainly(self, call: Call) -> Any:
        """Return the status and body of the answer to a plain request."""
        operation = operations_of(self.document)[call.operation]
        body = None if call.body is None else json.dumps(dict(call.body)).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": REQUEST_ID, "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + operation.url(call), body, headers, method=operation.method)
        return ask(request)


@contextmanager
def serving(directory: Path, factors: Factors, **settings: Any) -> Iterator[Served]:
    """Serve a model to those who have the token."""
    model, tokens, document = directory / "model.npz", directory / "tokens", directory / "openapi.json"
    model.write_bytes(model_bytes(factors=factors))
    tokens.write_text(f"client read,batch,users,admin {digest_of(TOKEN)}\n")
    with running_server(model, directory / "state", tokens_file=tokens, **settings) as server:
        server.wait_until_ready()
        with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=30) as answer:
            document.write_bytes(answer.read())
        yield Served(server.url, json.loads(document.read_bytes()), document)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a model with odd ids and titles."""
    directory = tmp_path_factory.mktemp("served")
    made = make_factors(users=30, items=40, ids="str", pairs=300)
    users = np.array([ANA.encode(), *made.user_ids[1:]])
    items = np.array([CORPSE.encode(), GHOST.encode(), *made.item_ids[2:]])
    catalog = directory / "items.csv"
    described = f"{CORPSE},The Corpse,it's & co,1.5\n{GHOST},Ghost “Story”,it's & co,2\n"
    catalog.write_text(f"item_id,title,genre,price\n{described}", encoding="utf-8")
    with serving(directory, replace(made, user_ids=users, item_ids=items), items=catalog) as server:
        yield server


def test_every_operation_is_called_with_all_that_it_takes(served: Served) -> None:
    """The calls cover each operation that answers with JSON, each parameter and each field of a body."""
    called = {(call.operation, name) for call in CALLS for name in ("", *call.query, *(call.body or ()))}
    schemas = served.document["components"]["schemas"]
    taken = {
        (name, parameter)
        for name, operation in operations_of(served.document).items()
        if operation.gives_json
        for parameter in ("", *operation.query, *(schemas[operation.body]["properties"] if operation.body else ()))
    }
    assert sorted(taken - called) == []


def test_plain_requests_are_answered_as_the_calls_expect(served: Served) -> None:
    """Each call has the status that it names, so the tests below compare what they seem to."""
    assert [served.plainly(call)[0] for call in CALLS] == [call.status for call in CALLS]


def test_a_client_in_python(served: Served, tmp_path: Path) -> None:
    """openapi-python-client warns of nothing, mypy finds nothing, and each answer arrives whole and typed."""
    generate_python(served.file, tmp_path)
    answers = call_from_python(served.document, CALLS, served.url, TOKEN, tmp_path)
    assert [*map(lasting, answers)] == [lasting(served.plainly(call)[1]) for call in CALLS]


def test_a_client_in_typescript(served: Served, tmp_path: Path) -> None:
    """openapi-typescript warns of nothing, the compiler finds nothing, and each answer arrives whole and typed."""
    generate_typescript(served.file, tmp_path)
    answers = call_from_typescript(served.document, CALLS, served.url, TOKEN, tmp_path)
    assert [*map(lasting, answers)] == [lasting(served.plainly(call)[1]) for call in CALLS]


def test_large_numbers_reach_javascript_as_text(tmp_path: Path) -> None:
    """With ALS_IDS=text every id in every answer is text, in the document too, and requests send text or numbers."""
    with serving(tmp_path, of_large_numbers(), ids="text") as server:
        generate_typescript(server.file, tmp_path)
        answers = call_from_typescript(server.document, CALLS_WITH_NUMBERS, server.url, TOKEN, tmp_path)
        assert answers == [server.plainly(call)[1] for call in CALLS_WITH_NUMBERS]
    given = [found for answer in answers for found in ids_in(answer)]
    assert {type(found) for found in given} == {str}
    assert {str(BIG), str(BIG + 2), "5", "nobody", "unknown"} <= set(given)
    described = server.document["components"]["schemas"]
    assert described["ScoredItem"]["properties"]["item_id"] == {"type": "string"}
    assert described["UserIds"]["properties"]["users"]["items"] == {"type": "string"}
    assert described["GivenItem"]["properties"]["item_id"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def test_workers_write_ids_as_text(tmp_path: Path) -> None:
    """ALS_IDS=text means the same for several processes."""
    with serving(tmp_path, of_large_numbers(), ids="text", workers=2) as server:
        answers = [server.plainly(call)[1] for call in CALLS_WITH_NUMBERS]
    assert {type(found) for answer in answers for found in ids_in(answer)} == {str}


def lasting(answer: Any) -> Any:
    """Return an answer without what a call to reload changes in it."""
    return {name: value for name, value in answer.items() if name not in ("last_reload", "reloads")}


def of_large_numbers() -> Factors:
    """Make a model whose ids are numbers that JavaScript rounds."""
    made = make_factors(users=30, items=40, pairs=300)
    users, items = (BIG + 2 * np.argsort(ids) for ids in (made.user_ids, made.item_ids))
    return replace(made, user_ids=users, item_ids=items)


def ids_in(answer: Any) -> Iterator[object]:
    """Yield the ids in an answer."""
    if isinstance(answer, list):
        for part in answer:
            yield from ids_in(part) if isinstance(part, dict) else [part]
    if isinstance(answer, dict):
        yield from (value for name, value in answer.items() if name in ("user_id", "item_id"))
        yield from (found for part in answer.values() for found in ids_in(part) if isinstance(part, list))
