"""Hidden users are unknown to every route."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.model.catalog.assortment import assort
from tests.support.models import make_factors
from tests.support.serving import ApiSettings, make_snapshot, serving

SNAPSHOT = make_snapshot(replace(make_factors(), user_ids=np.arange(40), item_ids=np.arange(60)))
HIDDEN, SHOWN, NOBODY = 7, 3, 999
ASSORTMENT = assort(SNAPSHOT.model, hidden_users=np.array([b"21", b"7", b"999"]))

GETS = ["recommendations", "similar", "scores?items=1", "items", "explanations/1"]
FALLBACKS: list[Any] = ["popular", "none"]


def told(answer: Any, user: int) -> tuple[int, str]:
    """Return an answer without the name of the user."""
    body = answer.body.decode().replace(answer.headers["X-Request-Id"], "")
    return answer.status, re.sub(rf"\b{user}\b(?=['\",])", "?", body)


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("path", GETS)
async def test_a_hidden_user_gets_what_an_unknown_one_gets(path: str, fallback: Any) -> None:
    """No route says that there is such a user."""
    async with serving(SNAPSHOT, ApiSettings(fallback=fallback), assortment=ASSORTMENT) as api:
        hidden = await api.get(f"/v1/users/{HIDDEN}/{path}")
        unknown = await api.get(f"/v1/users/{NOBODY}/{path}")
        assert (await api.get(f"/v1/users/{SHOWN}/{path}")).status == 200
    assert told(hidden, HIDDEN) == told(unknown, NOBODY)


@pytest.mark.parametrize("fallback", FALLBACKS)
async def test_a_hidden_user_is_unknown_in_bodies(fallback: Any) -> None:
    """In a batch and in a session."""
    async with serving(SNAPSHOT, ApiSettings(fallback=fallback), assortment=ASSORTMENT) as api:
        batch = (await api.post("/v1/recommendations", {"users": [HIDDEN, NOBODY, SHOWN]})).json["results"]
        session = {"items": [{"item_id": 5, "weight": 1}]}
        sessions = [
            (await api.post(f"/v1/users/{user}/recommendations", session)).json for user in (HIDDEN, NOBODY, SHOWN)
        ]
    for hidden, unknown, shown in (batch, sessions):
        assert hidden["user_id"] == HIDDEN
        assert hidden | {"user_id": 0} == unknown | {"user_id": 0}
        assert shown.get("strategy") in ("als", "session")


async def test_no_list_of_users_has_a_hidden_one() -> None:
    """All users, those with a prefix, similar ones and an audience, page by page; all others are there, in order."""
    async with serving(SNAPSHOT) as api, serving(SNAPSHOT, assortment=ASSORTMENT) as hiding:
        for path, key in [
            ("/v1/users?n={n}&offset={offset}", "users"),
            ("/v1/users?prefix=2&n={n}&offset={offset}", "users"),
            (f"/v1/users/{SHOWN}/similar?n=39", "users"),
            ("/v1/items/5/users?n={n}&offset={offset}", "users"),
        ]:
            everybody = (await api.get(path.format(n=100, offset=0))).json[key]
            found = (await hiding.get(path.format(n=100, offset=0))).json[key]
            ids = [user["user_id"] if isinstance(user, dict) else user for user in everybody]
            assert {21} <= set(ids)
            expected = [user for user, number in zip(everybody, ids, strict=True) if number not in (7, 21)]
            assert found == expected
            if "offset" in path:
                pages = [(await hiding.get(path.format(n=7, offset=offset))).json[key] for offset in range(0, 42, 7)]
                assert [user for page in pages for user in page] == expected
