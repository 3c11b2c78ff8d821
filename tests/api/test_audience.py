"""The audience of an item, over HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from service.api.handlers import lookups
from service.model.scoring import scoring
from tests.support.models import make_factors
from tests.support.serving import encoded, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors(ids="str"), "text")
MODEL = SNAPSHOT.model
ITEM = str(MODEL.item_ids.of(7))
PATH = f"/v1/items/{encoded(ITEM)}/users"


@pytest.mark.parametrize("long", [False, True], ids=["at once", "in turns"])
async def test_the_users_with_the_greatest_scores_are_found(long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have not had the item, best first, with the scores that their recommendations show."""
    *_, ranked = scoring.audience(MODEL, 7, 5, offset=2)
    assert ranked
    monkeypatch.setattr(lookups, "_UNDIVIDED_MICROSECONDS", -1 if long else 10_000)
    async with serving(SNAPSHOT) as api:
        answer = await api.get(f"{PATH}?n=5&offset=2")
        users = answer.json["users"]
        assert answer.json == {"model_version": SNAPSHOT.version, "item_id": ITEM, "users": users}
        assert [user["user_id"] for user in users] == MODEL.user_ids.at(ranked.rows)
        assert [np.float32(user["score"]) for user in users] == ranked.scores.tolist()
        for user in users:
            own = (await api.get(f"/v1/users/{encoded(user['user_id'])}/recommendations?n=100")).json["items"]
            assert {"item_id": ITEM, "score": user["score"]} in own


async def test_an_unknown_item_has_no_audience() -> None:
    """It is not found."""
    async with serving(SNAPSHOT) as api:
        answer = await api.get("/v1/items/nothing/users")
    assert (answer.status, answer.json["code"]) == (404, "unknown_item")
